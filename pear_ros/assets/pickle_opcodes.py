"""Step 1 of `unpickle.py`: records the calls of a pickle instead of making them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_READS = 1_000_000  # an opcode needs one to three; FLAME's model has some hundred opcodes


@dataclass(frozen=True)
class Name:
    """A name that a pickle may use. `kind` tells `Values` how to build a call of it."""

    module: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Call:
    """A recorded call of a pickle, which is never made."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: Name, args: object) -> None:
        self.name = name
        self.args = args
        self.state: object = None  # the argument that __setstate__ would get


class RefusedError(Exception):
    """Says why a pickle is refused; the text is meant to follow "it"."""


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

# Opcodes that only handle plain data. The other opcodes are either implemented in `Reader` (names,
# calls, containers) or refused: INST and OBJ create Python 1 instances, PERSID and EXT request
# objects from the application, NEWOBJ_EX and FROZENSET are not used by these files.
_DATA_OPCODES = (  # separated by spaces
    "PROTO STOP MARK POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 "
    "EMPTY_LIST LIST EMPTY_DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "GLOBAL STACK_GLOBAL "
)

_Opcode = Callable[[Any], None]  # of the Reader


class Bytes(io.BytesIO):
    """The bytes of a file. Raises an error at reads past the end and after MAX_READS reads."""

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
            raise RefusedError("has too many opcodes")


class Reader(pickle._Unpickler):
    """The standard library's unpickler in Python, restricted to the allowed opcodes and names.

    Unlike the one in C, it keeps its memo in a dict, so a file cannot request a memo of gigabytes,
    and its table of opcodes can be replaced.
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
        raise RefusedError("requests a persistent object")

    def call(self) -> None:
        args = self.stack.pop()
        name = self.stack.pop()
        if type(name) is not Name or type(args) is not tuple:
            raise RefusedError("calls something that is not a function")
        self.append(Call(name, args))

    def build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is not Call:
            raise RefusedError("sets attributes of something that is not an instance")
        self.stack[-1].state = state

    def extend_list(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError("appends to something that is not a list")
        self.stack[-1].extend(items)

    def extend_dict(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise RefusedError("sets items of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str:  # hashing deeply nested keys can crash the interpreter
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
            raise pickle.UnpicklingError(f"byte {number} is not an opcode")
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
            # A frame is only a hint to read ahead; without it, every read is checked by Bytes.
            code("FRAME"): lambda reader: reader.read(8),
            # The standard unpickler allocates the bytearray before checking the file's length.
            code("BYTEARRAY8"): standard[code("BINBYTES8")],
            code("REDUCE"): Reader.call,
            code("NEWOBJ"): Reader.call,
            code("BUILD"): Reader.build,
            code("APPEND"): lambda reader: reader.extend_list(reader.pop_items(1)),
            code("APPENDS"): lambda reader: reader.extend_list(reader.pop_mark()),
            code("EMPTY_SET"): lambda reader: reader.append([]),  # a list, to avoid hashing
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
