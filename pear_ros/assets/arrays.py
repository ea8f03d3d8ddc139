"""Reads and checks arrays from untrusted files, without unpickling.

A BrokenFileError says what is wrong with a file; its text is meant to follow the file's path.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros.assets.pickle_values import MAX_DIMENSIONS, Unread
from pear_ros.system.files import open_file
from pear_ros.system.memory import NO_MEMORY, memory_is_short, one_line

MAX_ARRAY_BYTES = 1 << 30  # of all arrays of a file; SMPL-X has 0.3 GB

Array = NDArray[Any]


class BrokenFileError(Exception):
    """Says what is wrong with a file; the text is meant to follow the file's path."""


# Exceptions of numpy and zipfile for damaged files, found by damaging files.
UNREADABLE = (
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


# --- Files ---------------------------------------------------------------------------------------


def read_npz(
    path: Path, names: Iterable[str], most_bytes: int = MAX_ARRAY_BYTES
) -> dict[str, Array]:
    """Reads those arrays of `names` that the archive contains. It never unpickles.

    Checksums are compared, and sizes before memory is allocated: `most_bytes` for the whole file.

    Raises:
        BrokenFileError: If the archive or one of these arrays is truncated, damaged, too large or
            a pickle, or memory is short.
        FileNotFoundError: If the file does not exist.
        PermissionError: If the file must not be read.
    """
    with (
        _as_broken("is truncated or damaged"),
        open_file(path) as file,
        zipfile.ZipFile(file) as archive,
    ):
        members = {member.filename: member for member in archive.infolist()}
        if sum(member.file_size for member in members.values()) > most_bytes:
            raise ValueError(f"unpacked it would be larger than {most_bytes} bytes")
        arrays = {}
        for name in names:
            if member := members.get(f"{name}.npy"):
                with archive.open(member) as content:
                    arrays[name] = _read_array(content, member.file_size)
        return arrays


def read_npy(path: Path) -> Array:
    """Reads a single array. It never unpickles.

    Raises:
        BrokenFileError: If the file is missing, truncated, damaged, too large, an archive or a
            pickle, or memory is short.
        PermissionError: If the file must not be read.
    """
    with _as_broken("is truncated or not an .npy file of numbers"):
        try:
            with open_file(path) as file:
                if file.read(4) == b"PK\3\4":
                    raise BrokenFileError("is an archive, not an .npy file")
                file.seek(0)
                size = os.fstat(file.fileno()).st_size
                if size > MAX_ARRAY_BYTES:
                    raise ValueError("it is larger than any body model")
                return _read_array(file, size)
        except FileNotFoundError as error:
            raise BrokenFileError("does not exist") from error


@contextmanager
def _as_broken(what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (*UNREADABLE, MemoryError) as error:
        if memory_is_short(error):
            raise BrokenFileError(f"cannot be read: {NO_MEMORY}") from error
        if isinstance(error, OSError) and error.strerror:
            raise BrokenFileError(f"cannot be read: {error.strerror}") from error
        raise BrokenFileError(f"{what} ({one_line(error)})") from error


def _read_array(file: IO[bytes], size: int) -> Array:
    """Reads the `size` bytes of an .npy file to their end, where a zip's checksum is compared.

    Raises:
        ValueError: If the header does not describe an array of this size.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = _HEADERS[version]
        shape, _, dtype = read_header(file)
    except MemoryError:  # of Python's parser, for deeply nested text
        raise ValueError("its header is damaged") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    if len(shape) > MAX_DIMENSIONS or not all(0 <= length <= MAX_ARRAY_BYTES for length in shape):
        raise ValueError("it has an impossible shape")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError("its size does not fit its shape")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):
        raise ValueError("its size does not fit its shape")
    return array


# Of version 3 are only structured arrays.
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


# --- Arrays --------------------------------------------------------------------------------------


def numbers(name: str, value: Any, kinds: str, shape: tuple[int | None, ...]) -> Array:
    """Checks that `value` is an array of such numbers and shape, and returns it dense.

    Args:
        name: Of the array, for error messages.
        value: An array or a sparse matrix.
        kinds: The allowed values of `dtype.kind`, such as "iu".
        shape: None allows any length of an axis.

    Raises:
        BrokenFileError: If `value` is no array, or its type or shape differ, or it is empty.
    """
    if isinstance(value, Unread):
        raise BrokenFileError(f"{name} is {value.what}, which is not read")
    if scipy.sparse.issparse(value):
        if value.shape != shape:  # checked before memory is allocated for the dense array
            raise BrokenFileError(f"{name} has shape {value.shape}, not {shape}")
        value = value.toarray()
    if not isinstance(value, np.ndarray):
        raise BrokenFileError(f"{name} is not an array")
    array: Array = value
    if array.dtype.kind not in kinds:
        raise BrokenFileError(f"{name} holds {array.dtype}, not numbers of the right kind")
    if len(array.shape) != len(shape) or any(
        want not in (None, size) for size, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise BrokenFileError(f"{name} has shape {array.shape}, not ({wanted})")
    if array.size == 0:
        raise BrokenFileError(f"{name} is empty")
    return array


def floats(name: str, value: Any, shape: tuple[int | None, ...]) -> Array:
    """Checks like `numbers` and returns float32.

    Raises:
        BrokenFileError: As `numbers`, and if a number is not finite in float32.
    """
    with np.errstate(over="ignore"):  # overflows become infinite and are found below
        array: Array = np.ascontiguousarray(numbers(name, value, "fiu", shape), np.float32)
    if not np.isfinite(array).all():
        raise BrokenFileError(f"{name} has numbers that are not finite")
    return array


def ids_below(name: str, value: Any, shape: tuple[int | None, ...], count: int | None) -> Array:
    """Checks like `numbers` that `value` holds ids below `count`, if known, and returns int64.

    Raises:
        BrokenFileError: As `numbers`, and if an id is negative or not below `count`.
    """
    array = numbers(name, value, "iu", shape)
    if array.min() < 0 or (count is not None and array.max() >= count):
        raise BrokenFileError(
            f"{name} has ids from {array.min()} to {array.max()} for {count} vertices"
        )
    return np.ascontiguousarray(array, dtype=np.int64)
