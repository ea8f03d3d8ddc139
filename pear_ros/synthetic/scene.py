"""People who move in front of a calibrated camera: images with exact ground truth.

The stage is where people act. It has the axes of a level camera: x right, y down, z forward. At
time 0 the camera is at its origin, and the floor is `height_m` below. The world frame, see base.py,
has its origin on the floor below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import project
from pear_ros.geometry.lens import slopes_of
from pear_ros.people import Boxes, Camera, FloatArray, ImageArray, People, seen_now, unknown_motion
from pear_ros.rendering.renderer import Light, Lighting, Rendering, render
from pear_ros.synthetic.actions import Repertoire
from pear_ros.synthetic.actors import FACING_CAMERA, Actor, Cast, Route, join, parameters_of
from pear_ros.synthetic.background import draw_background
from pear_ros.synthetic.base import BASE_FROM_LEVEL, inverse, moved, pose, world_from_base
from pear_ros.synthetic.depth_sensor import DepthSensor, Room

__all__ = ["FACING_CAMERA", "Cast", "Scene", "Shot", "boxes_of", "parameters_of"]

Array = NDArray[np.float64]
Random = np.random.Generator

MOTION_STEP_S = 0.001  # between the two poses whose difference is a velocity
SOLE_VERTICES = 20  # the lowest ones of a foot
# A foot stands on the floor if its sole is lower and slower.
CONTACT_M, CONTACT_M_S = 0.02, 0.1


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
    world_from_base: Array  # (4, 4)
    base_from_optical: Array  # (4, 4), always the same
    depth_m: FloatArray | None = None  # (H, W) as measured; 0: no value; None if not asked for
    sole_height_m: FloatArray | None = None  # (N, 2) of the left and the right foot
    sole_speed_m_s: FloatArray | None = None  # (N, 2)

    @property
    def world_from_optical(self) -> Array:
        """(4, 4) the pose of the camera."""
        return self.world_from_base @ self.base_from_optical

    @property
    def floor(self) -> Array:
        """(4,) as `Frame.floor`."""
        return floor_of(self.world_from_optical)


def floor_of(world_from_optical: Array) -> Array:
    """The plane z = 0 of the world, optical (4,): normal upwards, and the camera's height, m."""
    return world_from_optical[2].copy()


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
        camera: Camera | None = None,
        base: str = "still",
        routes: Sequence[Route] | None = None,
    ) -> None:
        """Draws camera, room and people.

        Args:
            cast: What all scenes share.
            repertoire: What the people do.
            seed: Of all that is random.
            people: How many.
            width: Of the image, px.
            height: Of the image, px.
            camera: Its intrinsics; None: a random pinhole.
            base: One of BASES.
            routes: Of each person; None: people walk between random places.
        """
        random = np.random.default_rng(seed)
        self._cast, self._base = cast, base
        self._noise_seed = [seed] if isinstance(seed, int) else list(seed)
        focal_px = random.uniform(0.75, 1.15) * width
        reach = 0.40 * width / focal_px  # x / z of the outermost lanes' edges
        if camera is not None:
            focal_px = camera.fx
            reach = 0.8 * float(slopes_of(np.array((width - 0.5, camera.cy)), camera)[0])
        pinhole = Camera(focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
        self.camera = camera or pinhole
        self._height_m = random.uniform(0.9, 1.7)
        pitch = np.degrees(np.arctan2(self._height_m - 0.95, 3.5)) + random.normal(0, 2)
        rotation = Rotation.from_euler("xz", (pitch, random.normal(0, 1)), degrees=True)
        self._optical_from_stage: Array = rotation.as_matrix()
        self._background = draw_background(width, height, random)
        self._lighting = random_lighting(random)
        # Lanes side by side, so that people occlude each other sometimes, but not always.
        edges = np.linspace(-reach, reach, people + 1)
        near = max(2.2, 1.15 * 1.9 * focal_px / height)  # so that a person's height fits
        given: Sequence[Route | None] = routes or [None] * people
        self._actors = [
            Actor(cast, repertoire, (left, right, near, near + 2.5), random, route)
            for (left, right), route in zip(pairwise(edges), given, strict=True)
        ]

    def shot(
        self,
        time_s: float,
        visibility: bool = True,
        motion: bool = False,
        sensor: DepthSensor | None = None,
    ) -> Shot:
        """Renders the image at `time_s` with its ground truth.

        Args:
            time_s: From 0 on.
            visibility: Render each person alone, too, to compute its unoccluded fraction.
            motion: Compute velocities, contacts and soles, too.
            sensor: Makes the depth image; None: there is none.
        """
        people = self.people(time_s)
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
        shot = Shot(
            time_s,
            picture.image,
            self.camera,
            people,
            visible,
            world_from_base(self._base, time_s),
            self.base_from_optical,
        )
        if sensor is not None:
            room_m = self._room.depth_m(shot.world_from_optical)
            random = np.random.default_rng((*self._noise_seed, round(1e6 * time_s)))
            depth_m = sensor.measured(np.minimum(picture.depth_m, room_m), picture.image, random)
            shot = replace(shot, depth_m=depth_m)
        return self._with_motion(shot) if motion else shot

    @property
    def base_from_optical(self) -> Array:
        """(4, 4) the pose of the camera on its base, above the base's origin."""
        return pose(BASE_FROM_LEVEL @ self._optical_from_stage.T, np.array((0, 0, self._height_m)))

    @cached_property
    def _room(self) -> Room:
        height, width, _ = self._background.shape
        return Room(self.camera, width, height)

    def _render(self, placed: FloatArray, colors: FloatArray) -> Rendering:
        return render(
            self._background, placed, self._cast.faces, colors, self.camera, lighting=self._lighting
        )

    def _camera_pose(self, time_s: float) -> tuple[Array, Array]:
        """Optical axes from the stage's (3, 3), and the stage's origin (3,) m, optical."""
        if self._base == "still":
            return self._optical_from_stage, np.zeros(3)
        world_from_stage = pose(BASE_FROM_LEVEL, np.array((0, 0, self._height_m)))
        optical_from_world = inverse(world_from_base(self._base, time_s) @ self.base_from_optical)
        optical_from_stage = optical_from_world @ world_from_stage
        return optical_from_stage[:3, :3], optical_from_stage[:3, 3]

    def people(self, time_s: float) -> People:
        """The ground truth with vertices, without an image; velocities are NaN."""
        optical_from_stage, origin = self._camera_pose(time_s)
        places = np.array([actor.place(time_s) for actor in self._actors])  # (N, 3)
        headings = Rotation.from_euler("y", -places[:, 2:], degrees=True)
        parameters = parameters_of(
            optical_from_stage @ (headings * FACING_CAMERA).as_matrix(),
            np.stack([actor.motion(time_s) for actor in self._actors]),
            np.stack([actor.motion.face(time_s) for actor in self._actors]),
            join([actor.shapes for actor in self._actors]),
        )
        with torch.inference_mode():
            bodies = self._cast.body_model(parameters, mesh=True)
        assert bodies.vertices is not None
        vertices = bodies.vertices.numpy()
        down = optical_from_stage[:, 1].astype(np.float32)  # the stage's y axis
        lowest = (vertices @ down).max(1)  # (N,) in the stage's coordinates
        on_stage = np.stack((places[:, 0], self._height_m - lowest, places[:, 1]), -1)  # (N, 3)
        translation = (on_stage @ optical_from_stage.T + origin).astype(np.float32)
        boxes = boxes_of(vertices + translation[:, None], self.camera)
        height, width, _ = self._background.shape
        unknown = ("velocity", "joint_velocity", "contact")
        motion = {name: unknown_motion(len(boxes))[name] for name in unknown}
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
            **seen_now(len(boxes)) | motion,
        )

    def _with_motion(self, shot: Shot) -> Shot:
        """Adds velocities, contacts and soles, from the poses now and shortly afterwards."""
        now = _in_world(shot.people, shot.world_from_optical)
        later_s = shot.time_s + MOTION_STEP_S
        world_from_optical = world_from_base(self._base, later_s) @ self.base_from_optical
        later = _in_world(self.people(later_s), world_from_optical)
        joints, vertices = ((b - a) / MOTION_STEP_S for a, b in zip(now, later, strict=True))  # m/s
        soles = [self._soles(*rows) for rows in zip(now[1], vertices, strict=True)]
        height_m, speed_m_s = np.array(soles).swapaxes(0, 1)  # (N, 2) each
        velocity = (joints @ shot.world_from_optical[:3, :3]).astype(np.float32)  # optical axes
        stands = (height_m < CONTACT_M) & (speed_m_s < CONTACT_M_S)
        people = replace(
            shot.people,
            velocity=velocity[:, 0],
            joint_velocity=velocity,
            contact=stands.astype(np.float32),
        )
        return replace(shot, people=people, sole_height_m=height_m, sole_speed_m_s=speed_m_s)

    def _soles(self, vertices: Array, velocity: Array) -> tuple[list[float], list[float]]:
        """Heights, m, and speeds, m/s, of the left and the right sole; both (V, 3), world."""
        heights, speeds = [], []
        for foot in self._cast.feet:
            sole = foot[np.argsort(vertices[foot, 2])[:SOLE_VERTICES]]
            heights.append(float(vertices[sole, 2].mean()))
            speeds.append(float(np.linalg.norm(velocity[sole].mean(0))))
        return heights, speeds


def _in_world(people: People, world_from_optical: Array) -> tuple[Array, Array]:
    """Joints (N, 55, 3) and vertices (N, V, 3), m."""
    assert people.vertices is not None
    translation = people.translation[:, None].astype(np.float64)
    joints, vertices = (
        moved(world_from_optical, points + translation)
        for points in (people.joints, people.vertices)
    )
    return joints, vertices


def boxes_of(placed: FloatArray, camera: Camera) -> FloatArray:
    """Vertices (N, V, 3) m, optical -> bounding boxes (N, 4) xyxy, px, of the meshes."""
    pixels = project(placed, camera)
    return np.concatenate((pixels.min(1), pixels.max(1)), -1)
