"""Keeps a foot that stands on the floor where it is: the body is shifted by what it would slide."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pear_ros.people import FloatArray
from pear_ros.tracking.camera_motion import CameraMotion
from pear_ros.tracking.contacts import BALL
from pear_ros.tracking.states import States

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

STANDS = 0.5  # least probability of contact of a foot that is held
# A body that has to be shifted by more has moved: the foot is let go.
MOST_M = 0.1
RELEASE_S = 0.1  # time constant: 5 % of a shift are left after 0.3 s
# A held foot goes to where it is estimated, as slowly as nobody minds: what was estimated when it
# landed may be wrong.
SETTLE_S, SETTLE_M_S = 1.0, 0.005  # time constant, and its largest speed
RELEASED_M = 0.01  # a foot that was let go is held again when less of the shift is left
NONE = -1


@dataclass(frozen=True)
class _State:
    """Of N people at the last image, in the axes of the camera now."""

    feet: Array  # (N, 2, 3) m, without the shift
    stands: NDArray[np.bool_]  # (N, 2)
    shift: Array  # (N, 3) m
    held: Rows  # (N,) the foot that is held, or NONE
    anchor: Array  # (N, 3) m, where it is held
    is_let_go: NDArray[np.bool_]  # (N,) the shift became too large
    stamp_s: Array  # (N,)


class FootLock:
    """The shifts of all people of one camera, by their ids. One foot is held at a time."""

    def __init__(self) -> None:
        self._people: States[_State] = States()

    def __call__(
        self,
        ids: tuple[str, ...],
        joints: FloatArray,
        contact: FloatArray,
        up: Array,
        stamp_s: float,
    ) -> FloatArray:
        """The shifts (M, 3), m, of all people of an image; everybody else is forgotten.

        Args:
            ids: Of the people.
            joints: (M, 55, 3) m, optical, smoothed.
            contact: (M, 2) probabilities; 0 for who is not seen.
            up: (3,) unit vector upwards; shifts are horizontal.
            stamp_s: Not before that of the last image.
        """
        count = len(ids)
        measured = _State(
            feet=joints[:, BALL].astype(np.float64),
            stands=contact > STANDS,
            shift=np.zeros((count, 3)),
            held=np.full(count, NONE),
            anchor=np.zeros((count, 3)),
            is_let_go=np.zeros(count, bool),
            stamp_s=np.full(count, stamp_s),
        )
        self._people.take_in(ids, measured, lambda before, now: _locked(before, now, up))
        self._people.keep(ids)
        return self._people.of(ids).shift.astype(np.float32)

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        self._people.keep(ids)

    def move(self, camera: CameraMotion) -> None:
        """Moves anchors and shifts into the axes of a camera that has moved."""
        self._people.change(
            lambda state: replace(
                state,
                feet=camera.points(state.feet),
                shift=camera.vectors(state.shift),
                anchor=camera.points(state.anchor),
            )
        )


def _locked(before: _State, now: _State, up: Array) -> _State:
    rows = np.arange(len(now.shift))
    still_held = (before.held != NONE) & now.stands[rows, before.held]
    elapsed_s = now.stamp_s - before.stamp_s
    released = before.shift * np.exp(-elapsed_s / RELEASE_S)[:, None]
    is_free = np.linalg.norm(released, axis=1) < RELEASED_M
    is_let_go = before.is_let_go & now.stands.any(1) & ~is_free
    # The foot that is held; when it lifts, the other one if it stands.
    held = np.where(still_held, before.held, np.where(now.stands[:, 0], 0, 1))
    held = np.where(now.stands.any(1) & ~is_let_go, held, NONE)
    foot = now.feet[rows, held]  # (N, 3)
    # A foot is held where it was published: nothing jumps when it lands.
    began = foot + np.where((before.held != NONE)[:, None], before.shift, released)
    anchor = np.where(still_held[:, None], before.anchor, began)
    shift = anchor - foot
    shift -= (shift @ up)[:, None] * up
    length = np.linalg.norm(shift, axis=1)
    settled = np.minimum(SETTLE_M_S / np.maximum(length, 1e-9), 1 / SETTLE_S) * elapsed_s
    shift *= 1 - np.minimum(settled, 1)[:, None]
    anchor = foot + shift
    is_too_far = (held != NONE) & (length > MOST_M)
    held = np.where(is_too_far, NONE, held)
    return replace(
        now,
        shift=np.where((held != NONE)[:, None], shift, released),
        held=held,
        anchor=anchor,
        is_let_go=is_let_go | is_too_far,
    )
