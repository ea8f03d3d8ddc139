"""A person whose feet stand still while they are on the floor, and what the network says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import load_assets
from pear_ros.config import PlacementSettings, SmoothingSettings, TrackingSettings
from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, Boxes, Camera, EhmParameters, map_tensors
from pear_ros.synthetic.controls import INDEX
from pear_ros.synthetic.scene import FACING_CAMERA, Cast, parameters_of
from pear_ros.synthetic.shapes import BodyShapes
from pear_ros.system.installed import shared_file
from pear_ros.tracking.body_size import Measured
from pear_ros.tracking.contacts import FEET
from pear_ros.tracking.follower import Estimated, Follower

CAMERA = Camera(400, 400, 320, 240)
SIZE = 480, 640  # px
CAMERA_HEIGHT_M = 1.2
SOLE_M = 0.02  # of the ball's joint above the floor
CYCLE_S, STANCE = 1.1, 0.6  # time of two steps, and the share of it that a foot is on the floor
LIFT_M = 0.08  # of a swinging foot
BENT = 0.9  # height of the hip, of the straight leg
# Of the demo network on rendered people, new in each image (pear_ros/evaluation/smoothing.py).
JOINT_NOISE_RAD, LATERAL_NOISE_M, DEPTH_NOISE_M = 0.02, 0.003, 0.04


@dataclass(frozen=True)
class Steps:
    """A person in I images, in the axes of a level camera that stands still."""

    rate_hz: float
    parameters: EhmParameters  # (I, ...)
    translation: np.ndarray  # (I, 3) m
    joints: np.ndarray  # (I, 55, 3) m, with the translation
    stands: np.ndarray  # (I, 2) whether the foot is on the floor; its ball then does not move

    @property
    def stamps_s(self) -> np.ndarray:
        return np.arange(len(self.joints)) / self.rate_hz


@cache
def cast() -> Cast:
    return Cast(load_assets(shared_file("standin/body.npz")))


def steps(
    speed_m_s: float = 1.0,
    rate_hz: float = 30.0,
    duration_s: float = 2.5,
    heading_deg: float = 90.0,
    start_m: tuple[float, float] = (-1.2, 3.5),
    seed: int = 0,
) -> Steps:
    """A person who walks straight at a constant speed; at 0 m/s the person stands.

    Heading 0 is towards the camera, 90 to the right. The feet are flat on the floor for 60 % of the
    time, then swing by a stride; the legs follow by inverse kinematics.
    """
    shapes = cast().shapes(1, np.random.default_rng(seed))
    count = round(duration_s * rate_hz)
    stamps_s = np.arange(count) / rate_hz
    rows = [
        np.repeat(values, count, 0)
        for values in (shapes.betas, shapes.flame_betas, shapes.head_scale)
    ]
    turn = Rotation.from_euler("y", -np.radians(heading_deg)) * FACING_CAMERA
    controls = {
        f"{side}_{name}": np.full(count, value)
        for side in ("left", "right")
        for name, value in (("arm_raise", 12.0), ("elbow", 15.0))
    }
    rest = joints_of(parameters_of(*_posed(turn, {}, count), BodyShapes(*rows)))[0]
    rest = rest @ turn.as_matrix()  # (55, 3) model axes: y up, z forward
    stands = np.zeros((count, 2), bool)
    for foot, side in enumerate(("left", "right")):
        cycle = stamps_s / CYCLE_S + 0.5 * foot
        step, phase = np.floor(cycle), cycle % 1
        swing = np.clip((phase - STANCE) / (1 - STANCE), 0, 1)
        stands[:, foot] = (phase < STANCE) | (speed_m_s == 0)
        place = speed_m_s * CYCLE_S * (step - 0.5 * foot + STANCE / 2 + swing**2 * (3 - 2 * swing))
        forward = place - speed_m_s * stamps_s  # of the ankle, from the hip
        lift = LIFT_M * np.sin(np.pi * swing) ** 2 * (speed_m_s > 0)
        controls |= _leg(rest, side, forward, lift)
    parameters = parameters_of(*_posed(turn, controls, count), BodyShapes(*rows))
    joints = joints_of(parameters)
    translation = np.zeros((count, 3))
    ahead = turn.as_matrix()[:, 2]  # (3,) optical
    translation += np.outer(speed_m_s * stamps_s, ahead)
    translation += np.array((start_m[0], 0.0, start_m[1])) - joints[0, 0] * (1, 0, 1)
    lowest = joints[:, FEET, 1].max((1, 2))
    translation[:, 1] = CAMERA_HEIGHT_M - SOLE_M - lowest.mean()
    return Steps(rate_hz, parameters, translation, joints + translation[:, None], stands)


def _posed(
    turn: Rotation, controls: dict[str, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.zeros((count, len(INDEX)))
    for name, values in controls.items():
        rows[:, INDEX[name]] = values
    return np.repeat(turn.as_matrix()[None], count, 0), rows, np.zeros((count, 50))


def _leg(
    rest: np.ndarray, side: str, forward: np.ndarray, lift: np.ndarray
) -> dict[str, np.ndarray]:
    """Controls (I,), degrees, that put the ankle `forward` of the hip with the foot level."""
    hip, knee, ankle = (rest[JOINT[f"{side}_{name}"], 1:] for name in ("hip", "knee", "ankle"))
    thigh, shank = knee - hip, ankle - knee  # up, forward
    long, short = np.linalg.norm(thigh), np.linalg.norm(shank)
    down = BENT * (long + short) - lift
    reach = np.minimum(np.hypot(forward, down), 0.9999 * (long + short))
    angle = np.arctan2(forward, down)
    thigh_rad = angle + np.arccos((long**2 + reach**2 - short**2) / (2 * long * reach))
    shank_rad = angle - np.arccos((short**2 + reach**2 - long**2) / (2 * short * reach))
    flex = thigh_rad - np.arctan2(thigh[1], -thigh[0])
    pitch = shank_rad - np.arctan2(shank[1], -shank[0])
    values = {"hip_flex": flex, "knee": flex - pitch, "ankle": pitch}
    return {f"{side}_{name}": np.degrees(value) for name, value in values.items()}


def joints_of(parameters: EhmParameters) -> np.ndarray:
    """(N, 55, 3) m, without translation."""
    with torch.inference_mode():
        joints: np.ndarray = cast().body_model(parameters).joints.numpy()
    return joints


def with_noise(true: Steps, random: np.random.Generator, depth_m: float = DEPTH_NOISE_M) -> Steps:
    """What the network says."""
    count = len(true.joints)
    noise = Rotation.from_rotvec(JOINT_NOISE_RAD * random.standard_normal((count * 22, 3)))
    turns = noise.as_matrix().reshape(count, 22, 3, 3).astype(np.float32)
    p = true.parameters
    parameters = replace(
        p,
        global_orient=p.global_orient @ torch.from_numpy(turns[:, :1]),
        body_pose=p.body_pose @ torch.from_numpy(turns[:, 1:]),
    )
    ray = true.joints[:, 0] / np.linalg.norm(true.joints[:, 0], axis=1, keepdims=True)
    translation = (
        true.translation
        + LATERAL_NOISE_M * random.standard_normal((count, 3))
        + depth_m * random.standard_normal((count, 1)) * ray
    )
    joints = joints_of(parameters) + translation[:, None]
    return Steps(true.rate_hz, parameters, translation, joints, true.stands)


@dataclass(frozen=True)
class Published:
    """What is published of a person in I images, in the axes of the camera of the first."""

    joints: np.ndarray  # (I, 55, 3) m
    velocity: np.ndarray  # (I, 3) m/s
    joint_velocity: np.ndarray  # (I, 55, 3) m/s
    contact: np.ndarray  # (I, 2)


def follow(
    estimates: Steps,
    foot_locking: bool = False,
    knows_floor: bool = False,
) -> Published:
    """Follows the person of each image."""
    follower = Follower(
        "p",
        TrackingSettings(confirm_score=0.0),
        SmoothingSettings(),
        PlacementSettings(foot_locking=foot_locking),
    )
    floor = np.array((0.0, -1.0, 0.0, CAMERA_HEIGHT_M)) if knows_floor else None
    rows = []
    for i, stamp_s in enumerate(estimates.stamps_s):
        image = _image(estimates, i)
        people = follower(image, CAMERA, SIZE, float(stamp_s), None, floor)
        assert people.ids == ("p0001",)
        joints = joints_of(people.parameters)
        moving = follower.moving(people, joints)
        placed = joints + moving.translation[:, None]
        rows.append((placed, people.velocity, moving.joint_velocity, moving.contact))
    return Published(*(np.concatenate(values) for values in zip(*rows, strict=True)))


def _image(estimates: Steps, i: int) -> Estimated:
    placed = estimates.joints[i].astype(np.float32)
    translation = estimates.translation[i : i + 1].astype(np.float32)
    pixels = project(placed, CAMERA)
    xyxy = np.concatenate((pixels.min(0) - 5, pixels.max(0) + 5))[None]
    return Estimated(
        boxes=Boxes(xyxy.astype(np.float32), np.full(1, 0.95, np.float32)),
        parameters=map_tensors(estimates.parameters, lambda values: values[i : i + 1]),
        translation=translation,
        joints=placed[None] - translation[:, None],
        plausibility=np.ones(1, np.float32),
        is_detected=True,
        measured=Measured.from_image(np.full(1, 1.7)),
    )
