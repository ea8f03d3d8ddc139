"""Scenes for the evaluation of placement: one person each, where the evaluation needs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pear_ros.geometry.boxes import square_boxes
from pear_ros.people import Boxes, Camera, People
from pear_ros.synthetic.actions import Repertoire
from pear_ros.synthetic.actors import Cast, Route
from pear_ros.synthetic.depth_sensor import DepthSensor
from pear_ros.synthetic.held_out import HELD_OUT, high_step, stroll
from pear_ros.synthetic.optics import camera_with
from pear_ros.synthetic.scene import Scene, Shot, boxes_of

WIDTH, HEIGHT = 640, 480
DISTANCE_M = 4.0
MARGIN_DEG = 12.0  # between a person at the border and the edge of the image: an arm's length


WALK: Repertoire = (stroll,)
# Without walks: the feet stay, arms and trunk move.
IN_PLACE: Repertoire = tuple(action for action in HELD_OUT if action not in (stroll, high_step))


@dataclass(frozen=True)
class View:
    """A camera, and where in its image people are."""

    lens: str
    fov_deg: float
    at_border: bool = False

    @property
    def name(self) -> str:
        return (
            f"{self.lens}, {self.fov_deg:.0f} degrees, {'border' if self.at_border else 'centre'}"
        )

    @property
    def camera(self) -> Camera:
        return camera_with(self.lens, self.fov_deg, WIDTH, HEIGHT)

    def bearing(self, side: float) -> float:
        """The direction of people, rad; at the border, -1: on the left side, 1: on the right."""
        return self.at_border * side * float(np.radians(self.fov_deg / 2 - MARGIN_DEG))

    def route(self, random: np.random.Generator) -> Route:
        """Somebody who stands DISTANCE_M away, turned in any direction but away."""
        angle = self.bearing(random.choice((-1, 1)))
        heading_deg = np.degrees(-angle) + random.normal(0, 40)
        return Route(DISTANCE_M * np.sin(angle), DISTANCE_M * np.cos(angle), float(heading_deg))


@dataclass(frozen=True)
class Images:
    """Images of one scene at equal intervals."""

    scene: Scene
    count: int
    rate_hz: float
    sensor: DepthSensor | None = None
    motion: bool = False
    start_s: float = 0.0

    def shots(self) -> Iterator[Shot]:
        """Yields the images; their times begin at 0."""
        for i in range(self.count):
            elapsed_s = i / self.rate_hz
            shot = self.scene.shot(
                self.start_s + elapsed_s,
                visibility=False,
                motion=self.motion,
                sensor=self.sensor,
            )
            yield replace(shot, time_s=elapsed_s)


def scene(
    cast: Cast,
    view: View,
    seed: tuple[int, ...],
    repertoire: Repertoire = HELD_OUT,
    base: str = "still",
    route: Route | None = None,
) -> Scene:
    """One person in front of a view's camera."""
    if route is None:
        route = view.route(np.random.default_rng((*seed, 1)))
    return Scene(
        cast, repertoire, seed, 1, WIDTH, HEIGHT, camera=view.camera, base=base, routes=[route]
    )


def seen_by(view: View, people: People, side: float) -> People:
    """People in the middle of another camera's image, turned about that camera into the view."""
    turn = Rotation.from_rotvec((0, view.bearing(side), 0)).as_matrix().astype(np.float32)
    assert people.vertices is not None
    vertices, joints = people.vertices @ turn.T, people.joints @ turn.T
    translation = people.translation @ turn.T
    boxes = boxes_of(vertices + translation[:, None], view.camera)
    return replace(
        people,
        boxes=Boxes(boxes, people.boxes.scores),
        crop_xywh=square_boxes(boxes, WIDTH, HEIGHT),
        translation=translation,
        joints=joints,
        rotations=turn @ people.rotations,
        vertices=vertices,
    )
