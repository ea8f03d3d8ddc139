"""Motions: controls over time, smooth and endless, from a repertoire of actions.

A motion is a sequence of key poses that are held for a while, plus periodic movements such as the
steps of a walk or a waving hand. Actions come from one of two repertoires that share none, so a
network is tested on actions that it was not trained on.
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
KEPT = 8  # latest actions that are kept; each takes at least 1.5 s
EXPRESSION_SPREAD = 0.7  # standard deviation of the expression coefficients
SWAY: dict[str, tuple[float, float]] = {  # standard deviation, period in s
    "turn": (25, 3), "nod": (11, 3), "tilt": (6, 4), "gaze_side": (10, 2), "gaze_down": (6, 2),
    "lean": (2.5, 5), "twist": (5, 5), "jaw": (9, 0.8), "left_lid": (0.25, 2),
    "right_lid": (0.25, 2),
}  # fmt: skip
"""Movements that are added to every action: gaze, head, speech, eyelids and a swaying trunk."""


@dataclass(frozen=True)
class _Part:
    """A part of a motion: an action and its start."""

    start_s: float
    blend_s: float  # time to blend from the previous action
    action: Action


class Motion:
    """An endless sequence of actions: `motion(time_s)` gives controls (C,), `face` the expression.

    SWAY is added to every action. Only the latest actions are kept: for an earlier time, all
    actions are drawn again from the start, with the same result. `random` must not be used
    elsewhere.
    """

    def __init__(self, repertoire: Repertoire, random: Random) -> None:
        self._repertoire = repertoire
        self._first = _Part(0.0, 0.5, self._draw(random))
        self._sway = _SumOfSines(random, [spread for spread, _ in SWAY.values()],
                                 [period_s for _, period_s in SWAY.values()])  # fmt: skip
        self._sway_controls = [INDEX[name] for name in SWAY]
        self._expressions = _SumOfSines(random, [EXPRESSION_SPREAD] * NUM_EXPRESSIONS, 2.5)
        self._random = random  # in its state before the second action is drawn
        self._restart()

    def __call__(self, time_s: float) -> Array:
        before, now = self._at(time_s)
        blend = _smooth((time_s - now.start_s) / now.blend_s)
        controls = (1 - blend) * _posed(before.action, time_s) + blend * _posed(now.action, time_s)
        controls[self._sway_controls] += self._sway(time_s)
        return limited(controls)

    def face(self, time_s: float) -> Array:
        """(50,) expression coefficients."""
        return self._expressions(time_s)

    def walks(self, time_s: float) -> bool:
        """Whether the action at that time moves the legs as in a walk."""
        _, now = self._at(time_s)
        return any(wave.control == "left_hip_flex" for wave in now.action.waves)

    def _at(self, time_s: float) -> tuple[_Part, _Part]:
        """The previous part and the part at that time, which is 0 or later.

        During the first part, both are the first.
        """
        if time_s < self._parts[1].start_s:
            self._restart()
        while self._parts[-1].start_s <= time_s:
            self._parts.append(next(self._upcoming))
        pairs = reversed(list(pairwise(self._parts)))
        return next((before, now) for before, now in pairs if now.start_s <= time_s)

    def _restart(self) -> None:
        self._parts = deque([self._first, self._first], maxlen=KEPT)
        self._upcoming = self._draw_all()

    def _draw_all(self) -> Iterator[_Part]:
        """All parts after the first; the same in every call."""
        random = copy.deepcopy(self._random)
        start_s = self._first.start_s
        while True:
            start_s += random.uniform(1.5, 4)
            yield _Part(start_s, random.uniform(0.4, 0.9), self._draw(random))

    def _draw(self, random: Random) -> Action:
        action = self._repertoire[random.integers(len(self._repertoire))](random)
        for name in [*action.pose, *STANDING]:  # vary the pose
            low, high = LIMITS[name]
            value = action.pose.get(name, STANDING.get(name, 0))
            action.pose[name] = value + random.normal(0, 0.04 * (high - low))
        return action


def _posed(action: Action, time_s: float) -> Array:
    """(C,) the pose and the periodic movements of an action."""
    controls = vector({**STANDING, **action.pose})
    for wave in action.waves:
        cycles = wave.rate_hz * time_s + wave.phase
        controls[INDEX[wave.control]] += wave.amplitude * np.sin(2 * np.pi * cycles)
    return controls


class _SumOfSines:
    """Slowly varying numbers with mean 0 and given standard deviations: sums of three sines."""

    def __init__(
        self, random: Random, spreads: Sequence[float], periods_s: float | Sequence[float]
    ) -> None:
        self._rates_hz = random.uniform(0.3, 1.2, (3, len(spreads))) / np.asarray(periods_s)
        self._phases = random.random((3, len(spreads)))
        self._amplitudes = np.array(spreads) * np.sqrt(2 / 3)  # of each sine

    def __call__(self, time_s: float) -> Array:
        cycles = self._rates_hz * time_s + self._phases
        return self._amplitudes * np.sin(2 * np.pi * cycles).sum(0)


def _smooth(x: float) -> float:
    """Smoothstep: 0 for x <= 0, 1 for x >= 1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)
