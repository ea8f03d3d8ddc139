"""The cache of body shapes: it gives the same bodies, and blends no shape twice."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from samples import random_parameters
from torch import Tensor

from pear_ros.body import shape_cache
from pear_ros.body.body_model import BodyModel, BodyShape
from pear_ros.body.shape_cache import ShapeCache
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
    body_model: BodyModel, people: EhmParameters, shape: BodyShape, mesh: bool
) -> None:
    """The shape of the cache gives the same bodies as none."""
    found, alone = body_model(people, shape, mesh), body_model(people, mesh=mesh)
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
        shape = cache(tuple(ids), predicted, mesh)
        assert_right(counting.body_model, predicted, shape, mesh)
        assert counting.blended.pop() == blended


def test_a_shape_may_be_nan(counting: Counting) -> None:
    """NaN is unequal to itself, so nothing is kept, and the next good shape is right."""
    cache = ShapeCache(counting)
    bad = dataclasses.replace(PEOPLE, betas=PEOPLE.betas * torch.nan)
    for people in (bad, bad, PEOPLE):
        shape = cache(tuple("abcd"), people, False)
    assert counting.blended == [4, 4, 4]
    assert_right(counting.body_model, PEOPLE, shape, False)


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
    shape = ShapeCache(counting)(("a", "b", "c", "d"), PEOPLE, True)
    assert_right(counting.body_model, PEOPLE, shape, True)


# --- Memory --------------------------------------------------------------------------------------


def kept_bytes(cache: ShapeCache) -> int:
    """The memory that the entries hold: whole storages, of which a tensor may show a part."""
    storages = {}
    for entry in cache._entries.values():
        shapes = [getattr(entry.shape, field.name) for field in dataclasses.fields(BodyShape)]
        for tensor in [entry.coefficients, *(shape for shape in shapes if shape is not None)]:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_people_who_come_and_go_leave_no_memory(small_body_model: BodyModel) -> None:
    """One leaves and one comes in each call: each kept row has memory of its own."""
    people = random_parameters(16)
    alone = ShapeCache(small_body_model)
    alone(("a",), rows(people, 0), True)
    cache = ShapeCache(small_body_model)
    for call in range(150):
        cache(tuple(f"p{call + i}" for i in range(16)), rows(people, *range(16)), True)
        moved = torch.roll(people.betas, -1, 0)
        people = dataclasses.replace(people, betas=moved)
    assert len(cache._entries) == 16 + shape_cache.KEPT_CALLS
    assert kept_bytes(cache) == len(cache._entries) * kept_bytes(alone)


def test_the_memory_of_the_most_people(small_body_model: BodyModel) -> None:
    people = random_parameters(32)
    cache = ShapeCache(small_body_model)
    for call in range(20):
        cache(tuple(f"{call} {i}" for i in range(32)), people, True)
    assert len(cache._entries) == shape_cache.MOST_PEOPLE
    alone = ShapeCache(small_body_model)
    alone(("a",), rows(people, 0), True)
    assert kept_bytes(cache) == shape_cache.MOST_PEOPLE * kept_bytes(alone)


def test_people_who_left_are_forgotten(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_cache, "KEPT_CALLS", 3)
    cache = ShapeCache(counting)
    for ids in ["ab", "a", "a", "a", "b", "a", "a", "a", "a", "b"]:
        cache(tuple(ids), rows(PEOPLE, *("abcd".index(id_) for id_ in ids)), True)
    # b is missing in three calls and known, then in four and forgotten
    assert counting.blended == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert list(cache._entries) == ["a", "b"]


def test_the_cache_keeps_no_tensor_of_the_caller(small_body_model: BodyModel) -> None:
    """The caller may write the next people into the same tensors."""
    people = map_tensors(PEOPLE, lambda tensor: tensor.clone())
    cache = ShapeCache(small_body_model)
    cache(tuple("abcd"), people, True)
    people.betas.add_(0.5)
    assert_right(small_body_model, people, cache(tuple("abcd"), people, True), True)
