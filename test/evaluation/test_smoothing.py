"""Jitter and lag: the measures themselves, and the default settings against them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.config import SmoothingSettings
from pear_ros.evaluation.smoothing import (
    NO_SMOOTHING,
    Recording,
    acceleration_error,
    jitter,
    lag_ms,
)
from pear_ros.people import neutral_parameters
from pear_ros.system.installed import shared_file

PERSON = neutral_parameters(1)


@pytest.fixture(scope="module")
def body_model() -> BodyModel:
    return BodyModel(load_assets(shared_file("standin/body.npz")))


def test_acceleration_error() -> None:
    time = np.arange(10.0)
    truth = np.zeros((10, 1, 1, 3))
    joints = truth.copy()
    joints[:, 0, 0, 0] = 0.5 * 0.004 * time**2  # 4 mm per image squared
    assert acceleration_error(joints, truth) == pytest.approx(4)
    assert acceleration_error(joints, joints) == 0


@pytest.mark.parametrize("motion", ["arm", "sideways", "depth"])
def test_without_smoothing_nothing_lags(motion: str, body_model: BodyModel) -> None:
    # the mean of 90 noisy images, of 40 mm each in depth, is not 0
    assert lag_ms(motion, NO_SMOOTHING, PERSON, body_model) == pytest.approx(0, abs=8)


@pytest.mark.parametrize("motion", ["arm", "sideways", "depth"])
def test_the_defaults_lag_at_most_40_ms(motion: str, body_model: BodyModel) -> None:
    """With the stand-in body; a hand at 1 m/s, 30 images per second."""
    assert 5 < lag_ms(motion, SmoothingSettings(), PERSON, body_model) <= 40


def test_the_defaults_reduce_jitter_to_a_third(body_model: BodyModel) -> None:
    """For a person who stands still, with noise as the demo network's on rendered people."""
    random = np.random.default_rng(0)
    parameters, translation = [], []
    for _ in range(60):
        turns = torch.from_numpy(random.normal(0, 0.02, (1, 63)).astype(np.float32))
        noisy = torch.matrix_exp(_cross(turns.reshape(1, 21, 3)))
        parameters.append(dataclasses.replace(PERSON, body_pose=noisy))
        noise = random.normal(0, 1, (1, 3)) * (0.003, 0.003, 0.04)
        translation.append((np.array([[0, 0, 3.0]]) + noise).astype(np.float32))
    with torch.inference_mode():
        still = body_model(PERSON).joints.numpy() + np.array((0, 0, 3), np.float32)
    recording = Recording(parameters, translation, np.repeat(still[None], 60, 0))
    raw = jitter([recording], NO_SMOOTHING, body_model)
    smooth = jitter([recording], SmoothingSettings(), body_model)
    assert smooth.placed < raw.placed / 3
    assert smooth.relative < raw.relative / 3
    assert smooth.position_error_mm < raw.position_error_mm


def _cross(rotvec: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (..., 3, 3) matrices of the cross product."""
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
