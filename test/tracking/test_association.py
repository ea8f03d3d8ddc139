"""Costs of pairs, and the assignment of the least total cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pear_ros.tracking.association import (
    Likeness,
    assigned,
    costs,
    pose_distances,
    shape_distances,
)

INF = np.inf
ALIKE = {"position": 0.5, "volume": 1, "iou": 0.8, "shape": 0.9, "pose_m": 0.05, "unseen_s": 0.1}


def cost_of(**values: float) -> float:
    """The cost of one pair that is alike but for some values."""
    (cost,) = costs(Likeness(**{k: np.array([v], float) for k, v in (ALIKE | values).items()}))
    return float(cost)


# --- Costs ----------------------------------------------------------------------------------------

# Values of one field, from like to unlike.
UNLIKE = {
    "position": [0, 1, 4],
    "volume": [1, 3, 100],
    "iou": [1, 0.5, 0],
    "shape": [1.2, 1.5, 2],
    "pose_m": [0, 0.1, 0.2],
}


@pytest.mark.parametrize(("field", "values"), UNLIKE.items(), ids=UNLIKE)
def test_the_less_alike_the_dearer(field: str, values: list[float]) -> None:
    found = [cost_of(**{field: value}) for value in values]
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("field", ["shape", "pose_m"])
def test_one_wrong_measurement_excludes_nobody(field: str) -> None:
    assert np.isfinite(cost_of(**{field: 1e6}))
    assert cost_of(**{field: 1e6}) == cost_of(**{field: 1e3})


def test_usual_noise_of_the_shape_costs_nothing() -> None:
    assert cost_of(shape=0.0) == cost_of(shape=1.0) < cost_of(shape=2.0)


def test_a_place_far_from_the_expected_one_is_impossible() -> None:
    assert np.isfinite(cost_of(position=3**2, iou=0))
    assert cost_of(position=20**2, iou=0) == INF


def test_overlap_allows_a_place_further_away() -> None:
    """Depth may be wrong by much, where the box is right."""
    limits = [
        max(d for d in np.linspace(0, 20, 201) if np.isfinite(cost_of(position=d**2, iou=iou)))
        for iou in (0.0, 0.9)
    ]
    assert limits[0] < limits[1]


def test_much_is_not_possible_at_once() -> None:
    """Each alone is."""
    unlike = {"position": 4.5**2, "shape": 9.0, "pose_m": 9.0, "iou": 0.0, "volume": 50.0}
    for field, value in unlike.items():
        assert np.isfinite(cost_of(**{field: value}))
    assert cost_of(**unlike) == INF


@pytest.mark.parametrize(
    ("field", "like", "unlike"), [("iou", 1, 0), ("pose_m", 0, 0.2)], ids=["box", "pose"]
)
def test_boxes_and_poses_tell_less_with_time(field: str, like: float, unlike: float) -> None:
    differences = [
        cost_of(**{field: unlike, "unseen_s": t}) - cost_of(**{field: like, "unseen_s": t})
        for t in (0.05, 0.5, 2.0)
    ]
    assert (np.diff(differences) < 0).all()


def test_each_pair_has_its_own_cost() -> None:
    random = np.random.default_rng(2)
    most = {"position": 40, "volume": 9, "iou": 1, "shape": 3, "pose_m": 0.3, "unseen_s": 1}
    pairs = [{k: random.uniform(0.1, 1) * v for k, v in most.items()} for _ in range(20)]
    together = Likeness(**{name: np.array([pair[name] for pair in pairs]) for name in most})
    assert costs(together).tolist() == pytest.approx([cost_of(**pair) for pair in pairs])


def test_costs_of_no_pairs() -> None:
    assert costs(Likeness(*[np.zeros(0)] * 6)).shape == (0,)


# --- Assignment -----------------------------------------------------------------------------------

ASSIGNED = {
    "each to its own": ([[1, 9], [9, 1]], [(0, 0), (1, 1)]),
    "the least sum, not the least pair": ([[1, 2], [2, 9]], [(0, 1), (1, 0)]),
    "impossible": ([[INF, INF]], []),
    "one is impossible": ([[1, INF], [INF, INF]], [(0, 0)]),
    "as many as possible": ([[0, 1], [9, INF]], [(0, 1), (1, 0)]),
    "more sightings": ([[5, 1, 7]], [(0, 1)]),
    "more people": ([[5], [1], [7]], [(1, 0)]),
}


@pytest.mark.parametrize(("cost", "pairs"), ASSIGNED.values(), ids=ASSIGNED)
def test_assignment(cost: list[list[float]], pairs: list[tuple[int, int]]) -> None:
    rows, columns = assigned(np.array(cost, np.float64))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == pairs


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)], ids=str)
def test_assignment_of_nobody(size: tuple[int, int]) -> None:
    rows, columns = assigned(np.zeros(size))
    assert rows.tolist() == columns.tolist() == []
    assert rows.dtype == columns.dtype == np.int64


def best_by_trial(cost: np.ndarray) -> tuple[int, float]:
    """The largest number of possible pairs, and the least cost of so many, from all assignments."""
    t, n = cost.shape
    padded = np.full((max(t, n), max(t, n)), INF)
    padded[:t, :n] = cost
    tried = []
    for columns in itertools.permutations(range(len(padded))):
        of_pairs = padded[np.arange(len(padded)), columns]
        possible = of_pairs[np.isfinite(of_pairs)]
        tried.append((-len(possible), possible.sum()))
    count, total = min(tried)
    return -count, total


def test_no_assignment_is_better() -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        cost = random.uniform(0, 20, random.integers(1, 5, 2))
        cost[random.random(cost.shape) < 0.4] = INF
        rows, columns = assigned(cost)
        assert len(set(rows)) == len(rows)
        assert len(set(columns)) == len(columns)
        count, total = best_by_trial(cost)
        assert len(rows) == count
        assert cost[rows, columns].sum() == pytest.approx(total)


# --- Distances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [0, 1, 5])
def test_distances(pairs: int) -> None:
    random = np.random.default_rng(4)
    betas = random.normal(size=(2, pairs, 10)).astype(np.float32)
    joints = random.normal(size=(2, pairs, 22, 3)).astype(np.float32)
    shape, pose_m = shape_distances(*betas), pose_distances(*joints)
    assert shape.shape == pose_m.shape == (pairs,)
    for i in range(pairs):
        assert shape[i] == pytest.approx(np.mean((betas[0, i] - betas[1, i]) ** 2), rel=1e-5)
        lengths = [np.linalg.norm(a - b) for a, b in zip(joints[0, i], joints[1, i], strict=True)]
        assert pose_m[i] == pytest.approx(np.mean(lengths), rel=1e-5)
