"""How the opinions of the models become 133 keypoints, with models that say what they are told."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pear_ros.annotation.experts import (
    FACE_POINTS,
    MIRRORED_POSE,
    POSE_POINTS,
    MediaPipeExperts,
    without_outside,
)
from pear_ros.annotation.landmark_models import Found, LandmarkModels, Region
from pear_ros.body.landmarks import FACE, LANDMARK, LEFT_HAND, RIGHT_HAND

WIDTH, HEIGHT = 200, 100
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
BOX = np.array([[20, 10, 120, 90]], np.float32)
ANYWHERE = Region(np.array((70.0, 50.0)), 100.0, 0.1)


def found(points: np.ndarray, confidence: float = 0.9, **changes: Any) -> Found:
    return dataclasses.replace(
        Found(points, np.full(len(points), confidence), 1.0, ANYWHERE), **changes
    )


class FakePose:
    """Sees the same person in the picture and, `off` px elsewhere, in its mirror image."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.points = random.uniform((30, 20), (110, 80), (33, 2))
        self.off = 0.0
        self.regions: list[Region] = []

    def find(self, image: np.ndarray, region: Region) -> Found:
        self.regions.append(region)
        return found(self.points)

    def once(self, image: np.ndarray, region: Region) -> Found:
        self.regions.append(region)
        mirrored = self.points[list(MIRRORED_POSE)] * (-1, 1) + (WIDTH - 1, 0)
        return found(mirrored + np.array((self.off, 0)), score=0.95)


class FakeHand:
    def __init__(self) -> None:
        self.left = found(np.random.default_rng(1).uniform(40, 50, (21, 2)), is_right=0.02)
        self.right = found(np.random.default_rng(2).uniform(70, 80, (21, 2)), is_right=0.98)
        self.asked = 0

    def find(self, image: np.ndarray, guess: Region, around: Region) -> Found:
        self.asked += 1
        return self.left if self.asked % 2 else self.right


class FakeFace:
    points = np.random.default_rng(3).uniform(20, 30, (468, 2))

    def find(self, image: np.ndarray, region: Region) -> Found:
        return found(self.points, 0.8, score=0.8)


@pytest.fixture
def models() -> Any:
    return LandmarkModels(FakePose(), FakeHand(), FakeFace())  # type: ignore[arg-type]


def ask(models: Any) -> np.ndarray:
    (keypoints,) = MediaPipeExperts(models)(IMAGE, BOX, "name")
    return keypoints


def test_the_points_are_those_of_the_models(models: Any) -> None:
    keypoints = ask(models)
    for name, i in POSE_POINTS.items():
        np.testing.assert_allclose(keypoints[LANDMARK[name], :2], models.pose.points[i], rtol=1e-5)
    np.testing.assert_allclose(keypoints[LEFT_HAND, :2], models.hand.left.points, rtol=1e-5)
    np.testing.assert_allclose(keypoints[RIGHT_HAND, :2], models.hand.right.points, rtol=1e-5)
    face = FakeFace.points[list(FACE_POINTS)]
    np.testing.assert_allclose(keypoints[FACE, :2], face, rtol=1e-5)
    np.testing.assert_allclose(keypoints[LANDMARK["left_knee"], 2], 0.95 * 0.9, rtol=1e-5)
    np.testing.assert_allclose(keypoints[FACE, 2], 0.8, rtol=1e-5)
    assert keypoints[LANDMARK["left_small_toe"], 2] == 0  # MediaPipe does not know it


def test_the_mirror_image_is_looked_at_in_the_mirrored_region(models: Any) -> None:
    ask(models)
    first, second = models.pose.regions
    np.testing.assert_allclose(first.centre, (70, 50))
    np.testing.assert_allclose(second.centre, (WIDTH - 1 - ANYWHERE.centre[0], 50))
    assert second.angle == -ANYWHERE.angle


@pytest.mark.parametrize(("off_px", "low", "high"), [(2, 0.6, 0.9), (8, 0.0, 0.05)])
def test_two_looks_that_disagree(models: Any, off_px: float, low: float, high: float) -> None:
    models.pose.off = off_px  # of a person of 100 px
    keypoints = ask(models)
    assert low < keypoints[LANDMARK["left_knee"], 2] < high
    expected = models.pose.points[POSE_POINTS["left_knee"]] - (off_px / 2, 0)
    np.testing.assert_allclose(keypoints[LANDMARK["left_knee"], :2], expected, rtol=1e-5)


@pytest.mark.parametrize(("is_right", "kept"), [(0.02, "left"), (0.98, "right")])
def test_one_hand_that_is_found_twice(models: Any, is_right: float, kept: str) -> None:
    models.hand.left = models.hand.right = found(models.hand.left.points, is_right=is_right)
    keypoints = ask(models)
    confidence = {"left": keypoints[LEFT_HAND, 2], "right": keypoints[RIGHT_HAND, 2]}
    assert (confidence.pop(kept) > 0.8).all()
    assert not confidence.popitem()[1].any()


def test_a_hand_of_the_other_side_is_not_believed(models: Any) -> None:
    models.hand.left = found(models.hand.left.points, is_right=0.95)
    keypoints = ask(models)
    assert (keypoints[LEFT_HAND, 2] < 0.1).all()
    assert (keypoints[RIGHT_HAND, 2] > 0.8).all()


def test_nobody(models: Any) -> None:
    assert MediaPipeExperts(models)(IMAGE, BOX[:0], "name").shape == (0, 133, 3)


@pytest.mark.parametrize(
    ("x", "y", "known"),
    [(0, 0, True), (199, 99, True), (-0.1, 5, False), (199.5, 5, False), (5, 99.5, False)],
)
def test_points_outside_of_the_image(x: float, y: float, known: bool) -> None:
    keypoints = np.array([[[x, y, 0.7]]], np.float32)
    confidence = without_outside(keypoints, WIDTH, HEIGHT)[0, 0, 2]
    assert confidence == pytest.approx(0.7 if known else 0)


def test_mirrored_twice_is_the_same() -> None:
    mirror = np.array(MIRRORED_POSE)
    np.testing.assert_array_equal(mirror[mirror], np.arange(33))
    pairs = {("left_wrist", "right_wrist"), ("left_eye", "right_eye"), ("nose", "nose")}
    assert all(MIRRORED_POSE[POSE_POINTS[a]] == POSE_POINTS[b] for a, b in pairs)
