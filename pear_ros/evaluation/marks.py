"""Pictures whose people were marked by hand: the file truth.json, and how marks are compared.

Marks are COCO's 17 keypoints. SMPL-X has no nose or ears, so of the head only the middle of the two
eyes is compared. Fingertips are marked separately, where a hand is clearly visible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import PearError
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, Camera, FloatArray, People

Array = NDArray[np.float64]

NUM_KEYPOINTS = 17  # COCO's
LIMBS = tuple(
    (f"{side}_{joint}", f"{joint}s")
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)  # SMPL-X's joints and their group, in the order of COCO's keypoints 5 to 16
FIRST_LIMB = 5
EYES = [1, 2]  # of COCO's keypoints
POINTS = (*LIMBS, ("eyes", "eyes"), ("left_tip", "fingertips"), ("right_tip", "fingertips"))
"""The compared points: name and group."""
GROUPS = tuple(dict.fromkeys(group for _, group in (POINTS[len(LIMBS)], *LIMBS, POINTS[-1])))
# The tip of the middle finger is its last bone, prolonged by this part of the bone before.
TIP = 0.9
MATCH_IOU = 0.5  # least overlap of a marked and a found box of the same person
MOST_UNKNOWN_LIMBS = 2  # of a person who counts as whole
LEAST_LIMBS = 4  # marked ones, to tell whether a person is mirrored


@dataclass(frozen=True)
class MarkedPerson:
    """The marks of one person; left and right are the person's own."""

    xyxy: FloatArray  # (4,) px, around what is visible
    points: Array  # (15, 2) px, as POINTS; NaN where nothing is marked

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        return float((self.xyxy[2:] - self.xyxy[:2]).max())

    @property
    def is_marked(self) -> NDArray[np.bool_]:
        """(15,) whether a point is marked."""
        return np.isfinite(self.points[:, 0])

    @property
    def is_whole(self) -> bool:
        unknown = (~self.is_marked[: len(LIMBS)]).sum()
        return bool(unknown <= MOST_UNKNOWN_LIMBS)


@dataclass(frozen=True)
class MarkedPicture:
    """The marks of one picture."""

    name: str
    people: tuple[MarkedPerson, ...]
    ignore: FloatArray  # (I, 4) xyxy px: people found here are not false
    is_real: bool  # not made by a model

    @property
    def xyxy(self) -> FloatArray:
        """(P, 4) px, the boxes of all people."""
        return np.array([person.xyxy for person in self.people], np.float32).reshape(-1, 4)


def read_marks(path: Path) -> list[MarkedPicture]:
    """Reads a file truth.json; docs/how_to/evaluate_on_my_data.md describes it.

    Raises:
        PearError: If the file is missing or damaged, or an entry is not as described.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PearError(
            f"{path}: cannot be read ({error.strerror}); the folder needs images/ and truth.json, "
            "see docs/how_to/evaluate_on_my_data.md"
        ) from error
    except ValueError as error:
        raise PearError(f"{path}: is not JSON ({error})") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, dict) or not images:
        raise PearError(f"{path}: has no object `images` with an entry for each picture")
    pictures = []
    for name, entry in images.items():
        if Path(name).name != name:
            raise PearError(f"{path}: {name!r} is not the name of a file in images/")
        try:
            pictures.append(_picture(name, entry))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise PearError(
                f"{path}: the entry of {name} is not as docs/how_to/evaluate_on_my_data.md "
                f"describes it ({what})"
            ) from error
    return pictures


def _picture(name: str, entry: Mapping[str, Any]) -> MarkedPicture:
    ignore = _numbers(entry.get("ignore") or np.zeros((0, 4)), (None, 4), "ignore")
    people = tuple(_person(person) for person in entry["people"])
    return MarkedPicture(name, people, ignore.astype(np.float32), bool(entry.get("real", True)))


def _person(person: Mapping[str, Any]) -> MarkedPerson:
    xyxy = _numbers(person["box"], (4,), "box")
    if (xyxy[2:] <= xyxy[:2]).any():
        raise ValueError(f"box {xyxy.tolist()} is not left, top, right, bottom")
    keypoints = _numbers(person["keypoints"], (NUM_KEYPOINTS, 3), "keypoints")
    marked = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], np.nan)  # (17, 2)
    points = np.full((len(POINTS), 2), np.nan)
    points[: len(LIMBS)] = marked[FIRST_LIMB:]
    points[len(LIMBS)] = marked[EYES].mean(0)
    for i, side in enumerate(("left", "right")):
        if side in person.get("hands", {}):
            tip = person["hands"][side]["middle_tip"]
            points[len(LIMBS) + 1 + i] = _numbers(tip, (2,), "middle_tip")
    return MarkedPerson(xyxy.astype(np.float32), points)


def _numbers(value: Any, shape: tuple[int | None, ...], name: str) -> Array:
    array = np.asarray(value, np.float64)
    fits = array.ndim == len(shape) and all(
        want in (None, size) for size, want in zip(array.shape, shape, strict=True)
    )
    if not fits or not np.isfinite(array).all():
        wanted = " x ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} is not {wanted} numbers")
    return array


def estimated_points(people: People, camera: Camera) -> Array:
    """Returns (N, 15, 2) px, the estimates of POINTS for N people."""
    pixels = project(people.joints + people.translation[:, None], camera)  # (N, 55, 2)
    parts = [pixels[:, [JOINT[name] for name, _ in LIMBS]]]
    parts.append(pixels[:, [JOINT["left_eye"], JOINT["right_eye"]]].mean(1, keepdims=True))
    for side in ("left", "right"):
        before, last = (pixels[:, [JOINT[f"{side}_middle{i}"]]] for i in (2, 3))
        parts.append(last + TIP * (last - before))
    return np.concatenate(parts, 1).astype(np.float64)


def is_mirrored(person: MarkedPerson, points: Array) -> bool:
    """Whether an estimate (15, 2) px has left and right swapped: a back is taken for a front.

    Swapping must at least halve the mean distance of the limbs. False if too few are marked.
    """
    limbs = person.is_marked[: len(LIMBS)]
    if limbs.sum() < LEAST_LIMBS:
        return False
    swapped = np.arange(len(LIMBS)).reshape(-1, 2)[:, ::-1].ravel()  # left and right alternate
    as_is, other = (
        np.linalg.norm(points[order] - person.points[: len(LIMBS)], axis=1)[limbs].mean()
        for order in (np.arange(len(LIMBS)), swapped)
    )
    return bool(other < 0.5 * as_is)


def matched(marked_xyxy: FloatArray, found_xyxy: FloatArray) -> dict[int, int]:
    """Pairs boxes (P, 4) and (N, 4), the largest overlap first, each used once: marked -> found."""
    iou = box_iou_batch(marked_xyxy, found_xyxy)
    pairs: dict[int, int] = {}
    while iou.size and iou.max() >= MATCH_IOU:
        marked, found = np.unravel_index(iou.argmax(), iou.shape)
        pairs[int(marked)] = int(found)
        iou[marked], iou[:, found] = -1, -1
    return pairs


def share_inside(xyxy: FloatArray, regions: FloatArray) -> Array:
    """(N,) the largest share of each box (N, 4) in one of the regions (I, 4), 0 without regions."""
    if not len(regions):
        return np.zeros(len(xyxy))
    boxes, others = xyxy[:, None].astype(np.float64), regions[None].astype(np.float64)
    corner = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(
        boxes[..., :2], others[..., :2]
    )
    area = (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)
    share: Array = (corner.clip(0).prod(-1) / area.clip(1e-6)).max(1)
    return share
