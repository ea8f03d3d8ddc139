"""The labels file: what is written is read again, and what is damaged or hostile is refused."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import changed, entry, objects, read_npz
from samples import random_parameters

from pear_ros.annotation.pseudo_labels import (
    PARAMETER_SHAPES,
    Labels,
    join,
    read_labels,
    write_labels,
)
from pear_ros.errors import LabelError
from pear_ros.people import EhmParameters

COUNT = 3


def some_labels(count: int = COUNT, seed: int = 0) -> Labels:
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return random.uniform(0, 1, (count, *shape)).astype(np.float32)

    return Labels(
        file=np.array([f"clip_{seed}_{i:06d}_p0001.jpg" for i in range(count)], np.str_),
        source_input=np.array(["clip.mp4"] * count, np.str_),
        source_frame=np.arange(count),
        source_person=np.array(["p0001"] * count, np.str_),
        picture_xyxy=numbers(4) + np.array((-10, -10, 90, 90), np.float32),
        box=numbers(4) + np.array((10, 10, 50, 50), np.float32),
        intrinsics=100 + numbers(4),
        keypoints=numbers(133, 3),
        translation=numbers(3),
        joints=numbers(55, 3),
        joint_confidence=numbers(55),
        confidence_body=numbers(),
        confidence_left_hand=numbers(),
        confidence_right_hand=numbers(),
        confidence_face=numbers(),
        is_accepted=np.arange(count) % 2 == 0,
        rejection=np.array(["", "few_points", ""] * count, np.str_)[:count],
        parameters=random_parameters(count, seed),
    )


def arrays_of(labels: Labels) -> dict[str, np.ndarray]:
    arrays = {f.name: getattr(labels, f.name) for f in dataclasses.fields(Labels)[:-1]}
    return arrays | {name: getattr(labels.parameters, name).numpy() for name in PARAMETER_SHAPES}


def assert_equal(found: Labels, expected: Labels) -> None:
    for name, array in arrays_of(expected).items():
        np.testing.assert_array_equal(arrays_of(found)[name], array, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three people: labels.npz and their pictures."""
    labels = some_labels()
    write_labels(tmp_path / "labels.npz", labels)
    (tmp_path / "crops").mkdir()
    for name in labels.file:
        (tmp_path / "crops" / name).write_bytes(b"a picture")
    return tmp_path


@pytest.mark.parametrize("name", ["", "labels.npz"])
def test_what_is_written_is_read(folder: Path, name: str) -> None:
    labels = read_labels(folder / name)
    assert len(labels) == COUNT
    assert_equal(labels, some_labels())


