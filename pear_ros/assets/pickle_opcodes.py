"""Step 1 of `unpickle.py`: the opcodes of a pickle, written down and not run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_READS = 1_000_000  # one to three of an opcode; FLAME's model has some hundred opcodes


@dataclass(frozen=True)
class Name:
    """A name that a pickle may use. `kind` says how `Values` builds a call of it."""

    module: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Call:
    """A call that a pickle asked for, written down and not made."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: Name, args: object) -> None:
        self.name = name
        self.args = args
        self.state: object = None  # what the pickle would hand to __setstate__


class RefusedError(Exception):
    """Why a pickle is refused."""


# --- The names a pickle may use ------------------------------------------------------------------


def _allowed_names() -> dict[tuple[str, str], Name]:
    kinds: dict[str, list[tuple[str, str]]] = {
        "array": [
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ],
        "buffer": [("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")],
        "scalar": [("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")],
        "dtype": [("numpy", "dtype")],
        "class": [("numpy", "ndarray"), ("__builtin__", "object"), ("builtins", "object")],
        "encode": [("_codecs", "encode")],  # how Python 3 writes bytes for Python 2
        "bytes": [("__builtin__", "bytes"), ("builtins", "bytes")],
        "set": [("__builtin__", "set"), ("builtins", "set")],
        "reconstructor": [("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")],
        "chumpy": [("chumpy.ch", "Ch")],
        "chumpy.select": [("chumpy.reordering", "Select")],
        "chumpy.reshape": [("chumpy.reordering", "Reshape")],
        "chumpy.transpose": [("chumpy.reordering", "transpose")],
    }
    for form in ("csc", "csr", "coo"):
        kinds[form] = [
            (module, f"{form}_matrix")
            for module in (f"scipy.sparse.{form}", f"scipy.sparse._{form}", "scipy.sparse")
        ]
    return {
        (module, name): Name(module, name, kind)
        for kind, names in kinds.items()
        for module, name in names
    }


_ALLOWED = _allowed_names()


# --- The opcodes ---------------------------------------------------------------------------------

# Opcodes that only move plain data. What remains of the format is either written out in `Reader`
# (names, calls, containers) or refused: INST and OBJ make Python 1 instances, PERSID and EXT ask
# the application for objects, NEWOBJ_EX and FROZENSET have no use in these files.
_DATA_OPCODES = (  # parted by spaces
    "PROTO STOP MARK POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 "
    "EMPTY_LIST LIST EMPTY_DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "GLOBAL STACK_GLOBAL "
)

_Opcode = Callable[[Any], None]  # of the Reader


class Bytes(io.BytesIO):
    """A file's bytes, which may be read so many times only, and not past their end."""

    reads_left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._check(size is None or len(data) >= size)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._check(line.endswith(b"\n"))
        return line

    def _check(self, is_whole: bool) -> None:
        if not is_whole:
            raise EOFError("it ends too early")
        self.reads_left -= 1
        if self.reads_left < 0:
            raise RefusedError("has more steps than any body model")


class Reader(pickle._Unpickler):
    """The standard library's reader in Python, which checks what the one in C trusts.

    Its memo is a dict, so a file cannot claim a memo of gigabytes, and its table of opcodes is
    open to be replaced by a list of those allowed.
    """

    stack: list[Any]
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise RefusedError(f"names {module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError("asks for a persistent object")

    def call(self) -> None:
        args = self.stack.pop()
        name = self.stack.pop()
        if type(name) is not Name or type(args) is not tuple:
            raise RefusedError("calls what is not a function")
        self.append(Call(name, args))

    def build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is not Call:
            raise RefusedError("sets attributes of what is not an instance")
        self.stack[-1].state = state

    def extend_list(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError("appends to what is not a list")
        self.stack[-1].extend(items)

    def extend_dict(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise RefusedError("sets items of what is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str:  # hashing what a file has nested can crash the interpreter
                self.stack[-1][key] = value

    def pop_items(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def new_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self.extend_dict(items)


def _refuse_opcode(number: int, name: str | None) -> _Opcode:
    def refuse(reader: Reader) -> None:
        if name is None:
            raise pickle.UnpicklingError(f"no pickle has the byte {number} here")
        raise RefusedError(f"uses the opcode {name}")

    return refuse


def _opcode_table() -> dict[int, _Opcode]:
    def code(name: str) -> int:
        opcode: bytes = getattr(pickle, name)
        return opcode[0]

    standard = pickle._Unpickler.dispatch
    names = {value[0]: name for name, value in vars(pickle).items() if _is_opcode(name, value)}
    table = {number: _refuse_opcode(number, names.get(number)) for number in range(256)}
    table.update({code(name): standard[code(name)] for name in _DATA_OPCODES.split()})
    table.update(
        {
            # Frames only say how much to read ahead, so that every read comes past Bytes.
            code("FRAME"): lambda reader: reader.read(8),
            # The standard reader makes the bytearray before it looks whether the file is so long.
            code("BYTEARRAY8"): standard[code("BINBYTES8")],
            code("REDUCE"): Reader.call,
            code("NEWOBJ"): Reader.call,
            code("BUILD"): Reader.build,
            code("APPEND"): lambda reader: reader.extend_list(reader.pop_items(1)),
            code("APPENDS"): lambda reader: reader.extend_list(reader.pop_mark()),
            code("EMPTY_SET"): lambda reader: reader.append([]),  # so that nothing is hashed
            code("ADDITEMS"): lambda reader: reader.extend_list(reader.pop_mark()),
            code("SETITEM"): lambda reader: reader.extend_dict(reader.pop_items(2)),
            code("SETITEMS"): lambda reader: reader.extend_dict(reader.pop_mark()),
            code("DICT"): Reader.new_dict,
        }
    )
    return table


def _is_opcode(name: str, value: object) -> bool:
    return name.isupper() and isinstance(value, bytes) and len(value) == 1


Reader.dispatch = _opcode_table()
