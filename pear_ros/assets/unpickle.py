"""Reads the pickles in which body models are published, without running anything they ask for.

A pickle is a program: it names functions and has them called. FLAME's files are Python 2 pickles
that name numpy, scipy and chumpy, so the plain `pickle.load` would run whatever a file names, and
would need chumpy. Here nothing that a file names is ever imported or called. Reading has two
steps:

1. `_Reader` walks the opcodes. A name on the list below becomes a `_Name`; where the pickle asks
   for a call, the call is written down as a `_Call`. Any other name, and any opcode without a use
   in these files, is refused.
2. `_Values` turns what was written down into arrays, checking sizes and types itself. Expressions
   of chumpy that select or reorder are worked out.

So that a small file cannot cost much time or memory either, the opcodes, the bytes that are built
and the nesting have limits, and a value that is shared is built once.
"""

from __future__ import annotations

import io
import math
import operator
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros.errors import AssetError

MAX_FILE_BYTES = 1 << 29  # FLAME's model has 53 MB
MAX_BUILT_BYTES = 1 << 31
MAX_READS = 1_000_000  # one to three of an opcode; FLAME's model has some hundred opcodes
MAX_DEPTH = 64

Array = NDArray[Any]


@dataclass(frozen=True)
class Unread:
    """Stands where a pickle holds what is neither plain data nor an array; `what` names it."""

    what: str


@dataclass(frozen=True)
class _Name:
    """A name that a pickle may use. `kind` says how `_Values` builds a call of it."""

    module: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Call:
    """A call that a pickle asked for, written down and not made."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: _Name, args: object) -> None:
        self.name = name
        self.args = args
        self.state: object = None  # what the pickle would hand to __setstate__


class _RefusedError(Exception):
    """Why a pickle is refused."""


# --- The names a pickle may use ------------------------------------------------------------------


def _allowed_names() -> dict[tuple[str, str], _Name]:
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
        (module, name): _Name(module, name, kind)
        for kind, names in kinds.items()
        for module, name in names
    }


_ALLOWED = _allowed_names()


# --- Step 1: the opcodes, written down -----------------------------------------------------------

# Opcodes that only move plain data. What remains of the format is either written out in `_Reader`
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

_Opcode = Callable[[Any], None]  # of the _Reader


class _Bytes(io.BytesIO):
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
            raise _RefusedError("has more steps than any body model")


class _Reader(pickle._Unpickler):
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
            raise _RefusedError(f"names {module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("asks for a persistent object")

    def call(self) -> None:
        args = self.stack.pop()
        name = self.stack.pop()
        if type(name) is not _Name or type(args) is not tuple:
            raise _RefusedError("calls what is not a function")
        self.append(_Call(name, args))

    def build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is not _Call:
            raise _RefusedError("sets attributes of what is not an instance")
        self.stack[-1].state = state

    def extend_list(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _RefusedError("appends to what is not a list")
        self.stack[-1].extend(items)

    def extend_dict(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise _RefusedError("sets items of what is not a dict")
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
    def refuse(reader: _Reader) -> None:
        if name is None:
            raise pickle.UnpicklingError(f"no pickle has the byte {number} here")
        raise _RefusedError(f"uses the opcode {name}")

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
            # Frames only say how much to read ahead, so that every read comes past _Bytes.
            code("FRAME"): lambda reader: reader.read(8),
            # The standard reader makes the bytearray before it looks whether the file is so long.
            code("BYTEARRAY8"): standard[code("BINBYTES8")],
            code("REDUCE"): _Reader.call,
            code("NEWOBJ"): _Reader.call,
            code("BUILD"): _Reader.build,
            code("APPEND"): lambda reader: reader.extend_list(reader.pop_items(1)),
            code("APPENDS"): lambda reader: reader.extend_list(reader.pop_mark()),
            code("EMPTY_SET"): lambda reader: reader.append([]),  # so that nothing is hashed
            code("ADDITEMS"): lambda reader: reader.extend_list(reader.pop_mark()),
            code("SETITEM"): lambda reader: reader.extend_dict(reader.pop_items(2)),
            code("SETITEMS"): lambda reader: reader.extend_dict(reader.pop_mark()),
            code("DICT"): _Reader.new_dict,
        }
    )
    return table


def _is_opcode(name: str, value: object) -> bool:
    return name.isupper() and isinstance(value, bytes) and len(value) == 1


_Reader.dispatch = _opcode_table()


# --- Step 2: the values --------------------------------------------------------------------------

_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")


class _Values:
    """Builds the values of one pickle from what `_Reader` wrote down."""

    def __init__(self) -> None:
        self._built: dict[int, Any] = {}  # by id of the description, which outlives this
        self._bytes_left = MAX_BUILT_BYTES

    def value(self, node: object, depth: int = 0) -> Any:
        """The value of a node: plain data, arrays, sparse matrices or `Unread`."""
        if node is None or isinstance(node, (bool, int, float, str, bytes)):
            return node
        if depth > MAX_DEPTH:
            raise _RefusedError("is nested too deeply")
        if id(node) not in self._built:
            self._built[id(node)] = self._build(node, depth + 1)
        return self._built[id(node)]

    def _build(self, node: object, depth: int) -> Any:
        if type(node) is list:
            return [self.value(item, depth) for item in node]
        if type(node) is tuple:
            return tuple(self.value(item, depth) for item in node)
        if type(node) is dict:
            return {key: self.value(item, depth) for key, item in node.items()}
        if type(node) is _Call:
            return self._build_call(node, depth)
        return Unread(str(node))

    def _build_call(self, call: _Call, depth: int) -> Any:
        args = self.value(call.args, depth)
        state = self.value(call.state, depth)
        name = call.name
        if name.kind == "reconstructor":  # copy_reg._reconstructor(class, object, None)
            raw_args: Any = call.args
            if not raw_args or type(raw_args[0]) is not _Name:
                raise _RefusedError("makes an instance of what is not a class")
            name = raw_args[0]
        if name.kind == "array":
            _, shape, dtype, is_fortran, raw = state
            return self._array(raw, dtype, shape, "F" if is_fortran else "C")
        if name.kind == "buffer":
            raw, dtype, shape, order = args
            return self._array(raw, dtype, shape, "F" if order == "F" else "C")
        if name.kind == "scalar":
            array = self._array(args[1], args[0], (), "C")
            return array if isinstance(array, Unread) else array[()]
        if name.kind == "dtype":
            return _dtype(args, state)
        if name.kind == "encode" and args[1:] == ("latin1",):
            return self._bytes(args[0])
        if name.kind == "bytes" and not args:
            return b""
        if name.kind == "set":
            return args[0]  # the list of its items
        if name.kind in ("csc", "csr", "coo"):
            return self._sparse(name.kind, state)
        if name.kind.startswith("chumpy"):
            return self._chumpy(name, state)
        return Unread(str(name))

    def _count(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise _RefusedError("would fill more memory than any model needs")

    def _bytes(self, text: str | bytes) -> bytes:
        """Python 2's strings of bytes come as text in which each character is one byte."""
        if isinstance(text, bytes):
            return text
        self._count(len(text))
        return text.encode("latin1")

    def _array(self, raw: Any, dtype: Any, shape: Any, order: Any) -> Array | Unread:
        if isinstance(dtype, Unread):
            return dtype
        if not isinstance(dtype, np.dtype) or not isinstance(raw, (str, bytes)):
            raise _RefusedError("holds an array without its data")
        raw = self._bytes(raw)
        if any(type(size) is not int or size < 0 for size in shape):
            raise _RefusedError("holds an array of an impossible shape")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise _RefusedError("holds an array whose data do not fill its shape")
        return np.ndarray(shape, dtype, buffer=raw, order=order)

    def _sparse(self, form: str, state: Any) -> Any:
        rows, columns = (operator.index(size) for size in state["_shape"])
        if form == "coo":
            row, column = state["coords"] if "coords" in state else (state["row"], state["col"])
            parts = [state["data"], row, column]
        else:
            parts = [state["data"], state["indices"], state["indptr"]]
        for part, kinds in zip(parts, ("biuf", "iu", "iu"), strict=True):
            if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype.kind not in kinds:
                raise _RefusedError("holds a sparse matrix without its arrays")
            self._count(8 * part.size)
        shape = (rows, columns)
        if form == "coo":
            return scipy.sparse.coo_matrix((parts[0], (parts[1], parts[2])), shape=shape)
        make = scipy.sparse.csc_matrix if form == "csc" else scipy.sparse.csr_matrix
        matrix = make(tuple(parts), shape=shape)
        matrix.check_format(full_check=True)
        return matrix

    def _chumpy(self, name: _Name, state: Any) -> Array | Unread:
        """The array that a chumpy object stands for: its attribute `r`."""
        source = state["x" if name.kind == "chumpy" else "a"]
        if isinstance(source, Unread):
            return source
        if not isinstance(source, np.ndarray):
            raise _RefusedError(f"holds a {name} without an array")
        if name.kind == "chumpy.select":
            ids = state["idxs"]
            self._count(source.nbytes + ids.size * source.itemsize)
            selected = source.ravel()[ids]
            shape = state.get("preferred_shape")
            return selected if shape is None else np.reshape(selected, shape)
        if name.kind == "chumpy.reshape":
            self._count(source.nbytes)
            return np.reshape(source, state["newshape"])
        if name.kind == "chumpy.transpose":
            return np.transpose(source, state.get("axes"))
        return source


