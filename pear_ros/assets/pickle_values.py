"""Step 2 of `unpickle.py`: builds the values of a pickle from the records of `Reader`."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros.assets.pickle_opcodes import Call, Name, RefusedError

MAX_BUILT_BYTES = 1 << 30  # copied while the values are built
MAX_DEPTH = 64  # of nested values
MAX_DIMENSIONS = 8  # of an array

Array = NDArray[Any]


@dataclass(frozen=True)
class Unread:
    """Placeholder for a value that is neither plain data nor an array; `what` names it."""

    what: str
    code: str = ""  # numpy's, of a type that arrays must not have


_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")
_TEXT_DTYPE = re.compile(r"[SU][1-9]\d{0,2}")  # of at most 999 characters


class Values:
    """Builds the values of one pickle from the records of `Reader`."""

    def __init__(self) -> None:
        self._built: dict[int, Any] = {}  # by id of the record, which lives longer than this
        self._bytes_left = MAX_BUILT_BYTES

    def value(self, node: object, depth: int = 0) -> Any:
        """The value of a node: plain data, arrays, sparse matrices or `Unread`.

        Raises:
            RefusedError: If a value exceeds a limit or is not what body models contain.
        """
        if node is None or isinstance(node, (bool, int, float, str, bytes)):
            return node
        if depth > MAX_DEPTH:
            raise RefusedError("is nested too deeply")
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
        if type(node) is Call:
            return self._build_call(node, depth)
        return Unread(str(node))

    def _build_call(self, call: Call, depth: int) -> Any:
        args = self.value(call.args, depth)
        state = self.value(call.state, depth)
        name = call.name
        if name.kind == "reconstructor":  # copy_reg._reconstructor(class, object, None)
            raw_args: Any = call.args
            if not raw_args or type(raw_args[0]) is not Name:
                raise RefusedError("instantiates something that is not a class")
            name = raw_args[0]
        if name.kind == "array":
            _, shape, dtype, is_fortran, raw = state
            return self._array(raw, dtype, shape, "F" if is_fortran else "C")
        if name.kind == "buffer":
            raw, dtype, shape, order = args
            return self._array(raw, dtype, shape, "F" if order == "F" else "C")
        if name.kind == "scalar":
            return self._scalar(*args)
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
            raise RefusedError("needs too much memory")

    def _bytes(self, text: str | bytes) -> bytes:
        """Bytes of a Python 2 string, which is read as text of one character per byte."""
        if isinstance(text, bytes):
            return text
        self._count(len(text))
        return text.encode("latin1")

    def _array(self, raw: Any, dtype: Any, shape: Any, order: Any) -> Array | Unread:
        if isinstance(dtype, Unread):
            return dtype
        if not isinstance(dtype, np.dtype) or not isinstance(raw, (str, bytes)):
            raise RefusedError("holds an array without its data")
        raw = self._bytes(raw)
        # Before they are multiplied, which takes hours if they are large and many.
        if len(shape) > MAX_DIMENSIONS or any(
            type(size) is not int or not 0 <= size <= MAX_BUILT_BYTES for size in shape
        ):
            raise RefusedError("holds an array of an impossible shape")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise RefusedError("holds an array whose data do not fit its shape")
        return np.ndarray(shape, dtype, buffer=raw, order=order)

    def _scalar(self, dtype: Any, raw: Any) -> Any:
        """A number of numpy, or text of numpy as text."""
        if isinstance(dtype, Unread) and _TEXT_DTYPE.fullmatch(dtype.code):
            dtype = np.dtype("<" + dtype.code)
        array = self._array(raw, dtype, (), "C")
        if isinstance(array, Unread):
            return array
        value = array[()]
        if isinstance(value, bytes):
            return value.decode("latin1")
        return str(value) if isinstance(value, str) else value

    def _sparse(self, form: str, state: Any) -> Any:
        rows, columns = (operator.index(size) for size in state["_shape"])
        if not (0 <= rows <= MAX_BUILT_BYTES and 0 <= columns <= MAX_BUILT_BYTES):
            raise RefusedError("holds a sparse matrix of an impossible shape")
        if form == "coo":
            row, column = state["coords"] if "coords" in state else (state["row"], state["col"])
            parts = [state["data"], row, column]
        else:
            parts = [state["data"], state["indices"], state["indptr"]]
        for part, kinds in zip(parts, ("biuf", "iu", "iu"), strict=True):
            if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype.kind not in kinds:
                raise RefusedError("holds a sparse matrix without its arrays")
            self._count(8 * part.size)
        shape = (rows, columns)
        if form == "coo":
            return scipy.sparse.coo_matrix((parts[0], (parts[1], parts[2])), shape=shape)
        make = scipy.sparse.csc_matrix if form == "csc" else scipy.sparse.csr_matrix
        matrix = make(tuple(parts), shape=shape)
        matrix.check_format(full_check=True)
        return matrix

    def _chumpy(self, name: Name, state: Any) -> Array | Unread:
        """The array that a chumpy object represents, its attribute `r`."""
        source = state["x" if name.kind == "chumpy" else "a"]
        if isinstance(source, Unread):
            return source
        if not isinstance(source, np.ndarray):
            raise RefusedError(f"holds a {name} without an array")
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
        raise RefusedError("holds an array of an unknown type")
    if not _PLAIN_DTYPE.fullmatch(code):
        return Unread(f"an array of type {code[:20]}", code)
    big_endian = state is not None and state[1] == ">"
    return np.dtype((">" if big_endian else "<") + code)
