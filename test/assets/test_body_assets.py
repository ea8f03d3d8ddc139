"""The converted file: written completely or not at all, checked when it is loaded."""

import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import changed, entry, objects
from damage import read_npz as read_all
from special_files import SPECIAL, within

from pear_ros.assets.arrays import BrokenFileError, read_npy, read_npz
from pear_ros.assets.body_assets import (
    FORMAT_VERSION,
    LARGEST_FACES,
    LARGEST_VERTICES,
    BodyAssets,
    load_assets,
    save_assets,
)
from pear_ros.assets.downloads import FILES, convert_assets
from pear_ros.assets.unpickle import load_pickle
from pear_ros.errors import AssetError


@pytest.fixture
def converted(small_downloads: Path, tmp_path: Path) -> Path:
    output = tmp_path / "assets.npz"
    convert_assets(small_downloads, output)
    return output


# --- Writing -------------------------------------------------------------------------------------


def test_the_file_has_no_pickles_and_is_not_compressed(converted: Path) -> None:
    with zipfile.ZipFile(converted) as archive:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
    with np.load(converted, allow_pickle=False) as file:
        assert {spec.name for spec in fields(BodyAssets)} < set(file)
        assert all(file[name].dtype.kind in "fib" for name in file)


def test_a_failed_write_keeps_the_old_file(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = converted.read_bytes()

    def fill_disk(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    assets = load_assets(converted)
    monkeypatch.setattr(np, "savez", fill_disk)
    with pytest.raises(AssetError, match="cannot be written: No space left"):
        save_assets(assets, converted)
    assert converted.read_bytes() == before
    assert os.listdir(converted.parent) == [converted.name]


# --- Loading -------------------------------------------------------------------------------------


def change_converted(**changes: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **changed(read_all(path), changes))


UNLOADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "text": (lambda path: path.write_text("hello"), "truncated or damaged"),
    "another .npz": (lambda path: np.savez(path, a=1), "not written by `pear-ros assets convert`"),
    "older version": (
        change_converted(pear_ros_assets_version=np.array(0)),
        f"has format 0, but {FORMAT_VERSION} is needed",
    ),
    "version of another kind": (
        change_converted(pear_ros_assets_version=np.array([1, 2])),
        "has format",
    ),
    "version of type void": (
        change_converted(pear_ros_assets_version=np.zeros((), "V8")),
        "has format",
    ),
    "version of text": (change_converted(pear_ros_assets_version=np.array("1")), "has format 1"),
    "version of a date": (
        change_converted(pear_ros_assets_version=np.array("2020-01-01", "M8[D]")),
        "has format",
    ),
    "version that is true": (
        change_converted(pear_ros_assets_version=np.array(True)),
        "has format",
    ),
    "number that is not finite": (
        change_converted(head_template=entry((3, 1), np.nan)),
        "head_template has numbers from nan to nan, not within -100 to 100",
    ),
    "length of kilometres": (
        change_converted(body_shapedirs=entry((3, 1, 9), -1e3)),
        "body_shapedirs has numbers from -1000 to ",
    ),
    "no vertices": (
        change_converted(body_template=np.zeros((0, 3), "f4")),
        "has 0 vertices, not 1",
    ),
    "no faces": (
        change_converted(head_faces=np.zeros((0, 3), "i4")),
        "has 0 faces of the head, not 1",
    ),
    "too many vertices": (
        change_converted(body_template=np.zeros((LARGEST_VERTICES + 1, 3), "f4")),
        "has 65537 vertices, not 1 to 65536",
    ),
    "too many faces": (
        change_converted(body_faces=np.zeros((LARGEST_FACES + 1, 3), "i4")),
        "has 131073 faces, not 1 to 131072",
    ),
    "structured array": (
        change_converted(body_template=np.zeros(150, "f4, f4, f4")),
        "body_template is [",
    ),
    "objects": (change_converted(body_weights=objects), "never unpickled"),
    "objects as version": (change_converted(pear_ros_assets_version=objects), "never unpickled"),
    "array is missing": (change_converted(head_faces=None), "has no head_faces"),
    "array of another type": (
        change_converted(body_template=lambda v: v.astype(float)),
        "body_template is float64 (150, 3), not float32 (150, 3)",
    ),
    "array of another rank": (
        change_converted(body_template=lambda v: v.ravel()),
        "body_template is float32 (450,)",
    ),
    "array of another width": (
        change_converted(body_template=lambda v: v[:, :2]),
        "body_template is float32 (150, 2), not float32 (150, 3)",
    ),
    "count that differs": (
        change_converted(body_weights=lambda w: w[:-1]),
        "body_weights is float32 (149, 55), not float32 (150, 55)",
    ),
    "face beyond the vertices": (
        change_converted(body_faces=entry((0, 0), 150)),
        "body_faces has ids",
    ),
    "vertex id below zero": (
        change_converted(head_vertex_ids=entry(0, -1)),
        "head_vertex_ids has ids from -1",
    ),
    "parents that are not a tree": (
        change_converted(head_parents=entry(1, 3)),
        "head_parents is not a tree",
    ),
    "jaw that turns an eye": (
        change_converted(head_parents=entry(3, 2)),
        "head_parents is not FLAME's",
    ),
}


@pytest.mark.parametrize("case", UNLOADABLE)
def test_errors_tell_how_to_make_the_file(case: str, converted: Path) -> None:
    break_file, message = UNLOADABLE[case]
    break_file(converted)
    with pytest.raises(AssetError) as caught:
        load_assets(converted)
    assert str(converted) in str(caught.value)
    assert message in str(caught.value)
    assert "Run `pear-ros assets convert DIR OUT.npz`" in str(caught.value)


def test_a_directory_of_downloads_instead_of_the_file(small_downloads: Path) -> None:
    with pytest.raises(AssetError, match=f"convert {small_downloads} OUT.npz"):
        load_assets(small_downloads)


def test_a_download_instead_of_the_file(small_downloads: Path) -> None:
    for file in FILES:
        with pytest.raises(AssetError, match="assets convert"):
            load_assets(small_downloads / file.name)


def test_truncated_file_cannot_be_loaded(converted: Path) -> None:
    content = converted.read_bytes()
    for length in [*range(0, 3000, 97), *range(0, len(content), len(content) // 97)]:
        converted.write_bytes(content[:length])
        with pytest.raises(AssetError):
            load_assets(converted)


@pytest.mark.slow
def test_damaged_file_cannot_be_loaded(converted: Path) -> None:
    """After a bit flip, loading fails or gives the same arrays."""
    content = converted.read_bytes()
    intact = load_assets(converted)
    generator = np.random.default_rng(0)
    directory_at = content.index(b"PK\x01\x02")
    anywhere = generator.integers(0, len(content), 60)
    for index in [*anywhere, *generator.integers(directory_at, len(content), 200)]:
        damaged = bytearray(content)
        damaged[index] ^= 1 << int(generator.integers(8))
        converted.write_bytes(damaged)
        try:
            assets = load_assets(converted)
        except AssetError:
            continue
        for spec in fields(BodyAssets):
            np.testing.assert_array_equal(getattr(assets, spec.name), getattr(intact, spec.name))


# --- Hostile files -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_special_files(
    tmp_path: Path, make: Callable[[Path], object], small_assets: BodyAssets
) -> None:
    path = tmp_path / "special"
    make(path)
    with within(2), pytest.raises(AssetError, match="special: ") as caught:
        load_assets(path)
    assert "\n" not in str(caught.value)
    with within(2), pytest.raises(BrokenFileError):
        read_npy(path)
    if not path.is_dir():
        with within(2), pytest.raises(AssetError, match="not a regular file"):
            save_assets(small_assets, path)
        with within(2), pytest.raises(AssetError, match="not a regular file"):
            load_pickle(path)


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
ARRAYS = {
    "empty": b"",
    "no header": b"\x93NUMPY\x01\x00",
    "huge": npy(HEADER.format("<f8", "(1000000000000,)"), b"x" * 8),
    "huge and empty": npy(HEADER.format("<f8", "(1000000000000, 0)")),
    "more than 64 bits": npy(HEADER.format("<f8", "(4294967296, 4294967296)")),
    "a long number": npy(HEADER.format("<f8", f"({'9' * 4000},)")),
    "negative": npy(HEADER.format("<f8", "(-1,)"), b"x" * 8),
    "two negatives": npy(HEADER.format("<f8", "(-1, -1)"), b"x" * 8),
    "many dimensions": npy(HEADER.format("<f8", "(" + "1, " * 60 + ")"), b"x" * 8),
    "too many dimensions": npy(HEADER.format("<f8", "(" + "1, " * 3000 + ")"), b"x" * 8),
    "too short": npy(HEADER.format("<f8", "(2,)"), b"x" * 15),
    "too long": npy(HEADER.format("<f8", "(2,)"), b"x" * 17),
    "large items": npy(HEADER.format("V2000000000", "(2,)"), b"x" * 16),
    "objects": npy(HEADER.format("|O", "(1,)"), b"\x80\x02N."),
    "nested parentheses": npy("(" * 9000),
    "nested signs": npy("-" * 9000 + "1"),
    "a call": npy("__import__('os').system('true')"),
    "version 3": npy(HEADER.format("<f8", "(1,)"), b"x" * 8, b"\x03\x00"),
    "version 9": npy(HEADER.format("<f8", "(1,)"), b"x" * 8, b"\x09\x00"),
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_hostile_arrays(tmp_path: Path, content: bytes) -> None:
    """In time, whether alone or in an archive, and not as short memory."""
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with within(1), pytest.raises(BrokenFileError, match="is truncated or"):
        read_npy(tmp_path / "a.npy")
    with within(1), pytest.raises(BrokenFileError, match="is truncated or"):
        read_npz(tmp_path / "a.npz", ["a"])


@pytest.mark.parametrize("order", "CF")
def test_arrays_are_read(tmp_path: Path, order: Any) -> None:
    array = np.asarray(np.arange(24.0).reshape(2, 3, 4), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", a=array, b=np.array(3), c=np.zeros((2, 0)))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), array)
    found = read_npz(tmp_path / "a.npz", ["a", "b", "c", "d"])
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["a"], array)
    assert found["b"] == 3
    assert found["c"].shape == (2, 0)


def test_a_header_that_hides_damage(tmp_path: Path) -> None:
    """A checksum is compared at the end of the data, also if the header asks for less."""
    np.savez(tmp_path / "a.npz", a=np.arange(10.0))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content.replace(b"(10,)", b"( 9,)"))
    with pytest.raises(BrokenFileError, match="truncated or damaged"):
        read_npz(tmp_path / "a.npz", ["a"])


def test_short_memory_is_not_called_damage(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 74.5 GiB")

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(AssetError, match="not enough free memory: close other programs") as caught:
        load_assets(converted)
    assert "damaged" not in str(caught.value)
