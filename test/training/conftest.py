"""The stand-in body, and people who fill crops; tests must not change them."""

from __future__ import annotations

import dataclasses
from dataclasses import fields

import numpy as np
import pytest
import torch
from crop_people import (
    COUNT,
    draw,
)
from numpy.typing import NDArray
from samples import random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, EhmParameters
from pear_ros.rendering.renderer import Rendering
from pear_ros.synthetic.shapes import ShapeSampler
from pear_ros.system.installed import shared_file
from training.pixel_loss import PixelLoss, Target


@pytest.fixture(scope="session")
def standin() -> BodyAssets:
    return load_assets(shared_file("standin/body.npz"))


@pytest.fixture(scope="session")
def model(standin: BodyAssets) -> BodyModel:
    return BodyModel(standin)


@pytest.fixture(scope="session")
def loss(standin: BodyAssets) -> PixelLoss:
    return PixelLoss(standin)


@pytest.fixture(scope="session")
def face_colors(standin: BodyAssets) -> NDArray[np.float32]:
    """(F, 3) colours that change smoothly over the body."""
    middle = standin.body_template[standin.body_faces].mean(1)
    waves = np.random.default_rng(3).normal(0, 12, (3, 3))
    return (0.5 + 0.5 * np.sin(middle @ waves)).astype(np.float32)


@pytest.fixture(scope="session")
def people(standin: BodyAssets, model: BodyModel) -> EhmParameters:
    """Upright people who face the camera within 35 degrees, each filling the crop."""
    random = np.random.default_rng(8)
    shapes = ShapeSampler(standin).sample(COUNT, random)
    body = random.normal(0, 0.15, (COUNT, 21, 3))
    body[:, JOINT["left_shoulder"] - 1, 2] -= random.uniform(0.2, 1, COUNT)
    body[:, JOINT["right_shoulder"] - 1, 2] += random.uniform(0.2, 1, COUNT)
    yaw = Rotation.from_euler("y", random.uniform(-0.6, 0.6, (COUNT, 1)))
    facing = Rotation.from_euler("x", 180, degrees=True) * yaw
    zeros = {
        f.name: torch.zeros_like(getattr(random_parameters(COUNT), f.name))
        for f in fields(EhmParameters)
    }
    values = {
        "global_orient": torch.from_numpy(facing.as_matrix()[:, None]),
        "body_pose": matrix_from_axis_angle(torch.from_numpy(body)),
        **{
            f"{side}_hand_pose": matrix_from_axis_angle(
                torch.from_numpy(random.normal(0, 0.2, (COUNT, 15, 3)))
            )
            for side in ("left", "right")
        },
        **{f.name: torch.from_numpy(getattr(shapes, f.name)) for f in fields(shapes)},
    }
    p = EhmParameters(**zeros | {name: value.float() for name, value in values.items()})
    vertices = model(p, mesh=True).vertices
    assert vertices is not None
    low, high = vertices.amin(1), vertices.amax(1)
    side_m = 1.25 * (high - low)[:, :2].amax(1)
    centre = (low + high) / 2
    camera_t = torch.stack((centre[:, 0], centre[:, 1], 24 * side_m / 2), 1)
    return dataclasses.replace(p, camera_t=camera_t)


@pytest.fixture(scope="session")
def crops(model: BodyModel, people: EhmParameters) -> list[Rendering]:
    """The people, each alone in a crop."""
    return draw(model, people)


@pytest.fixture(scope="session")
def target(loss: PixelLoss, crops: list[Rendering], face_colors: NDArray[np.float32]) -> Target:
    return Target.stack([loss.make_target(c.people, c.faces, face_colors) for c in crops])
