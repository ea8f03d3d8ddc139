"""Files that are replaced as a whole, and hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pear_ros.system import files
from pear_ros.system.files import beside, hash_files, replacing, write_whole


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
