"""The data that flows between the stages: one struct of arrays per stage; N may be 0.

`optical` is a camera frame with x right, y down, z forward (REP-103, suffix `_optical`). Lengths
are in metres, or in pixels if the name says `px`, `xyxy` or `xywh`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ImageArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

_LEFT_FINGERS = tuple(
    f"left_{finger}{i}"
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for i in (1, 2, 3)
)
JOINT_NAMES: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
    "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "jaw", "left_eye", "right_eye",
    *_LEFT_FINGERS,
    *(name.replace("left", "right") for name in _LEFT_FINGERS),
)  # fmt: skip
"""The 55 joints in SMPL-X's order."""
JOINT: dict[str, int] = {name: i for i, name in enumerate(JOINT_NAMES)}
NUM_JOINTS = len(JOINT_NAMES)
NUM_BODY_JOINTS = JOINT["left_index1"]  # 25; the finger joints follow
DISTANCE_SOURCES = ("image", "height", "ground", "depth")
"""Where a person's distance comes from, mainly; see docs/placement.md."""


@dataclass(frozen=True)
class Lens:
    """A lens that distorts: `geometry/lens.py`."""

    is_fisheye: bool = False  # `equidistant`, else `plumb_bob` or `rational_polynomial`
    coefficients: tuple[float, ...] = (0.0,) * 8  # k1 k2 p1 p2 k3 k4 k5 k6; fisheye: k1 k2 k3 k4


@dataclass(frozen=True)
class Camera:
    """A camera; `is_metric` is False if the intrinsics were assumed, not calibrated."""

    fx: float  # px
    fy: float  # px
    cx: float  # px
    cy: float  # px
    is_metric: bool = True
    lens: Lens | None = None  # None: a pinhole, or the image is rectified


@dataclass(frozen=True)
class Frame:
    """One image of one camera."""

    image: ImageArray  # (H, W, 3) RGB
    camera: Camera
    stamp_s: float
    source: str = ""  # the camera's name
    boxes: Boxes | None = None  # from a detector outside this process
    is_still: bool = False  # a picture of its own: no other image of this source follows
    # (H, W) m along the optical axis, registered to `image`; 0 or not finite: not measured.
    depth_m: FloatArray | None = None
    # (4, 4) pose of the camera in a frame that stands still, such as odom; None: not known.
    world_from_optical: NDArray[np.float64] | None = None
    # (4,) the floor, optical: unit normal upwards and offset, m; normal @ point + offset is the
    # height above the floor. None: not known.
    floor: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Boxes:
    """N boxes in one image."""

    xyxy: FloatArray  # (N, 4) px: left, top, right, bottom
    scores: FloatArray  # (N,) 0 to 1

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: NDArray[np.bool_] | IntArray | slice) -> Boxes:
        return Boxes(self.xyxy[rows], self.scores[rows])

    @staticmethod
    def empty() -> Boxes:
        return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class EhmParameters:
    """EHM parameters of N people: tensors on one device, float32.

    Rotations are relative to the parent joint: matrices if the last axes are (3, 3), else
    axis-angle vectors in radians. Names and shapes are those of the published implementation. The
    network predicts `global_orient` in the axes of the crop's camera;
    `geometry.crop_camera.rotated` converts it to the axes of the real camera.
    """

    global_orient: Tensor  # (N, 1, 3, 3) model axes to optical
    body_pose: Tensor  # (N, 21, 3, 3)
    left_hand_pose: Tensor  # (N, 15, 3, 3)
    right_hand_pose: Tensor  # (N, 15, 3, 3)
    betas: Tensor  # (N, 200)
    expression: Tensor  # (N, 50)
    hand_scale: Tensor  # (N, 3) predicted, never applied
    head_scale: Tensor  # (N, 3)
    flame_eye_pose: Tensor  # (N, 6) left, right
    flame_global_pose: Tensor  # (N, 3) predicted, never applied
    flame_jaw_pose: Tensor  # (N, 3)
    flame_eyelids: Tensor  # (N, 2) left, right
    flame_betas: Tensor  # (N, 300)
    flame_expression: Tensor  # (N, 50)
    camera_t: Tensor  # (N, 3) tx, ty, tz of the crop camera, for `global_orient` as predicted


