"""The height of followed people, and the distances that follow from it."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.config import PlacementSettings
from pear_ros.people import DISTANCE_SOURCES
from pear_ros.tracking.body_size import MOST_CONTRADICTIONS, BodySizes, Distances, Measured

SETTINGS = PlacementSettings()
TRUE_M = 1.80
SIGHTINGS = 30


def measured(
    height_m: float, ground: float | None = None, depth: float | None = None, sigma: float = 0.02
) -> Measured:
    """One person; `ground` and `depth` are measured distances over that of the estimated body."""
    ratios = [1.0 if ratio is None else ratio for ratio in (ground, depth)]
    sigmas = [np.inf if ratio is None else sigma for ratio in (ground, depth)]
    return Measured(np.array([height_m]), np.log([ratios]), np.array([sigmas]))


def distances(sizes: BodySizes, ids: tuple[str, ...], sighting: Measured) -> Distances:
    sizes(ids, sighting)
    return sizes.of(ids)


def seen(sizes: BodySizes, *sightings: Measured) -> list[Distances]:
    return [distances(sizes, ("p1",), sighting) for sighting in sightings]


def source(distances: Distances) -> str:
    return DISTANCE_SOURCES[distances.source[0]]


def test_one_image_alone_keeps_the_estimate() -> None:
    (found,) = seen(BodySizes(SETTINGS), measured(1.7))
    assert found.factor[0] == pytest.approx(1)
    assert found.sigma[0] == pytest.approx(np.hypot(SETTINGS.size_sigma, SETTINGS.image_sigma))
    assert source(found) == "image"


def test_a_known_height_sets_the_distance() -> None:
    sizes = BodySizes(PlacementSettings(body_height_m=TRUE_M))
    (found,) = seen(sizes, measured(1.7))
    assert found.factor[0] == pytest.approx(TRUE_M / 1.7)
    assert found.sigma[0] < 0.02
    assert source(found) == "height"


@pytest.mark.parametrize("kind", ["ground", "depth"])
def test_a_measured_distance_corrects_the_image(kind: str) -> None:
    found = seen(BodySizes(SETTINGS), measured(1.7, **{kind: 1.06}, sigma=0.001))
    assert found[0].factor[0] == pytest.approx(1.06, abs=0.002)
    assert source(found[0]) == kind


def test_what_was_learned_stays_when_the_depth_image_ends() -> None:
    ratio = TRUE_M / 1.7
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, depth=ratio, sigma=0.02)] * SIGHTINGS)
    (alone,) = seen(sizes, measured(1.75))
    assert 1.75 * alone.factor[0] == pytest.approx(TRUE_M, rel=0.01)
    assert alone.sigma[0] < 0.5 * SETTINGS.size_sigma
    # A new person has learned nothing.
    assert distances(sizes, ("p2",), measured(1.7)).factor[0] == pytest.approx(1)


def test_people_on_a_table_do_not_stand_on_the_floor() -> None:
    (found,) = seen(BodySizes(SETTINGS), measured(1.7, ground=1.5))
    assert found.factor[0] == pytest.approx(1)
    assert source(found) == "image"


def test_a_child_is_placed_by_depth() -> None:
    """The network takes it for an adult who is farther away."""
    found = seen(BodySizes(SETTINGS), *[measured(1.7, depth=0.65, sigma=0.01)] * 5)
    assert found[-1].factor[0] == pytest.approx(0.65, rel=0.01)


def test_stated_errors_hold() -> None:
    """Errors drawn from the stated distributions are inside of 90 % intervals in 90 %."""
    random = np.random.default_rng(1)
    inside, count = {"image": 0, "ground": 0, "depth": 0}, 2000
    for kind in inside:
        true_m = 1.7 * np.exp(random.normal(0, SETTINGS.size_sigma, count))
        pixel = random.normal(0, SETTINGS.image_sigma, count)  # error of the size in the image
        true_log = np.log(true_m / 1.7) + pixel
        ratios, sigmas = np.zeros((count, 2)), np.full((count, 2), np.inf)
        if kind != "image":
            column, sigma = {"ground": (0, 0.02), "depth": (1, 0.01)}[kind]
            ratios[:, column] = true_log + random.normal(0, sigma, count)
            sigmas[:, column] = sigma
        sizes = BodySizes(SETTINGS)
        ids = tuple(f"p{i}" for i in range(count))
        found = distances(sizes, ids, Measured(np.full(count, 1.7), ratios, sigmas))
        errors = np.abs(np.log(found.factor) - true_log) / found.sigma
        inside[kind] = int((errors < 1.645).sum())
    for hits in inside.values():
        assert hits / count == pytest.approx(0.9, abs=0.02)


def test_who_is_forgotten_is_new() -> None:
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, depth=1.1, sigma=0.001)] * 3)
    sizes.keep(())
    assert seen(sizes, measured(1.7))[0].factor[0] == pytest.approx(1)


def test_people_are_kept_apart() -> None:
    sizes = BodySizes(SETTINGS)
    both = Measured(
        np.array([1.7, 1.7]), np.log([[1, 1.05], [1, 0.95]]), np.array([[np.inf, 1e-3]] * 2)
    )
    for _ in range(5):
        sizes(("p1", "p2"), both)
    swapped = distances(sizes, ("p2", "p1"), Measured.from_image(np.array([1.7, 1.7])))
    np.testing.assert_allclose(swapped.factor, (0.95, 1.05), rtol=0.005)
    only = distances(sizes, ("p2",), Measured.from_image(np.array([1.7])))
    np.testing.assert_allclose(only.factor, 0.95, rtol=0.005)


def test_a_mix_up_of_two_people_is_mended_at_once() -> None:
    """A tall person's height was learned, then the id goes to a short one."""
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, depth=1.08, sigma=0.005)] * SIGHTINGS)
    found = seen(sizes, measured(1.7, depth=0.94, sigma=0.005))
    assert found[0].factor[0] == pytest.approx(0.94, abs=0.01)


