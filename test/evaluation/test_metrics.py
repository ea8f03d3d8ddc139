"""Metrics: values computed by hand, and changes that must not affect them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.evaluation import metrics
from pear_ros.people import JOINT, JOINT_NAMES, Camera

Array = NDArray[np.float64]
PER_PERSON = (metrics.mpjpe, metrics.pa_mpjpe, metrics.hands_pa)
LEFT_ELBOW = JOINT["left_elbow"]


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(1).standard_normal((5, 55, 3))


def moved(joints: Array, scale: float = 1) -> Array:
    """Rotates and translates each person differently, and scales them."""
    random = np.random.default_rng(2)
    turns = Rotation.random(len(joints), random).as_matrix()
    return scale * joints @ turns + random.standard_normal((len(joints), 1, 3))


def shifted(joints: Array, joint: int, by: tuple[float, float, float]) -> Array:
    joints = joints.copy()
    joints[:, joint] += by
    return joints


def test_joint_groups():
    assert [JOINT_NAMES[metrics.BODY][i] for i in (0, -1)] == ["pelvis", "right_wrist"]
    assert len(JOINT_NAMES[metrics.BODY]) == 22
    for side, hand in (("left", metrics.LEFT_HAND), ("right", metrics.RIGHT_HAND)):
        assert [JOINT_NAMES[i] for i in (hand[0], hand[1], hand[-1])] == [
            *(f"{side}_wrist", f"{side}_index1", f"{side}_thumb3")
        ]
        assert len(hand) == 16


@pytest.mark.parametrize("metric", PER_PERSON)
def test_the_truth_has_no_error(metric: Callable[[Array, Array], Array], truth: Array):
    np.testing.assert_allclose(metric(truth, truth), 0, atol=1e-12)


@pytest.mark.parametrize("metric", PER_PERSON)
def test_nobody(metric: Callable[[Array, Array], Array]):
    nobody = np.zeros((0, 55, 3))
    assert len(metric(nobody, nobody)) == 0


@pytest.mark.parametrize("metric", PER_PERSON)
def test_people_do_not_affect_each_other(metric: Callable[[Array, Array], Array], truth: Array):
    found = truth + np.random.default_rng(3).standard_normal(truth.shape)
    together = metric(found, truth)
    for i in range(len(truth)):
        alone = metric(found[i : i + 1], truth[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-12)


def test_mpjpe_by_hand(truth: Array):
    """One of 22 joints is off by 11 cm: 6.6 and 8.8 cm along two axes."""
    found = shifted(truth, LEFT_ELBOW, (0.066, -0.088, 0)) + np.array((1, 2, 3))
    np.testing.assert_allclose(metrics.mpjpe(found, truth), 0.11 / 22)


def test_mpjpe_is_relative_to_the_pelvis(truth: Array):
    """An error of 22 cm of the pelvis is an error of the 21 other joints."""
    np.testing.assert_allclose(
        metrics.mpjpe(shifted(truth, JOINT["pelvis"], (0, 0, 0.22)), truth), 0.21
    )


def test_metrics_of_body_and_hands_are_independent(truth: Array):
    finger = shifted(truth, JOINT["right_index2"], (0.1, 0, 0))
    assert metrics.mpjpe(finger, truth) == pytest.approx(0)
    assert metrics.pa_mpjpe(finger, truth) == pytest.approx(0, abs=1e-12)
    left, right = metrics.hands_pa(finger, truth).T
    assert left == pytest.approx(0, abs=1e-12)
    assert (right > 0.001).all()
    assert metrics.hands_pa(shifted(truth, LEFT_ELBOW, (1, 0, 0)), truth) == pytest.approx(
        0, abs=1e-12
    )


def test_alignment_removes_rotation_position_and_scale(truth: Array):
    found = moved(truth, scale=1.7)
    np.testing.assert_allclose(metrics.procrustes(found, truth), truth, atol=1e-12)
    assert metrics.pa_mpjpe(found, truth) == pytest.approx(0, abs=1e-12)
    assert metrics.hands_pa(found, truth) == pytest.approx(0, abs=1e-12)
    assert (metrics.mpjpe(found, truth) > 0.1).all()


def test_alignment_by_hand():
    """A square, two opposite corners up by h, two down: the best fit only has a smaller scale."""
    square = np.array([[(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0)]], float)
    h = 0.5
    bent = square + np.array([(0, 0, h), (0, 0, -h), (0, 0, h), (0, 0, -h)])
    scale = 2 / (2 + h**2)
    np.testing.assert_allclose(metrics.procrustes(bent, square), scale * bent, atol=1e-12)


def test_no_other_alignment_is_better(truth: Array):
    found = truth + 0.3 * np.random.default_rng(4).standard_normal(truth.shape)
    aligned = metrics.procrustes(found, truth)
    least = ((aligned - truth) ** 2).sum((1, 2))
    for axis in "xyz":
        for angle_deg in (-1, 1):
            turn = Rotation.from_euler(axis, angle_deg, degrees=True).as_matrix()
            middle = aligned.mean(1, keepdims=True)
            other = (aligned - middle) @ turn + middle
            assert (((other - truth) ** 2).sum((1, 2)) > least).all()
    for scale in (0.99, 1.01):
        other = scale * (aligned - middle) + middle
        assert (((other - truth) ** 2).sum((1, 2)) > least).all()


def test_alignment_does_not_mirror(truth: Array):
    assert (metrics.pa_mpjpe(truth * (-1, 1, 1), truth) > 0.1).all()


def test_alignment_of_a_point():
    point = np.ones((1, 4, 3))
    square = np.array([[(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0)]], float)
    np.testing.assert_allclose(metrics.procrustes(point, square), np.zeros((1, 4, 3)))


def test_vertices_are_compared_relative_to_the_root(truth: Array):
    found = truth + np.array((0, 0.3, 0.4))
    assert metrics.pve(found, truth, found[:, 0], truth[:, 0]) == pytest.approx(0)
    assert metrics.pve(found, truth, truth[:, 0], truth[:, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize("angle_deg", [0, 1e-6, 30, 90, 179.999, 180], ids="{} degrees".format)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rotation_angle(angle_deg: float, axis: str):
    first = Rotation.random(1, np.random.default_rng(5))
    second = Rotation.from_euler(axis, angle_deg, degrees=True) * first
    angle = metrics.rotation_angle_deg(second.as_matrix(), first.as_matrix())
    np.testing.assert_allclose(angle, [angle_deg], rtol=1e-6, atol=1e-10)


def test_projected_errors_by_hand():
    """3 cm to the side and 4 cm down at 2 m, with 500 px: 7.5 and 10 px."""
    camera = Camera(fx=500, fy=500, cx=320, cy=240)
    truth = np.array([[(0.5, -0.2, 2.0), (0, 0, 2.0)]])
    found = truth + np.array([(0.03, 0.04, 0), (0, 0, 1)])
    np.testing.assert_allclose(
        metrics.projected_error_px(found, truth, camera), [(12.5, 0)], atol=1e-4
    )


def test_errors_are_relative_to_the_given_root(truth: Array):
    found = truth + np.array((0, 0.3, 0.4))
    root = np.zeros((5, 3))
    moved_root = np.tile((0, 0.3, 0), (5, 1))
    np.testing.assert_allclose(metrics.root_aligned_error(found, truth, root, root), 0.5)
    np.testing.assert_allclose(metrics.root_aligned_error(found, truth, moved_root, root), 0.4)


def test_procrustes_error_by_hand():
    """As in `test_alignment_by_hand`: what is left of the heights, and of the square's corners."""
    square = np.array([[(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0)]], float)
    bent = square + np.array([(0, 0, 0.5), (0, 0, -0.5), (0, 0, 0.5), (0, 0, -0.5)])
    scale = 2 / 2.25
    expected = np.sqrt(2 * (1 - scale) ** 2 + (0.5 * scale) ** 2)
    np.testing.assert_allclose(metrics.procrustes_error(bent, square), expected)


def test_errors_in_an_image_by_hand():
    """A point at exactly a tenth of the box is not within it."""
    errors = metrics.image_errors([0.0, 0.02, 0.04, 0.1, 0.3], missed=5)
    assert errors == {
        "points": 5,
        "median_percent": pytest.approx(4),
        "p90_percent": pytest.approx(22),
        "pck": 0.6,
        "pck_all": 0.3,
    }


def test_errors_in_an_image_without_points():
    nothing = {"points": 0, "median_percent": None, "p90_percent": None, "pck": None}
    assert metrics.image_errors([]) == {**nothing, "pck_all": None}
    assert metrics.image_errors([], missed=2) == {**nothing, "pck_all": 0}
