"""How tall people are, learned from all their sightings: their distances follow from it.

The network sees how large a person is in the image, within about 1 %, but a small person nearby
looks like a tall one far away. So the height of each person is a state (its logarithm), and the
distance in an image is the one at which the estimated body would be that tall. What measures the
distance in an image (the floor under the feet, a depth image) corrects both: Kalman's update for
two correlated numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.config import PlacementSettings
from pear_ros.people import DISTANCE_SOURCES
from pear_ros.tracking.states import States

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

IMAGE, HEIGHT, GROUND, DEPTH = range(len(DISTANCE_SOURCES))
KNOWN_SIGMA = 0.01  # relative error of a height that is known: shoes, posture
# Repeated measurements of one kind share errors: the height does not become more certain than this.
LEAST_SIGMA = {GROUND: 0.01, DEPTH: 0.005}
# The floor says nothing if it contradicts this much: the person stands on something else.
GATE_SIGMAS = {GROUND: 4.0, DEPTH: np.inf}
MOST_SIGMAS = 4.0  # between a learned height and a measured distance
MOST_CONTRADICTIONS = 60  # images in a row, of the floor: then what was learned before is wrong
POSSIBLE_M = 0.3, 3.0  # heights of people


@dataclass(frozen=True)
class Measured:
    """What an image says about the distances of N people.

    `log_ratio` is log(measured distance / distance of the estimated body), `sigma` its standard
    deviation, infinite where nothing was measured; columns: the floor, the depth image.
    """

    height_m: Array  # (N,) of the estimated bodies
    log_ratio: Array  # (N, 2)
    sigma: Array  # (N, 2)

    def __getitem__(self, rows: Rows) -> Measured:
        return Measured(self.height_m[rows], self.log_ratio[rows], self.sigma[rows])

    @staticmethod
    def from_image(height_m: Array) -> Measured:
        """Nothing but the image tells the distances."""
        count = len(height_m)
        return Measured(height_m, np.zeros((count, 2)), np.full((count, 2), np.inf))


@dataclass(frozen=True)
class Distances:
    """The distances of N people, as factors of those of the estimated bodies."""

    factor: Array  # (N,)
    sigma: Array  # (N,) standard deviation of the factor's logarithm
    source: Rows  # (N,) index into DISTANCE_SOURCES


@dataclass(frozen=True)
class _Heights:
    """What is known about the heights of N people."""

    log_m: Array  # (N,) the height's logarithm
    variance: Array  # (N,) of log_m
    source: Rows  # (N,) what told it, index into DISTANCE_SOURCES
    contradictions: Rows  # (N,) number of images in a row in which the floor contradicted


@dataclass(frozen=True)
class _State:
    """Of N people, at the last sighting of each."""

    heights: _Heights
    measured: Measured
    distances: Distances


class BodySizes:
    """The heights of the followed people of one camera, by their ids."""

    def __init__(self, settings: PlacementSettings) -> None:
        self._image_variance = settings.image_sigma**2
        self._known_m = settings.body_height_m
        # Relative error of the height of a person who is new.
        new_sigma = KNOWN_SIGMA if self._known_m > 0 else settings.size_sigma
        self._new_variance = new_sigma**2
        self._people: States[_State] = States()

    def alone(self, measured: Measured) -> Distances:
        """The distances of N people from one image, as if nobody were known."""
        return self._seen_first(measured).distances

    def __call__(self, ids: tuple[str, ...], measured: Measured) -> None:
        """Takes in a sighting of N people."""
        self._people.take_in(ids, self._seen_first(measured), self._seen_again)

    def of(self, ids: tuple[str, ...]) -> Distances:
        """The distances of people who are known, at the last sighting of each."""
        return self._people.of(ids).distances

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        self._people.keep(ids)

    def _seen_first(self, measured: Measured) -> _State:
        count, is_known = len(measured.height_m), self._known_m > 0
        heights = _Heights(
            np.full(count, np.log(self._known_m)) if is_known else _log(measured.height_m),
            np.full(count, self._new_variance),
            np.full(count, HEIGHT if is_known else IMAGE),
            np.zeros(count, np.int64),
        )
        return self._updated(heights, measured)

    def _seen_again(self, before: _State, now: _State) -> _State:
        return self._updated(before.heights, now.measured)

    def _updated(self, heights: _Heights, measured: Measured) -> _State:
        seen, source = _log(measured.height_m), heights.source
        # The mean of the heights in several images was tried, see docs/placement.md.
        mean = np.where(source == IMAGE, seen, heights.log_m)
        # The logarithms of the height and of the distance's factor, with their covariance matrix.
        variance, factor = heights.variance, mean - seen
        of_factor, shared = variance + self._image_variance, variance
        contradictions = heights.contradictions
        for column, kind in enumerate((GROUND, DEPTH)):
            difference = measured.log_ratio[:, column] - factor
            noise = measured.sigma[:, column] ** 2
            # What was learned may be wrong, after a mix-up of two people: begin anew. Depth tells
            # that at once, the floor after some time, as people step onto things for a while.
            is_wrong = difference**2 > MOST_SIGMAS**2 * (of_factor + noise)
            if kind == GROUND:
                is_measured = np.isfinite(noise)
                counted = np.where(is_wrong, contradictions + 1, 0)
                contradictions = np.where(is_measured, counted, contradictions)
                is_wrong &= (contradictions > MOST_CONTRADICTIONS) & (source != DEPTH)
                contradictions = np.where(is_wrong, 0, contradictions)
            variance = np.where(is_wrong, np.maximum(variance, self._new_variance), variance)
            shared = np.where(is_wrong, variance, shared)
            of_factor = np.where(is_wrong, variance + self._image_variance, of_factor)
            total = of_factor + noise
            is_used = np.isfinite(total) & (difference**2 < GATE_SIGMAS[kind] ** 2 * total)
            gain = np.where(is_used, 1 / total, 0)
            step = gain * np.where(is_used, difference, 0)
            mean, factor = mean + shared * step, factor + of_factor * step
            least = np.where(is_used, np.minimum(variance, LEAST_SIGMA[kind] ** 2), 0)
            variance = np.maximum(variance - gain * shared**2, least)
            shared = shared * (1 - gain * of_factor)
            of_factor = of_factor * (1 - gain * of_factor)
            source = np.where(is_used, np.maximum(kind, source), source)
        return _State(
            _Heights(mean, variance, source, contradictions),
            measured,
            Distances(np.exp(factor), np.sqrt(of_factor), source),
        )


def _log(height_m: Array) -> Array:
    logarithm: Array = np.log(np.clip(height_m, *POSSIBLE_M))
    return logarithm
