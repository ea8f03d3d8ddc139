"""The files of 3DPW: people of a sequence of images, with poses, keypoints and cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets.arrays import BrokenFileError, floats, numbers
from pear_ros.assets.unpickle import load_pickle
from pear_ros.errors import AssetError
from pear_ros.evaluation.smpl import NUM_SHAPES
from pear_ros.geometry.camera import calibrated_camera
from pear_ros.people import Camera, FloatArray

KEYPOINTS_MARGIN = 1.2  # size of a box over the extent of the person's 2D keypoints


@dataclass(frozen=True)
class Track:
    """One person of a sequence of T images, as the dataset states them."""

    gender: str  # m or f
    pose: FloatArray  # (T, 72) rad, axis-angle; the orientation is in the world
    betas: FloatArray  # (10,)
    translation: FloatArray  # (T, 3) m, in the world
    joints: FloatArray  # (T, 24, 3) m, of SMPL, in the world
    keypoints: FloatArray  # (T, 3, 18) x and y, px, and score, of OpenPose
    is_valid: NDArray[np.bool_]  # (T,) whether the camera's pose is known


@dataclass(frozen=True)
class Sequence3dpw:
    """A sequence of T images."""

    name: str
    camera: Camera
    optical_from_world: FloatArray  # (T, 3, 3)
    tracks: tuple[Track, ...]


def read_sequence(path: Path) -> Sequence3dpw:
    """Reads a file of sequenceFiles, a pickle of Python 2, without running code in it.

    Raises:
        AssetError: If the file is damaged, refused, or not of 3DPW.
    """
    content = load_pickle(path, "sequence of 3DPW")
    try:
        extrinsics = _floats(content, "cam_poses", (None, 4, 4))
        count = len(extrinsics)
        camera = calibrated_camera(
            _floats(content, "cam_intrinsics", (3, 3)).astype(np.float64).ravel()
        )
        if camera is None:
            raise BrokenFileError("cam_intrinsics is no calibration")
        people = len(_list(content, "genders"))
        tracks = tuple(_track(content, i, count, people) for i in range(people))
    except BrokenFileError as error:
        raise AssetError(f"{path}: {error}; is it a sequence of 3DPW?") from error
    return Sequence3dpw(path.stem, camera, extrinsics[:, :3, :3], tracks)


def _track(content: Mapping[str, Any], i: int, count: int, people: int) -> Track:
    def of_person(name: str) -> Any:
        values = _list(content, name)
        if len(values) != people:
            raise BrokenFileError(f"{name} has {len(values)} people, genders {people}")
        return values[i]

    gender = of_person("genders")
    if gender not in ("m", "f"):
        raise BrokenFileError(f"genders has {str(gender)[:20]!r}, not 'm' or 'f'")
    betas = floats("betas", np.ravel(of_person("betas")), (None,))
    if len(betas) < NUM_SHAPES:
        raise BrokenFileError(f"betas has {len(betas)} values, not {NUM_SHAPES}")
    valid = numbers("campose_valid", of_person("campose_valid"), "biuf", (count,))
    return Track(
        gender=gender,
        pose=floats("poses", of_person("poses"), (count, 72)),
        betas=betas[:NUM_SHAPES],
        translation=floats("trans", of_person("trans"), (count, 3)),
        joints=floats("jointPositions", of_person("jointPositions"), (count, 72)).reshape(
            count, 24, 3
        ),
        keypoints=floats("poses2d", of_person("poses2d"), (count, 3, None)),
        is_valid=valid.astype(bool),
    )


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    values = content.get(name)
    if not isinstance(values, (list, tuple, np.ndarray)) or not len(values):
        raise BrokenFileError(f"has no list {name}")
    return list(values)


def _floats(content: Mapping[str, Any], name: str, shape: tuple[int | None, ...]) -> FloatArray:
    if name not in content:
        raise BrokenFileError(f"has no {name}")
    return floats(name, content[name], shape)


def keypoints_box(keypoints: FloatArray) -> FloatArray | None:
    """(3, K) x, y, px, and scores -> (4,) xyxy, px; None if fewer than two keypoints are seen."""
    seen = keypoints[:2, keypoints[2] > 0]  # (2, S)
    if seen.shape[1] < 2:
        return None
    low, high = seen.min(1), seen.max(1)
    centre, half = (low + high) / 2, KEYPOINTS_MARGIN * (high - low) / 2
    return np.concatenate((centre - half, centre + half)).astype(np.float32)
