"""How fast people and their joints move: velocities to publish, in m/s.

Two Kalman filters of constant velocity for each person: one for the pelvis as estimated, one for
the smoothed joints relative to it. Both learn how noisy these are: that depends on the network, the
distance and where the distance comes from. The tracker's filter is another one: it is tuned to find
people again, and expects more noise along the ray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pear_ros.tracking import motion
from pear_ros.tracking.camera_motion import CameraMotion
from pear_ros.tracking.motion import Motion

Array = NDArray[np.float64]

# Standard deviations of the acceleration during 1/30 s, m/s^2. Chosen by measurement with the noise
# of the demo network: of the pelvis, so that a steady walk is known within 0.1 m/s after 0.5 s; of
# joints, so that feet that stand differ most from feet that swing.
PELVIS_ACCELERATION_M_S2 = 1.0
JOINT_ACCELERATION_M_S2 = 16.0
JOINT_SPEED_M_S = 1.0  # standard deviation at the first sighting
# Standard deviations expected at first, those of the demo network.
DEPTH_NOISE = 0.013  # of the distance
LATERAL_NOISE = 0.001
JOINT_NOISE_M = 0.005  # after smoothing
NOISE_MEMORY = 40  # number of sightings in which the noise is learned: a start is no noise
MOST_SURPRISING = 9.0  # limit for a squared deviation in standard deviations, while learning
LEAST_NOISE_M = 0.0005  # repeated images must not make it 0
ACCELERATION_TIME_S = 1 / 30  # of the accelerations above; they are less over longer times


@dataclass(frozen=True)
class PelvisMotion:
    """Of N people, in the axes of the camera."""

    mean: Array  # (N, 6) m, m/s
    covariance: Array  # (N, 6, 6)
    noise: Array  # (N, 2) m^2, variance of a sighting along the ray and across, at 1 m

    @property
    def velocity(self) -> Array:
        """(N, 3) m/s."""
        return self.mean[:, 3:]


@dataclass(frozen=True)
class JointMotion:
    """Of the J joints of N people, relative to the pelvis, in the axes of the camera."""

    position: Array  # (N, J, 3) m
    velocity: Array  # (N, J, 3) m/s
    covariance: Array  # (N, J, 3) of an axis: position, position with velocity, velocity
    noise: Array  # (N, J) m^2, variance of a sighting along an axis


def started_pelvis(position: Array) -> PelvisMotion:
    """The motion of people first seen at `position` (N, 3), m, at rest."""
    noise = np.tile(np.square((DEPTH_NOISE, LATERAL_NOISE)), (len(position), 1))
    state = motion.started(position)
    covariance = state.covariance.copy()
    covariance[:, :3, :3] = _sighting_noise(position, noise)
    return PelvisMotion(state.mean, covariance, noise)


def filtered_pelvis(state: PelvisMotion, position: Array, elapsed_s: Array) -> PelvisMotion:
    """The motion after a sighting at `position` (N, 3), m, `elapsed_s` (N,) after the last."""
    acceleration = PELVIS_ACCELERATION_M_S2 * np.sqrt(
        ACCELERATION_TIME_S / np.maximum(elapsed_s, 1e-6)
    )
    before = motion.predicted(
        Motion(state.mean, state.covariance, np.ones(len(position))),
        elapsed_s,
        acceleration[:, None, None],
    )
    noise = _learned_pelvis(state, before, position)
    after, _ = motion.updated(before, position, _sighting_noise(position, noise))
    return PelvisMotion(after.mean, after.covariance, noise)


def _learned_pelvis(state: PelvisMotion, before: Motion, position: Array) -> Array:
    """(N, 2) m^2 at 1 m: what a sighting deviates is the prediction's error and its noise."""
    distance = np.maximum(np.linalg.norm(position, axis=1), motion.LEAST_DEPTH_M)  # (N,)
    ray = position / distance[:, None]
    deviation = position - before.position
    spread = before.covariance[:, :3, :3]
    along = np.einsum("ni,ni->n", deviation, ray)
    squared = np.stack((along**2, (np.einsum("ni,ni->n", deviation, deviation) - along**2) / 2), 1)
    along_spread = np.einsum("ni,nij,nj->n", ray, spread, ray)
    spreads = np.stack((along_spread, (np.trace(spread, axis1=1, axis2=2) - along_spread) / 2), 1)
    scale = distance[:, None] ** 2
    return _learned(state.noise, squared / scale, spreads / scale)


