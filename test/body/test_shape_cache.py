"""The cache of body shapes: it gives the same bodies, and blends no shape twice."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from samples import random_parameters
from torch import Tensor

from pear_ros.body import shape_cache
from pear_ros.body.body_model import BodyModel, BodyShape
from pear_ros.body.shape_cache import MOST_PEOPLE, ShapeCache, ShapeTable
from pear_ros.people import EhmParameters, map_tensors


class Counting:
    """The body model; records how many shapes each call blends."""

    def __init__(self, body_model: BodyModel) -> None:
        self.body_model = body_model
        self.blended: list[int] = []

    def shape(self, betas: Tensor, flame_betas: Tensor, mesh: bool) -> BodyShape:
        self.blended.append(len(betas))
        return self.body_model.shape(betas, flame_betas, mesh)


@pytest.fixture
def counting(small_body_model: BodyModel) -> Counting:
    return Counting(small_body_model)


def rows(parameters: EhmParameters, *indices: int) -> EhmParameters:
    return map_tensors(parameters, lambda tensor: tensor[list(indices)])


def assert_right(
    body_model: BodyModel,
    expected: EhmParameters,
    used: EhmParameters,
    shape: BodyShape,
    mesh: bool,
) -> None:
    """The parameters and shape of the cache give the same body as `expected` without it."""
    torch.testing.assert_close(used.betas, expected.betas)
    torch.testing.assert_close(used.flame_betas, expected.flame_betas)
    found, alone = body_model(used, shape, mesh), body_model(expected, mesh=mesh)
    torch.testing.assert_close(found.joints, alone.joints, rtol=0, atol=1e-6)
    if mesh:
        torch.testing.assert_close(found.vertices, alone.vertices, rtol=0, atol=1e-6)


PEOPLE = random_parameters(4)
CHANGED = dataclasses.replace(PEOPLE, betas=PEOPLE.betas + 0.1)
FLAME_CHANGED = dataclasses.replace(PEOPLE, flame_betas=PEOPLE.flame_betas + 0.1)

# Calls of (ids, rows of which people, mesh), and how many shapes each call blends.
SEQUENCES = {
    "the same again": [("ab", PEOPLE, False, 2), ("ab", PEOPLE, False, 0)],
    "the same mesh again": [("ab", PEOPLE, True, 2), ("ab", PEOPLE, True, 0)],
    "other order": [("abc", PEOPLE, True, 3), ("cab", PEOPLE, True, 0)],
    "one leaves": [("abc", PEOPLE, True, 3), ("ac", PEOPLE, True, 0)],
    "one comes": [("ac", PEOPLE, True, 2), ("abc", PEOPLE, True, 1)],
    "one comes back": [("ab", PEOPLE, True, 2), ("a", PEOPLE, True, 0), ("ab", PEOPLE, True, 0)],
    "betas change": [("ab", PEOPLE, True, 2), ("ab", CHANGED, True, 2), ("ab", PEOPLE, True, 2)],
    "head changes": [("ab", PEOPLE, True, 2), ("ab", FLAME_CHANGED, True, 2)],
    "mesh later": [("ab", PEOPLE, False, 2), ("ab", PEOPLE, True, 2), ("ab", PEOPLE, True, 0)],
    "no mesh later": [("ab", PEOPLE, True, 2), ("ab", PEOPLE, False, 0), ("ab", PEOPLE, True, 0)],
    "one with a mesh, one without": [
        ("a", PEOPLE, True, 1), ("ab", PEOPLE, False, 1), ("ab", PEOPLE, True, 1),
    ],
    "nobody": [("", PEOPLE, True, 0), ("", PEOPLE, False, 0)],
    "nobody between": [("a", PEOPLE, True, 1), ("", PEOPLE, True, 0), ("a", PEOPLE, True, 0)],
}  # fmt: skip


@pytest.mark.parametrize("calls", SEQUENCES.values(), ids=SEQUENCES)
def test_bodies_are_the_same_and_shapes_are_kept(
    counting: Counting, calls: list[tuple[str, EhmParameters, bool, int]]
) -> None:
    cache = ShapeCache(counting)
    for ids, people, mesh, blended in calls:
        predicted = rows(people, *("abcd".index(id_) for id_ in ids))
        used, shape = cache(tuple(ids), predicted, mesh)
        assert_right(counting.body_model, predicted, used, shape, mesh)
        assert counting.blended.pop() == blended


def frame(value: float) -> EhmParameters:
    one = random_parameters(1)
    return dataclasses.replace(
        one,
        betas=torch.full_like(one.betas, value),
        flame_betas=torch.full_like(one.flame_betas, -value),
    )


NAN = float("nan")
MEANS = {
    "mean, then held": (3, [1, 2, 6, 100, 7], [1, 1.5, 3, 3, 3]),
    "held at once": (1, [1, 2, 3], [1, 1, 1]),
    "not held": (0, [1, 2, 3], [1, 2, 3]),
    "starts again after NaN": (3, [1, NAN, 4, 6], [1, NAN, 4, 5]),
    "NaN first": (2, [NAN, 4, 6, 9], [NAN, 4, 5, 5]),
    "NaN after it is held": (1, [1, NAN, 2], [1, 1, 1]),
}


@pytest.mark.parametrize(("hold_after", "predicted", "expected"), MEANS.values(), ids=MEANS)
def test_held_shapes(
    counting: Counting, hold_after: int, predicted: list[float], expected: list[float]
) -> None:
    cache = ShapeCache(counting, hold_after)
    for value, mean in zip(predicted, expected, strict=True):
        used, shape = cache(("a",), frame(value), False)
        torch.testing.assert_close(used.betas, frame(mean).betas, equal_nan=True)
        torch.testing.assert_close(used.flame_betas, frame(mean).flame_betas, equal_nan=True)
        if not math.isnan(mean):
            assert_right(counting.body_model, frame(mean), used, shape, False)


def test_a_held_shape_is_not_blended_again(counting: Counting) -> None:
    cache = ShapeCache(counting, 2)
    for value in (1, 3, 5, 9):
        cache(("a",), frame(value), True)
    assert counting.blended == [1, 1, 0, 0]


def test_each_person_has_its_own_mean(counting: Counting) -> None:
    cache = ShapeCache(counting, 2)
    cache(("a", "b"), rows(PEOPLE, 0, 1), False)
    used, _ = cache(("b", "a"), rows(CHANGED, 1, 0), False)
    expected = (rows(PEOPLE, 1, 0).betas + rows(CHANGED, 1, 0).betas) / 2
    torch.testing.assert_close(used.betas, expected)


def test_people_not_seen_for_the_longest_are_forgotten(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_cache, "MOST_PEOPLE", 2)
    cache = ShapeCache(counting)
    for id_ in "abacab":  # c replaces b, then b replaces c
        cache((id_,), rows(PEOPLE, "abc".index(id_)), False)
    assert counting.blended == [1, 1, 0, 1, 0, 1]


def test_more_people_at_once_than_the_cache_keeps(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_cache, "MOST_PEOPLE", 2)
    used, shape = ShapeCache(counting)(("a", "b", "c", "d"), PEOPLE, True)
    assert_right(counting.body_model, PEOPLE, used, shape, True)


# --- The table on a device ------------------------------------------------------------------------


def test_the_table_agrees_with_the_cache(small_body_model: BodyModel) -> None:
    """While people come and go. One prediction is not finite."""
    cache, table = ShapeCache(small_body_model, 3), ShapeTable(torch.device("cpu"), 3)
    for step, names in enumerate(("ab", "bac", "c", "acb", "ab", "cba", "abc")):
        people = random_parameters(len(names), seed=step)
        if step == 1:
            people.betas[0, 3] = torch.nan
        expected, _ = cache(tuple(names), people, mesh=False)
        rows, weights = zip(*table.enter(tuple(names)), strict=True)
        found = table(people, torch.tensor(rows), torch.tensor(weights))
        # After NaN the cache starts b's count of frames again, the table does not.
        same = [i for i, name in enumerate(names) if step < 1 or name != "b"]
        torch.testing.assert_close(found.betas[same], expected.betas[same])
        torch.testing.assert_close(found.flame_betas[same], expected.flame_betas[same])
        assert (found.betas.isfinite().all(1) == people.betas.isfinite().all(1)).all()


def test_the_table_ignores_steps_that_failed() -> None:
    table = ShapeTable(torch.device("cpu"), 1)
    table.enter(("a",))  # the step fails before a is predicted
    rows, weights = zip(*table.enter(("a",)), strict=True)
    people = random_parameters(1)
    found = table(people, torch.tensor(rows), torch.tensor(weights))
    torch.testing.assert_close(found.betas, people.betas)


def test_the_table_forgets_people_not_seen_for_the_longest() -> None:
    table = ShapeTable(torch.device("cpu"), 1)
    everyone = tuple(f"p{i}" for i in range(MOST_PEOPLE))
    rows = [row for row, _ in table.enter(everyone)]
    assert sorted(rows) == list(range(MOST_PEOPLE))
    assert table.enter(("p0", "new")) == [(rows[0], 0.0), (rows[1], 1.0)]
    assert table.enter(("p1",)) == [(rows[2], 1.0)]
