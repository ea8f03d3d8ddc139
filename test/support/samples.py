"""Random people and stored numbers for tests."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.people import EhmParameters, FloatArray
from pear_ros.system.installed import shared_file

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "test/data"

SIZES = {
    "betas": 200, "expression": 50, "hand_scale": 3, "head_scale": 3, "flame_eye_pose": 6,
    "flame_global_pose": 3, "flame_jaw_pose": 3, "flame_eyelids": 2, "flame_betas": 300,
    "flame_expression": 50, "camera_t": 3,
}  # fmt: skip
ROTATIONS = {"global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15}


def random_parameters(count: int, seed: int = 0) -> EhmParameters:
    """People in random poses, heads scaled by 0.5 to 2, 5 m in front of the crop's camera."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(random.standard_normal(shape).astype(np.float32))

    def rotations(joints: int) -> Tensor:
        drawn = Rotation.random(count * joints + 1, random).as_matrix()[1:]  # works for 0 people
        return torch.from_numpy(drawn.reshape(count, joints, 3, 3).astype(np.float32))

    values = {name: rotations(joints) for name, joints in ROTATIONS.items()}
    values |= {name: normal(count, size) for name, size in SIZES.items()}
    values["head_scale"] = 2 ** values["head_scale"].clamp(-1, 1)
    values["camera_t"] = torch.tensor([0.1, -0.2, 5.0]).repeat(count, 1)
    return EhmParameters(**values)


def golden(name: str) -> dict[str, np.ndarray]:
    """Outputs of the published implementation, from test/data."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def golden_parameters() -> EhmParameters:
    """The parameters of ehm.npz."""
    stored = golden("ehm")
    return EhmParameters(
        **{f.name: torch.from_numpy(stored[f.name]) for f in fields(EhmParameters)}
    )


def replaced(parameters: EhmParameters, row: int, **values: object) -> EhmParameters:
    """A copy in which each named tensor's row is filled with a value."""
    changed = {name: getattr(parameters, name).clone() for name in values}
    for name, value in values.items():
        changed[name][row] = torch.as_tensor(value, dtype=torch.float32)
    return dataclasses.replace(parameters, **changed)


def project_to_crop(points: FloatArray, camera_t: FloatArray, size: float) -> FloatArray:
    """(N, J, 3) m and (N, 3) -> (N, J, 2) px in a crop drawn `size` pixels wide."""
    tx_ty, tz = camera_t[:, None, :2], camera_t[:, None, 2:]
    uv = 1 + CROP_FOCAL * (points[..., :2] - tx_ty) / (points[..., 2:] + tz)
    return (uv * (size / 2)).astype(np.float32)


def crop_camera_translation(camera_t: FloatArray) -> FloatArray:
    """(N, 3) `tx, ty, tz` -> (N, 3) m: the body's origin in the crop camera's optical frame."""
    return camera_t * np.array((-1, -1, 1), np.float32)


def demo_settings() -> dict[str, str]:
    """The demo's network and body, on a CPU, for boxes from a topic."""
    return {
        "network.checkpoint": str(shared_file("demo/model.pt")),
        "network.config": str(shared_file("demo/network.json")),
        "body.assets": str(shared_file("standin/body.npz")),
        "network.device": "cpu",
        "detection.detector": "topic",
    }
