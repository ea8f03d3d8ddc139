"""The people file is written while images come, and is whole or not there."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import random_parameters

from pear_ros.offline.people_file import PeopleWriter
from pear_ros.people import Boxes, Camera, People, seen_now

CAMERA = Camera(500.0, 510.0, 320.0, 240.0)


def people(count: int, seed: int = 0, prefix: str = "p") -> People:
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return random.random((count, *shape), np.float32)

    return People(
        ids=tuple(f"{prefix}{i}" for i in range(count)),
        boxes=Boxes(numbers(4), numbers()),
        crop_xywh=numbers(4),
        parameters=random_parameters(count, seed),
        translation=numbers(3),
        joints=numbers(55, 3),
        rotations=numbers(55, 3, 3),
        vertices=numbers(20, 3),
        is_metric=True,
        **seen_now(count),
    )


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def unfinished(folder: Path) -> dict[str, np.ndarray]:
    """As the docs read the rows of a run that was killed."""
    return {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "people.npz"


def test_rows_of_several_images(output: Path) -> None:
    groups = [people(2, 0), people(0, 1), people(3, 2, "a_longer_prefix_p")]
    with PeopleWriter(output, vertices=True) as writer:
        for name, group in zip(("a", "a longer name", "ü人"), groups, strict=True):
            writer.add(name, CAMERA, group)
        writer.finish(output)
    arrays = load(output)
    assert arrays["image_names"].tolist() == ["a", "a longer name", "ü人"]
    assert arrays["image_index"].tolist() == [0, 0, 2, 2, 2]
    assert arrays["id"].tolist() == [id_ for group in groups for id_ in group.ids]
    for name in ("joints", "vertices", "translation", "crop_xywh"):
        expected = np.concatenate([getattr(group, name) for group in groups])
        np.testing.assert_array_equal(arrays[name], expected)
    betas = np.concatenate([group.parameters.betas for group in groups])
    np.testing.assert_array_equal(arrays["betas"], betas)
    assert arrays["intrinsics"].tolist() == [[500, 510, 320, 240]] * 5
    assert os.listdir(output.parent) == ["people.npz"]


def test_nobody_in_all_images(output: Path) -> None:
    with PeopleWriter(output, vertices=True) as writer:
        writer.add("a", CAMERA, people(0))
        writer.finish(output)
    arrays = load(output)
    assert arrays["vertices"].shape == (0, 20, 3)
    assert arrays["id"].shape == (0,)
    assert arrays["image_names"].tolist() == ["a"]


def test_rows_are_on_the_disk_after_each_image(output: Path) -> None:
    with PeopleWriter(output, vertices=False) as writer:
        for i in range(3):
            writer.add(f"image {i}", CAMERA, people(2, i))
            arrays = unfinished(writer.folder)
            assert arrays["image_names"].tolist() == [f"image {j}" for j in range(i + 1)]
            assert arrays["joints"].shape == (2 * i + 2, 55, 3)
            np.testing.assert_array_equal(arrays["joints"][-2:], people(2, i).joints)
        assert writer.folder.parent == output.parent
        assert writer.folder.name.startswith("people.npz.")
        assert writer.folder.name.endswith(".part")
        assert not output.exists()


def test_an_error_keeps_the_rows_and_the_old_file(output: Path) -> None:
    output.write_bytes(b"old")
    writer = PeopleWriter(output, vertices=True)

    def fail() -> None:
        with writer:
            writer.add("a", CAMERA, people(2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert output.read_bytes() == b"old"
    assert len(unfinished(writer.folder)["joints"]) == 2


def test_a_full_disk_while_a_longer_name_is_written(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names are written anew, and so could all be lost."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = PeopleWriter(output, vertices=False)

    def write() -> None:
        with writer:
            for name in ("a", "b"):
                writer.add(name, CAMERA, people(1))
            monkeypatch.setattr("pear_ros.offline.people_file._Column._write_header", full)
            writer.add("a longer name", CAMERA, people(1))

    with pytest.raises(OSError, match="No space"):
        write()
    assert unfinished(writer.folder)["image_names"].tolist() == ["a", "b"]


def test_an_error_before_the_first_image_leaves_nothing(output: Path) -> None:
    with pytest.raises(RuntimeError), PeopleWriter(output, vertices=True):
        raise RuntimeError
    assert os.listdir(output.parent) == []


def test_a_full_disk_at_the_end(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = PeopleWriter(output, vertices=True)

    def write() -> None:
        with writer:
            writer.add("a", CAMERA, people(2))
            writer.finish(output)

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        write()
    assert output.read_bytes() == b"old"
    assert len(unfinished(writer.folder)["joints"]) == 2
    assert sorted(os.listdir(output.parent)) == sorted(["people.npz", writer.folder.name])


def test_a_link_is_replaced_not_written_through(output: Path) -> None:
    target = output.with_name("precious")
    target.write_bytes(b"precious")
    output.symlink_to(target)
    with PeopleWriter(output, vertices=True) as writer:
        writer.add("a", CAMERA, people(1))
        writer.finish(output)
    assert target.read_bytes() == b"precious"
    assert not output.is_symlink()
    assert len(load(output)["joints"]) == 1


def anonymous_mb() -> float:
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in s)
    return int(line.split()[1]) / 1024


def test_memory_does_not_grow_with_the_images(output: Path) -> None:
    """3,000 people with meshes of 20,000 vertices would be 720 MB."""
    group = people(3)
    group = replace(group, vertices=np.zeros((3, 20_000, 3), np.float32))
    with PeopleWriter(output, vertices=True) as writer:
        for image in range(20):
            writer.add(f"first {image}", CAMERA, group)
        before = anonymous_mb()
        for image in range(1000):
            writer.add(f"{image}", CAMERA, group)
        writer.finish(output)
        assert anonymous_mb() - before < 20
    with np.load(output, mmap_mode="r", allow_pickle=False) as file:
        assert len(file["image_index"]) == 3060
