"""Keeps the body shapes of tracked people, so that an unchanged shape is not blended again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pear_ros.body.body_model import BodyModel, BodyShape
from pear_ros.people import EhmParameters, map_tensors

MOST_PEOPLE = 256  # limit of people whose shapes are kept
COEFFICIENTS = 200 + 300  # of betas and flame_betas


@dataclass(frozen=True)
class _Entry:
    frames: int  # number of frames in the mean
    mean: Tensor  # (500,) of betas and flame_betas
    used: Tensor  # (500,) the coefficients of `shape`
    shape: BodyShape  # one row


class ShapeCache:
    """The blended shapes of people, by their ids.

    With `hold_after` > 0 a person's shape is the mean of the predictions so far, and it is held
    constant after that many frames.
    """

    def __init__(self, body_model: BodyModel, hold_after: int = 0) -> None:
        self._body_model = body_model
        self._hold_after = hold_after
        self._entries: dict[str, _Entry] = {}

    def __call__(
        self, ids: tuple[str, ...], parameters: EhmParameters, mesh: bool
    ) -> tuple[EhmParameters, BodyShape]:
        """Returns the parameters of N people with the betas to use, and the BodyShape of these.

        Args:
            ids: Ids of N people.
            parameters: Their predicted parameters.
            mesh: Whether the BodyShape needs the terms of the vertices.
        """
        predicted = torch.cat((parameters.betas, parameters.flame_betas), 1)  # (N, 500)
        means = [self._mean(id_, row) for id_, row in zip(ids, predicted, strict=True)]
        used = predicted
        if self._hold_after and ids:
            used = torch.stack([mean for _, mean in means])
        betas, flame_betas = used.split(
            (parameters.betas.shape[1], parameters.flame_betas.shape[1]), 1
        )
        parameters = replace(parameters, betas=betas, flame_betas=flame_betas)

        known = [self._known(id_, row, mesh) for id_, row in zip(ids, used, strict=True)]
        stale = [i for i, shape in enumerate(known) if shape is None]
        fresh = self._body_model.shape(betas[stale], flame_betas[stale], mesh)
        for k, i in enumerate(stale):
            known[i] = _row(fresh, k)
        for id_, mean, row, shape in zip(ids, means, used, known, strict=True):
            assert shape is not None
            self._entries.pop(id_, None)  # so that it becomes the newest entry
            self._entries[id_] = _Entry(*mean, row, shape)
        while len(self._entries) > MOST_PEOPLE:
            del self._entries[next(iter(self._entries))]
        all_rows = [shape for shape in known if shape is not None]
        return parameters, fresh if len(stale) == len(ids) else _stack(all_rows)

    def _mean(self, id_: str, predicted: Tensor) -> tuple[int, Tensor]:
        entry = self._entries.get(id_)
        if entry is None or not torch.isfinite(entry.mean).all():
            return 1, predicted
        if entry.frames >= self._hold_after:
            return entry.frames, entry.mean
        return entry.frames + 1, entry.mean + (predicted - entry.mean) / (entry.frames + 1)

    def _known(self, id_: str, used: Tensor, mesh: bool) -> BodyShape | None:
        entry = self._entries.get(id_)
        if entry is None or not torch.equal(entry.used, used):
            return None
        return None if mesh and entry.shape.body_vertices is None else entry.shape


class ShapeTable:
    """The means of ShapeCache as a table on a device, which is never copied back to the host.

    Shapes are blended again in each step: checking whether they have changed would require waiting
    for the device. A mean that is not finite starts again with the next prediction, but its frame
    count continues.
    """

    PADDING = MOST_PEOPLE, 1.0  # row and weight of a padding row, whose mean is not kept

    def __init__(self, device: torch.device, hold_after: int) -> None:
        self._hold_after = hold_after
        self._rows: dict[str, tuple[int, int]] = {}  # row and frames of each person, newest last
        # NaN: the row has no mean yet.
        self._means = torch.full((MOST_PEOPLE + 1, COEFFICIENTS), torch.nan, device=device)

    def enter(self, ids: tuple[str, ...]) -> list[tuple[int, float]]:
        """Returns each person's row, and the weight of the new prediction in the mean."""
        entered = []
        for id_ in ids:
            row, frames = self._rows.pop(id_, (None, 0))
            if row is None:
                is_full = len(self._rows) == MOST_PEOPLE
                row = self._rows.pop(next(iter(self._rows)))[0] if is_full else len(self._rows)
            is_held = 0 < self._hold_after <= frames
            entered.append((row, 0.0 if is_held else 1 / (frames + 1)))
            self._rows[id_] = row, frames + (not is_held)
        return entered

    def __call__(self, parameters: EhmParameters, rows: Tensor, shares: Tensor) -> EhmParameters:
        """Returns the parameters of N people with the betas to use, and updates the means.

        Args:
            parameters: Predicted parameters of N people.
            rows: (N,) of any type, from `enter`.
            shares: (N,) weights of the new predictions, from `enter`.
        """
        if not self._hold_after:
            return parameters
        predicted = torch.cat((parameters.betas, parameters.flame_betas), 1)  # (N, 500)
        rows = rows.long()
        mean = self._means.index_select(0, rows)
        known = mean.isfinite().all(1) & (shares < 1)
        used = torch.where(known[:, None], mean.lerp(predicted, shares[:, None]), predicted)
        self._means.index_copy_(0, rows, used)
        betas, flame_betas = used.split(
            (parameters.betas.shape[1], parameters.flame_betas.shape[1]), 1
        )
        return replace(parameters, betas=betas, flame_betas=flame_betas)


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
