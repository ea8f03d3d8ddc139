"""Atomic writes and hashes of files."""

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
    """A file to write, which replaces `path` at the end of the block.

    If an exception is raised in the block, `path` does not change.

    Raises:
        OSError: If the file cannot be written.
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
    """Writes a buffer to `path` atomically.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing(path) as file:
        file.write(data)


def hash_files(*paths: Path) -> str:
    """SHA-256, as hexadecimal digits, of the concatenated files.

    Raises:
        OSError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def beside(path: Path, suffix: str) -> Path:
    """`path` with `suffix` appended to its name."""
    return path.with_name(path.name + suffix)
