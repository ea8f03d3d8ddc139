"""Arrays from files that nobody vouches for: read without unpickling, and checked.

What is wrong with a file's content is a BrokenFileError, whose text follows the file's name.
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

MAX_ARCHIVE_BYTES = 1 << 31  # unpacked

Array = NDArray[Any]


class BrokenFileError(Exception):
    """What is wrong with a file, to follow its path."""


# What numpy and zipfile raise where a file's bytes make no sense; found by damaging files.
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
    """Those of the arrays that the archive has; no others are touched, and no pickles read."""
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
    """`value` as an array, of the kinds of numbers and the shape wanted; None is any length."""
    if isinstance(value, Unread):
        raise BrokenFileError(f"{name} is {value.what}, which is not read")
    if scipy.sparse.issparse(value):
        if value.shape != shape:  # before it is filled up with zeros
            raise BrokenFileError(f"{name} has shape {value.shape}, not {shape}")
        value = value.toarray()
    if not isinstance(value, np.ndarray):
        raise BrokenFileError(f"{name} is no array")
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
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        array: Array = np.ascontiguousarray(numbers(name, value, "fiu", shape), np.float32)
    if not np.isfinite(array).all():
        raise BrokenFileError(f"{name} has numbers that are not finite")
    return array


def ids_below(name: str, value: Any, shape: tuple[int | None, ...], count: int | None) -> Array:
    """Ids below `count`, where it is known, as int64."""
    array = numbers(name, value, "iu", shape)
    if array.min() < 0 or (count is not None and array.max() >= count):
        raise BrokenFileError(
            f"{name} has ids from {array.min()} to {array.max()} for {count} vertices"
        )
    return np.ascontiguousarray(array, dtype=np.int64)
