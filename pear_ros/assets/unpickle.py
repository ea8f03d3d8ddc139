"""Reads the pickles in which body models are published, without running anything they ask for.

A pickle is a program: it names functions and has them called. FLAME's files are Python 2 pickles
that name numpy, scipy and chumpy, so the plain `pickle.load` would run whatever a file names, and
would need chumpy. Here nothing that a file names is ever imported or called. Reading has two
steps:

1. `pickle_opcodes.Reader` walks the opcodes. An allowed name becomes a `Name`; where the pickle
   asks for a call, the call is recorded as a `Call`. Any other name, and any opcode that these
   files do not need, is refused.
2. `pickle_values.Values` turns the records into arrays, checking sizes and types itself. chumpy's
   expressions that select or reorder are evaluated.

So that a small file cannot cost much time or memory either, the opcodes, the bytes that are built
and the nesting have limits, and a value that is shared is built once.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from pear_ros.assets.pickle_opcodes import Bytes, Reader, RefusedError
from pear_ros.assets.pickle_values import Values
from pear_ros.errors import AssetError

MAX_FILE_BYTES = 1 << 29  # FLAME's model has 53 MB

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
        content = Values().value(Reader(Bytes(data), encoding="latin1").load())
    except RefusedError as error:
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
