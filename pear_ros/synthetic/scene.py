"""People who move in front of a calibrated camera: images with exact ground truth.

The world frame has the axes of a level camera: x right, y down, z forward. The camera is at its
origin, and the floor is `height_m` below.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import project
from pear_ros.people import (
    Boxes,
    Camera,
    EhmParameters,
    FloatArray,
    ImageArray,
    People,
    seen_now,
)
from pear_ros.rendering.renderer import Light, Lighting, Rendering, render
from pear_ros.synthetic.actions import Repertoire
from pear_ros.synthetic.appearance import Wardrobe
from pear_ros.synthetic.background import draw_background
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


def random_lighting(random: Random) -> Lighting:
    """One strong light from above or the side, a weak one from the camera."""
    direction = random.normal((0, 0.6, 0.7), (0.7, 0.5, 0.4))
    ambient = random.uniform(0.25, 0.6)
    strong = random.uniform(0.3, 0.9)
    lights = (Light(tuple(direction), strong), Light((0, 0, 1), random.uniform(0, 0.3)))
    return Lighting(ambient, lights)


@dataclass(frozen=True)
class Shot:
    """One image and its ground truth."""

    time_s: float
    image: ImageArray  # (H, W, 3) RGB
    camera: Camera
    people: People  # ground truth with vertices, people outside of the image included
    visible: FloatArray  # (N,) unoccluded fraction of a person's pixels; NaN if not computed


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
    ) -> None:
        # Separate streams, so that the numbers drawn for one do not depend on the use of another.
        appearance, motion, self._stream = random.spawn(3)
        self.shapes = cast.shapes(1, appearance)
        self.colors = cast.wardrobe.colors(appearance)  # (V, 3)
        self.motion = Motion(repertoire, motion)
        self._lane = lane
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


class Scene:
    """`scene.shot(time_s)` renders any time from 0 on. The same seed gives the same scene."""

    def __init__(
        self,
        cast: Cast,
        repertoire: Repertoire,
        seed: int | Sequence[int],
        people: int,
        width: int = 640,
        height: int = 480,
    ) -> None:
        random = np.random.default_rng(seed)
        self._cast = cast
        focal_px = random.uniform(0.75, 1.15) * width
        self.camera = Camera(focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
        self._height_m = random.uniform(0.9, 1.7)
        pitch = np.degrees(np.arctan2(self._height_m - 0.95, 3.5)) + random.normal(0, 2)
        rotation = Rotation.from_euler("xz", (pitch, random.normal(0, 1)), degrees=True)
        self._optical_from_world: Array = rotation.as_matrix()
        self._background = draw_background(width, height, random)
        self._lighting = random_lighting(random)
        # Lanes side by side, so that people occlude each other sometimes, but not always.
        edges = np.linspace(-0.40, 0.40, people + 1) * width / focal_px
        near = max(2.2, 1.15 * 1.9 * focal_px / height)  # so that a person's height fits
        self._actors = [
            Actor(cast, repertoire, (left, right, near, near + 2.5), random)
            for left, right in pairwise(edges)
        ]

    def shot(self, time_s: float, visibility: bool = True) -> Shot:
        """Renders the image at `time_s` with its ground truth.

        With `visibility`, each person is also rendered alone, to compute its unoccluded fraction.
        """
        people = self._people(time_s)
        assert people.vertices is not None
        placed = people.vertices + people.translation[:, None]  # (N, V, 3)
        colors = np.stack([actor.colors for actor in self._actors])
        picture = self._render(placed, colors)
        visible = np.full(len(people), np.nan, np.float32)
        if visibility:
            for i in range(len(people)):
                alone = self._render(placed[i : i + 1], colors[i : i + 1])
                pixels = max((alone.people == 0).sum(), 1)
                visible[i] = (picture.people == i).sum() / pixels
        return Shot(time_s, picture.image, self.camera, people, visible)

    def _render(self, placed: FloatArray, colors: FloatArray) -> Rendering:
        return render(
            self._background, placed, self._cast.faces, colors, self.camera, lighting=self._lighting
        )

    def _people(self, time_s: float) -> People:
        optical_from_world = self._optical_from_world
        places = np.array([actor.place(time_s) for actor in self._actors])  # (N, 3)
        headings = Rotation.from_euler("y", -places[:, 2:], degrees=True)
        parameters = parameters_of(
            optical_from_world @ (headings * FACING_CAMERA).as_matrix(),
            np.stack([actor.motion(time_s) for actor in self._actors]),
            np.stack([actor.motion.face(time_s) for actor in self._actors]),
            join([actor.shapes for actor in self._actors]),
        )
        with torch.inference_mode():
            bodies = self._cast.body_model(parameters, mesh=True)
        assert bodies.vertices is not None
        vertices = bodies.vertices.numpy()
        down = optical_from_world[:, 1].astype(np.float32)  # the world's y axis
        lowest = (vertices @ down).max(1)  # (N,) in world coordinates
        in_world = np.stack((places[:, 0], self._height_m - lowest, places[:, 1]), -1)  # (N, 3)
        translation = (in_world @ optical_from_world.T).astype(np.float32)
        boxes = boxes_of(vertices + translation[:, None], self.camera)
        height, width, _ = self._background.shape
        return People(
            ids=tuple(f"p{i + 1}" for i in range(len(boxes))),
            boxes=Boxes(boxes, np.ones(len(boxes), np.float32)),
            crop_xywh=square_boxes(boxes, width, height),
            parameters=parameters,
            translation=translation,
            joints=bodies.joints.numpy(),
            rotations=bodies.rotations.numpy(),
            vertices=vertices,
            is_metric=True,
            **seen_now(len(boxes)),
        )


def boxes_of(placed: FloatArray, camera: Camera) -> FloatArray:
    """Vertices (N, V, 3) m, optical -> bounding boxes (N, 4) xyxy, px, of the meshes."""
    pixels = project(placed, camera)
    return np.concatenate((pixels.min(1), pixels.max(1)), -1)


def join(shapes: Sequence[BodyShapes]) -> BodyShapes:
    """Concatenates the shapes of several people."""
    return BodyShapes(*(np.concatenate(parts) for parts in zip(*(
        (s.betas, s.flame_betas, s.head_scale) for s in shapes), strict=True)))  # fmt: skip
