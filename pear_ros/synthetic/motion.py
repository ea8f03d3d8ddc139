"""Motions: controls over time, smooth and endless, from a repertoire of actions.

A motion is a sequence of key poses with holds between them, plus waves: the swing of a gait, the
shake of a greeting hand. Actions are drawn from one of two repertoires that share none, so that
what a network is tested with is nothing that it was trained on.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pear_ros.synthetic.actions import Action, Repertoire
from pear_ros.synthetic.controls import (
    INDEX,
    LIMITS,
    STANDING,
    limited,
    vector,
)

Array = NDArray[np.float64]
Random = np.random.Generator

NUM_EXPRESSIONS = 50
KEPT = 8  # actions of a motion; each takes at least 1.5 s
EXPRESSION_SPREAD = 0.7  # standard deviation of a face's expression, in the model's own
SWAY: dict[str, tuple[float, float]] = {  # spread and period, s
    "turn": (25, 3), "nod": (11, 3), "tilt": (6, 4), "gaze_side": (10, 2), "gaze_down": (6, 2),
    "lean": (2.5, 5), "twist": (5, 5), "jaw": (9, 0.8), "left_lid": (0.25, 2),
    "right_lid": (0.25, 2),
}  # fmt: skip
"""What moves on its own: the head looks around, the mouth speaks, the trunk sways."""


@dataclass(frozen=True)
class _Part:
    """Of a motion: an action and when it begins."""

    start_s: float
    blend_s: float  # until its pose is reached
    action: Action


class Motion:
    """An endless sequence of actions: `motion(time_s)` gives controls (C,), `face` the expression.

    SWAY is added to whatever the action is. The latest actions are kept; who asks for an earlier
    time waits until all of it has been drawn again, which gives the same. `random` is a stream of
    the motion's own.
    """

    def __init__(self, repertoire: Repertoire, random: Random) -> None:
        self._repertoire = repertoire
        self._first = _Part(0.0, 0.5, self._draw(random))
        self._sway = _Glides(random, [spread for spread, _ in SWAY.values()],
                             [period_s for _, period_s in SWAY.values()])  # fmt: skip
        self._swayed = [INDEX[name] for name in SWAY]
        self._expressions = _Glides(random, [EXPRESSION_SPREAD] * NUM_EXPRESSIONS, 2.5)
        self._random = random  # as it is before the second action is drawn
        self._begin()

    def __call__(self, time_s: float) -> Array:
        before, now = self._at(time_s)
        blend = _smooth((time_s - now.start_s) / now.blend_s)
        controls = (1 - blend) * _posed(before.action, time_s) + blend * _posed(now.action, time_s)
        controls[self._swayed] += self._sway(time_s)
        return limited(controls)

    def face(self, time_s: float) -> Array:
        """(50,) expression coefficients."""
        return self._expressions(time_s)

    def walks(self, time_s: float) -> bool:
        _, now = self._at(time_s)
        return any(wave.control == "left_hip_flex" for wave in now.action.waves)

    def _at(self, time_s: float) -> tuple[_Part, _Part]:
        """The part before, and the one of that time, from 0 on; both are the first at first."""
        if time_s < self._parts[1].start_s:
            self._begin()
        while self._parts[-1].start_s <= time_s:
            self._parts.append(next(self._to_come))
        pairs = reversed(list(pairwise(self._parts)))
        return next((before, now) for before, now in pairs if now.start_s <= time_s)

    def _begin(self) -> None:
        self._parts = deque([self._first, self._first], maxlen=KEPT)
        self._to_come = self._draw_all()

    def _draw_all(self) -> Iterator[_Part]:
        """All that follow the first; each time the same."""
        random = copy.deepcopy(self._random)
        start_s = self._first.start_s
        while True:
            start_s += random.uniform(1.5, 4)
            yield _Part(start_s, random.uniform(0.4, 0.9), self._draw(random))

    def _draw(self, random: Random) -> Action:
        action = self._repertoire[random.integers(len(self._repertoire))](random)
        for name in [*action.pose, *STANDING]:  # nobody does it twice the same
            low, high = LIMITS[name]
            value = action.pose.get(name, STANDING.get(name, 0))
            action.pose[name] = value + random.normal(0, 0.04 * (high - low))
        return action


def _posed(action: Action, time_s: float) -> Array:
    """(C,) the pose with its waves."""
    controls = vector({**STANDING, **action.pose})
    for wave in action.waves:
        cycles = wave.rate_hz * time_s + wave.phase
        controls[INDEX[wave.control]] += wave.amplitude * np.sin(2 * np.pi * cycles)
    return controls


class _Glides:
    """Numbers that wander about 0 with a spread each, and take their time."""

    def __init__(
        self, random: Random, spreads: Sequence[float], periods_s: float | Sequence[float]
    ) -> None:
        self._rates_hz = random.uniform(0.3, 1.2, (3, len(spreads))) / np.asarray(periods_s)
        self._phases = random.random((3, len(spreads)))
        self._amplitudes = np.array(spreads) * np.sqrt(2 / 3)  # of each of three sines

    def __call__(self, time_s: float) -> Array:
        cycles = self._rates_hz * time_s + self._phases
        return self._amplitudes * np.sin(2 * np.pi * cycles).sum(0)


def _smooth(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)
