"""The One Euro filter: a causal low-pass filter whose cutoff frequency rises with the speed.

Slow motion is smoothed strongly, against jitter; fast motion little, against lag. Casiez, Roussel,
Vogel: 1 Euro Filter, CHI 2012. Time is in seconds, so that the rate may vary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.rotation import (
    conjugated,
    interpolated,
    multiplied,
    rotvec_from_quaternion,
)

Array = NDArray[np.float64]

SPEED_CUTOFF_HZ = 1.0  # of the low-pass filter for the speed, as in the paper


@dataclass(frozen=True)
class OneEuro:
    """The two parameters of the filter."""

    cutoff_hz: float  # at rest
    cutoff_per_speed: float  # Hz per unit of speed

    def cutoff_at(self, speed: Array) -> Array:
        """The cutoff frequency, Hz, at a speed in units per second."""
        return self.cutoff_hz + self.cutoff_per_speed * speed


def weight_of_new(cutoff_hz: Array | float, elapsed_s: Array) -> Array:
    """The weight of a new value in a first-order low-pass filter; 1 after an infinite time."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * np.maximum(elapsed_s, 1e-9)))


@dataclass(frozen=True)
class Filtered:
    """N values (N, K, D) or rotations (N, K, 4), their last measurements and their velocities."""

    value: Array
    measured: Array
    velocity: Array  # (N, K, D) units/s or (N, K, 3) rad/s, filtered


def started(measured: Array, dimensions: int) -> Filtered:
    """The state after the first measurements (N, K, ...), at rest."""
    return Filtered(measured, measured, np.zeros((*measured.shape[:2], dimensions), measured.dtype))


def filtered(state: Filtered, measured: Array, elapsed_s: Array, filter_: OneEuro) -> Filtered:
    """Filters vectors (N, K, D), each with a cutoff of its own, `elapsed_s` (N,) after the last."""
    elapsed_s = elapsed_s[:, None, None]
    if filter_.cutoff_per_speed == 0:  # the speed does not matter
        weight = weight_of_new(filter_.cutoff_hz, elapsed_s)
        return Filtered(_mixed(state.value, measured, weight), measured, state.velocity)
    velocity = (measured - state.measured) / np.maximum(elapsed_s, 1e-9)
    velocity = _mixed(state.velocity, velocity, weight_of_new(SPEED_CUTOFF_HZ, elapsed_s))
    cutoff_hz = filter_.cutoff_at(_norm(velocity))  # (N, K, 1)
    value = _mixed(state.value, measured, weight_of_new(cutoff_hz, elapsed_s))
    return Filtered(value, measured, velocity)


def filtered_positions(
    state: Filtered, measured: Array, elapsed_s: Array, across: OneEuro, along: OneEuro
) -> Filtered:
    """Filters positions (N, 1, 3), m, in a camera's axes: across the ray from the camera and along.

    The two directions have filters of their own: along the ray, positions are less certain.
    """
    elapsed_s = elapsed_s[:, None, None]
    ray = measured / np.maximum(_norm(measured), 1e-9)
    velocity = (measured - state.measured) / np.maximum(elapsed_s, 1e-9)
    velocity = _mixed(state.velocity, velocity, weight_of_new(SPEED_CUTOFF_HZ, elapsed_s))
    value = state.value
    parts = _along(velocity, ray), _along(measured - state.value, ray)
    for filter_, speed, step in (
        (along, parts[0], parts[1]),
        (across, velocity - parts[0], measured - state.value - parts[1]),
    ):
        value = value + weight_of_new(filter_.cutoff_at(_norm(speed)), elapsed_s) * step
    return Filtered(value, measured, velocity)


def _along(vectors: Array, directions: Array) -> Array:
    along: Array = (vectors * directions).sum(-1, keepdims=True) * directions
    return along


def filtered_rotations(
    state: Filtered, measured: Array, elapsed_s: Array, filter_: OneEuro
) -> Filtered:
    """Filters rotations, quaternions (N, K, 4) x, y, z, w: the same on SO(3).

    The difference of two rotations is the rotation vector from one to the other.
    """
    elapsed_s = elapsed_s[:, None, None]
    velocity = _difference(state.measured, measured) / np.maximum(elapsed_s, 1e-9)
    velocity = _mixed(state.velocity, velocity, weight_of_new(SPEED_CUTOFF_HZ, elapsed_s))
    cutoff_hz = filter_.cutoff_at(_norm(velocity))  # (N, K, 1)
    value = interpolated(state.value, measured, weight_of_new(cutoff_hz, elapsed_s))
    return Filtered(value, measured, velocity)


def _difference(before_xyzw: Array, after_xyzw: Array) -> Array:
    """The rotation vectors (N, K, 3), rad, that turn `before` into `after`, in its own axes."""
    return rotvec_from_quaternion(multiplied(conjugated(before_xyzw), after_xyzw))


def _mixed(before: Array, after: Array, weight: Array) -> Array:
    return before + weight * (after - before)


def _norm(vectors: Array) -> Array:
    # einsum is several times as fast as a sum over an axis this short.
    norm: Array = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return norm
