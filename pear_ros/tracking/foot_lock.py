"""Keeps feet that stand on the floor where they are.

The body is shifted by what one foot would slide. Legs are estimated with some noise, so the other
foot would still slide: its leg is bent by the rest (`body/legs.py`).
"""

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
MOST_BEND_M = 0.05  # of the foot of a leg: by more, the estimates of the legs differ too much
RELEASE_S = 0.1  # time constant: 5 % of a shift are left after 0.3 s
# A held foot goes to where it is estimated, as slowly as nobody minds: what was estimated when it
# landed may be wrong.
SETTLE_S, SETTLE_M_S = 1.0, 0.005  # time constant, and its largest speed
RELEASED_M = 0.01  # a foot that was let go is held again when less of the shift is left
NONE = -1


@dataclass(frozen=True)
class _State:
    """Of N people at the last image, in the axes of the camera now."""

    feet: Array  # (N, 2, 3) m, without shift and bend
    stands: NDArray[np.bool_]  # (N, 2)
    shift: Array  # (N, 3) m
    bend: Array  # (N, 2, 3) m
    held: Rows  # (N,) the foot for which the body is shifted, or NONE
    anchor: Array  # (N, 2, 3) m, where the feet are held
    is_anchored: NDArray[np.bool_]  # (N, 2) which of them are
    is_let_go: NDArray[np.bool_]  # (N,) the shift became too large
    stamp_s: Array  # (N,)


@dataclass(frozen=True)
class Locked:
    """What keeps the feet of M people in place."""

    shift: FloatArray  # (M, 3) m, of the body
    bend: FloatArray  # (M, 2, 3) m, of the left and the right foot beyond that


class FootLock:
    """Keeps standing feet of the people of one camera, by their ids.

    The body is shifted so that one foot stays. If the other one stands, too, its leg is bent.
    """

    def __init__(self) -> None:
        self._people: States[_State] = States()

    def __call__(
        self,
        ids: tuple[str, ...],
        joints: FloatArray,
        contact: FloatArray,
        up: Array,
        stamp_s: float,
    ) -> Locked:
        """Takes in all people of an image; everybody else is forgotten.

        Args:
            ids: Of M people.
            joints: (M, 55, 3) m, optical, smoothed.
            contact: (M, 2) probabilities; 0 for who is not seen.
            up: (3,) unit vector upwards; shifts and bends are horizontal.
            stamp_s: Not before that of the last image.
        """
        count = len(ids)
        measured = _State(
            feet=joints[:, BALL].astype(np.float64),
            stands=contact > STANDS,
            shift=np.zeros((count, 3)),
            bend=np.zeros((count, 2, 3)),
            held=np.full(count, NONE),
            anchor=np.zeros((count, 2, 3)),
            is_anchored=np.zeros((count, 2), bool),
            is_let_go=np.zeros(count, bool),
            stamp_s=np.full(count, stamp_s),
        )
        self._people.take_in(ids, measured, lambda before, now: _locked(before, now, up))
        self._people.keep(ids)
        state = self._people.of(ids)
        return Locked(state.shift.astype(np.float32), state.bend.astype(np.float32))

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
                bend=camera.vectors(state.bend),
                anchor=camera.points(state.anchor),
            )
        )


def _locked(before: _State, now: _State, up: Array) -> _State:
    rows = np.arange(len(now.shift))
    elapsed_s = now.stamp_s - before.stamp_s
    fading = np.exp(-elapsed_s / RELEASE_S)[:, None]
    released, bend = before.shift * fading, before.bend * fading[..., None]
    # The foot that is held; when it lifts, the other one if it stands.
    still_held = (before.held != NONE) & now.stands[rows, before.held]
    is_free = np.linalg.norm(released, axis=1) < RELEASED_M
    is_let_go = before.is_let_go & now.stands.any(1) & ~is_free
    held = np.where(still_held, before.held, np.where(now.stands[:, 0], 0, 1))
    held = np.where(now.stands.any(1) & ~is_let_go, held, NONE)
    is_held = held != NONE
    # A foot is held where it was published: nothing jumps when it lands, or takes over.
    published = now.feet + np.where((before.held != NONE)[:, None], before.shift, released)[:, None]
    anchor = np.where(before.is_anchored[..., None], before.anchor, published + bend)

    foot = now.feet[rows, held] + bend[rows, held]  # (N, 3)
    shift = _horizontal(anchor[rows, held] - foot, up)
    is_too_far = is_held & (np.linalg.norm(shift, axis=1) > MOST_M)
    is_held &= ~is_too_far
    held = np.where(is_held, held, NONE)
    shift = np.where(is_held[:, None], _settled(shift, elapsed_s), released)

    other = 1 - np.maximum(held, 0)
    bends = is_held & now.stands[rows, other]  # the leg of the other foot, which stands
    began = ~before.is_anchored[rows, other]
    anchor[rows[began], other[began]] = (now.feet + shift[:, None] + bend)[rows, other][began]
    needed = _horizontal((anchor - now.feet - shift[:, None])[rows, other], up)
    needed *= np.minimum(1, MOST_BEND_M / np.maximum(np.linalg.norm(needed, axis=1), 1e-9))[:, None]
    bend[rows, other] = np.where(bends[:, None], _settled(needed, elapsed_s), bend[rows, other])

    is_anchored = np.zeros_like(now.stands)
    is_anchored[rows, np.maximum(held, 0)] = is_held
    is_anchored[rows, other] = bends
    return replace(
        now,
        shift=shift,
        bend=bend,
        held=held,
        anchor=now.feet + shift[:, None] + bend,
        is_anchored=is_anchored,
        is_let_go=is_let_go | is_too_far,
    )


def _horizontal(vectors: Array, up: Array) -> Array:
    """The horizontal part of vectors (N, 3)."""
    flat: Array = vectors - (vectors @ up)[:, None] * up
    return flat


def _settled(offset: Array, elapsed_s: Array) -> Array:
    """Offsets (N, 3), m, that have become smaller, so that a foot goes where it is estimated."""
    length = np.linalg.norm(offset, axis=1)
    share = np.minimum(SETTLE_M_S / np.maximum(length, 1e-9), 1 / SETTLE_S) * elapsed_s
    settled: Array = offset * (1 - np.minimum(share, 1))[:, None]
    return settled
