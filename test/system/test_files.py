"""Files that are replaced as a whole, and hashes of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from special_files import SPECIAL, within

from pear_ros.system import files
from pear_ros.system.files import (
    beside,
    hash_files,
    open_file,
    read_file,
    read_json,
    replacing,
    temporary_folder,
    write_whole,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file whose content is "old", alone in its folder."""
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    return path


def names(path: Path) -> list[str]:
    """The files in the folder of `path`; a leftover .part file would be among them."""
    return sorted(entry.name for entry in path.parent.iterdir())


# --- Writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"new", bytearray(b"new"), memoryview(b"new")], ids=lambda x: type(x).__name__
)
def test_write_whole_replaces_the_content(path: Path, data: bytes) -> None:
    write_whole(path, data)
    assert path.read_bytes() == b"new"
    assert names(path) == ["model.npz"]


def test_write_whole_makes_a_new_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "new.npz", b"new")
    assert (tmp_path / "new.npz").read_bytes() == b"new"
    assert names(tmp_path / "new.npz") == ["new.npz"]


def test_the_old_file_is_there_until_all_is_written(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(path) == ["model.npz"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError(28, "No space left on device"), id="full disk"),
        pytest.param(ValueError("not a number"), id="error of the caller"),
        pytest.param(KeyboardInterrupt(), id="interrupted"),
    ],
)
def test_a_failure_keeps_the_old_file(path: Path, error: BaseException) -> None:
    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(path) == ["model.npz"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_at_the_end_keeps_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path) == ["model.npz"]


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "model.npz", b"new")
    assert not (tmp_path / "none").exists()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_whole(tmp_path / "folder", b"new")
    assert names(tmp_path / "folder") == ["folder"]


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_what_is_not_a_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A superuser could replace /dev/null."""
    make(tmp_path / "special")
    kind = (tmp_path / "special").lstat()
    with within(2), pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        write_whole(tmp_path / "special", b"new")
    assert (tmp_path / "special").lstat() == kind
    assert names(tmp_path / "special") == ["special"]


def test_a_link_to_a_file_is_replaced_and_its_target_kept(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    write_whole(link, b"new")
    assert path.read_bytes() == b"old"
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_nothing_is_written_to_what_was_planted(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also if the temporary name could be guessed."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "guessed")
    victim, planted = path.with_name("victim"), path.with_name(".model.npz.guessed.part")
    victim.write_bytes(b"precious")
    if kind == "file":
        planted.write_bytes(b"precious")
    else:
        planted.symlink_to(victim if kind == "link" else path.with_name("none"))
    with pytest.raises(FileExistsError):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert victim.read_bytes() == b"precious"
    assert not path.with_name("none").exists()


def test_temporary_names_differ(path: Path) -> None:
    found = set()
    for _ in range(3):
        with replacing(path):
            found.update(names(path))
    assert len(found) == 1 + 3


def test_a_temporary_folder_is_removed(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


# --- Reading -------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Path], object]] = {
    "open": open_file,
    "content": lambda path: read_file(path, 100),
    "JSON": lambda path: read_json(path, 100),
    "hash": hash_files,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_what_is_not_a_file_is_not_read(
    tmp_path: Path, make: Callable[[Path], object], read: Callable[[Path], object]
) -> None:
    make(tmp_path / "special")
    with within(2), pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        read(tmp_path / "special")


def test_a_pipe_that_replaces_the_file_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the opening."""

    def replace(checked: Path) -> None:
        checked.unlink()
        os.mkfifo(checked)

    monkeypatch.setattr(files, "require_file", replace)
    with within(2), pytest.raises(OSError, match="is a pipe, not a regular file"):
        open_file(path)


def test_reading_follows_links(path: Path) -> None:
    path.with_name("link").symlink_to(path)
    assert read_file(path.with_name("link"), 3) == b"old"


def test_a_file_that_is_too_large(path: Path) -> None:
    assert read_file(path, 3) == b"old"
    with pytest.raises(OSError, match="is larger than 2 bytes"):
        read_file(path, 2)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000], ids=["cut", "bytes", "deep"])
def test_what_is_not_json(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(ValueError):  # noqa: PT011 (json's text)
        read_json(path, 1 << 20)


# --- Hashes and names ----------------------------------------------------------------------------


def test_the_hash_is_that_of_all_files_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 7)  # several chunks per file
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(bytes(range(100)))
    b.write_bytes(b"the other file")
    content = a.read_bytes() + b.read_bytes()
    assert hash_files(a, b) == hashlib.sha256(content).hexdigest()
    assert hash_files(b, a) != hash_files(a, b)


def test_the_hash_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hash_files(tmp_path / "none")


def test_beside_appends_a_suffix() -> None:
    assert beside(Path("folder/pear.engine"), ".json") == Path("folder/pear.engine.json")
