"""Reading regular files only, atomic writes, hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pear_ros.system.interrupts import removed_at_exit

CHUNK_BYTES = 1 << 22


# --- Reading -------------------------------------------------------------------------------------


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file for reading, also behind a link.

    Raises:
        OSError: If the file cannot be opened, or is a folder, pipe, socket or device, which could
            block forever or never end.
    """
    require_file(path)
    # The file may have been replaced by a pipe since: with O_NONBLOCK no open() waits.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _require_regular(os.fstat(fd).st_mode, path)
        return os.fdopen(fd, "rb")
    except OSError:
        os.close(fd)
        raise


def require_file(path: Path) -> None:
    """Checks that `path` is a regular file, or a link to one.

    Raises:
        OSError: If it is not.
    """
    _require_regular(os.stat(path).st_mode, path)


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: As `open_file`, and if the file is larger than `most_bytes`.
    """
    with open_file(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes} bytes", str(path))
    return data


def read_json(path: Path, most_bytes: int) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: As `read_file`.
        ValueError: If the file is not JSON in UTF-8, or is nested too deeply.
    """
    data = read_file(path, most_bytes)
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def hash_files(*paths: Path) -> str:
    """SHA-256, as hexadecimal digits, of the concatenated files.

    Raises:
        OSError: If a file cannot be read or is no regular file.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open_file(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"is {kind}, not a regular file", str(path))


# --- Writing -------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces `path` at the end of the block.

    If an exception is raised in the block, `path` does not change. The new file has a random name
    until then, and is never an existing file or link of that name.

    Raises:
        OSError: If the file cannot be written, or `path` is a folder, pipe, socket or device.
    """
    if path.exists():
        require_file(path)
    unfinished = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    with removed_at_exit(str(unfinished)):
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, data: Any) -> None:
    """Writes a buffer to `path` atomically.

    Raises:
        OSError: As `replacing`.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def temporary_folder(beside: Path | None = None) -> Iterator[Path]:
    """A new folder, removed at the end of the block; in the folder `beside` or the system's.

    Raises:
        OSError: If it cannot be made.
    """
    with (
        tempfile.TemporaryDirectory(prefix=".pear-ros-", dir=beside) as folder,
        removed_at_exit(folder),
    ):
        yield Path(folder)


def beside(path: Path, suffix: str) -> Path:
    """`path` with `suffix` appended to its name."""
    return path.with_name(path.name + suffix)
