"""The filter states of people by their ids: one struct of arrays for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
State = TypeVar("State")
"""A dataclass whose fields are arrays with a row for each person, or such dataclasses again."""


class States(Generic[State]):
    """The states of all people of one camera."""

    def __init__(self) -> None:
        self._ids: tuple[str, ...] = ()
        self._state: State | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the people who are known."""
        return self._ids

    def take_in(
        self, ids: tuple[str, ...], measured: State, filtered: Callable[[State, State], State]
    ) -> None:
        """Takes in new values of N people; the others keep their states.

        `measured` (N,) are the states of people seen first; `filtered` makes new states from those
        before and those measured, of people who are known.
        """
        row_of = {id_: row for row, id_ in enumerate(self._ids)}
        row_before = np.array([row_of.get(id_, -1) for id_ in ids], np.int64)
        known, new = np.flatnonzero(row_before >= 0), np.flatnonzero(row_before < 0)
        before = row_before[known]
        is_other = np.ones(len(self._ids), bool)
        is_other[before] = False
        others = np.flatnonzero(is_other)
        parts = []
        if len(new) or self._state is None:
            parts.append(_selected(measured, new, len(ids)))
        if self._state is not None:
            count = len(self._ids)
            if len(known):
                earlier = _selected(self._state, before, count)
                parts.append(filtered(earlier, _selected(measured, known, len(ids))))
            if len(others) or not parts:
                parts.append(_selected(self._state, others, count))
        self._state = parts[0] if len(parts) == 1 else map_arrays(np.concatenate, *parts)
        self._ids = (
            *(ids[i] for i in new),
            *(ids[i] for i in known),
            *(self._ids[row] for row in others),
        )

    def keep(self, ids: Collection[str]) -> None:
        """Forgets everybody else."""
        if all(id_ in ids for id_ in self._ids):
            return
        rows = np.array([row for row, id_ in enumerate(self._ids) if id_ in ids], np.int64)
        if self._state is not None:
            self._state = _selected(self._state, rows, len(self._ids))
        self._ids = tuple(self._ids[row] for row in rows)

    def of(self, ids: tuple[str, ...]) -> State:
        """The states of people who are known."""
        assert self._state is not None
        row_of = {id_: row for row, id_ in enumerate(self._ids)}
        rows = np.array([row_of[id_] for id_ in ids], np.int64)
        return _selected(self._state, rows, len(self._ids))

    def change(self, function: Callable[[State], State]) -> None:
        """Replaces the states of all people."""
        if self._state is not None:
            self._state = function(self._state)


def map_arrays(function: Callable[[list[Any]], Any], *states: Any) -> Any:
    """A dataclass of arrays whose fields are `function` of the lists of the states' fields."""
    values: dict[str, Any] = {}
    for field in fields(states[0]):
        column = [getattr(state, field.name) for state in states]
        is_array = isinstance(column[0], np.ndarray)
        values[field.name] = function(column) if is_array else map_arrays(function, *column)
    return type(states[0])(**values)


def _selected(state: Any, rows: Rows, count: int) -> Any:
    if np.array_equal(rows, np.arange(count)):
        return state  # everybody in the same order, which is the usual case
    return map_arrays(lambda values: values[0][rows], state)
