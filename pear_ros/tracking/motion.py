"""Where followed people are expected: a constant-velocity model in metres and seconds.

A Kalman filter for each person, vectorised over people. The noise of a sighting is larger along the
ray from the camera, where the estimate depends on the person's assumed size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ACCELERATION_M_S2 = 1.9  # standard deviation of a person's acceleration
SPEED_M_S = 0.65  # standard deviation of the speed of a new person
# Standard deviation of a sighting's position, as fractions of the distance to the camera.
LATERAL_NOISE = 0.006
DEPTH_NOISE = 0.06
LEAST_DEPTH_M = 0.3
NOISE_MEMORY = 10  # number of sightings in which the noise of a person is learned
MOST_SURPRISING = 10  # limit for a sighting's squared distance, so that one does not decide
MOST_NOISE = 400.0


@dataclass(frozen=True)
class Motion:
    """Position and velocity of T people, m and m/s, in the camera's optical frame."""

    mean: Array  # (T, 6) x, y, z, vx, vy, vz
    covariance: Array  # (T, 6, 6)
    noise: Array  # (T,) how much noisier a person's sightings are than `sighting_noise`, variance

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: NDArray[np.int64]) -> Motion:
        return Motion(self.mean[rows], self.covariance[rows], self.noise[rows])

    @property
    def position(self) -> Array:
        """(T, 3) m."""
        return self.mean[:, :3]


def joined(parts: Sequence[Motion]) -> Motion:
    """All people of `parts`."""
    return Motion(
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.covariance for part in parts]),
        np.concatenate([part.noise for part in parts]),
    )


def started(position: Array) -> Motion:
    """The motion of people first seen at `position` (T, 3), m, at rest."""
    covariance = np.zeros((len(position), 6, 6))
    covariance[:, :3, :3] = sighting_noise(position)
    covariance[:, 3:, 3:] = SPEED_M_S**2 * np.eye(3)
    mean = np.concatenate((position, np.zeros_like(position)), 1)
    return Motion(mean, covariance, np.ones(len(position)))


def moved(motion: Motion, rotation: Array, translation: Array) -> Motion:
    """The same motion in the axes of a camera that has moved.

    Points are there at `rotation` (3, 3) @ p + `translation` (3,), m.
    """
    both = np.kron(np.eye(2), rotation)  # (6, 6)
    mean = motion.mean @ both.T
    mean[:, :3] += translation
    return Motion(mean, both @ motion.covariance @ both.T, motion.noise)


def predicted(
    motion: Motion, elapsed_s: Array, acceleration_m_s2: Array | float = ACCELERATION_M_S2
) -> Motion:
    """The motion after `elapsed_s` (T,), the time since each person's state was computed."""
    dt = elapsed_s[:, None, None]
    identity, zero = np.eye(3), np.zeros((3, 3))
    transition = np.eye(6) + dt * np.block([[zero, identity], [zero, zero]])  # (T, 6, 6)
    mean = (transition @ motion.mean[..., None])[..., 0]
    # A constant random acceleration during the time.
    effect = np.concatenate((0.5 * dt**2 * identity, dt * identity), 1)  # (T, 6, 3)
    variance = np.square(acceleration_m_s2)
    noise = variance * effect @ np.swapaxes(effect, 1, 2)
    covariance = transition @ motion.covariance @ np.swapaxes(transition, 1, 2) + noise
    return Motion(mean, covariance, motion.noise)


def corrected(motion: Motion, position: Array) -> Motion:
    """The motion after sightings at `position` (T, 3), m, of all T people.

    How noisy sightings are depends on the network and the view, so it is learned for each person:
    their squared distances should have a mean of 3, the number of dimensions.
    """
    sightings = motion.noise[:, None, None] * sighting_noise(position)
    after, squared = updated(motion, position, sightings)
    growth = (np.minimum(squared / 3, MOST_SURPRISING) - 1) / NOISE_MEMORY
    noise = np.clip(motion.noise * (1 + growth), 1, MOST_NOISE).astype(np.float64)
    return replace(after, noise=noise)


def updated(motion: Motion, position: Array, sighting_noise: Array) -> tuple[Motion, Array]:
    """The motion after sightings at `position` (T, 3), m, of all T people (Kalman's update).

    Args:
        motion: Of the people.
        position: Of the sightings.
        sighting_noise: (T, 3, 3) m^2, their covariances.

    Returns:
        The motion, and the sightings' Mahalanobis distances squared (T,).
    """
    innovation = motion.covariance[:, :3, :3] + sighting_noise
    inverse = np.linalg.inv(innovation)
    gain = motion.covariance[:, :, :3] @ inverse  # (T, 6, 3)
    difference = position - motion.position
    mean: Array = motion.mean + (gain @ difference[..., None])[..., 0]
    squared: Array = np.einsum("ti,tij,tj->t", difference, inverse, difference)
    covariance = motion.covariance - gain @ motion.covariance[:, :3]
    # Rounding makes it asymmetric, and without this line more so with every image.
    covariance = 0.5 * (covariance + np.swapaxes(covariance, 1, 2))
    return Motion(mean, covariance, motion.noise), squared


def squared_distances(motion: Motion, position: Array) -> tuple[Array, Array]:
    """How far sightings at `position` (N, 3), m, are from where T people are expected.

    Returns the Mahalanobis distances squared (T, N), and the volume (T,) of each person's
    uncertainty as a multiple of that of a single sighting.
    """
    noise = motion.noise[:, None, None] * sighting_noise(motion.position)
    spread = motion.covariance[:, :3, :3] + noise
    difference = position[None] - motion.position[:, None]  # (T, N, 3)
    squared = np.einsum("tni,tni->tn", difference @ np.linalg.inv(spread), difference)
    return squared, np.sqrt(np.linalg.det(spread) / np.linalg.det(noise))


def sighting_noise(position: Array) -> Array:
    """The covariance (T, 3, 3), m^2, of sightings at `position` (T, 3)."""
    depth = np.maximum(np.linalg.norm(position, axis=1), LEAST_DEPTH_M)[:, None, None]
    ray = position[:, :, None] / depth
    along = ray @ np.swapaxes(ray, 1, 2)
    variance: Array = LATERAL_NOISE**2 * (np.eye(3) - along) + DEPTH_NOISE**2 * along
    return depth**2 * variance
