"""Distances from depth images of rendered people."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from depth_images import WALL_M, depth_image

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.surface_points import SurfacePoints
from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, FloatArray
from pear_ros.placement.depth import MeasuredDistance, measured_distance
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene, Shot


@dataclasses.dataclass(frozen=True)
class Seen:
    """A rendered person and a perfect depth image of them, with a wall behind."""

    shot: Shot
    depth_m: FloatArray  # (H, W)
    points: FloatArray
    normals: FloatArray

    def placed(self, depth_m: FloatArray, factor: float) -> MeasuredDistance:
        """From a translation that is wrong by a factor."""
        translation = self.shot.people.translation * factor
        return measured_distance(
            self.points, self.normals, self.pelvis, translation, depth_m, self.shot.camera
        )

    @property
    def pelvis(self) -> FloatArray:
        return self.shot.people.joints[:, JOINT["pelvis"]]

    def error_m(self, depth_m: FloatArray, factor: float) -> float:
        found = self.placed(depth_m, factor)
        assert found.is_measured.all()
        return float(np.linalg.norm(found.translation - self.shot.people.translation, axis=1).max())


@pytest.fixture(scope="module")
def surface(standin: BodyAssets) -> SurfacePoints:
    return SurfacePoints(standin)


@pytest.fixture(scope="module")
def people(cast: Cast, surface: SurfacePoints) -> list[Seen]:
    """Twelve people in front of several cameras."""
    seen = []
    for seed in range(12):
        shot = Scene(cast, REPERTOIRES["held_out"], seed, 1).shot(1.0 + seed, visibility=False)
        skin = surface(shot.people.joints, shot.people.rotations)
        seen.append(Seen(shot, depth_image(shot, cast), *skin))
    return seen


def noisy(depth_m: FloatArray, seed: int) -> FloatArray:
    """2 % noise, 20 % holes in patches, and flying pixels at edges."""
    random = np.random.default_rng(seed)
    height, width = depth_m.shape
    noise = random.normal(0, 0.02, (height // 2, width // 2)).repeat(2, 0).repeat(2, 1)
    damaged = depth_m * (1 + noise)
    edges = np.abs(np.diff(depth_m, axis=1, append=depth_m[:, -1:])) > 0.3
    flying = edges & (random.random(depth_m.shape) < 0.7)
    damaged[flying] = random.uniform(1, WALL_M, flying.sum())
    holes = random.random((height // 8, width // 8)).repeat(8, 0).repeat(8, 1) < 0.2
    damaged[holes] = random.choice([0.0, np.nan, np.inf], holes.sum())
    return damaged.astype(np.float32)


def test_points_are_on_the_skin(people: list[Seen], surface: SurfacePoints) -> None:
    distances = []
    for seen in people:
        vertices = seen.shot.people.vertices
        assert vertices is not None
        gaps = torch.cdist(torch.from_numpy(seen.points[0]), torch.from_numpy(vertices[0]))
        distances.append(gaps.min(1).values.numpy())
    assert len(surface) == 400
    assert np.median(distances) < 0.015
    assert np.quantile(distances, 0.95) < 0.05
    for seen in people:
        lengths = np.linalg.norm(seen.normals, axis=2)
        np.testing.assert_allclose(lengths, 1, atol=1e-4)


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.0, 1.1, 1.3])
def test_a_perfect_depth_image(people: list[Seen], factor: float) -> None:
    errors = [seen.error_m(seen.depth_m, factor) for seen in people]
    assert np.median(errors) < 0.02
    assert max(errors) < 0.08


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_noise_holes_and_flying_pixels(people: list[Seen], factor: float) -> None:
    errors = [seen.error_m(noisy(seen.depth_m, i), factor) for i, seen in enumerate(people)]
    assert np.median(errors) < 0.03
    assert max(errors) < 0.1


@pytest.mark.parametrize("hidden", ["legs", "left half"])
def test_something_in_front(people: list[Seen], hidden: str) -> None:
    errors = []
    for seen in people:
        pixels = project(seen.points[0] + seen.shot.people.translation, seen.shot.camera)
        column, row = pixels.mean(0).astype(int)
        depth_m = seen.depth_m.copy()
        part = np.s_[row:] if hidden == "legs" else np.s_[:, :column]
        depth_m[part] = np.minimum(depth_m[part], 0.6 * seen.shot.people.translation[0, 2])
        errors.append(seen.error_m(depth_m, 1.08))
    assert np.median(errors) < 0.03
    assert max(errors) < 0.12


def test_where_nothing_is_measured_the_image_decides(people: list[Seen]) -> None:
    seen = people[0]
    for value in (0.0, np.nan, np.inf, -1.0):
        found = seen.placed(np.full_like(seen.depth_m, value), 1.1)
        assert not found.is_measured.any()
        np.testing.assert_array_equal(found.translation, seen.shot.people.translation * 1.1)


def test_a_wall_far_behind_is_not_the_person(people: list[Seen]) -> None:
    """As if glass or a sensor's limit hid the person."""
    for seen in people:
        far_m = 2.2 * seen.shot.people.translation[0, 2]
        assert not seen.placed(np.full_like(seen.depth_m, far_m), 1.0).is_measured.any()


