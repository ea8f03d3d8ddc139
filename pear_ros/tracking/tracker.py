"""Follows the people of one camera: sightings in, people with ids out.

Each image brings sightings, the people estimated in it. They are assigned to the people who are
followed (association.py), whose motion is modelled in metres and seconds (motion.py), so low and
uneven image rates need no other settings. A new person is reported after sure sightings; who is
not seen in an image is reported as predicted for some time, and forgotten later.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pear_ros.config import TrackingSettings
from pear_ros.geometry.boxes import boxes_around, margins_of
from pear_ros.people import Camera, FloatArray
from pear_ros.tracking import motion
from pear_ros.tracking.association import (
    OVERLAP,
    POSITION_GATE,
    Likeness,
    assigned,
    costs,
    pose_distances,
    shape_distances,
)
from pear_ros.tracking.camera_motion import CameraMotion
from pear_ros.tracking.expected_boxes import cut_sides, moved_boxes, overlaps, share_inside
from pear_ros.tracking.motion import Motion

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

SHAPE_COEFFICIENTS = 10  # of the betas, those with the largest effect
SHAPE_MEMORY = 45  # number of sightings that enter the mean shape and its noise
SHAPE_NOISE = 0.3  # root mean square error of an estimated coefficient, before it is known better
LEAST_SHAPE_NOISE = 0.1  # repeated images must not make it 0
POSE_JOINTS = 22  # of the body without head and hands
# A candidate may miss this many images, or this time, between its first sightings.
CANDIDATE_MISSES = 1
CANDIDATE_TIMEOUT_S = 0.4
# A person who is not seen is predicted for `predict_s` if somebody nearer covers this share of the
# box, else for this time; not if less than this share is in the image: the person has left.
COVERED = 0.25
NEARER = 1.3  # more than 1, as distances are not certain
UNEXPLAINED_S = 0.3
UNEXPLAINED_MISSES = 2  # images; a detector may miss anybody now and then
FASTEST_HZ = 120.0  # of images
JOINTS_WEIGHT = 0.3  # of the box around the joints, against the expected one, without detection
LEAST_INSIDE = 0.7


@dataclass(frozen=True)
class Sightings:
    """The N people estimated in an image."""

    xyxy: FloatArray  # (N, 4) px
    scores: FloatArray  # (N,) of the detector, 0 to 1
    joints_xyxy: FloatArray  # (N, 4) px, extent of the projected joints
    position: Array  # (N, 3) m, of the pelvis, optical
    joints: FloatArray  # (N, 22, 3) m, relative to the pelvis
    betas: FloatArray  # (N, 10)
    is_detected: bool = True  # False: `xyxy` are boxes that the tracker expected

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: Rows) -> Sightings:
        if np.array_equal(rows, np.arange(len(self))):
            return self
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        is_detected = arrays.pop("is_detected")
        return Sightings(
            **{name: values[rows] for name, values in arrays.items()}, is_detected=is_detected
        )


@dataclass(frozen=True)
class Expected:
    """Where T people should be in the next image."""

    xyxy: FloatArray  # (T, 4) px
    scores: FloatArray  # (T,) of the last detections
    missed: Rows  # (T,) number of images since each was seen
    has_candidates: bool  # somebody new was seen in the last image who is not confirmed yet


@dataclass(frozen=True)
class Followed:
    """The M people to report for an image: first who is seen, in the order of the sightings."""

    ids: tuple[str, ...]
    sighting: Rows  # (M,) index of the sighting; -1: not seen in this image, but predicted
    moved: FloatArray  # (M, 3) m, expected motion since the last sighting; 0 for who is seen
    scores: FloatArray  # (M,) of the last detections
    xyxy: FloatArray  # (M, 4) px, the expected box where there is no sighting
    age_s: FloatArray  # (M,) time since the first sighting
    covariance: Array  # (M, 3, 3) m^2, of the expected positions


@dataclass(frozen=True)
class _Tracks:
    """The state of T people, candidates included, at the time of the last image."""

    number: Rows  # (T,) of the id; 0: a candidate
    motion: Motion  # (T,)
    xyxy: FloatArray  # (T, 4) px, the box of the last sighting, moved with the motion
    is_cut: NDArray[np.bool_]  # (T, 4) which sides of the last box were at the image's edge
    margins: FloatArray  # (T, 4) of the last detected box, see `geometry.boxes.margins_of`
    joints: FloatArray  # (T, 22, 3) m, of the last sighting, relative to the pelvis
    betas: FloatArray  # (T, 10) mean of the sightings
    shape_variance: Array  # (T,) usual squared distance of a sighting's betas from the mean
    score: FloatArray  # (T,) of the last detection
    evidence: FloatArray  # (T,) sum of the scores of all detections
    seen_at: Array  # (T, 3) m, position at the last sighting
    sightings: Rows  # (T,)
    missed: Rows  # (T,) images since the last sighting
    first_s: NDArray[np.float64]  # (T,) stamp of the first sighting
    seen_s: NDArray[np.float64]  # (T,) stamp of the last sighting

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, rows: Rows | NDArray[np.bool_]) -> _Tracks:
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if np.array_equal(rows, np.arange(len(self))):
            return self  # everybody in the same order, which is the usual case
        return _Tracks(*(getattr(self, f.name)[rows] for f in fields(self)))


class Tracker:
    """Follows the people of one camera. Ids are `prefix` and a number, and are never reused."""

    def __init__(self, prefix: str, settings: TrackingSettings) -> None:
        self._prefix = prefix
        self._settings = settings
        self._next_number = 1
        self._stamp_s = 0.0
        self.forget()

    def __call__(
        self,
        sightings: Sightings,
        camera: Camera,
        size: tuple[int, int],
        stamp_s: float,
        camera_motion: CameraMotion | None = None,
    ) -> Followed:
        """Assigns N sightings of an image of `size` (height, width), px.

        Stamps must not decrease from call to call. `camera_motion` is since the last image; None:
        the camera stood still.
        """
        known = self._advanced(camera, stamp_s, camera_motion)
        matched, rows = assigned(_costs(known, sightings, size, stamp_s))
        seen = _corrected(known[matched], sightings[rows], stamp_s)
        # Expected boxes belong to people who are known: nobody new is in them.
        others = _without(len(sightings), rows)[: len(sightings) * sightings.is_detected]
        new = _candidates(sightings[others], stamp_s)
        unseen = known[_without(len(known), matched)]
        unseen = replace(unseen, missed=unseen.missed + 1)
        unseen = unseen[self._is_kept(unseen, camera, stamp_s)]

        tracks = self._confirmed(_joined(seen, new, unseen))
        sighting = np.concatenate((rows, others, np.full(len(unseen), -1)))
        cut_now = cut_sides(sightings.xyxy, size)[sighting[sighting >= 0]]
        is_cut = np.concatenate((cut_now, unseen.is_cut))
        self._tracks, self._stamp_s = replace(tracks, is_cut=is_cut), stamp_s
        return self._reported(tracks, sighting, size, stamp_s)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of everybody who is followed, whether reported or not."""
        return self._names(self._tracks.number[self._tracks.number > 0])

    def _names(self, numbers: Rows) -> tuple[str, ...]:
        return tuple(f"{self._prefix}{number:04d}" for number in numbers)

    def expected(
        self, camera: Camera, stamp_s: float, camera_motion: CameraMotion | None = None
    ) -> Expected:
        """Where the confirmed people should be in an image at `stamp_s`."""
        tracks = self._advanced(camera, stamp_s, camera_motion)
        is_new = (tracks.number == 0) & (tracks.missed == 0)
        tracks = tracks[tracks.number > 0]
        return Expected(tracks.xyxy, tracks.score, tracks.missed, bool(is_new.any()))

    def forget(self) -> None:
        """Drops all people, for example when time has jumped back; numbers continue."""
        nobody = Sightings(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, 4), np.float32),
            np.zeros((0, 3)),
            np.zeros((0, POSE_JOINTS, 3), np.float32),
            np.zeros((0, SHAPE_COEFFICIENTS), np.float32),
        )
        self._tracks = _candidates(nobody, 0.0)

    def _advanced(
        self, camera: Camera, stamp_s: float, camera_motion: CameraMotion | None
    ) -> _Tracks:
        """The people who are not forgotten, as expected at `stamp_s` by the camera there."""
        tracks = self._tracks
        tracks = tracks[stamp_s - tracks.seen_s <= self._settings.timeout_s]
        elapsed_s = np.full(len(tracks), max(stamp_s - self._stamp_s, 0.0))
        before_m = tracks.motion.position
        tracks = replace(tracks, motion=motion.predicted(tracks.motion, elapsed_s))
        if camera_motion is not None:
            tracks = _moved(tracks, camera_motion)
        xyxy = moved_boxes(tracks.xyxy, before_m, tracks.motion.position, camera)
        return replace(tracks, xyxy=xyxy)

    def _is_kept(self, unseen: _Tracks, camera: Camera, stamp_s: float) -> NDArray[np.bool_]:
        """(T,) False for candidates who are not seen again soon, and who is behind the camera."""
        is_candidate = unseen.number == 0
        is_late = (unseen.missed > CANDIDATE_MISSES) & (
            stamp_s - unseen.seen_s > CANDIDATE_TIMEOUT_S
        )
        kept: NDArray[np.bool_] = ~(is_candidate & is_late) & (
            unseen.motion.position[:, 2] > motion.LEAST_DEPTH_M
        )
        return kept

    def _confirmed(self, tracks: _Tracks) -> _Tracks:
        """Gives numbers to the candidates whose sightings have a sufficient sum of scores."""
        ready = np.flatnonzero(
            (tracks.number == 0) & (tracks.evidence >= self._settings.confirm_score)
        )
        number = tracks.number.copy()
        number[ready] = self._next_number + np.arange(len(ready))
        self._next_number += len(ready)
        return replace(tracks, number=number)

    def _reported(
        self, tracks: _Tracks, sighting: Rows, size: tuple[int, int], stamp_s: float
    ) -> Followed:
        # Stamps may stand still, images do not.
        unseen_s = np.maximum(stamp_s - tracks.seen_s, tracks.missed / FASTEST_HZ)
        # Who was seen for a moment only is predicted for a moment only.
        seen_for_s = tracks.seen_s - tracks.first_s
        limit_s = np.minimum(self._settings.predict_s, seen_for_s + UNEXPLAINED_S)
        is_explained = tracks.missed <= UNEXPLAINED_MISSES
        unclear = np.flatnonzero(~is_explained & (tracks.number > 0))
        is_explained[unclear] = _hidden(tracks, unclear)
        limit_s = np.where(is_explained, limit_s, np.minimum(limit_s, UNEXPLAINED_S))
        is_expected = (unseen_s < limit_s) & (share_inside(tracks.xyxy, size) > LEAST_INSIDE)
        is_reported = (tracks.number > 0) & ((sighting >= 0) | is_expected)
        rows = np.flatnonzero(is_reported)
        rows = rows[np.argsort(np.where(sighting < 0, len(tracks), sighting)[rows], kind="stable")]
        reported = tracks[rows]
        return Followed(
            ids=self._names(reported.number),
            sighting=sighting[rows],
            moved=(reported.motion.position - reported.seen_at).astype(np.float32),
            scores=reported.score,
            xyxy=reported.xyxy,
            age_s=(stamp_s - reported.first_s).astype(np.float32),
            covariance=reported.motion.covariance[:, :3, :3],
        )


