"""People are smoothed one by one; random people, by identities of the filter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from samples import ROTATIONS, random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.config import SmoothingSettings
from pear_ros.people import EhmParameters, FloatArray, map_tensors
from pear_ros.tracking.pose_filter import PoseFilter

SETTINGS = SmoothingSettings()
PERIOD_S = 1 / 30
ROTVECS = ("flame_jaw_pose", "flame_eye_pose")
EXPRESSIONS = ("expression", "flame_expression", "flame_eyelids")
SHAPES = ("betas", "flame_betas", "head_scale")
OTHERS = ("hand_scale", "flame_global_pose", "camera_t")

Sighting = tuple[EhmParameters, FloatArray]


def sighting(*seeds: int) -> Sighting:
    """One random person for each seed, whose jaws and eyes turn by less than half a turn."""
    people = [random_parameters(1, seed) for seed in seeds]
    drawn = {
        f.name: torch.cat([getattr(p, f.name) for p in people])
        for f in dataclasses.fields(EhmParameters)
    }
    drawn |= {name: 0.4 * drawn[name] for name in ROTVECS}
    places = [np.random.default_rng(seed).normal((0, 0, 4), 0.3) for seed in seeds]
    return EhmParameters(**drawn), np.array(places, np.float32)


def run(
    images: Sequence[dict[str, int]], settings: SmoothingSettings = SETTINGS
) -> tuple[PoseFilter, float]:
    """A filter that has seen images, each with the seed of each person in it, by id."""
    filter_, stamp_s = PoseFilter(settings), 0.0
    for seeds in images:
        stamp_s += PERIOD_S
        if seeds:
            filter_(tuple(seeds), *sighting(*seeds.values()), stamp_s)
    return filter_, stamp_s


def assert_same(found: Sighting, expected: Sighting, atol: float = 1e-6) -> None:
    for field in dataclasses.fields(EhmParameters):
        a, b = (getattr(parameters, field.name) for parameters, _ in (found, expected))
        torch.testing.assert_close(a, b, rtol=0, atol=atol, msg=field.name)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=atol)


def smoothed(filter_: PoseFilter, *ids: str) -> Sighting:
    people = filter_.smoothed(ids)
    return people.parameters, people.translation


def is_equal(found: EhmParameters, measured: EhmParameters, name: str) -> bool:
    return torch.allclose(getattr(found, name), getattr(measured, name), rtol=0, atol=2e-6)


# --- One person -----------------------------------------------------------------------------------


def test_the_first_sighting_is_not_changed() -> None:
    filter_, _ = run([{"a": 1, "b": 2}])
    assert_same(smoothed(filter_, "a", "b"), sighting(1, 2))
    assert (filter_.smoothed(("a",)).shape_confidence > 0).all()


def test_all_is_smoothed_but_what_nothing_depends_on() -> None:
    filter_, _ = run([{"a": 1}, {"a": 2}])
    found, translation = smoothed(filter_, "a")
    measured, place = sighting(2)
    for name in (*ROTATIONS, *ROTVECS, *EXPRESSIONS, *SHAPES):
        assert not is_equal(found, measured, name), name
    for name in OTHERS:
        assert torch.equal(getattr(found, name), getattr(measured, name)), name
    assert (translation != place).all()


def test_rotations_are_rotations_between_those_that_were_measured() -> None:
    filter_, _ = run([{"a": 1}, {"a": 2}])
    found, _ = smoothed(filter_, "a")
    for name in ROTATIONS:
        before, now, middle = (
            Rotation.from_matrix(getattr(p, name)[0].numpy())
            for p in (sighting(1)[0], sighting(2)[0], found)
        )
        whole = (before.inv() * now).magnitude()
        parts = (before.inv() * middle).magnitude() + (middle.inv() * now).magnitude()
        np.testing.assert_allclose(parts, whole, atol=1e-5)
        identity = torch.eye(3).expand_as(getattr(found, name))
        product = getattr(found, name) @ getattr(found, name).mT
        torch.testing.assert_close(product, identity, rtol=0, atol=1e-6)


def test_the_shape_is_the_mean_of_all_sightings() -> None:
    seeds = list(range(12))
    filter_, _ = run([{"a": seed} for seed in seeds])
    found, _ = smoothed(filter_, "a")
    everyone, _ = sighting(*seeds)
    for name in SHAPES:
        mean = getattr(everyone, name).mean(0, keepdim=True)
        torch.testing.assert_close(getattr(found, name), mean, rtol=0, atol=1e-5)


def test_confidence_in_the_shape_rises_with_the_sightings() -> None:
    values = [
        run([{"a": 1}] * count)[0].smoothed(("a",)).shape_confidence[0] for count in (1, 3, 9)
    ]
    assert 0 < values[0] < values[1] < values[2] < 1


def test_a_person_at_rest_is_not_changed() -> None:
    filter_, _ = run([{"a": 1}] * 20)
    assert_same(smoothed(filter_, "a"), sighting(1), atol=1e-5)


def test_after_a_long_time_only_the_new_sighting_counts() -> None:
    filter_, stamp_s = run([{"a": 1}])
    filter_(("a",), *sighting(2), stamp_s + 1e6)
    found, translation = smoothed(filter_, "a")
    measured, place = sighting(2)
    for name in (*ROTATIONS, *ROTVECS, *EXPRESSIONS):
        torch.testing.assert_close(getattr(found, name), getattr(measured, name), rtol=0, atol=1e-4)
    np.testing.assert_allclose(translation, place, atol=1e-4)


# --- Settings -------------------------------------------------------------------------------------

OFF = {
    "rotation_cutoff_hz": (*ROTATIONS, *ROTVECS),
    "expression_cutoff_hz": EXPRESSIONS,
    "shape": SHAPES,
}


@pytest.mark.parametrize(("setting", "names"), OFF.items(), ids=OFF)
def test_parts_are_turned_off(setting: str, names: tuple[str, ...]) -> None:
    value = type(getattr(SETTINGS, setting))(0)
    images = [{"a": seed} for seed in (1, 2, 3)]
    found, translation = smoothed(
        run(images, dataclasses.replace(SETTINGS, **{setting: value}))[0], "a"
    )
    usual, place = smoothed(run(images)[0], "a")
    measured, _ = sighting(3)
    for name in (*ROTATIONS, *ROTVECS, *EXPRESSIONS, *SHAPES):
        assert is_equal(found, measured if name in names else usual, name), name
    np.testing.assert_array_equal(translation, place)


@pytest.mark.parametrize("direction", ["position", "depth"])
def test_a_direction_of_positions_is_turned_off(direction: str) -> None:
    settings = dataclasses.replace(SETTINGS, **{f"{direction}_cutoff_hz": 0.0})
    _, place = sighting(2)
    _, translation = smoothed(run([{"a": 1}, {"a": 2}], settings)[0], "a")
    lag, ray = place[0] - translation[0], place[0] / np.linalg.norm(place[0])
    along = lag @ ray
    across = np.linalg.norm(lag - along * ray)
    left, none = (abs(along), across) if direction == "position" else (across, abs(along))
    assert none < 1e-6
    assert left > 1e-3


def test_all_is_turned_off() -> None:
    off = SmoothingSettings(
        rotation_cutoff_hz=0.0,
        position_cutoff_hz=0.0,
        depth_cutoff_hz=0.0,
        expression_cutoff_hz=0.0,
        shape=False,
    )
    filter_, _ = run([{"a": 1}, {"a": 2}, {"a": 3}], off)
    assert_same(smoothed(filter_, "a"), sighting(3), atol=2e-6)


# --- Several people -------------------------------------------------------------------------------

# People come, leave, return, and stand in any order; the number is that of the estimate.
IMAGES = [
    {"a": 1},
    {"b": 11, "a": 2},
    {},
    {"c": 21, "b": 12},
    {"a": 3, "c": 22, "b": 13},
    {"c": 23, "a": 4},
    {"b": 14, "c": 24, "a": 5},
]


@pytest.mark.parametrize("id_", ["a", "b", "c"])
def test_others_do_not_matter(id_: str) -> None:
    together, _ = run(IMAGES)
    alone, _ = run([{id_: image[id_]} if id_ in image else {} for image in IMAGES])
    assert_same(smoothed(together, id_), smoothed(alone, id_))
    confidence = [f.smoothed((id_,)).shape_confidence[0] for f in (together, alone)]
    assert confidence[0] == confidence[1]


def test_the_order_of_people_does_not_matter() -> None:
    forward, _ = run(IMAGES)
    backward, _ = run([dict(reversed(image.items())) for image in IMAGES])
    assert_same(smoothed(forward, "a", "b", "c"), smoothed(backward, "a", "b", "c"))


def test_people_are_returned_in_the_order_of_the_ids() -> None:
    filter_, _ = run(IMAGES)
    both = smoothed(filter_, "c", "a")
    for row, id_ in enumerate(("c", "a")):
        parameters, translation = smoothed(filter_, id_)
        of_row = map_tensors(both[0], lambda values, r=row: values[r : r + 1])
        assert_same((of_row, both[1][row : row + 1]), (parameters, translation), atol=0)


def test_who_is_not_seen_keeps_the_last_values() -> None:
    filter_, stamp_s = run([{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    before = smoothed(filter_, "a")
    filter_(("b",), *sighting(5), stamp_s + 1)
    assert_same(smoothed(filter_, "a"), before, atol=0)


def test_who_is_not_kept_is_forgotten() -> None:
    filter_, stamp_s = run([{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    other = smoothed(filter_, "b")
    filter_.keep(("b", "unknown"))
    assert_same(smoothed(filter_, "b"), other, atol=0)
    filter_(("a",), *sighting(5), stamp_s + PERIOD_S)
    assert_same(smoothed(filter_, "a"), sighting(5))


def test_nobody() -> None:
    filter_ = PoseFilter(SETTINGS)
    filter_.keep(())
    nobody = map_tensors(sighting(1)[0], lambda values: values[:0]), np.zeros((0, 3), np.float32)
    for stamp_s in (0.0, 0.1):
        filter_((), *nobody, stamp_s)
        assert_same(smoothed(filter_), nobody)