@dataclass(frozen=True)
class People:
    """N people in one image, on the CPU. Do not write to the arrays: they may share memory."""

    ids: tuple[str, ...]  # N, each starts with a letter
    boxes: Boxes
    crop_xywh: FloatArray  # (N, 4) px, the square that the network saw
    parameters: EhmParameters
    translation: FloatArray  # (N, 3) m, optical; add it to joints and vertices
    joints: FloatArray  # (N, 55, 3) m, output of the body model for `parameters`
    rotations: FloatArray  # (N, 55, 3, 3) of each joint, model axes to optical
    vertices: FloatArray | None  # (N, V, 3) m, like `joints`; None if no mesh was requested
    is_metric: bool
    visible: tuple[bool, ...]  # N; False: not seen in this image, but predicted
    age_s: FloatArray  # (N,) s, since the person was seen first
    plausibility: FloatArray  # (N,) of the last estimate, 0 to 1
    shape_confidence: FloatArray  # (N,) of `betas` and `flame_betas`, 0 to 1
    # Optical axes; relative to the world if `Frame.world_from_optical` is known, else the camera.
    velocity: FloatArray  # (N, 3) m/s, of the pelvis
    joint_velocity: FloatArray  # (N, 55, 3) m/s
    contact: FloatArray  # (N, 2) probability that the left and the right foot stand on the floor
    covariance: FloatArray  # (N, 3, 3) m^2, optical, of the pelvis's position
    joint_sigma_m: FloatArray  # (N, 55) standard deviation of each joint's position along an axis
    distance_source: tuple[str, ...]  # N of DISTANCE_SOURCES

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: IntArray) -> People:
        """Returns the people with these row indices, in this order."""
        index = torch.from_numpy(rows)
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            boxes=self.boxes[rows],
            crop_xywh=self.crop_xywh[rows],
            parameters=map_tensors(self.parameters, lambda values: values[index]),
            translation=self.translation[rows],
            joints=self.joints[rows],
            rotations=self.rotations[rows],
            vertices=None if self.vertices is None else self.vertices[rows],
            visible=tuple(self.visible[row] for row in rows),
            age_s=self.age_s[rows],
            plausibility=self.plausibility[rows],
            shape_confidence=self.shape_confidence[rows],
            velocity=self.velocity[rows],
            joint_velocity=self.joint_velocity[rows],
            contact=self.contact[rows],
            covariance=self.covariance[rows],
            joint_sigma_m=self.joint_sigma_m[rows],
            distance_source=tuple(self.distance_source[row] for row in rows),
        )


def seen_now(count: int) -> dict[str, Any]:
    """The fields of `People` about tracking and accuracy, for N people who are known exactly.

    They stand still.
    """
    return {
        "visible": (True,) * count,
        "age_s": np.zeros(count, np.float32),
        "plausibility": np.ones(count, np.float32),
        "shape_confidence": np.ones(count, np.float32),
        "velocity": np.zeros((count, 3), np.float32),
        "joint_velocity": np.zeros((count, NUM_JOINTS, 3), np.float32),
        "contact": np.zeros((count, 2), np.float32),
        "covariance": np.zeros((count, 3, 3), np.float32),
        "joint_sigma_m": np.zeros((count, NUM_JOINTS), np.float32),
        "distance_source": ("image",) * count,
    }


def unknown_motion(count: int) -> dict[str, Any]:
    """The fields of `People` about motion and accuracy, for N people of whom they are not known."""
    shapes = {
        "velocity": (count, 3),
        "joint_velocity": (count, NUM_JOINTS, 3),
        "contact": (count, 2),
        "covariance": (count, 3, 3),
        "joint_sigma_m": (count, NUM_JOINTS),
    }
    unknown: dict[str, Any] = {
        name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()
    }
    return unknown | {"distance_source": ("image",) * count}


def neutral_parameters(count: int) -> EhmParameters:
    """N people with the mean shape, upright in the T-pose; `camera_t` is 0."""
    matrices = {"global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15}
    vectors = {
        "betas": 200, "expression": 50, "hand_scale": 3, "flame_eye_pose": 6,
        "flame_global_pose": 3, "flame_jaw_pose": 3, "flame_eyelids": 2, "flame_betas": 300,
        "flame_expression": 50, "camera_t": 3,
    }  # fmt: skip
    return EhmParameters(
        head_scale=torch.ones(count, 3),
        **{name: torch.zeros(count, size) for name, size in vectors.items()},
        **{name: torch.eye(3).repeat(count, size, 1, 1) for name, size in matrices.items()},
    )


_Batch = TypeVar("_Batch")


def join(batches: Sequence[EhmParameters]) -> EhmParameters:
    """The parameters of all people of at least one batch."""
    columns = {f.name: [getattr(batch, f.name) for batch in batches] for f in _FIELDS}
    return EhmParameters(**{name: torch.cat(column) for name, column in columns.items()})


_FIELDS = dataclasses.fields(EhmParameters)


def map_tensors(batch: _Batch, function: Callable[[Tensor], Tensor]) -> _Batch:
    """Applies `function` to every tensor of a dataclass of tensors; None fields stay None."""
    fields: list[dataclasses.Field[Any]] = list(dataclasses.fields(batch))  # type: ignore[arg-type]
    values = {f.name: getattr(batch, f.name) for f in fields}
    return type(batch)(**{k: None if v is None else function(v) for k, v in values.items()})