def _costs(known: _Tracks, sightings: Sightings, size: tuple[int, int], stamp_s: float) -> Array:
    """The cost (T, N) of each pair; infinite if it cannot match."""
    cost = np.full((len(known), len(sightings)), np.inf)
    position, volume = motion.squared_distances(known.motion, sightings.position)
    iou = overlaps(known.xyxy, known.is_cut, sightings.xyxy, size)
    # Only pairs that can match are compared: P of T x N.
    rows, columns = np.nonzero((position < POSITION_GATE**2) | (iou > OVERLAP))
    cost[rows, columns] = costs(
        Likeness(
            position=position[rows, columns],
            volume=volume[rows],
            iou=iou[rows, columns],
            shape=shape_distances(known.betas[rows], sightings.betas[columns])
            / known.shape_variance[rows],
            pose_m=pose_distances(known.joints[rows], sightings.joints[columns]),
            unseen_s=stamp_s - known.seen_s[rows],
        )
    )
    return cost


def _candidates(sightings: Sightings, stamp_s: float) -> _Tracks:
    count = len(sightings)
    return _Tracks(
        number=np.zeros(count, np.int64),
        motion=motion.started(sightings.position),
        xyxy=sightings.xyxy,
        is_cut=np.zeros((count, 4), bool),
        margins=margins_of(sightings.xyxy, sightings.joints_xyxy),
        joints=sightings.joints,
        betas=sightings.betas,
        shape_variance=np.full(count, SHAPE_NOISE**2),
        score=sightings.scores,
        evidence=sightings.scores,
        seen_at=sightings.position,
        sightings=np.ones(count, np.int64),
        missed=np.zeros(count, np.int64),
        first_s=np.full(count, stamp_s),
        seen_s=np.full(count, stamp_s),
    )


