"""How tall people are, learned from all their sightings: their distances follow from it.

The network sees how large a person is in the image, within about 1 %, but a small person nearby
looks like a tall one far away. So the height of each person is a state (its logarithm), and the
distance in an image is the one at which the estimated body would be that tall. What measures the
distance in an image (the floor under the feet, a depth image) corrects both: Kalman's update for
two correlated numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pear_ros.config import PlacementSettings
from pear_ros.people import DISTANCE_SOURCES

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

IMAGE, HEIGHT, GROUND, DEPTH = range(len(DISTANCE_SOURCES))
KNOWN_SIGMA = 0.01  # relative error of a height that is known: shoes, posture
# Repeated measurements of one kind share errors: the height does not become more certain than this.
LEAST_SIGMA = {GROUND: 0.01, DEPTH: 0.005}
# The floor says nothing if it contradicts this much: the person stands on something else.
GATE_SIGMAS = {GROUND: 4.0, DEPTH: np.inf}
MOST_SIGMAS = 4.0  # between a learned height and a measurement
MOST_SIGHTINGS = 100  # that enter the mean of the estimated heights


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
class _Sizes:
    """The state of T people."""

    log_height: Array  # (T,)
    variance: Array  # (T,) of log_height
    sightings: Array  # (T,)
    source: Rows  # (T,) what told the height

    def __getitem__(self, rows: Rows) -> _Sizes:
        return _Sizes(*(getattr(self, f.name)[rows] for f in fields(self)))


class BodySizes:
    """The heights of the followed people of one camera, by their ids."""

    def __init__(self, settings: PlacementSettings, averages: bool) -> None:
        """`averages`: without other sources, a person's height is the mean of the estimates."""
        self._settings = settings
        self._averages = averages
        self._ids: tuple[str, ...] = ()
        self._sizes = self._started(np.zeros(0))

    def alone(self, measured: Measured) -> Distances:
        """The distances from one image, as if nobody were known."""
        return self._updated(self._started(measured.height_m), measured)[1]

    def __call__(self, ids: tuple[str, ...], measured: Measured) -> Distances:
        """Takes in a sighting of N people."""
        row_of = {id_: row for row, id_ in enumerate(self._ids)}
        rows = np.array([row_of.get(id_, -1) for id_ in ids], np.int64)
        is_known = rows >= 0
        before = self._started(measured.height_m)
        if is_known.any():
            known = self._sizes[rows]  # the last row in place of -1
            before = _Sizes(*(
                np.where(is_known, getattr(known, f.name), getattr(before, f.name))
                for f in fields(_Sizes)
            ))  # fmt: skip
        sizes, distances = self._updated(before, measured)
        others = np.setdiff1d(np.arange(len(self._ids)), rows[is_known])
        self._sizes = _Sizes(*(
            np.concatenate((getattr(sizes, f.name), getattr(self._sizes[others], f.name)))
            for f in fields(_Sizes)
        ))  # fmt: skip
        self._ids = (*ids, *(self._ids[row] for row in others))
        return distances

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        rows = np.array([row for row, id_ in enumerate(self._ids) if id_ in ids], np.int64)
        self._ids = tuple(self._ids[row] for row in rows)
        self._sizes = self._sizes[rows]

    @property
    def _new_sigma(self) -> float:
        """Relative error of the height of a person who is new."""
        return KNOWN_SIGMA if self._settings.body_height_m > 0 else self._settings.size_sigma

    def _started(self, height_m: Array) -> _Sizes:
        """Of N people who were not seen before."""
        count, known_m = len(height_m), self._settings.body_height_m
        is_known = known_m > 0
        return _Sizes(
            log_height=np.full(count, np.log(known_m)) if is_known else _log(height_m),
            variance=np.full(count, self._new_sigma**2),
            sightings=np.zeros(count),
            source=np.full(count, HEIGHT if is_known else IMAGE),
        )

    def _updated(self, before: _Sizes, measured: Measured) -> tuple[_Sizes, Distances]:
        sightings = before.sightings + 1
        share = 1 / np.minimum(sightings, MOST_SIGHTINGS) if self._averages else 1.0
        seen = _log(measured.height_m)
        is_image = before.source == IMAGE
        mean = before.log_height + is_image * share * (seen - before.log_height)
        # The logarithms of the height and of the distance's factor, with their covariance matrix.
        variance, factor = before.variance, mean - seen
        of_factor, shared = variance + self._settings.image_sigma**2, variance
        source = before.source
        new_variance = self._new_sigma**2
        for column, kind in enumerate((GROUND, DEPTH)):
            difference = measured.log_ratio[:, column] - factor
            noise = measured.sigma[:, column] ** 2
            # What was learned may be wrong, after a mix-up of two people: begin anew.
            is_wrong = difference**2 > MOST_SIGMAS**2 * (of_factor + noise)
            pixels = self._settings.image_sigma**2
            variance = np.where(is_wrong, np.maximum(variance, new_variance), variance)
            shared = np.where(is_wrong, variance, shared)
            of_factor = np.where(is_wrong, variance + pixels, of_factor)
            total = of_factor + noise
            is_used = np.isfinite(total) & (difference**2 < GATE_SIGMAS[kind] ** 2 * total)
            gain = np.where(is_used, 1 / total, 0)
            step = gain * np.where(is_used, difference, 0)
            mean, factor = mean + shared * step, factor + of_factor * step
            least = np.where(is_used, LEAST_SIGMA[kind] ** 2, 0)
            variance = np.maximum(variance - gain * shared**2, least)
            shared = shared * (1 - gain * of_factor)
            of_factor = of_factor * (1 - gain * of_factor)
            source = np.where(is_used, np.maximum(kind, source), source)
        return (
            _Sizes(mean, variance, sightings, source),
            Distances(np.exp(factor), np.sqrt(of_factor), source),
        )


def _log(height_m: Array) -> Array:
    logarithm: Array = np.log(np.maximum(height_m, 1e-3))
    return logarithm
