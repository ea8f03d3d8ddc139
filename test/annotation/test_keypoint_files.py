"""COCO-WholeBody's JSON: what is read, and what is refused with one clear message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pear_ros.annotation.keypoint_files import KeypointFile
from pear_ros.body.landmarks import BODY, FACE, FEET, LEFT_HAND, RIGHT_HAND
from pear_ros.errors import LabelError

IMAGE = np.zeros((100, 200, 3), np.uint8)
BOX = np.array([[10, 20, 60, 90]], np.float32)
PARTS = {
    "keypoints": BODY, "foot_kpts": FEET, "face_kpts": FACE, "lefthand_kpts": LEFT_HAND,
    "righthand_kpts": RIGHT_HAND,
}  # fmt: skip


def points() -> np.ndarray:
    """(133, 3) different points in the image; some are not marked."""
    number = np.arange(133.0)
    visible = np.where(number % 5, 2, 0)
    return np.stack((number + 1, 50 + number / 4, visible), -1)


def annotation(**changes: Any) -> dict[str, Any]:
    """One person as in COCO-WholeBody; a change to None leaves a field out."""
    one: dict[str, Any] = {name: points()[part].flatten().tolist() for name, part in PARTS.items()}
    one |= {"bbox": [12, 22, 45, 66], "image_id": 7} | changes
    return {name: value for name, value in one.items() if value is not None}


def write(path: Path, *annotations: Any, **tree: Any) -> Path:
    images = [{"id": 7, "file_name": "train/photo.jpg"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations} | tree))
    return path


def test_cocos_parts_become_133_points(tmp_path: Path) -> None:
    experts = KeypointFile(write(tmp_path / "a.json", annotation()))
    (found,) = experts(IMAGE, BOX, "00003_photo")
    expected = points()
    expected[:, 2] = expected[:, 2] > 0
    np.testing.assert_allclose(found[expected[:, 2] > 0], expected[expected[:, 2] > 0])
    assert not found[expected[:, 2] == 0, 2].any()


@pytest.mark.parametrize("nested", [False, True])
def test_133_points_in_one_list(nested: bool, tmp_path: Path) -> None:
    """As MMPose writes them, flat or as 133 lists of three, with confidences."""
    rows = points()
    rows[:, 2] = 0.75
    given = rows.tolist() if nested else rows.flatten().tolist()
    one = {"bbox": [12, 22, 45, 66], "keypoints": given, "file_name": "clip_000012.png"}
    experts = KeypointFile(write(tmp_path / "a.json", one))
    np.testing.assert_allclose(experts(IMAGE, BOX, "00000_clip_000012")[0], rows)
    assert not experts(IMAGE, BOX, "00000_clip_000013").any()


def test_people_are_matched_by_their_boxes(tmp_path: Path) -> None:
    left = annotation()
    right = annotation(bbox=[110, 20, 50, 70])
    right["keypoints"] = (points()[BODY] + (100, 0, 0)).flatten().tolist()
    experts = KeypointFile(write(tmp_path / "a.json", right, left))
    boxes = np.array([[10, 20, 60, 90], [112, 18, 160, 92], [0, 0, 10, 10]], np.float32)
    found = experts(IMAGE, boxes, "00000_photo")
    assert found.shape == (3, 133, 3)
    assert found[0, 1, 0] == 2
    assert found[1, 1, 0] == 102
    assert not found[2].any()


def test_points_outside_of_the_image_are_not_known(tmp_path: Path) -> None:
    far = points()
    far[1, 0] = 400
    experts = KeypointFile(
        write(tmp_path / "a.json", annotation(keypoints=far[BODY].flatten().tolist()))
    )
    (found,) = experts(IMAGE, BOX, "00000_photo")
    assert found[1, 2] == 0
    assert found[2, 2] == 1


def test_feet_face_and_hands_may_be_missing(tmp_path: Path) -> None:
    one = annotation(foot_kpts=None, face_kpts=None, lefthand_kpts=None, righthand_kpts=None)
    (found,) = KeypointFile(write(tmp_path / "a.json", one))(IMAGE, BOX, "photo")
    assert found[BODY, 2].any()
    assert not found[17:].any()


def test_nobody(tmp_path: Path) -> None:
    experts = KeypointFile(write(tmp_path / "a.json"))
    assert experts(IMAGE, BOX[:0], "photo").shape == (0, 133, 3)
    assert not experts(IMAGE, BOX, "photo").any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "damaged or not JSON", id="empty"),
        pytest.param(b'{"annotations": [', "damaged or not JSON", id="truncated"),
        pytest.param(b"\xff\xfe\x00", "cannot be read", id="binary"),
        pytest.param(b"[" * 100000, "damaged or not JSON", id="deep"),
        pytest.param(b"[1, 2]", "no list `annotations`", id="a list"),
        pytest.param(b'{"annotations": {}}', "no list `annotations`", id="no list"),
        pytest.param(b'{"annotations": [1]}', "annotation 0 is not an object", id="a number"),
    ],
)
def test_damaged_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=message) as caught:
        KeypointFile(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be read"):
        KeypointFile(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"image_id": 8}, "names no image", id="unknown image"),
        pytest.param({"image_id": [7]}, "names no image", id="image is a list"),
        pytest.param({"file_name": 3}, "names no image", id="file is a number"),
        pytest.param({"bbox": None}, "no `bbox` of 4 numbers", id="no box"),
        pytest.param({"bbox": [1, 2, 3]}, "no `bbox` of 4 numbers", id="short box"),
        pytest.param({"bbox": [1, 2, 3, True]}, "no `bbox` of 4 numbers", id="a truth value"),
        pytest.param({"bbox": [1, 2, 3, 10**400]}, "not finite", id="huge"),
        pytest.param({"bbox": [1, 2, 3, float("nan")]}, "not finite", id="not a number"),
        pytest.param({"keypoints": None}, "no `keypoints` of 51 numbers", id="no points"),
        pytest.param({"keypoints": [0] * 50}, "no `keypoints` of 51 numbers", id="short"),
        pytest.param({"keypoints": ["a"] * 51}, "no `keypoints` of 51 numbers", id="texts"),
        pytest.param({"face_kpts": [0, 0, 2]}, "no `face_kpts` of 204 numbers", id="short face"),
        pytest.param({"keypoints": [0, 0, -1] * 17}, "negative confidence", id="negative"),
        pytest.param({"keypoints": [1e9, 0, 2] * 17}, "beyond 100000 px", id="far"),
    ],
)
def test_bad_annotations(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", annotation(), annotation(**changes))
    with pytest.raises(LabelError, match=message) as caught:
        KeypointFile(path)
    assert "annotation 1" in str(caught.value)
