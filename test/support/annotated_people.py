"""Synthetic people whose 133 keypoints are known, as experts would report them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pear_ros.annotation.evidence import Observed
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.landmarks import Landmarks
from pear_ros.geometry.camera import assumed_camera, intrinsics_of, project
from pear_ros.people import Camera, EhmParameters, FloatArray, ImageArray
from pear_ros.rendering.renderer import render
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.motion import Motion
from pear_ros.synthetic.scene import FACING_CAMERA, Cast, boxes_of, parameters_of

WIDTH, HEIGHT = 640, 480
DEPTH_M = 4.0


@dataclass(frozen=True)
class KnownPeople:
    """N people, each alone in an image of its own; `px` of that image."""

    parameters: EhmParameters
    translation: FloatArray  # (N, 3) m
    joints: FloatArray  # (N, 55, 3) m, without the translation
    vertices: FloatArray  # (N, V, 3) m, likewise
    keypoints: FloatArray  # (N, 133, 3) x, y, confidence
    boxes: FloatArray  # (N, 4) xyxy, px
    camera: Camera

    def observed(
        self, keypoints: FloatArray | None = None, one_track: bool = False, step_s: float = 0.1
    ) -> Observed:
        """What a fit gets to know, with other keypoints than the true ones if they are given."""
        count = len(self.boxes)
        return Observed(
            keypoints=torch.tensor(self.keypoints if keypoints is None else keypoints),
            boxes_xyxy=torch.tensor(self.boxes),  # a copy: tests change it
            image_size=torch.tensor((WIDTH, HEIGHT)).float().repeat(count, 1),
            intrinsics=intrinsics_of([self.camera] * count),
            track=np.zeros(count, np.int64) if one_track else np.arange(count),
            stamp_s=step_s * torch.arange(count),
        )

    def image(self, row: int, faces: FloatArray) -> ImageArray:
        """(HEIGHT, WIDTH, 3) a picture of one person."""
        grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        placed = (self.vertices[row] + self.translation[row])[None]
        return render(grey, placed, faces, np.full((1, 1, 3), 0.8, np.float32), self.camera).image


def known_people(
    assets: BodyAssets, count: int, seed: int, headings_deg: float = 40, moving: bool = False
) -> KnownPeople:
    """People in random poses, or one who moves (`moving`, ten images a second)."""
    random = np.random.default_rng(seed)
    cast = Cast(assets)
    streams = random.spawn(1 if moving else count)
    motions = [Motion(REPERTOIRES["training"], stream) for stream in streams]
    controls = [
        motions[0](1 + 0.1 * i) if moving else motions[i](random.uniform(0, 8))
        for i in range(count)
    ]
    heading = random.uniform(-headings_deg, headings_deg, 1 if moving else count)
    angles = np.broadcast_to(heading, count)
    turns = Rotation.from_euler("y", angles[:, None], degrees=True) * FACING_CAMERA
    shapes = cast.shapes(count, random)
    if moving:
        shapes = type(shapes)(*(np.repeat(getattr(shapes, name)[:1], count, 0)
                                for name in ("betas", "flame_betas", "head_scale")))  # fmt: skip
    parameters = parameters_of(turns.as_matrix(), np.stack(controls), np.zeros((count, 50)), shapes)
    bodies = cast.body_model(parameters, mesh=True)
    assert bodies.vertices is not None
    landmarks = Landmarks.of(assets)
    points = landmarks(bodies.joints, bodies.vertices[:, landmarks.vertex_ids]).numpy()
    vertices = bodies.vertices.numpy()
    middle = (vertices.min(1) + vertices.max(1)) / 2
    translation = (np.array((0, 0, DEPTH_M)) - middle).astype(np.float32)
    camera = assumed_camera(WIDTH, HEIGHT, 60.0)
    uv = project(points + translation[:, None], camera)
    confidence = np.broadcast_to(0.95 * landmarks.available, uv.shape[:2])
    keypoints = np.concatenate((uv, confidence[..., None]), -1) * (confidence > 0)[..., None]
    boxes = boxes_of(vertices + translation[:, None], camera)
    return KnownPeople(
        parameters, translation, bodies.joints.numpy(), vertices,
        keypoints.astype(np.float32), boxes.astype(np.float32), camera,
    )  # fmt: skip
