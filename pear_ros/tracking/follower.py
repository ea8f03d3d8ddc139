"""Follows and smooths the people of one camera: estimates in, people with ids out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.config import PlacementSettings, SmoothingSettings, TrackingSettings
from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import project
from pear_ros.people import (
    DISTANCE_SOURCES,
    Boxes,
    Camera,
    EhmParameters,
    FloatArray,
    IntArray,
    map_tensors,
)
from pear_ros.tracking.body_motion import BodyMotion, PelvisVelocity
from pear_ros.tracking.body_size import BodySizes, Measured
from pear_ros.tracking.camera_motion import CameraPath
from pear_ros.tracking.contacts import heights
from pear_ros.tracking.foot_lock import FootLock
from pear_ros.tracking.pose_filter import PoseFilter
from pear_ros.tracking.tracker import (
    POSE_JOINTS,
    SHAPE_COEFFICIENTS,
    Expected,
    Sightings,
    Tracker,
)

Array = NDArray[np.float64]

CAMERA_CHANGE = 0.03  # of the focal length: a larger change is another camera
LEVEL = np.array((0.0, -1.0, 0.0))  # (3,) upwards, optical, of a level camera
NEAREST_M = 0.05  # depth at which a joint's projection is limited


@dataclass(frozen=True)
class Estimated:
    """The N people estimated in an image."""

    boxes: Boxes  # (N,)
    parameters: EhmParameters
    translation: FloatArray  # (N, 3) m, optical, from the image alone
    joints: FloatArray  # (N, 55, 3) m, without the translation
    plausibility: FloatArray  # (N,) 0 to 1
    is_detected: bool  # False: the boxes are those that were expected
    measured: Measured  # (N,)


@dataclass(frozen=True)
class FollowedPeople:
    """The M people to publish for an image, not posed yet; fields as in `People`."""

    ids: tuple[str, ...]
    boxes: Boxes
    crop_xywh: FloatArray
    parameters: EhmParameters
    translation: FloatArray
    visible: tuple[bool, ...]
    age_s: FloatArray
    plausibility: FloatArray
    shape_confidence: FloatArray
    distance_sigma: FloatArray  # (M,) standard deviation, relative to the distance
    distance_source: tuple[str, ...]
    spread: FloatArray  # (M, 3, 3) m^2, covariance of the motion since the last sighting
    velocity: FloatArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Moving:
    """What the posed bodies of M followed people tell; fields as in `People`."""

    translation: FloatArray
    joint_velocity: FloatArray
    contact: FloatArray
    bend: FloatArray  # (M, 2, 3) m, by which the feet have to move; 0 without foot locking


class Follower:
    """The tracker and the filters of one camera. Not thread-safe."""

    def __init__(
        self,
        prefix: str,
        tracking: TrackingSettings,
        smoothing: SmoothingSettings,
        placement: PlacementSettings,
    ) -> None:
        self._tracker = Tracker(prefix, tracking)
        self._filter = PoseFilter(smoothing)
        self._sizes = BodySizes(placement)
        self._velocity = PelvisVelocity()
        self._motion = BodyMotion()
        self._feet = FootLock() if placement.foot_locking else None
        self._path = CameraPath()
        # Of the last image.
        self._stamp_s = 0.0
        self._up: Array | None = None  # (3,) optical
        self._floor: Array | None = None  # (4,)
        self._plausibility: dict[str, float] = {}  # at the last sighting, by id
        self._view: tuple[Camera, tuple[int, int]] | None = None  # of the last image

    def expected(
        self, camera: Camera, stamp_s: float, world_from_optical: Array | None = None
    ) -> Expected:
        """Where the people who are followed should be in an image at `stamp_s`."""
        if self._view is not None and _differ(self._view[0], camera):
            self.forget()  # places and boxes of another camera tell nothing
        camera_motion = self._path.motion_to(world_from_optical, stamp_s)
        return self._tracker.expected(camera, stamp_s, camera_motion)

    def forget(self) -> None:
        """Drops all people; ids continue."""
        self._tracker.forget()
        for filter_ in self._filters:
            filter_.keep(())
        self._sizes.keep(())
        self._path = CameraPath()

    def __call__(
        self,
        people: Estimated,
        camera: Camera,
        size: tuple[int, int],
        stamp_s: float,
        world_from_optical: Array | None = None,
        floor: Array | None = None,
    ) -> FollowedPeople:
        """Takes in the people of an image of `size` (height, width), px.

        If the camera is another one, or its images have another size, everybody is new. Between
        images whose poses `world_from_optical` (4, 4) are not known, the camera counts as still.
        `floor` (4,) is as in `Frame`.
        """
        if self._view is not None and (_differ(self._view[0], camera) or self._view[1] != size):
            self.forget()
        self._view = camera, size
        world_from_optical, floor = _finite(world_from_optical), _finite(floor)
        camera_motion = self._path.motion_to(world_from_optical, stamp_s)
        self._path.arrive(world_from_optical, stamp_s)
        if camera_motion is not None:
            for filter_ in self._filters:
                filter_.move(camera_motion)
        alone = self._sizes.alone(people.measured)
        sightings = _sightings(people, camera, alone.factor)
        followed = self._tracker(sightings, camera, size, stamp_s, camera_motion)
        is_seen = followed.sighting >= 0
        rows = followed.sighting[is_seen]
        seen_ids = tuple(id_ for id_, seen in zip(followed.ids, is_seen, strict=True) if seen)
        everybody = set(self._tracker.ids)
        for filter_ in self._filters:
            filter_.keep(everybody)
        self._sizes.keep(everybody)
        self._sizes(seen_ids, people.measured[rows])
        factor = self._sizes.of(seen_ids).factor[:, None].astype(np.float32)
        placed = people.translation[rows] + people.joints[rows, 0]  # (N, 3) m, pelvis
        translation = people.translation[rows] + (factor - 1) * placed
        self._filter(seen_ids, _rows(people.parameters, rows), translation, stamp_s)
        self._velocity(seen_ids, people.joints[rows, 0] + translation, stamp_s)
        self._stamp_s, self._up, self._floor = stamp_s, _up(world_from_optical, floor), floor
        scores = dict(zip(seen_ids, people.plausibility[rows].tolist(), strict=True))
        self._plausibility = {
            id_: score for id_, score in (self._plausibility | scores).items() if id_ in everybody
        }
        distances = self._sizes.of(followed.ids)
        smoothed = self._filter.smoothed(followed.ids)
        xyxy = followed.xyxy.copy()
        xyxy[is_seen] = people.boxes.xyxy[rows]
        height, width = size
        return FollowedPeople(
            ids=followed.ids,
            boxes=Boxes(xyxy, followed.scores),
            crop_xywh=square_boxes(xyxy, width, height),
            parameters=smoothed.parameters,
            translation=smoothed.translation + followed.moved * ~is_seen[:, None],
            visible=tuple(is_seen.tolist()),
            age_s=followed.age_s,
            plausibility=np.array([self._plausibility[id_] for id_ in followed.ids], np.float32),
            shape_confidence=smoothed.shape_confidence,
            distance_sigma=distances.sigma.astype(np.float32),
            distance_source=tuple(DISTANCE_SOURCES[source] for source in distances.source),
            spread=followed.covariance.astype(np.float32) * ~is_seen[:, None, None],
            velocity=self._velocity.of(followed.ids),
        )

    def moving(self, people: FollowedPeople, joints: FloatArray) -> Moving:
        """How the people of the last image move, by the `joints` (M, 55, 3), m, of their bodies.

        To be called once for each image. With foot locking, translation and bend keep feet that
        stand where they are.
        """
        placed: FloatArray = joints + people.translation[:, None]
        visible = np.array(people.visible, bool)
        # Who was seen in an image that could not be posed is not known yet.
        is_new = np.array([id_ not in self._motion for id_ in people.ids], bool)
        taken = visible | is_new
        taken_ids = tuple(id_ for id_, is_taken in zip(people.ids, taken, strict=True) if is_taken)
        if self._up is None:  # the bodies' own axes
            up = people.parameters.global_orient[:, 0, :, 1].numpy().astype(np.float64)
        else:
            up = np.broadcast_to(self._up, (len(people), 3))
        height = heights(placed, up, self._floor)
        self._motion(taken_ids, joints[taken], people.velocity[taken], height[taken], self._stamp_s)
        relative_velocity, contact = self._motion.of(people.ids)
        translation, bend = people.translation, np.zeros((len(people), 2, 3), np.float32)
        if self._feet is not None:
            horizon = LEVEL if self._up is None else self._up
            held = contact * visible[:, None]
            locked = self._feet(people.ids, placed, held, horizon, self._stamp_s)
            translation, bend = translation + locked.shift, locked.bend
        return Moving(translation, people.velocity[:, None] + relative_velocity, contact, bend)

    @property
    def _filters(self) -> tuple[PoseFilter | PelvisVelocity | BodyMotion | FootLock, ...]:
        filters = (self._filter, self._velocity, self._motion)
        return filters if self._feet is None else (*filters, self._feet)


def _finite(values: Array | None) -> Array | None:
    return values if values is not None and np.isfinite(values).all() else None


def _up(world_from_optical: Array | None, floor: Array | None) -> Array | None:
    """(3,) the direction upwards, optical; None: not known."""
    if floor is not None:
        return floor[:3]
    return None if world_from_optical is None else world_from_optical[2, :3]


def _differ(a: Camera, b: Camera) -> bool:
    """Whether two cameras differ by more than one does that refocuses."""
    if a.lens != b.lens:
        return True
    before, after = (np.array((c.fx, c.fy, c.cx, c.cy)) for c in (a, b))
    return bool((np.abs(after - before) > CAMERA_CHANGE * before[0]).any())


def _sightings(people: Estimated, camera: Camera, factor: NDArray[np.float64]) -> Sightings:
    """The sightings, whose distances are those of the image times `factor` (N,)."""
    placed = people.joints + people.translation[:, None]  # (N, 55, 3) m
    placed[..., 2] = np.maximum(placed[..., 2], NEAREST_M)
    pixels = project(placed, camera)
    return Sightings(
        xyxy=people.boxes.xyxy,
        scores=people.boxes.scores,
        joints_xyxy=np.concatenate((pixels.min(1), pixels.max(1)), 1),
        position=placed[:, 0] * factor[:, None],
        joints=people.joints[:, :POSE_JOINTS] - people.joints[:, :1],
        betas=people.parameters.betas.numpy()[:, :SHAPE_COEFFICIENTS],
        is_detected=people.is_detected,
    )


def _rows(parameters: EhmParameters, rows: IntArray) -> EhmParameters:
    if np.array_equal(rows, np.arange(len(parameters.betas))):
        return parameters  # everybody in the same order, which is the usual case
    index = torch.from_numpy(rows)
    return map_tensors(parameters, lambda values: values[index])
