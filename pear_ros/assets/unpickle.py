"""Reads the pickles in which body models and datasets are published; no code in them is run.

A pickle is a program that names functions and calls them. FLAME's files are Python 2 pickles that
name numpy, scipy and chumpy. `pickle.load` would run any function that a file names, and it would
need chumpy. Here nothing that a file names is ever imported or called. Reading has two steps:

1. `pickle_opcodes.Reader` interprets the opcodes. An allowed name becomes a `Name`, and a call is
   recorded as a `Call`. Any other name, and any opcode that these files do not need, is refused.
2. `pickle_values.Values` converts the records to arrays and checks sizes and types. It evaluates
   chumpy's expressions that select or reorder elements.

The number of opcodes, the memory of the values and the depth of nesting are limited, and a shared
value is built once, so that a small file cannot take much time or memory.
"""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

from pear_ros.assets.pickle_opcodes import Bytes, Reader, RefusedError
from pear_ros.assets.pickle_values import Values
from pear_ros.errors import AssetError
from pear_ros.system.files import read_file
from pear_ros.system.memory import NO_MEMORY

MAX_FILE_BYTES = 1 << 29  # FLAME's model has 53 MB

# Exceptions that reading raises if the opcodes or the values make no sense.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def load_pickle(path: Path, kind: str = "body model") -> dict[str, Any]:
    """Reads a published model or dataset: a pickled dict of arrays, else as `load_value`.

    Raises:
        AssetError: As `load_value`, and if the file does not hold a dict.
    """
    content = load_value(path, kind)
    if not isinstance(content, dict):
        raise AssetError(f"{path}: does not hold a dict of arrays, so it is not a {kind}")
    return content


def load_value(path: Path, kind: str = "body model", max_bytes: int = MAX_FILE_BYTES) -> Any:
    """Reads a pickle in any protocol, from Python 2 or 3.

    Values are numpy arrays (read-only, of any byte order and memory layout), scipy.sparse matrices,
    numbers, text, bytes, None, and lists, tuples and dicts of these. chumpy arrays become numpy
    arrays, and sets become lists. Items of a dict whose key is not text are left out. Any other
    value becomes an `Unread`, as a file may contain more than is needed; code that needs the value
    reports the error.

    Args:
        path: The file.
        kind: What the file should be, for error messages.
        max_bytes: A larger file is not read.

    Raises:
        AssetError: If the file cannot be read, is not such a pickle, uses a name or an opcode
            that these files do not need, or memory is short. No code of the file has been run.
    """
    try:
        data = read_file(path, max_bytes)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise AssetError(f"{path}: is larger than any {kind}; is it the right file?") from error
        raise AssetError(f"{path}: cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise AssetError(f"{path}: cannot be read: {NO_MEMORY}") from error
    try:
        return Values().value(Reader(Bytes(data), encoding="latin1").load())
    except RefusedError as error:
        raise AssetError(
            f"{path}: refused, and no code of it was run: it {str(error)[:200]}, which no {kind} "
            "does. Download the file again from its publisher."
        ) from error
    except MemoryError as error:
        raise AssetError(f"{path}: cannot be read: {NO_MEMORY}") from error
    except _DAMAGE as error:
        raise AssetError(f"{path}: is truncated or not a {kind} ({str(error)[:200]})") from error
