"""The converted file: written completely or not at all, checked when it is loaded."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import changed, entry, objects, read_npz

from pear_ros.assets.body_assets import FORMAT_VERSION, BodyAssets, load_assets, save_assets
from pear_ros.assets.downloads import FILES, convert_assets
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
    return lambda path: np.savez(path, **changed(read_npz(path), changes))


UNLOADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "truncated or damaged"),
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
    "objects": (change_converted(body_weights=objects), "allow_pickle=False"),
    "objects as version": (change_converted(pear_ros_assets_version=objects), "allow_pickle=False"),
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
