"""A short clip made on the spot: the toy mannequin waves in front of a calibrated camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pear_ros.assets import load_assets
from pear_ros.body_model import BodyModel
from pear_ros.overlay import draw_people
from pear_ros.people import JOINT, Boxes, Camera, EhmParameters, ImageArray, People

WIDTH, HEIGHT = 640, 480  # px
CAMERA = Camera(fx=520.0, fy=520.0, cx=WIDTH / 2, cy=HEIGHT / 2)
RATE_HZ = 15.0
LENGTH_S = 4.0


def make_clip(assets: Path) -> list[ImageArray]:
    """Images (480, 640, 3) RGB of one person who waves, turns and nods; a loop."""
    body_model = BodyModel(load_assets(assets))
    background = _background()
    return [
        draw_people(background, _person(body_model, phase), body_model.faces, CAMERA, opacity=1.0)
        for phase in np.linspace(0, 2 * np.pi, int(RATE_HZ * LENGTH_S), endpoint=False)
    ]


def _person(body_model: BodyModel, phase: float) -> People:
    swing, slow = np.sin(2 * phase), np.sin(phase)
    turns_deg = {  # about the person's x (left), y (up), z (forward)
        "left_shoulder": (0, 0, -60 + 8 * slow),
        "right_shoulder": (0, 0, -25 + 10 * swing),
        "right_elbow": (0, 60 + 15 * swing, -60 + 25 * swing),
        "head": (8 * swing, 25 * slow, 0),
        "spine2": (0, 8 * slow, 4 * swing),
    }
    body_pose = np.tile(np.eye(3, dtype=np.float32), (1, 21, 1, 1))
    for name, angles in turns_deg.items():
        turn = Rotation.from_euler("xyz", angles, degrees=True)
        body_pose[0, JOINT[name] - 1] = turn.as_matrix()
    # A person upright before the camera: model axes y up, z forward; optical y down, z away.
    upright = Rotation.from_euler("yx", (15 * slow, 180), degrees=True).as_matrix()
    hands = torch.eye(3).expand(1, 15, 3, 3)
    parameters = EhmParameters(
        global_orient=torch.from_numpy(upright[None, None].astype(np.float32)),
        body_pose=torch.from_numpy(body_pose),
        left_hand_pose=hands,
        right_hand_pose=hands,
        betas=torch.zeros(1, 200),
        expression=torch.zeros(1, 50),
        hand_scale=torch.ones(1, 3),
        head_scale=torch.ones(1, 3),
        flame_eye_pose=torch.zeros(1, 6),
        flame_global_pose=torch.zeros(1, 3),
        flame_jaw_pose=torch.zeros(1, 3),
        flame_eyelids=torch.zeros(1, 2),
        flame_betas=torch.zeros(1, 300),
        flame_expression=torch.zeros(1, 50),
        camera_t=torch.ones(1, 3),
    )
    with torch.inference_mode():
        body = body_model(parameters, mesh=True)
    assert body.vertices is not None
    return People(
        ids=("toy",),
        boxes=Boxes(np.zeros((1, 4), np.float32), np.ones(1, np.float32)),
        crop_xywh=np.zeros((1, 4), np.float32),
        parameters=parameters,
        translation=np.array([[0.15 * slow, 0.1, 2.7]], np.float32),
        joints=body.joints.numpy(),
        rotations=body.rotations.numpy(),
        vertices=body.vertices.numpy(),
        is_metric=True,
    )


def _background() -> ImageArray:
    """A wall and a floor."""
    rows = np.linspace(0, 1, HEIGHT)[:, None]
    wall = np.array((196, 202, 206)) - 40 * rows
    floor = np.array((120, 104, 92)) + 45 * rows
    shade = np.where(rows < 0.78, wall, floor)
    return np.repeat(shade[:, None].astype(np.uint8), WIDTH, axis=1)
