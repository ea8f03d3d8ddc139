"""Smooths the parameters of followed people over time, causally, by One Euro filters.

Rotations are filtered on SO(3), joint by joint; the position along the ray from the camera, where
it is less certain, apart from the other directions. The body's shape does not change, so it is the
mean of all sightings.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.config import SmoothingSettings
from pear_ros.geometry.rotation import (
    matrix_from_quaternion,
    multiplied,
    quaternion_from_matrix,
    quaternion_from_rotvec,
    rotvec_from_quaternion,
)
from pear_ros.people import EhmParameters, FloatArray
from pear_ros.tracking import one_euro
from pear_ros.tracking.camera_motion import CameraMotion
from pear_ros.tracking.one_euro import Filtered, OneEuro
from pear_ros.tracking.states import States

Array = NDArray[np.float64]

# Fields of EhmParameters by how they are smoothed, with their numbers of joints or coefficients.
MATRICES = {"global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15}
ROTVECS = {"flame_jaw_pose": 1, "flame_eye_pose": 2}
EXPRESSIONS = {"expression": 50, "flame_expression": 50, "flame_eyelids": 2}
SHAPES = {"betas": 200, "flame_betas": 300, "head_scale": 3}
OTHERS = {"hand_scale": 3, "flame_global_pose": 3, "camera_t": 3}  # not smoothed

HALF_SURE = 5.0  # sightings after which the confidence of a shape is one half
# After this number of sightings the shape in use changes only when their number has doubled: a body
# that changes a little in each image would have to be blended again each time.
SETTLING = 16


@dataclass(frozen=True)
class Smoothed:
    """The smoothed parameters of M people."""

    parameters: EhmParameters
    translation: FloatArray  # (M, 3) m, optical
    shape_confidence: FloatArray  # (M,) 0 to 1, by the number of sightings


@dataclass(frozen=True)
class _State:
    """Of N people: measured and smoothed values at the last sighting of each."""

    rotations: Filtered  # (N, 55, 4) quaternions
    expressions: Filtered  # (N, 102, 1)
    position: Filtered  # (N, 1, 3) m
    mean_shape: Array  # (N, 503) of all sightings
    shape: Array  # (N, 503) in use
    others: Array  # (N, 9)
    sightings: Array  # (N,)
    stamp_s: Array  # (N,)


class PoseFilter:
    """The filters of all people of one camera, by their ids."""

    def __init__(self, settings: SmoothingSettings) -> None:
        s = settings
        self._rotation = _one_euro(s.rotation_cutoff_hz, s.rotation_cutoff_per_speed)
        self._position = _one_euro(s.position_cutoff_hz, s.position_cutoff_per_speed)
        self._depth = _one_euro(s.depth_cutoff_hz, s.depth_cutoff_per_speed)
        self._expression = _one_euro(s.expression_cutoff_hz, 0.0)
        self._averages_shape = s.shape
        self._people: States[_State] = States()

    def __call__(
        self,
        ids: tuple[str, ...],
        parameters: EhmParameters,
        translation: FloatArray,
        stamp_s: float,
    ) -> None:
        """Takes in a sighting of N people at `stamp_s`, later than the last."""
        measured = _started(parameters, translation, stamp_s)
        self._people.take_in(ids, measured, self._filtered)

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        self._people.keep(ids)

    def move(self, camera: CameraMotion) -> None:
        """Moves positions and root orientations into the axes of a camera that has moved."""
        self._people.change(lambda state: _moved(state, camera))

    def smoothed(self, ids: tuple[str, ...]) -> Smoothed:
        """The values of people, at the last sighting of each."""
        state = self._people.of(ids)
        return Smoothed(
            _parameters(state),
            state.position.value[:, 0].astype(np.float32),
            (state.sightings / (state.sightings + HALF_SURE)).astype(np.float32),
        )

    def _filtered(self, before: _State, measured: _State) -> _State:
        elapsed_s = measured.stamp_s - before.stamp_s
        sightings = before.sightings + 1
        mean = before.mean_shape + (measured.shape - before.mean_shape) / sightings[:, None]
        is_power_of_2 = np.log2(sightings) % 1 == 0
        is_new = ((sightings <= SETTLING) | is_power_of_2)[:, None]
        return replace(
            measured,
            rotations=one_euro.filtered_rotations(
                before.rotations, measured.rotations.measured, elapsed_s, self._rotation
            ),
            expressions=one_euro.filtered(
                before.expressions, measured.expressions.measured, elapsed_s, self._expression
            ),
            position=one_euro.filtered_positions(
                before.position,
                measured.position.measured,
                elapsed_s,
                self._position,
                self._depth,
            ),
            mean_shape=mean,
            shape=np.where(is_new, mean, before.shape) if self._averages_shape else measured.shape,
            sightings=sightings,
        )


def _one_euro(cutoff_hz: float, cutoff_per_speed: float) -> OneEuro:
    """The filter of these settings; a cutoff of 0 means no filter."""
    return OneEuro(cutoff_hz, cutoff_per_speed) if cutoff_hz else OneEuro(np.inf, 0.0)


def _started(parameters: EhmParameters, translation: FloatArray, stamp_s: float) -> _State:
    """The state of N people after a first sighting."""
    count, num_rotvecs = len(translation), sum(ROTVECS.values())
    matrices = np.concatenate([getattr(parameters, name).numpy() for name in MATRICES], 1)
    rotvecs = np.concatenate([getattr(parameters, name).numpy() for name in ROTVECS], 1)
    quat_xyzw = np.concatenate(
        (
            quaternion_from_matrix(matrices),
            quaternion_from_rotvec(rotvecs.reshape(count, num_rotvecs, 3).astype(np.float64)),
        ),
        1,
    )
    columns = {
        kind: np.concatenate([getattr(parameters, n).numpy() for n in names], 1).astype(np.float64)
        for kind, names in (("expressions", EXPRESSIONS), ("shape", SHAPES), ("others", OTHERS))
    }
    return _State(
        rotations=one_euro.started(quat_xyzw, 3),
        expressions=one_euro.started(columns["expressions"][..., None], 1),
        position=one_euro.started(translation.astype(np.float64)[:, None], 3),
        mean_shape=columns["shape"],
        shape=columns["shape"],
        others=columns["others"],
        sightings=np.ones(count),
        stamp_s=np.full(count, stamp_s),
    )


def _moved(state: _State, camera: CameraMotion) -> _State:
    turn_xyzw = quaternion_from_matrix(camera.rotation)

    def turned(quat_xyzw: Array) -> Array:  # (N, 55, 4), the root first
        root = multiplied(turn_xyzw, quat_xyzw[:, :1])
        return np.concatenate((root, quat_xyzw[:, 1:]), 1)

    rotations, position = state.rotations, state.position
    return replace(
        state,
        # A rotation's velocity is in its own axes, which do not depend on the camera.
        rotations=replace(
            rotations, value=turned(rotations.value), measured=turned(rotations.measured)
        ),
        position=Filtered(
            camera.points(position.value),
            camera.points(position.measured),
            camera.vectors(position.velocity),
        ),
    )


def _parameters(state: _State) -> EhmParameters:
    count = len(state.stamp_s)
    matrices = sum(MATRICES.values())
    quat_xyzw = state.rotations.value
    values = _split(matrix_from_quaternion(quat_xyzw[:, :matrices]), MATRICES)
    rotvecs = _split(rotvec_from_quaternion(quat_xyzw[:, matrices:]), ROTVECS)
    values |= {name: rows.reshape(count, 3 * rows.shape[1]) for name, rows in rotvecs.items()}
    values |= _split(state.expressions.value[..., 0], EXPRESSIONS)
    values |= _split(state.shape, SHAPES) | _split(state.others, OTHERS)
    return EhmParameters(
        **{name: torch.from_numpy(rows.astype(np.float32)) for name, rows in values.items()}
    )


def _split(columns: Array, sizes: dict[str, int]) -> dict[str, Array]:
    parts = np.split(columns, np.cumsum(list(sizes.values()))[:-1], 1)
    return dict(zip(sizes, parts, strict=True))