def test_nobody(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.npz", some_labels(0))
    labels = read_labels(tmp_path)
    assert len(labels) == 0
    assert labels.keypoints.shape == (0, 133, 3)


def test_parts_are_joined_and_rows_chosen() -> None:
    both = join([some_labels(2, 0), some_labels(3, 1)])
    assert len(both) == 5
    assert_equal(both.rows(np.array([2, 3, 4])), some_labels(3, 1))
    assert_equal(both.rows(np.array([1, 0])), some_labels(2, 0).rows(np.array([1, 0])))


def test_the_parameters_are_those_of_ehm() -> None:
    assert set(PARAMETER_SHAPES) == {f.name for f in dataclasses.fields(EhmParameters)}
    assert PARAMETER_SHAPES["body_pose"] == (21, 3, 3)


def test_it_has_no_pickles(folder: Path) -> None:
    with np.load(folder / "labels.npz", allow_pickle=False) as file:
        assert {array.dtype.kind for array in file.values()} == set("Uifb")


# --- Refused -------------------------------------------------------------------------------------

BAD_ROTATION = entry((1, 0), 0.0)
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({"pear_ros_labels_version": None}, "was not written by `pear-ros annotate`"),
    "version 2": ({"pear_ros_labels_version": np.array(2)}, "has another format than 1"),
    "version text": ({"pear_ros_labels_version": np.array("1")}, "has another format than 1"),
    "no keypoints": ({"keypoints": None}, "has no keypoints"),
    "no body pose": ({"body_pose": None}, "has no body_pose"),
    "17 keypoints": ({"keypoints": lambda a: a[:, :17]}, r"keypoints is float32 \(3, 17, 3\)"),
    "fewer rows": ({"box": lambda a: a[:2]}, r"box is float32 \(2, 4\)"),
    "a scalar": ({"file": np.array("a.jpg")}, "file is"),
    "texts for numbers": ({"box": lambda a: a.astype(str)}, "box is <U"),
    "numbers for truth": ({"is_accepted": lambda a: a.astype(float)}, "is_accepted is float64"),
    "a pickle": ({"file": objects}, "is truncated or damaged"),
    "not a number": ({"keypoints": entry((0, 5, 0), np.nan)}, "keypoints has numbers that are not"),
    "infinite": ({"joints": entry((1, 2, 0), np.inf)}, "joints has numbers that are not finite"),
    "too large": ({"betas": lambda a: a.astype(float) * 1e300}, "betas has numbers that are not"),
    "unsure": ({"confidence_body": entry(0, 1.5)}, "confidence_body has numbers outside of 0 to 1"),
    "negative": ({"keypoints": entry((0, 0, 2), -0.1)}, "keypoints has confidences outside"),
    "far": ({"keypoints": entry((0, 0, 0), 1e6)}, "keypoints has coordinates beyond"),
    "far box": ({"box": entry((0, 2), 1e6)}, "box has coordinates beyond"),
    "inverted box": ({"box": lambda a: a[:, [2, 3, 0, 1]]}, "box has rectangles whose second"),
    "no focal length": ({"intrinsics": entry((0, 0), 0.0)}, "intrinsics has focal lengths"),
    "not a rotation": ({"body_pose": BAD_ROTATION}, "body_pose has matrices that are not"),
    "a mirror": ({"global_orient": lambda a: -a}, "global_orient has matrices that are not"),
    "twice": ({"file": lambda a: a[[0, 0, 1]]}, "names the same picture twice"),
    "no picture": ({"file": lambda a: np.array(["none.jpg", *a[1:]])}, "none.jpg, which is not in"),
    "leads out": (
        {"file": lambda a: np.array(["../labels.jpg", *a[1:]])},
        "'../labels.jpg' as a picture",
    ),
    "absolute": ({"file": lambda a: np.array(["/etc/passwd", *a[1:]])}, "'/etc/passwd' as a pic"),
    "hidden": ({"file": lambda a: np.array([".a.jpg", *a[1:]])}, "'.a.jpg' as a picture"),
    "no jpeg": ({"file": lambda a: np.array(["a.jpg\n", *a[1:]])}, "as a picture"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_bad_content(case: str, folder: Path) -> None:
    changes, message = CHANGES[case]
    path = folder / "labels.npz"
    arrays = changed(read_npz(path), changes)
    with path.open("wb") as file:
        _savez(file, arrays)
    with pytest.raises(LabelError, match=message) as caught:
        read_labels(folder)
    assert str(caught.value).startswith(str(path))
    assert "pear-ros annotate" in str(caught.value)


def _savez(file: Any, arrays: dict[str, Any]) -> None:
    """Like np.savez, which has no room for an array of the name `file`; pickles are possible."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=True)


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
def test_truncated(cut: float, folder: Path) -> None:
    path = folder / "labels.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(cut if cut > 1 else cut * len(content))])
    with pytest.raises(LabelError, match="truncated or damaged"):
        read_labels(folder)


class Explodes:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was executed",)


def test_a_pickle_is_never_executed(folder: Path) -> None:
    (folder / "labels.npz").write_bytes(pickle.dumps(Explodes()))
    with pytest.raises(LabelError, match="truncated or damaged"):
        read_labels(folder)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="does not exist"):
        read_labels(tmp_path)


def test_a_missing_crop(folder: Path) -> None:
    (folder / "crops" / str(some_labels().file[1])).unlink()
    with pytest.raises(LabelError, match="which is not in"):
        read_labels(folder)


def test_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabelError, match="cannot be written"):
        write_labels(tmp_path / "file" / "labels.npz", some_labels())


def test_tensors_do_not_share_memory_with_the_file(folder: Path) -> None:
    first, second = read_labels(folder), read_labels(folder)
    first.parameters.betas.zero_()
    assert torch.equal(second.parameters.betas, some_labels().parameters.betas)
