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
from pear_ros.tracking.body_size import IMAGE, BodySizes, Measured
from pear_ros.tracking.pose_filter import PoseFilter
from pear_ros.tracking.tracker import (
    POSE_JOINTS,
    SHAPE_COEFFICIENTS,
    Expected,
    Sightings,
    Tracker,
)

CAMERA_CHANGE = 0.03  # of the focal length: a larger change is another camera
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

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _LastSighting:
    plausibility: float = 0.0
    distance_sigma: float = 0.0
    distance_source: int = IMAGE


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
        self._sizes = BodySizes(placement, averages=smoothing.shape)
        self._last: dict[str, _LastSighting] = {}  # by id
        self._view: tuple[Camera, tuple[int, int]] | None = None  # of the last image

    def expected(self, camera: Camera, stamp_s: float) -> Expected:
        """Where the people who are followed should be in an image at `stamp_s`."""
        if self._view is not None and _differ(self._view[0], camera):
            self.forget()  # places and boxes of another camera tell nothing
        return self._tracker.expected(camera, stamp_s)

    def forget(self) -> None:
        """Drops all people; ids continue."""
        self._tracker.forget()
        self._filter.keep(())
        self._sizes.keep(())

    def __call__(
        self, people: Estimated, camera: Camera, size: tuple[int, int], stamp_s: float
    ) -> FollowedPeople:
        """Takes in the people of an image of `size` (height, width), px.

        If the camera is another one, or its images have another size, everybody is new.
        """
        if self._view is not None and (_differ(self._view[0], camera) or self._view[1] != size):
            self.forget()
        self._view = camera, size
        alone = self._sizes.alone(people.measured)
        sightings = _sightings(people, camera, alone.factor)
        followed = self._tracker(sightings, camera, size, stamp_s)
        is_seen = followed.sighting >= 0
        rows = followed.sighting[is_seen]
        seen_ids = tuple(id_ for id_, seen in zip(followed.ids, is_seen, strict=True) if seen)
        everybody = set(self._tracker.ids)
        self._filter.keep(everybody)
        self._sizes.keep(everybody)
        distances = self._sizes(seen_ids, people.measured[rows])
        placed = people.translation[rows] + people.joints[rows, 0]  # (N, 3) m, pelvis
        nearer = (distances.factor[:, None] - 1).astype(np.float32) * placed
        translation = people.translation[rows] + nearer
        self._filter(seen_ids, _rows(people.parameters, rows), translation, stamp_s)
        columns = people.plausibility[rows], distances.sigma, distances.source
        seen = map(_LastSighting, *(column.tolist() for column in columns))
        self._last |= dict(zip(seen_ids, seen, strict=True))
        self._last = {id_: last for id_, last in self._last.items() if id_ in everybody}
        smoothed = self._filter.smoothed(followed.ids)
        xyxy = followed.xyxy.copy()
        xyxy[is_seen] = people.boxes.xyxy[rows]
        height, width = size
        lasts = [self._last[id_] for id_ in followed.ids]
        return FollowedPeople(
            ids=followed.ids,
            boxes=Boxes(xyxy, followed.scores),
            crop_xywh=square_boxes(xyxy, width, height),
            parameters=smoothed.parameters,
            translation=smoothed.translation + followed.moved * ~is_seen[:, None],
            visible=tuple(is_seen.tolist()),
            age_s=followed.age_s,
            plausibility=np.array([last.plausibility for last in lasts], np.float32),
            shape_confidence=smoothed.shape_confidence,
            distance_sigma=np.array([last.distance_sigma for last in lasts], np.float32),
            distance_source=tuple(DISTANCE_SOURCES[last.distance_source] for last in lasts),
            spread=followed.covariance.astype(np.float32) * ~is_seen[:, None, None],
        )


def _differ(a: Camera, b: Camera) -> bool:
    """Whether two cameras differ by more than one does that refocuses."""
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
