"""Reads and checks arrays from untrusted files, without unpickling.

A BrokenFileError says what is wrong with a file; its text is meant to follow the file's path.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros.assets.pickle_values import Unread

MAX_ARCHIVE_BYTES = 1 << 31  # unpacked size

Array = NDArray[Any]


class BrokenFileError(Exception):
    """Says what is wrong with a file; the text is meant to follow the file's path."""


# Exceptions of numpy and zipfile for damaged files, found by damaging files.
UNREADABLE = (
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


# --- Files ---------------------------------------------------------------------------------------


def read_npz(path: Path, names: Iterable[str]) -> dict[str, Array]:
    """Reads those arrays of `names` that the archive contains. It never unpickles.

    Raises:
        BrokenFileError: If the archive or one of these arrays is truncated, damaged, too large or
            a pickle.
        FileNotFoundError: If the file does not exist.
        PermissionError: If the file must not be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_ARCHIVE_BYTES:
                raise ValueError("unpacked it would be larger than any body model")
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in names if name in file}
    except (FileNotFoundError, PermissionError):
        raise
    except UNREADABLE as error:
        raise BrokenFileError(f"is truncated or damaged ({error})") from error


def read_npy(path: Path) -> Array:
    """Reads a single array. It never unpickles.

    Raises:
        BrokenFileError: If the file is missing, truncated, damaged, an archive or a pickle.
        PermissionError: If the file must not be read.
    """
    try:
        content = np.load(path, allow_pickle=False)
    except PermissionError:
        raise
    except UNREADABLE as error:
        raise BrokenFileError(f"is truncated or not an .npy file of numbers ({error})") from error
    if not isinstance(content, np.ndarray):
        content.close()
        raise BrokenFileError("is an archive, not an .npy file")
    return content


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
