"""The people of a scene: bodies, clothes, motions, and their paths on the floor."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.people import JOINT, EhmParameters, IntArray
from pear_ros.synthetic.actions import Repertoire
from pear_ros.synthetic.appearance import Wardrobe
from pear_ros.synthetic.controls import rotations
from pear_ros.synthetic.motion import Motion
from pear_ros.synthetic.shapes import BodyShapes, ShapeSampler

Array = NDArray[np.float64]
Random = np.random.Generator

SHAPE_SPREAD = 0.7  # standard deviation of the shape coefficients
STEP_S = 1 / 30  # of the simulated walk
KEPT_STEPS = 300  # latest steps that are kept
WALK_M_S, TURN_DEG_S = 1.0, 110.0
FACING_CAMERA = Rotation.from_euler("x", 180, degrees=True)  # model axes to optical, upright person


class Cast:
    """The body model, body shapes and clothes that all scenes share."""

    def __init__(self, assets: BodyAssets) -> None:
        self.body_model = BodyModel(assets)
        self.faces = assets.body_faces  # (F, 3)
        self._shapes = ShapeSampler(assets)
        self.wardrobe = Wardrobe(assets)
        joint = assets.body_weights.argmax(1)  # (V,) the joint that moves a vertex most
        self.feet: tuple[IntArray, ...] = tuple(
            np.flatnonzero((joint == JOINT[f"{side}_ankle"]) | (joint == JOINT[f"{side}_foot"]))
            for side in ("left", "right")
        )  # the vertices of each foot

    def shapes(self, count: int, random: Random) -> BodyShapes:
        """Draws the shapes of `count` people."""
        return self._shapes.sample(count, random, SHAPE_SPREAD)


def parameters_of(
    orientation: Array, controls: Array, expression: Array, shapes: BodyShapes
) -> EhmParameters:
    """The EHM parameters of N people; `camera_t` is zero.

    Args:
        orientation: (N, 3, 3) model axes to optical.
        controls: (N, C), see controls.py.
        expression: (N, 50), used for the body and the head.
        shapes: Shapes of N people.
    """
    count = len(controls)
    pose = rotations(controls)
    zero = np.zeros((count, 3))
    values = {
        "global_orient": orientation[:, None],
        "body_pose": pose.body_pose,
        "left_hand_pose": pose.left_hand_pose,
        "right_hand_pose": pose.right_hand_pose,
        "betas": shapes.betas,
        "expression": expression,
        "hand_scale": zero + 1,
        "head_scale": shapes.head_scale,
        "flame_eye_pose": pose.flame_eye_pose,
        "flame_global_pose": zero,
        "flame_jaw_pose": pose.flame_jaw_pose,
        "flame_eyelids": pose.flame_eyelids,
        "flame_betas": shapes.flame_betas,
        "flame_expression": expression,
        "camera_t": zero,
    }
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(value, np.float32))
        for name, value in values.items()
    }
    return EhmParameters(**tensors)


@dataclass(frozen=True)
class Route:
    """A straight path on the floor; x right and z forward of where the camera is at time 0."""

    x_m: float
    z_m: float
    heading_deg: float = 0.0  # 0: faces the camera
    speed_m_s: float = 0.0  # in the direction of the heading; the motion should be that of a walk

    def place(self, time_s: float) -> tuple[float, float, float]:
        """The position x and z, m, and the heading, degrees."""
        heading = np.radians(self.heading_deg)
        way_m = self.speed_m_s * time_s
        x, z = self.x_m + way_m * np.sin(heading), self.z_m - way_m * np.cos(heading)
        return float(x), float(z), self.heading_deg


class Actor:
    """One person of a scene: colours, motion, and path on the floor.

    Only the latest steps are kept: for an earlier time, the path is simulated again from the start,
    with the same result.
    """

    def __init__(
        self,
        cast: Cast,
        repertoire: Repertoire,
        lane: tuple[float, float, float, float],  # min and max of x / z; min and max of z, m
        random: Random,
        route: Route | None = None,  # to follow, instead of walks between places of the lane
    ) -> None:
        # Separate streams, so that the numbers drawn for one do not depend on the use of another.
        appearance, motion, self._stream = random.spawn(3)
        self.shapes = cast.shapes(1, appearance)
        self.colors = cast.wardrobe.colors(appearance)  # (V, 3)
        self.motion = Motion(repertoire, motion)
        self._lane, self._route = lane, route
        self._restart()

    def _restart(self) -> None:
        self._random = copy.deepcopy(self._stream)
        self._standing_heading_deg = self._random.normal(0, 40)
        x, z = self._random_place()
        start = (x, z, float(self._random.normal(0, 60)))
        self._path = deque([start], maxlen=KEPT_STEPS)  # x m, z m, heading degrees; every STEP_S
        self._steps = 1  # simulated steps, including those that are no longer kept
        self._goal = self._random_place()

    def place(self, time_s: float) -> tuple[float, float, float]:
        """The position x and z, m, and the heading, degrees; heading 0 faces the camera."""
        if self._route is not None:
            return self._route.place(time_s)
        step = int(time_s / STEP_S)
        if step < self._steps - len(self._path):
            self._restart()
        while self._steps <= step + 1:
            self._path.append(self._advance(self._steps * STEP_S))
            self._steps += 1
        begin, end = (np.array(self._path[i - self._steps]) for i in (step, step + 1))
        x, z, heading_deg = begin + (time_s / STEP_S - step) * (end - begin)
        return float(x), float(z), float(heading_deg)

    def _advance(self, time_s: float) -> tuple[float, float, float]:
        x, z, heading_deg = self._path[-1]
        walks = self.motion.walks(time_s)
        to_goal = np.subtract(self._goal, (x, z))
        if np.hypot(*to_goal) < 0.4:
            self._goal = self._random_place()
        # At heading h a person looks in the direction (sin h, -cos h) on the floor (x, z).
        to_goal_deg = np.degrees(np.arctan2(to_goal[0], -to_goal[1]))
        wanted_deg = to_goal_deg if walks else self._standing_heading_deg
        error = (wanted_deg - heading_deg + 180) % 360 - 180
        heading_deg += float(np.clip(error, -TURN_DEG_S * STEP_S, TURN_DEG_S * STEP_S))
        if walks and abs(error) < 60:
            x += WALK_M_S * STEP_S * np.sin(np.radians(heading_deg))
            z -= WALK_M_S * STEP_S * np.cos(np.radians(heading_deg))
        return float(x), float(z), heading_deg

    def _random_place(self) -> tuple[float, float]:
        left, right, near, far = self._lane
        z = float(self._random.uniform(near, far))
        return float(self._random.uniform(left, right)) * z, z


def join(shapes: Sequence[BodyShapes]) -> BodyShapes:
    """Concatenates the shapes of several people."""
    return BodyShapes(*(np.concatenate(parts) for parts in zip(*(
        (s.betas, s.flame_betas, s.head_scale) for s in shapes), strict=True)))  # fmt: skip