def _corrected(known: _Tracks, sightings: Sightings, stamp_s: float) -> _Tracks:
    """The state of T people after a sighting of each."""
    count = known.sightings + 1
    share = 1 / np.minimum(count, SHAPE_MEMORY)[:, None].astype(np.float32)
    moved = motion.corrected(known.motion, sightings.position)
    if sightings.is_detected:
        xyxy, evidence = sightings.xyxy, known.evidence + sightings.scores
        margins = margins_of(xyxy, sightings.joints_xyxy)
    else:
        margins, evidence = known.margins, known.evidence
        # Box, crop and estimate are a loop, in which a box could grow or wander from image to
        # image: it follows the joints slowly.
        around = boxes_around(sightings.joints_xyxy, margins)
        xyxy = known.xyxy + JOINTS_WEIGHT * (around - known.xyxy)
    # Of all sightings so far, but at most twice SHAPE_MEMORY, the prior included.
    weight = 1 / (SHAPE_MEMORY + np.minimum(count, SHAPE_MEMORY))
    surprise = shape_distances(known.betas, sightings.betas)
    variance = known.shape_variance + weight * (surprise - known.shape_variance)
    return replace(
        known,
        motion=moved,
        xyxy=xyxy,
        margins=margins,
        joints=sightings.joints,
        betas=known.betas + share * (sightings.betas - known.betas),
        shape_variance=np.maximum(variance, LEAST_SHAPE_NOISE**2),
        score=sightings.scores,
        evidence=evidence,
        seen_at=moved.position,
        sightings=count,
        missed=np.zeros_like(known.missed),
        seen_s=np.full(len(known), stamp_s),
    )


