"""Files that appear whole or not at all, and what they hold as a hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 1 << 22


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it takes the place of `path` when all is written. Raises OSError.

    If anything goes wrong, `path` is what it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, data: Any) -> None:
    """Writes a buffer; `path` is the old file until the new one is complete. Raises OSError."""
    with replacing(path) as file:
        file.write(data)


def hash_files(*paths: Path) -> str:
    """SHA-256 of the files one after the other. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def beside(path: Path, suffix: str) -> Path:
    """The file of that name with `suffix` added to it."""
    return path.with_name(path.name + suffix)
