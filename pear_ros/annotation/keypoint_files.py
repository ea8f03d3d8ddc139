"""Keypoints that a user brings: COCO-WholeBody's annotations as JSON, instead of experts.

A file has `annotations`, each with `bbox` (x, y, width, height, px) and either `keypoints` of 133
points, as MMPose writes them, or COCO-WholeBody's `keypoints` (17), `foot_kpts` (6), `face_kpts`
(68), `lefthand_kpts` and `righthand_kpts` (21 each). An annotation names its image by `image_id`,
from `images`, or by `file_name`. A point is x, y and a confidence; COCO's visibility 1 and 2 count
as seen.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pear_ros.annotation.experts import without_outside
from pear_ros.body.landmarks import BODY, FACE, FEET, LEFT_HAND, NUM_LANDMARKS, RIGHT_HAND
from pear_ros.errors import LabelError
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.people import FloatArray, ImageArray

Array = NDArray[np.float64]

PARTS = {
    "keypoints": BODY, "foot_kpts": FEET, "face_kpts": FACE, "lefthand_kpts": LEFT_HAND,
    "righthand_kpts": RIGHT_HAND,
}  # fmt: skip
LEAST_IOU = 0.3  # of a person's box and an annotation's
LARGEST_BYTES = 1 << 30
LARGEST_PX = 1e5


class KeypointFile:
    """Experts that look the points up in a file."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            LabelError: If it is missing, damaged or not in the format above.
        """
        self._path = path
        self._people: dict[str, list[tuple[Array, Array]]] = {}  # box xyxy, points by image
        for number, (file, box, points) in enumerate(_annotations(path)):
            if not np.isfinite(box).all() or not np.isfinite(points).all():
                raise LabelError(f"{path}: annotation {number} has a number that is not finite")
            self._people.setdefault(_image_name(file), []).append((box, points))

    def __call__(self, image: ImageArray, boxes_xyxy: FloatArray, name: str) -> FloatArray:
        """The points (N, 133, 3) of the annotations that overlap the boxes most.

        The image `name` of a video is the video's name and the number of the frame, which the
        package gives it: `clip_000012` for the frame 12 of `clip.mp4`. Who has no annotation has
        no points.
        """
        keypoints = np.zeros((len(boxes_xyxy), NUM_LANDMARKS, 3), np.float32)
        people = self._people.get(re.sub(r"^\d{5}_", "", name), [])
        if people and len(boxes_xyxy):
            given = np.array([box for box, _ in people], np.float32)
            overlap = box_iou_batch(boxes_xyxy, given)  # (N, M)
            while overlap.max() >= LEAST_IOU:  # each annotation is used once
                row, column = np.unravel_index(overlap.argmax(), overlap.shape)
                keypoints[row] = people[column][1]
                overlap[row], overlap[:, column] = 0, 0
        height, width, _ = image.shape
        return without_outside(keypoints, width, height)


def _image_name(file: str) -> str:
    return PurePath(file.replace("\\", "/")).stem


def _annotations(path: Path) -> list[tuple[str, Array, Array]]:
    """Image file, box (4,) xyxy and points (133, 3) of each annotation."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise LabelError(f"{path} is larger than a gigabyte; split it")
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path} is damaged or not JSON: {error}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("annotations"), list):
        raise LabelError(f"{path} has no list `annotations`; give COCO-WholeBody's JSON")
    images = tree.get("images", [])
    names = {
        image.get("id"): image.get("file_name")
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and isinstance(image.get("id"), int | str)
    }
    found = []
    for number, one in enumerate(tree["annotations"]):
        where = f"{path}: annotation {number}"
        if not isinstance(one, dict):
            raise LabelError(f"{where} is not an object")
        identity = one.get("image_id")
        known = names.get(identity) if isinstance(identity, int | str) else None
        file = one.get("file_name", known)
        if not isinstance(file, str):
            raise LabelError(f"{where} names no image: neither `file_name` nor a known `image_id`")
        x, y, width, height = _numbers(where, one, "bbox", 4)
        found.append((file, np.array((x, y, x + width, y + height)), _points(where, one)))
    return found


def _points(where: str, one: dict[str, Any]) -> Array:
    points = np.zeros((NUM_LANDMARKS, 3))
    if isinstance(one.get("keypoints"), list) and len(_flat(one["keypoints"])) == 3 * NUM_LANDMARKS:
        points[:] = np.reshape(_numbers(where, one, "keypoints", 3 * NUM_LANDMARKS), (-1, 3))
    else:
        for name, part in PARTS.items():
            if name == "keypoints" or one.get(name) is not None:
                count = part.stop - part.start
                points[part] = np.reshape(_numbers(where, one, name, 3 * count), (-1, 3))
    if (points[:, 2] < 0).any():
        raise LabelError(f"{where} has a negative confidence")
    if (np.abs(points[:, :2]) > LARGEST_PX).any():
        raise LabelError(f"{where} has coordinates beyond {LARGEST_PX:.0f} px")
    points[:, 2] = points[:, 2].clip(max=1)
    points[points[:, 2] == 0] = 0
    return points


def _flat(values: list[Any]) -> list[Any]:
    """A list, or the elements of a list of lists."""
    if values and all(isinstance(value, list) for value in values):
        return [number for value in values for number in value]
    return values


def _numbers(where: str, one: dict[str, Any], name: str, count: int) -> list[float]:
    values = one.get(name)
    flat = _flat(values) if isinstance(values, list) else []
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in flat)
    if len(flat) != count or not is_number:
        raise LabelError(f"{where} has no `{name}` of {count} numbers")
    numbers = [float(value) if abs(value) < 1e300 else math.inf for value in flat]
    return numbers
