"""How much smoothing reduces jitter, and how much it lags.

Jitter is the error of the joints' acceleration, on rendered people whose true motion is known. Lag
is measured on a hand that moves at 1 m/s, with the noise of the estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.body.body_model import BodyModel
from pear_ros.config import SmoothingSettings
from pear_ros.estimation.estimator import Estimate
from pear_ros.images.crop import squares_of
from pear_ros.people import JOINT, Boxes, EhmParameters, FloatArray, Frame, join
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene
from pear_ros.tracking.pose_filter import PoseFilter

Array = NDArray[np.float64]

RATE_HZ = 30.0
NO_SMOOTHING = SmoothingSettings(
    rotation_cutoff_hz=0.0,
    position_cutoff_hz=0.0,
    depth_cutoff_hz=0.0,
    expression_cutoff_hz=0.0,
    shape=False,
)
BOX_NOISE = 0.015  # standard deviation, of the box's size: a detector's boxes are not steady
# Noise that is new in each image, measured with the demo network on rendered people.
JOINT_NOISE_RAD = 0.02
LATERAL_NOISE_M, DEPTH_NOISE_M = 0.003, 0.04
HAND_SPEED_M_S = 1.0


@dataclass(frozen=True)
class Recording:
    """The estimates of P people in consecutive images at RATE_HZ, and the truth."""

    parameters: list[EhmParameters]  # (P, ...) for each image
    translation: list[FloatArray]  # (P, 3) m
    true_joints: FloatArray  # (images, P, 55, 3) m, optical


def record(cast: Cast, estimate: Estimate, seed: int, images: int, people: int = 2) -> Recording:
    """Renders a scene and estimates its people, each image on its own."""
    random = np.random.default_rng(seed)
    scene = Scene(cast, REPERTOIRES["held_out"], seed, people)
    parameters, translation, truth = [], [], []
    for i in range(images):
        shot = scene.shot(1 + i / RATE_HZ, visibility=False)
        true_xyxy = shot.people.boxes.xyxy
        size = np.tile(true_xyxy[:, 2:] - true_xyxy[:, :2], 2)
        noisy = true_xyxy + BOX_NOISE * size * random.standard_normal(size.shape)
        frame = Frame(shot.image, shot.camera, 0.0)
        boxes = Boxes(noisy.astype(np.float32), shot.people.boxes.scores)
        with torch.inference_mode():
            found = estimate([frame], squares_of([frame], [boxes]))
        parameters.append(found.parameters)
        translation.append(found.translation.numpy())
        truth.append(shot.people.joints + shot.people.translation[:, None])
    return Recording(parameters, translation, np.stack(truth))


def smoothed_joints(
    parameters: Sequence[EhmParameters],
    translation: Sequence[FloatArray],
    settings: SmoothingSettings,
    body_model: BodyModel,
) -> FloatArray:
    """The joints (images, P, 55, 3), m, optical, of P people after smoothing."""
    filter_ = PoseFilter(settings)
    ids = tuple(f"p{i}" for i in range(len(translation[0])))
    smoothed = []
    for i, people in enumerate(zip(parameters, translation, strict=True)):
        filter_(ids, *people, i / RATE_HZ)
        smoothed.append(filter_.smoothed(ids))
    with torch.inference_mode():
        joints = body_model(join([people.parameters for people in smoothed])).joints.numpy()
    placed: FloatArray = (
        joints.reshape(len(smoothed), len(ids), *joints.shape[1:])
        + np.stack([people.translation for people in smoothed])[:, :, None]
    )
    return placed


def acceleration_error(joints: FloatArray, truth: FloatArray) -> float:
    """Mean error of the joints' acceleration, mm per image squared; (images, P, J, 3) m each."""
    second_difference = np.diff(joints - truth, n=2, axis=0)
    return float(1e3 * np.linalg.norm(second_difference, axis=-1).mean())


@dataclass(frozen=True)
class Jitter:
    """Errors of the joints' acceleration, mm per image squared."""

    placed: float  # in the camera's frame
    relative: float  # to the pelvis
    position_error_mm: float  # mean distance of the joints from the truth, relative to the pelvis


def jitter(
    recordings: Sequence[Recording], settings: SmoothingSettings, body_model: BodyModel
) -> Jitter:
    """The jitter of all recordings after smoothing."""
    rows = []
    for r in recordings:
        joints = smoothed_joints(r.parameters, r.translation, settings, body_model)
        relative, true_relative = (x - x[:, :, :1] for x in (joints, r.true_joints))
        error = 1e3 * np.linalg.norm(relative - true_relative, axis=-1).mean()
        rows.append(
            (
                acceleration_error(joints, r.true_joints),
                acceleration_error(relative, true_relative),
                float(error),
            )
        )
    return Jitter(*(float(value) for value in np.mean(rows, 0)))


def lag_ms(
    motion: str, settings: SmoothingSettings, person: EhmParameters, body_model: BodyModel
) -> float:
    """How far the left hand lags behind at HAND_SPEED_M_S, ms, the mean over three seconds.

    Args:
        motion: "arm": the arm swings about the shoulder; "sideways" or "depth": the person moves.
        settings: Of the smoothing.
        person: Parameters of one person, for the body's shape.
        body_model: The body model.
    """
    random = np.random.default_rng(0)
    rest = replace(
        person,
        global_orient=torch.eye(3).expand(1, 1, 3, 3),
        body_pose=torch.eye(3).expand(1, 21, 3, 3),
    )
    with torch.inference_mode():
        arm = body_model(rest).joints[0, [JOINT["left_shoulder"], JOINT["left_wrist"]]]
    length_m = float(torch.linalg.vector_norm(arm[1] - arm[0]))
    estimates, truth = [], []
    for i in range(int(4 * RATE_HZ)):
        moved = HAND_SPEED_M_S * i / RATE_HZ
        angles = np.zeros((21, 3))
        place = np.array([[0.0, 0.0, 3.0]])
        if motion == "arm":
            angles[JOINT["left_shoulder"] - 1, 1] = 2.5 - moved / length_m
        else:
            place[0, 0 if motion == "sideways" else 2] += moved
        noise = random.standard_normal((1, 3)) * (LATERAL_NOISE_M, LATERAL_NOISE_M, DEPTH_NOISE_M)
        noisy = Rotation.from_rotvec(angles) * Rotation.from_rotvec(
            JOINT_NOISE_RAD * random.standard_normal((21, 3))
        )
        estimates.append((_posed(rest, noisy), (place + noise).astype(np.float32)))
        truth.append((_posed(rest, Rotation.from_rotvec(angles)), place.astype(np.float32)))
    found = smoothed_joints(*_columns(estimates), settings, body_model)
    true = smoothed_joints(*_columns(truth), NO_SMOOTHING, body_model)
    settled = slice(int(RATE_HZ), None)
    hand, true_hand = (x[settled, 0, JOINT["left_wrist"]] for x in (found, true))
    velocity = np.gradient(true_hand, 1 / RATE_HZ, axis=0)  # m/s
    behind_s = ((true_hand - hand) * velocity).sum(1) / (velocity * velocity).sum(1)
    return float(1e3 * behind_s.mean())


def _columns(
    rows: Sequence[tuple[EhmParameters, FloatArray]],
) -> tuple[list[EhmParameters], list[FloatArray]]:
    return [parameters for parameters, _ in rows], [translation for _, translation in rows]


def _posed(person: EhmParameters, pose: Rotation) -> EhmParameters:
    matrices = torch.from_numpy(pose.as_matrix()[None].astype(np.float32))
    return replace(person, body_pose=matrices)