@pytest.mark.parametrize("step_m", [0.15, 0.17, 0.20, 0.5])
@pytest.mark.parametrize("taught_by", ["ground", "depth"])
def test_a_step_does_not_move_a_person_whose_height_is_known(taught_by: str, step_m: float) -> None:
    """The camera is 1.2 m high, so feet on a step meet the floor farther away."""
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, **{taught_by: 1.0}, sigma=0.01)] * 90)
    on_step = measured(1.7, ground=1.2 / (1.2 - step_m), sigma=0.0187)
    found = seen(sizes, *[on_step] * 5)
    assert all(d.factor[0] == pytest.approx(1, abs=0.04) for d in found)
    assert all(d.sigma[0] < 0.02 for d in found)


@pytest.mark.parametrize("step_m", [0.12, 0.15, 0.17])
def test_who_was_seen_first_on_a_step_is_measured_on_the_floor_later(step_m: float) -> None:
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, ground=1.2 / (1.2 - step_m), sigma=0.0187)] * 30)
    found = seen(sizes, *[measured(1.7, ground=1.0, sigma=0.0187)] * (MOST_CONTRADICTIONS + 30))
    assert found[-1].factor[0] == pytest.approx(1, abs=0.03)


def test_the_floor_mends_a_mix_up_of_two_people_later() -> None:
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.55, ground=1.0, sigma=0.0187)] * 30)
    found = seen(sizes, *[measured(1.85, ground=1.0, sigma=0.0187)] * (MOST_CONTRADICTIONS + 30))
    assert found[-1].factor[0] == pytest.approx(1, abs=0.03)


def test_depth_is_never_overruled_by_the_floor() -> None:
    """Somebody stands on a table for a long time."""
    sizes = BodySizes(SETTINGS)
    on_table = measured(1.7, depth=1.0, ground=1.5, sigma=0.0187)
    found = seen(sizes, *[on_table] * (3 * MOST_CONTRADICTIONS))
    assert all(d.factor[0] == pytest.approx(1, abs=0.01) for d in found[1:])


def test_the_floor_does_not_make_a_known_height_less_certain() -> None:
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, depth=1.0, sigma=0.001)] * SIGHTINGS)
    (before,) = seen(sizes, measured(1.7))
    seen(sizes, *[measured(1.7, ground=1.0)] * SIGHTINGS)
    (after,) = seen(sizes, measured(1.7))
    assert after.sigma[0] <= before.sigma[0]


@pytest.mark.parametrize("height_m", [-1.0, 0.0, 1e10])
def test_impossible_heights_do_not_place_people_anywhere(height_m: float) -> None:
    sizes = BodySizes(PlacementSettings(body_height_m=TRUE_M))
    assert 0.5 < seen(sizes, measured(height_m))[0].factor[0] < 10


def test_one_wrong_measurement_of_the_floor_changes_little() -> None:
    """The person steps onto a table for a moment."""
    sizes = BodySizes(SETTINGS)
    seen(sizes, *[measured(1.7, ground=1.05)] * SIGHTINGS)
    seen(sizes, measured(1.7, ground=1.6))
    (after,) = seen(sizes, measured(1.7))
    assert after.factor[0] == pytest.approx(1.05, rel=0.01)
