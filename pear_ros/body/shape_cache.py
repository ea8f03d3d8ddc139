"""Keeps the blended body shapes of people, so that an unchanged shape is not blended again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pear_ros.body.body_model import BodyModel, BodyShape
from pear_ros.people import EhmParameters, map_tensors

# A shape has the size of the mesh. People who left are forgotten; those who are found again and
# those of cameras that are not part of every call stay.
MOST_PEOPLE = 256  # limit of people whose shapes are kept
KEPT_CALLS = 100  # calls in which somebody may be missing


@dataclass(frozen=True)
class _Entry:
    coefficients: Tensor  # (500,) betas and flame_betas of `shape`
    shape: BodyShape  # one row, of memory of its own
    call: int  # number of the last call with this person


class ShapeCache:
    """The blended shapes of people, by their ids."""

    def __init__(self, body_model: BodyModel) -> None:
        self._body_model = body_model
        self._entries: dict[str, _Entry] = {}  # the one not seen for the longest comes first
        self._calls = 0

    def __call__(self, ids: tuple[str, ...], parameters: EhmParameters, mesh: bool) -> BodyShape:
        """Returns the BodyShape of N people.

        Args:
            ids: Ids of N people.
            parameters: Their parameters.
            mesh: Whether the BodyShape needs the terms of the vertices.
        """
        betas, flame_betas = parameters.betas, parameters.flame_betas
        coefficients = torch.cat((betas, flame_betas), 1)  # (N, 500)
        known = [self._known(id_, row, mesh) for id_, row in zip(ids, coefficients, strict=True)]
        stale = [i for i, entry in enumerate(known) if entry is None]
        fresh = self._body_model.shape(betas[stale], flame_betas[stale], mesh)
        self._calls += 1
        for k, i in enumerate(stale):
            # Copies: a view would keep the memory of all rows, of everybody in this call.
            known[i] = _Entry(coefficients[i].clone(), _copied_row(fresh, k), self._calls)
        entries = [entry for entry in known if entry is not None]
        for id_, entry in zip(ids, entries, strict=True):
            self._entries.pop(id_, None)  # so that it becomes the newest entry
            self._entries[id_] = replace(entry, call=self._calls)
        self._forget()
        return fresh if len(stale) == len(ids) else _stack([entry.shape for entry in entries])

    def _forget(self) -> None:
        for id_, entry in list(self._entries.items()):
            is_gone = self._calls - entry.call > KEPT_CALLS
            if not is_gone and len(self._entries) <= MOST_PEOPLE:
                break
            del self._entries[id_]

    def _known(self, id_: str, coefficients: Tensor, mesh: bool) -> _Entry | None:
        entry = self._entries.get(id_)
        if entry is None or not torch.equal(entry.coefficients, coefficients):
            return None
        return None if mesh and entry.shape.body_vertices is None else entry


def _copied_row(shape: BodyShape, i: int) -> BodyShape:
    return map_tensors(shape, lambda rows: rows[i : i + 1].clone())


def _stack(rows: list[BodyShape]) -> BodyShape:
    """All rows as one BodyShape, with the terms of the vertices if each row has them."""
    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(BodyShape)}
    values: dict[str, Any] = {
        name: None if any(x is None for x in column) else torch.cat(column)
        for name, column in columns.items()
    }
    return BodyShape(**values)