def test_the_stated_error_is_of_the_right_size(people: list[Seen]) -> None:
    """Errors over standard deviations: about one."""
    ratios = []
    for i, seen in enumerate(people):
        found = seen.placed(noisy(seen.depth_m, 50 + i), 1.05)
        error = found.translation[:, 2] - seen.shot.people.translation[:, 2]
        ratios.append(abs(float(error[0])) / float(found.sigma_m[0]))
    assert 0.2 < np.median(ratios) < 1.5


def test_bodies_may_have_their_origin_anywhere(people: list[Seen]) -> None:
    """SMPL-X's is 0.35 m above the pelvis; the stand-in's is in it."""
    origin = np.array((0.02, 0.35, -0.01), np.float32)
    for seen in people:
        found = seen.placed(seen.depth_m, 1.1)
        moved = measured_distance(
            seen.points - origin, seen.normals, seen.pelvis - origin,
            seen.shot.people.translation * 1.1 + origin, seen.depth_m, seen.shot.camera,
        )  # fmt: skip
        np.testing.assert_allclose(moved.translation - origin, found.translation, atol=2e-3)


def test_someone_whom_the_image_places_nowhere_stays_there(people: list[Seen]) -> None:
    found = people[0].placed(people[0].depth_m, np.nan)
    assert np.isnan(found.translation).all()
    assert not found.is_measured.any()


def test_nobody_is_moved_behind_the_camera(people: list[Seen]) -> None:
    """The skin is nearer than the image says, by more than the distance of the pelvis."""
    points = np.random.default_rng(0).normal((0, 0, 1.0), 0.05, (1, 200, 3)).astype(np.float32)
    normals = -points / np.linalg.norm(points, axis=-1, keepdims=True)
    pelvis = np.array([[0, 0, 0.3]], np.float32)
    camera = people[0].shot.camera
    nothing = np.zeros((1, 3), np.float32)
    depth_m = np.full(people[0].depth_m.shape, 0.6, np.float32)
    found = measured_distance(points, normals, pelvis, nothing, depth_m, camera)
    np.testing.assert_array_equal(found.translation, nothing)
    assert not found.is_measured.any()


def test_nobody(people: list[Seen]) -> None:
    seen = people[0]
    found = measured_distance(
        seen.points[:0], seen.normals[:0], seen.pelvis[:0], np.zeros((0, 3), np.float32),
        seen.depth_m, seen.shot.camera,
    )  # fmt: skip
    assert found.translation.shape == (0, 3)
    assert found.sigma_m.shape == (0,)
