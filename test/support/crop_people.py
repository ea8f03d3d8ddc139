"""Draws people who fill crops, for tests of splats and of the pixel loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from samples import crop_camera_translation

from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.people import Camera, EhmParameters
from pear_ros.rendering.renderer import Rendering, render
from training.pixel_loss import PixelLoss, Target
from training.true_camera import TrueCameras

COUNT = 4
CROP_CAMERA = Camera(24 * 128, 24 * 128, 128, 128)
"""The camera of a crop: `render` draws a crop of bodies moved by `crop_camera_translation`."""
PX_PER_M_AT_1_M = CROP_CAMERA.fx
VIEWS = ("body", "left_hand", "right_hand", "head")


def crop_cameras(count: int) -> TrueCameras:
    """Cameras whose whole image is the crop, so that people are placed exactly."""
    squares = torch.tensor((0.0, 0, 256, 256)).repeat(count, 1)
    return TrueCameras(squares, intrinsics_of([CROP_CAMERA] * count))


def draw(model: BodyModel, people: EhmParameters) -> list[Rendering]:
    """Renders the mesh of each person alone in a crop."""
    vertices = model(people, mesh=True).vertices
    assert vertices is not None
    placed = vertices.numpy() + crop_camera_translation(people.camera_t.numpy())[:, None]
    black, white = np.zeros((256, 256, 3), np.uint8), np.ones((1, 1, 3), np.float32)
    return [render(black, mesh[None], model.faces, white, CROP_CAMERA) for mesh in placed]


def values_of(loss: PixelLoss, people: EhmParameters, target: Target) -> dict[str, float]:
    """The loss of each kind, without gradients."""
    with torch.no_grad():
        return {
            name: float(value)
            for name, value in loss(people, target, crop_cameras(len(people.camera_t))).items()
        }


def shifted(people: EhmParameters, right_px: float, down_px: float) -> EhmParameters:
    """Moves the people by pixels of the crop."""
    m_per_px = people.camera_t[:, 2:] / PX_PER_M_AT_1_M
    shift = m_per_px * torch.tensor([right_px, down_px, 0])
    return dataclasses.replace(people, camera_t=people.camera_t - shift)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / (a | b).sum())
