"""Folders as `pear-ros annotate` writes them, of rendered people, so the truth is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.annotation.pseudo_labels import CROPS_FOLDER, LABELS_FILE, Labels, write_labels
from pear_ros.body.landmarks import LANDMARK, NUM_LANDMARKS, Landmarks
from pear_ros.geometry.camera import project
from pear_ros.people import NUM_JOINTS, Camera, ImageArray
from pear_ros.rendering.renderer import render
from pear_ros.synthetic.controls import LIMITS, STANDING, vector
from pear_ros.synthetic.scene import FACING_CAMERA, Cast, parameters_of

PICTURE_PX = 448
# A long lens, so that the crop camera's parallel projection fits. The picture is a part of a larger
# image, so people are 10 degrees off the optical axis.
CAMERA = Camera(1800, 1800, -100, 260)
DISTANCE_M = 12.0
MARKS: dict[str, tuple[int, int, int]] = {  # RGB of discs that are painted on landmarks
    "nose": (255, 0, 0),
    "left_wrist": (0, 255, 0),
    "right_wrist": (0, 0, 255),
    "left_ankle": (255, 255, 0),
    "right_ankle": (0, 255, 255),
    "left_shoulder": (255, 0, 255),
}
MARK_PX = 7  # radius


def rendered_labels(cast: Cast, landmarks: Landmarks, count: int, seed: int) -> Labels:
    """The labels of `count` people, all accepted, each of its own video, with the full truth.

    Landmarks that the body does not have are marked at a wrong place, with confidence.
    """
    random = np.random.default_rng(seed)
    controls = vector(STANDING) + np.zeros((count, 1))
    names = list(LIMITS)
    for row in controls:
        for name in ("arm_raise", "arm_forward", "elbow", "hip_flex", "knee", "hip_side"):
            for side in ("left", "right"):
                low, high = LIMITS[f"{side}_{name}"]
                row[names.index(f"{side}_{name}")] = random.uniform(low / 2, high / 2)
        row[names.index("turn")] = random.uniform(-40, 40)
        row[names.index("left_index_curl")] = random.uniform(0, 1)
    heading = Rotation.from_euler("y", random.uniform(-60, 60, (count, 1)), degrees=True)
    parameters = parameters_of(
        (heading * FACING_CAMERA).as_matrix(),
        controls,
        np.zeros((count, 50)),
        cast.shapes(count, random),
    )
    with torch.no_grad():
        bodies = cast.body_model(parameters, mesh=True)
        assert bodies.vertices is not None
        points = landmarks(bodies.joints, bodies.vertices[:, landmarks.vertex_ids])
    middle = np.array((224 - CAMERA.cx, 224 - CAMERA.cy, CAMERA.fx)) / CAMERA.fx * DISTANCE_M
    vertices = bodies.vertices.numpy()
    translation = (middle - (vertices.min(1) + vertices.max(1)) / 2).astype(np.float32)
    pixels = project(vertices + translation[:, None], CAMERA)
    keypoints = np.ones((count, NUM_LANDMARKS, 3), np.float32)
    keypoints[..., :2] = project(points.numpy() + translation[:, None], CAMERA)
    keypoints[:, ~landmarks.available] = (30, 40, 0.8)

    def whole(shape: tuple[int, ...] = ()) -> NDArray[np.float32]:
        return np.ones((count, *shape), np.float32)

    borders = np.array((-0.5, -0.5, PICTURE_PX - 0.5, PICTURE_PX - 0.5), np.float32)
    return Labels(
        file=np.array([f"video{i}_000000_p1.jpg" for i in range(count)]),
        source_input=np.array([f"video{i}" for i in range(count)]),
        source_frame=np.zeros(count, np.int64),
        source_person=np.array(["p1"] * count),
        picture_xyxy=np.tile(borders, (count, 1)),
        box=np.concatenate((pixels.min(1), pixels.max(1)), 1),
        intrinsics=np.tile(
            np.array((CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy), np.float32), (count, 1)
        ),
        keypoints=keypoints,
        translation=translation,
        joints=bodies.joints.numpy(),
        joint_confidence=whole((NUM_JOINTS,)),
        confidence_body=whole(),
        confidence_left_hand=whole(),
        confidence_right_hand=whole(),
        confidence_face=whole(),
        is_accepted=np.ones(count, bool),
        rejection=np.array([""] * count),
        parameters=parameters,
    )


def pictures_of(cast: Cast, labels: Labels) -> list[ImageArray]:
    """The people in front of grey, without colours of their own, with discs on the landmarks."""
    with torch.no_grad():
        vertices = cast.body_model(labels.parameters, mesh=True).vertices
    assert vertices is not None
    pictures = []
    for mesh, place, points in zip(
        vertices.numpy(), labels.translation, labels.keypoints, strict=True
    ):
        grey = np.full((PICTURE_PX, PICTURE_PX, 3), 90, np.uint8)
        white = np.full((1, 1, 3), 0.7)
        picture = render(grey, (mesh + place)[None], cast.faces, white, CAMERA).image
        for name, color in MARKS.items():
            u, v = points[LANDMARK[name], :2].tolist()
            at = (round(16 * u), round(16 * v))  # in 16ths of a pixel
            cv2.circle(picture, at, 16 * MARK_PX, color, -1, cv2.LINE_AA, 4)
        pictures.append(picture)
    return pictures


def write_folder(folder: Path, labels: Labels, pictures: list[ImageArray]) -> Path:
    """Writes labels.npz and the crops' pictures; returns the folder."""
    (folder / CROPS_FOLDER).mkdir(parents=True)
    write_labels(folder / LABELS_FILE, labels)
    for name, picture in zip(labels.file, pictures, strict=True):
        path = str(folder / CROPS_FOLDER / name)
        assert cv2.imwrite(path, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    return folder


def changed(labels: Labels, **values: Any) -> Labels:
    """A copy with other arrays, whose types stay."""
    arrays: dict[str, Any] = {
        name: np.asarray(value).astype(getattr(labels, name).dtype)
        if getattr(labels, name).dtype.kind != "U"
        else np.asarray(value)
        for name, value in values.items()
    }
    return dataclasses.replace(labels, **arrays)
