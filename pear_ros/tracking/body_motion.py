"""How the bodies of followed people move: velocities, and which feet stand on the floor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pear_ros.people import FloatArray
from pear_ros.tracking import contacts, velocity
from pear_ros.tracking.camera_motion import CameraMotion
from pear_ros.tracking.states import States
from pear_ros.tracking.velocity import JointMotion, PelvisMotion

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Pelvis:
    """Of N people at the last sighting of each, in the axes of the camera now."""

    motion: PelvisMotion
    stamp_s: Array  # (N,)


class PelvisVelocity:
    """The velocities of all people of one camera, by their ids."""

    def __init__(self) -> None:
        self._people: States[_Pelvis] = States()

    def __call__(self, ids: tuple[str, ...], position: FloatArray, stamp_s: float) -> None:
        """Takes in a sighting of N people: `position` (N, 3), m, optical, of their pelvises.

        Positions are those estimated, not smoothed: smoothing lags.
        """
        measured = _Pelvis(
            velocity.started_pelvis(position.astype(np.float64)), np.full(len(ids), stamp_s)
        )
        self._people.take_in(ids, measured, _filtered_pelvis)

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        self._people.keep(ids)

    def move(self, camera: CameraMotion) -> None:
        """Moves all states into the axes of a camera that has moved."""
        self._people.change(
            lambda state: replace(state, motion=velocity.moved_pelvis(state.motion, camera))
        )

    def of(self, ids: tuple[str, ...]) -> FloatArray:
        """(M, 3) m/s, at the last sighting of each person."""
        found: FloatArray = self._people.of(ids).motion.velocity.astype(np.float32)
        return found


def _filtered_pelvis(before: _Pelvis, measured: _Pelvis) -> _Pelvis:
    elapsed_s = measured.stamp_s - before.stamp_s
    position = measured.motion.mean[:, :3]
    return replace(measured, motion=velocity.filtered_pelvis(before.motion, position, elapsed_s))


@dataclass(frozen=True)
class _Body:
    """Of N people at the last sighting of each, in the axes of the camera now."""

    joints: JointMotion  # relative to the pelvis
    contact: Array  # (N, 2) log odds
    pelvis_velocity: Array  # (N, 3) m/s
    height: Array  # (N, 2) m, of the feet
    stamp_s: Array  # (N,)


class BodyMotion:
    """The joints' velocities and the contacts of all people of one camera, by their ids."""

    def __init__(self) -> None:
        self._people: States[_Body] = States()

    def __call__(
        self,
        ids: tuple[str, ...],
        joints: FloatArray,
        pelvis_velocity: FloatArray,
        height: Array,
        stamp_s: float,
    ) -> None:
        """Takes in a sighting of N people.

        Args:
            ids: Of the people.
            joints: (N, 55, 3) m, optical, smoothed: feet that stand then move less.
            pelvis_velocity: (N, 3) m/s.
            height: (N, 2) m, of the feet, see `contacts.heights`.
            stamp_s: Not before that of the last sighting.
        """
        relative = joints.astype(np.float64) - joints[:, :1]
        # A foot that is low may stand: its speed is not known yet.
        contact = np.minimum(contacts.logits(np.zeros_like(height), height), 0.0)
        stamps_s = np.full(len(ids), stamp_s)
        pelvis = pelvis_velocity.astype(np.float64)
        measured = _Body(velocity.started_joints(relative), contact, pelvis, height, stamps_s)
        self._people.take_in(ids, measured, _filtered_body)

    def __contains__(self, id_: str) -> bool:
        """Whether the person is known."""
        return id_ in self._people.ids

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        self._people.keep(ids)

    def move(self, camera: CameraMotion) -> None:
        """Moves all states into the axes of a camera that has moved."""
        self._people.change(
            lambda state: replace(state, joints=velocity.moved_joints(state.joints, camera))
        )

    def of(self, ids: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
        """As known at the last sighting of each person.

        Returns velocities of joints relative to the pelvis (M, 55, 3), m/s, and the probabilities
        (M, 2) that the left and the right foot stand on the floor.
        """
        state = self._people.of(ids)
        contact = contacts.probability(state.contact)
        return state.joints.velocity.astype(np.float32), contact.astype(np.float32)


def _filtered_body(before: _Body, measured: _Body) -> _Body:
    elapsed_s = measured.stamp_s - before.stamp_s
    joints = velocity.filtered_joints(before.joints, measured.joints.position, elapsed_s)
    speed = contacts.speeds(measured.pelvis_velocity[:, None] + joints.velocity)
    now = contacts.logits(speed, measured.height)
    contact = contacts.filtered(before.contact, now, elapsed_s)
    return replace(measured, joints=joints, contact=contact)
