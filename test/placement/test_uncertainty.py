"""Covariances of positions."""

from __future__ import annotations

import numpy as np

from pear_ros.people import JOINT
from pear_ros.placement.uncertainty import LEAST_SIGMA_M, covariances, joint_sigmas


def test_the_long_axis_is_the_ray() -> None:
    position = np.array([(1.0, -0.5, 3.0), (0.0, 0.0, 5.0)])
    found = covariances(position, along=np.array((0.05, 0.02)), across=0.003)
    for row, sigma in enumerate((0.05, 0.02)):
        distance_m = np.linalg.norm(position[row])
        ray = position[row] / distance_m
        variance, axes = np.linalg.eigh(found[row])
        assert abs(axes[:, 2] @ ray) > 0.9999
        np.testing.assert_allclose(
            variance[2], (sigma * distance_m) ** 2 + LEAST_SIGMA_M**2, rtol=1e-6
        )
        np.testing.assert_allclose(variance[:2], (0.003 * distance_m) ** 2 + LEAST_SIGMA_M**2)


def test_errors_drawn_from_it_have_this_covariance() -> None:
    random = np.random.default_rng(0)
    position = np.array([(0.5, 0.2, 4.0)])
    (covariance,) = covariances(position, np.array([0.04]), 0.003)
    drawn = random.multivariate_normal((0, 0, 0), covariance, 20_000)
    squared = np.einsum("ni,ij,nj->n", drawn, np.linalg.inv(covariance), drawn)
    assert abs((squared < 6.251).mean() - 0.9) < 0.01  # chi-squared, 3 degrees of freedom


def test_hands_are_less_certain_than_the_pelvis() -> None:
    covariance = covariances(np.array([(0.0, 0.0, 4.0)]), np.array([0.02]), 0.003)
    (sigma,) = joint_sigmas(covariance, 1.0)
    assert sigma[JOINT["pelvis"]] == np.sqrt(np.trace(covariance[0]) / 3)
    assert sigma[JOINT["left_index1"]] > sigma[JOINT["left_elbow"]] > sigma[JOINT["pelvis"]]
    (larger,) = joint_sigmas(covariance, 2.0)
    assert larger[JOINT["left_wrist"]] > sigma[JOINT["left_wrist"]]
    assert larger[JOINT["pelvis"]] == sigma[JOINT["pelvis"]]
