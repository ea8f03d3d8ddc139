"""Keeps the blended body shapes of people, so that an unchanged shape is not blended again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pear_ros.body.body_model import BodyModel, BodyShape
from pear_ros.people import EhmParameters, map_tensors

MOST_PEOPLE = 256  # limit of people whose shapes are kept


@dataclass(frozen=True)
class _Entry:
    coefficients: Tensor  # (500,) betas and flame_betas of `shape`
    shape: BodyShape  # one row


class ShapeCache:
    """The blended shapes of people, by their ids."""

    def __init__(self, body_model: BodyModel) -> None:
        self._body_model = body_model
        self._entries: dict[str, _Entry] = {}

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
        stale = [i for i, shape in enumerate(known) if shape is None]
        fresh = self._body_model.shape(betas[stale], flame_betas[stale], mesh)
        for k, i in enumerate(stale):
            known[i] = _row(fresh, k)
        for id_, row, shape in zip(ids, coefficients, known, strict=True):
            assert shape is not None
            self._entries.pop(id_, None)  # so that it becomes the newest entry
            self._entries[id_] = _Entry(row, shape)
        while len(self._entries) > MOST_PEOPLE:
            del self._entries[next(iter(self._entries))]
        all_rows = [shape for shape in known if shape is not None]
        return fresh if len(stale) == len(ids) else _stack(all_rows)

    def _known(self, id_: str, coefficients: Tensor, mesh: bool) -> BodyShape | None:
        entry = self._entries.get(id_)
        if entry is None or not torch.equal(entry.coefficients, coefficients):
            return None
        return None if mesh and entry.shape.body_vertices is None else entry.shape


def _row(shape: BodyShape, i: int) -> BodyShape:
    return map_tensors(shape, lambda rows: rows[i : i + 1])


def _stack(rows: list[BodyShape]) -> BodyShape:
    """All rows as one BodyShape, with the terms of the vertices if each row has them."""
    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(BodyShape)}
    values: dict[str, Any] = {
        name: None if any(x is None for x in column) else torch.cat(column)
        for name, column in columns.items()
    }
    return BodyShape(**values)