def _dtype(args: Any, state: Any) -> np.dtype[Any] | Unread:
    code = args[0]
    if not isinstance(code, str):
        raise _RefusedError("holds an array of an unknown type")
    if not _PLAIN_DTYPE.fullmatch(code):
        return Unread(f"an array of type {code[:20]}")
    big_endian = state is not None and state[1] == ">"
    return np.dtype((">" if big_endian else "<") + code)


# What reading raises where the opcodes or the values make no sense.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a published model: a pickled dict of arrays, of any protocol and from Python 2 or 3.

    Values are numpy arrays (read-only; any byte order and memory layout), scipy.sparse matrices,
    numbers, text, bytes, None, and lists, tuples and dicts of these. Arrays of chumpy come as
    numpy arrays, sets as lists; items of a dict whose key is no text are left out. What is none
    of these is an `Unread`: a file may hold more than is needed, and who needs it says so.

    Raises AssetError when the file cannot be read, is no such pickle, or names or does anything
    that these files have no use for; nothing of it has been run then.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AssetError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise AssetError(f"{path}: is larger than any body model; is it the right file?")
    try:
        content = _Values().value(_Reader(_Bytes(data), encoding="latin1").load())
    except _RefusedError as error:
        raise AssetError(
            f"{path}: refused, and nothing of it was run: it {str(error)[:200]}, which no body "
            "model does. Download the file again from its publisher."
        ) from error
    except _DAMAGE as error:
        raise AssetError(
            f"{path}: is truncated or not a body model ({str(error)[:200]})"
        ) from error
    if not isinstance(content, dict):
        raise AssetError(f"{path}: holds no dict of arrays, so it is not a body model")
    return content