def _joined(*parts: _Tracks) -> _Tracks:
    parts = tuple(part for part in parts if len(part)) or parts[:1]
    if len(parts) == 1:
        return parts[0]
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(_Tracks)}
    joined = motion.joined(columns.pop("motion"))
    return _Tracks(motion=joined, **{name: np.concatenate(rows) for name, rows in columns.items()})


def _hidden(tracks: _Tracks, rows: Rows) -> NDArray[np.bool_]:
    """(U,) whether somebody nearer, seen later, covers a part of each box of `rows` (U,)."""
    xyxy, depth = tracks.xyxy.astype(np.float64), tracks.motion.position[:, 2]
    own = xyxy[rows, None]  # (U, 1, 4)
    corner = np.minimum(own[..., 2:], xyxy[None, :, 2:])
    shared = (corner - np.maximum(own[..., :2], xyxy[None, :, :2])).clip(0).prod(-1)  # (U, T)
    area = np.maximum((own[..., 2:] - own[..., :2]).prod(-1), 1e-9)  # (U, 1)
    is_nearer = depth[None] < NEARER * depth[rows, None]
    # Who is new may be the same person with another id, so hides nobody.
    is_older = (tracks.number > 0)[None] & (tracks.first_s[None] < tracks.seen_s[rows, None])
    covers = is_nearer & is_older & (tracks.missed[None] <= tracks.missed[rows, None])
    covers[np.arange(len(rows)), rows] = False
    hidden: NDArray[np.bool_] = (covers & (shared / area > COVERED)).any(1)
    return hidden


def _without(count: int, rows: Rows) -> Rows:
    """The numbers from 0 to count - 1 that are not in `rows`."""
    is_other = np.ones(count, bool)
    is_other[rows] = False
    return np.flatnonzero(is_other)


def _moved(tracks: _Tracks, camera: CameraMotion) -> _Tracks:
    """The tracks in the axes of a camera that has moved, but for their boxes."""
    return replace(
        tracks,
        motion=motion.moved(tracks.motion, camera.rotation, camera.translation),
        joints=camera.vectors(tracks.joints).astype(np.float32),
        seen_at=camera.points(tracks.seen_at),
    )
