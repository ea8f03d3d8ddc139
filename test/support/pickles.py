"""Writes pickles as Python 2 and chumpy did, byte by byte."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


class Python2Pickle:
    """Protocol 2 of Python 2.7's cPickle, with Python 2's module names and byte strings."""

    def __init__(self) -> None:
        self.out = io.BytesIO()

    def dump(self, value: Any) -> bytes:
        self.out.write(b"\x80\x02")
        self.write(value)
        self.out.write(b".")
        return self.out.getvalue()

    def text(self, value: bytes) -> None:
        short = len(value) < 256
        self.out.write(
            b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
        )
        self.out.write(value)

    def instance(self, module: str, name: str, state: dict[str, Any]) -> None:
        self.out.write(f"c{module}\n{name}\n".encode() + b")\x81")
        self.write(state)
        self.out.write(b"b")

    def write(self, value: Any) -> None:
        if isinstance(value, str):
            self.text(value.encode("latin1"))
        elif value is None:
            self.out.write(b"N")
        elif isinstance(value, bool):
            self.out.write(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            self.out.write(b"J" + struct.pack("<i", value))
        elif isinstance(value, tuple):
            self.out.write(b"(")
            for item in value:
                self.write(item)
            self.out.write(b"t")
        elif isinstance(value, list):
            self.out.write(b"](")
            for item in value:
                self.write(item)
            self.out.write(b"e")
        elif isinstance(value, np.bytes_):
            self.numpy_text(value)
        elif isinstance(value, dict):
            self.out.write(b"}(")
            for key, item in value.items():
                self.write(key)
                self.write(item)
            self.out.write(b"u")
        elif isinstance(value, set):
            self.out.write(b"c__builtin__\nset\n](")
            for item in value:
                self.write(item)
            self.out.write(b"e\x85R")
        elif isinstance(value, Chumpy):
            state = {"x": value.array, "_dirty_vars": {"x"}, "_itr": None, "_make_dense": False}
            self.instance("chumpy.ch", "Ch", state)
        elif scipy.sparse.issparse(value):
            parts = {"data": value.data, "indices": value.indices, "indptr": value.indptr}
            state = {"_shape": value.shape, "maxprint": 50, **parts}
            self.instance("scipy.sparse.csc", "csc_matrix", state)
        else:
            self.array(np.asarray(value))

    def numpy_text(self, value: np.bytes_) -> None:
        """A scalar of numpy's type S, as it comes from an array of text."""
        size = struct.pack("B", len(value))
        self.out.write(b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n")
        self.text(f"S{len(value)}".encode())
        self.out.write(b"K\x00K\x01\x87R(K\x03U\x01|NNNK" + size + b"K\x01K\x00tb")
        self.text(bytes(value))
        self.out.write(b"\x86R")

    def array(self, array: np.ndarray) -> None:
        self.out.write(
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        )
        self.out.write(b"(K\x01")
        self.write(array.shape)
        self.out.write(b"cnumpy\ndtype\n")
        self.text(array.dtype.str[1:].encode())
        self.out.write(b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        self.write(fortran)
        self.text(array.tobytes("F" if fortran else "C"))
        self.out.write(b"tb")


class Chumpy:
    """An array that is pickled as chumpy's."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