def _learned(noise: Array, squared: Array, spread: Array) -> Array:
    """Variances of sightings, corrected by squared deviations from what was expected."""
    squared = np.minimum(squared, MOST_SURPRISING * (noise + spread))
    # A state that is not certain yet tells little about the noise.
    weight = noise / (noise + spread) / NOISE_MEMORY
    return np.maximum(noise + weight * (squared - spread - noise), LEAST_NOISE_M**2)


def _sighting_noise(position: Array, noise: Array) -> Array:
    """(N, 3, 3) m^2."""
    ray = position / np.maximum(np.linalg.norm(position, axis=1), 1e-9)[:, None]
    along = ray[:, :, None] * ray[:, None]
    squared_m = np.maximum((position**2).sum(1), motion.LEAST_DEPTH_M**2)
    variance = squared_m[:, None] * noise
    across = np.eye(3) - along
    covariance: Array = variance[:, :1, None] * along + variance[:, 1:, None] * across
    return covariance


def started_joints(position: Array) -> JointMotion:
    """The motion of joints (N, J, 3), m, of people seen first, at rest."""
    shape = position.shape[:2]
    first = (JOINT_NOISE_M**2, 0.0, JOINT_SPEED_M_S**2)
    covariance = np.broadcast_to(first, (*shape, 3)).copy()
    noise = np.full(shape, JOINT_NOISE_M**2)
    return JointMotion(position, np.zeros_like(position), covariance, noise)


def filtered_joints(state: JointMotion, position: Array, elapsed_s: Array) -> JointMotion:
    """The motion after a sighting of joints (N, J, 3), m, `elapsed_s` (N,) after the last."""
    dt = elapsed_s[:, None]
    pp, pv, vv = (state.covariance[..., i] for i in range(3))
    variance = JOINT_ACCELERATION_M_S2**2 * ACCELERATION_TIME_S / np.maximum(dt, 1e-6)
    pp = pp + 2 * dt * pv + dt**2 * vv + variance * dt**4 / 4
    pv = pv + dt * vv + variance * dt**3 / 2
    vv = vv + variance * dt**2
    expected = state.position + dt[..., None] * state.velocity
    deviation = position - expected
    noise = _learned(state.noise, np.einsum("nji,nji->nj", deviation, deviation) / 3, pp)
    # Kalman's update; the three axes of a joint have the same gains.
    to_position, to_velocity = pp / (pp + noise), pv / (pp + noise)
    covariance = np.stack(
        (pp * (1 - to_position), pv * (1 - to_position), vv - to_velocity * pv), -1
    )
    return JointMotion(
        expected + to_position[..., None] * deviation,
        state.velocity + to_velocity[..., None] * deviation,
        covariance,
        noise,
    )


def moved_pelvis(state: PelvisMotion, camera: CameraMotion) -> PelvisMotion:
    """The same motion in the axes of a camera that has moved."""
    before = Motion(state.mean, state.covariance, np.ones(len(state.mean)))
    after = motion.moved(before, camera.rotation, camera.translation)
    return PelvisMotion(after.mean, after.covariance, state.noise)


def moved_joints(state: JointMotion, camera: CameraMotion) -> JointMotion:
    """The same motion in the axes of a camera that has moved."""
    return replace(
        state,
        position=camera.vectors(state.position),
        velocity=camera.vectors(state.velocity),
    )
