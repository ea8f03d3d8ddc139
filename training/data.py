"""Crops of people with what the network shall say about them, drawn as fast as it learns.

Each sample is a person of its own before a camera of its own. The crop is drawn directly, by the
camera that the crop's pixels make: but for a few grey levels along edges, where the image's pixels
are larger or smaller, it is what `pear_ros.images.crop` would cut from the image.

The network sees the crop alone, so it is taught what the crop shows: orientations and joints as
seen by a camera that looks straight at the crop's centre (pear_ros/camera.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.utils.data import IterableDataset

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import CROP_SIZE, rotated
from pear_ros.people import NUM_JOINTS, Camera, EhmParameters, FloatArray, ImageArray, map_tensors
from pear_ros.rendering.renderer import Rendering, render
from pear_ros.synthetic.actions import Repertoire
from pear_ros.synthetic.background import draw_background
from pear_ros.synthetic.motion import Motion
from pear_ros.synthetic.scene import (
    FACING_CAMERA,
    Cast,
    boxes_of,
    parameters_of,
    random_lighting,
)
from training.pixel_loss import Target, TargetMaker
from training.true_camera import TrueCameras

Array = NDArray[np.float64]
Random = np.random.Generator

SEEN = slice(32, -32)  # columns of the crop that the network sees
IMAGE_SIZE = (640, 480)  # px, of the camera whose crops are drawn
MOTIONS, LOOKS, BACKGROUNDS = 48, 96, 48  # that are at hand at a time; they are replaced in turn
USES = 24  # of a motion
VIEWS = 2  # of a pose
FACING = 0.65  # part of the people who more or less face the camera; others face anywhere
HIDDEN = 0.2  # part of the crops in which another person stands before or behind
TOKEN_PX = 16
TOKENS = (CROP_SIZE // TOKEN_PX) * ((CROP_SIZE - 64) // TOKEN_PX)  # of a crop
PART_PX = 4  # every so many pixels are enough to know what a token sees
PIXELS = (TOKEN_PX // PART_PX) ** 2  # that are known, of a token
NOBODY = NUM_JOINTS
OUTLINE = 7  # every so many vertices are enough to know how large a body is
CLEAR = 0.5  # part of the pictures that are as a rendered camera's: well exposed, without noise
WHOLE = 0.8  # part of a person's box that is in the image, at least
BOX_JITTER = 0.08  # how far a detector's box is off, in its size


@dataclass(frozen=True)
class Batch:
    """N crops and the truth."""

    crops: Tensor  # (N, 256, 192, 3) RGB, uint8
    parameters: EhmParameters  # seen from a camera that looks at the crop's centre
    joints: Tensor  # (N, 55, 3) m, likewise, relative to the pelvis
    joints_uv: Tensor  # (N, 55, 2) in half sides of the crop from its centre
    parts: (
        Tensor  # (N, 192, 16) uint8: joint that moves what 16 pixels of each token show, or NOBODY
    )
    surface: Tensor  # (N, 192, 16, 3) float16: which point of the body each of these pixels shows
    cameras: TrueCameras
    target: Target | None = None  # what stage 2 compares pictures with

    def to(self, device: torch.device) -> Batch:
        def there(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            there(self.crops),
            map_tensors(self.parameters, there),
            there(self.joints),
            there(self.joints_uv),
            there(self.parts),
            there(self.surface),
            map_tensors(self.cameras, there),
            None if self.target is None else self.target.to(device),
        )


class CropMaker:
    """Draws batches, with stage 2's targets where `make_target` is given."""

    def __init__(
        self,
        assets: BodyAssets,
        repertoire: Repertoire,
        seed: int,
        make_target: TargetMaker | None = None,
    ) -> None:
        self._make_target = make_target
        self._cast = Cast(assets)
        joint = assets.body_weights.argmax(1).astype(np.uint8)  # (V,)
        # -1, where nobody is, indexes what follows the last face.
        self._part_of_face = np.append(joint[assets.body_faces[:, 0]], np.uint8(NOBODY))
        self._point_of_face = points_of_faces(assets, self._part_of_face[:-1])
        self._repertoire = repertoire
        self._random = random = np.random.default_rng(seed)
        self._motions = [Motion(repertoire, stream) for stream in random.spawn(MOTIONS)]
        self._uses = random.integers(0, USES, MOTIONS)
        self._looks = [self._cast.wardrobe.colors(random) for _ in range(LOOKS)]
        size = 3 * CROP_SIZE
        self._backgrounds = [draw_background(size, size, random) for _ in range(BACKGROUNDS)]

    @torch.no_grad()
    def batch(self, count: int) -> Batch:
        random = self._random
        self._renew()
        parameters, vertices, joints = self._bodies(count)
        crops = np.empty((count, CROP_SIZE, CROP_SIZE - 64, 3), np.uint8)
        joints_uv = np.empty((count, joints.shape[1], 2), np.float32)
        size = tuple(side // PART_PX for side in (CROP_SIZE, CROP_SIZE - 64))
        parts = np.empty((count, *size), np.uint8)
        surface = np.empty((count, *size, 3), np.float16)
        squares = np.empty((count, 4), np.float32)
        cameras = []
        targets = []
        for i in range(count):
            camera, place, xywh = self._place(vertices[i, ::OUTLINE])
            meshes = [vertices[i] + place]
            if random.random() < HIDDEN:
                meshes.append(self._beside(vertices[(i + 1) % count], place))
            looks = np.stack([self._looks[random.integers(LOOKS)] for _ in meshes])
            drawn = self._draw(np.stack(meshes), looks, camera, xywh)
            if self._make_target is not None:
                face_colors = looks[0][self._cast.faces].mean(1)  # (F, 3)
                targets.append(self._make_target(drawn.people, drawn.faces, face_colors))
            parts[i], surface[i] = self._shown(drawn)
            crops[i] = self._photographed(drawn.image, xywh)[:, SEEN]
            centre = xywh[:2] + xywh[2:] / 2
            joints_uv[i] = (project(joints[i] + place, camera) - centre) / (xywh[2] / 2)
            squares[i] = xywh
            cameras.append(camera)
        true_cameras = TrueCameras(torch.from_numpy(squares), intrinsics_of(cameras))
        turn = true_cameras.turn  # (N, 3, 3)
        relative = torch.from_numpy(joints - joints[:, :1])
        return Batch(
            torch.from_numpy(crops),
            rotated(parameters, turn.mT),
            relative @ turn,  # row vectors: turned back
            torch.from_numpy(joints_uv),
            by_token(torch.from_numpy(parts)),
            by_token(torch.from_numpy(surface)),
            true_cameras,
            Target.stack(targets) if targets else None,
        )

    def _bodies(self, count: int) -> tuple[EhmParameters, FloatArray, FloatArray]:
        """N people: parameters, vertices (N, V, 3) m, joints (N, 55, 3) m.

        Each pose is seen VIEWS times, from different sides: to turn a mesh costs less than to
        pose one.
        """
        random = self._random
        poses = -(-count // VIEWS)
        controls, faces = self._poses(poses)
        upright = np.tile(FACING_CAMERA.as_matrix(), (poses, 1, 1))
        posed = parameters_of(upright, controls, faces, self._cast.shapes(poses, random))
        bodies = self._cast.body_model(posed, mesh=True)
        assert bodies.vertices is not None
        # By a camera that looks at the person: mostly level, people mostly face it.
        anywhere = random.uniform(0, 360, count)
        heading = np.where(random.random(count) < FACING, random.normal(0, 50, count), anywhere)
        angles = (random.normal(0, 4, count), random.normal(5, 9, count), -heading)
        turn = Rotation.from_euler("zxy", np.stack(angles, -1), degrees=True).as_matrix()
        turns = torch.from_numpy(turn.astype(np.float32))  # (N, 3, 3)

        rows = torch.arange(count) % poses
        pelvis = bodies.joints[rows, :1]
        vertices = (bodies.vertices[rows] - pelvis) @ turns.mT + pelvis
        joints = (bodies.joints[rows] - pelvis) @ turns.mT + pelvis
        parameters = rotated(map_tensors(posed, lambda values: values[rows]), turns)
        return parameters, vertices.numpy(), joints.numpy()

    def _renew(self) -> None:
        random = self._random
        for i in np.flatnonzero(self._uses >= USES):
            (stream,) = random.spawn(1)
            self._motions[i], self._uses[i] = Motion(self._repertoire, stream), 0
        self._looks[random.integers(LOOKS)] = self._cast.wardrobe.colors(random)
        if random.random() < 0.3:
            size = 3 * CROP_SIZE
            self._backgrounds[random.integers(BACKGROUNDS)] = draw_background(size, size, random)

    def _poses(self, count: int) -> tuple[Array, Array]:
        """Controls (N, C) and expressions (N, 50)."""
        chosen = self._random.integers(MOTIONS, size=count)
        times_s = [1.7 * self._uses[i] + self._random.uniform(0, 1.7) for i in chosen]
        self._uses[chosen] += 1
        motions = [self._motions[i] for i in chosen]
        pairs = list(zip(motions, times_s, strict=True))
        return np.stack([m(t) for m, t in pairs]), np.stack([m.face(t) for m, t in pairs])

    def _place(self, vertices: FloatArray) -> tuple[Camera, FloatArray, FloatArray]:
        """A camera, the body's place (3,) m before it, and the square of its crop, xywh px."""
        random = self._random
        width, height = IMAGE_SIZE
        while True:
            focal_px = random.uniform(0.6, 1.4) * width
            camera = Camera(focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
            size_px = np.exp(random.uniform(np.log(150), np.log(500)))
            depth_m = focal_px * np.ptp(vertices[:, 1]) / size_px
            middle = (vertices.min(0) + vertices.max(0)) / 2
            uv = random.uniform((0.1 * width, 0.3 * height), (0.9 * width, 0.7 * height))
            place = np.append((uv - (camera.cx, camera.cy)) / focal_px, 1) * depth_m - middle
            placed = vertices + place.astype(np.float32)
            if placed[:, 2].min() < 0.3:
                continue
            (box,) = boxes_of(placed[None], camera)
            inside = np.clip(box, 0, (width, height, width, height))
            if np.prod(inside[2:] - inside[:2]) < WHOLE * np.prod(box[2:] - box[:2]):
                continue
            size = (inside[2:] - inside[:2]).max()
            inside += np.clip(random.normal(0, BOX_JITTER / 2, 4), -BOX_JITTER, BOX_JITTER) * size
            (xywh,) = square_boxes(inside[None].astype(np.float32), width, height)
            return camera, place.astype(np.float32), xywh

    def _beside(self, vertices: FloatArray, place: FloatArray) -> FloatArray:
        """(V, 3) another person, to the side, before or behind."""
        random = self._random
        side = random.choice((-1, 1)) * random.uniform(0.35, 1.1)
        offset = np.array((side, random.normal(0, 0.1), random.uniform(-0.8, 1.5)))
        offset[2] = max(offset[2], 1.0 - place[2])
        return vertices + (place + offset).astype(np.float32)

    def _draw(
        self, meshes: FloatArray, looks: FloatArray, camera: Camera, xywh: FloatArray
    ) -> Rendering:
        random = self._random
        zoom = CROP_SIZE / xywh[2]
        crop_camera = Camera(
            camera.fx * zoom,
            camera.fy * zoom,
            (camera.cx - xywh[0]) * zoom,
            (camera.cy - xywh[1]) * zoom,
        )
        picture = self._backgrounds[random.integers(BACKGROUNDS)]
        side = int(random.integers(CROP_SIZE // 2, len(picture)))
        x, y = random.integers(0, len(picture) - side + 1, 2)
        cut = picture[y : y + side, x : x + side]
        if random.random() < 0.5:
            cut = cut[:, ::-1]
        background = cv2.resize(cut, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
        return render(
            background, meshes, self._cast.faces, looks, crop_camera,
            lighting=random_lighting(random),
        )  # fmt: skip

    def _shown(self, drawn: Rendering) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Parts (64, 48) and points (64, 48, 3) of the crop's person; others are nobody."""
        seen = (
            slice(PART_PX // 2, None, PART_PX),
            slice(SEEN.start + PART_PX // 2, SEEN.stop, PART_PX),
        )
        faces = np.where(drawn.people[seen] == 0, drawn.faces[seen], -1)
        return self._part_of_face[faces], self._point_of_face[faces]

    def _photographed(self, image: ImageArray, xywh: FloatArray) -> ImageArray:
        """What a camera makes of it: its sharpness, exposure and noise, its image's borders."""
        random = self._random
        lost = CROP_SIZE / xywh[2]  # > 1: the crop is enlarged, and shows less than it could
        if lost > 1.2:
            side = round(CROP_SIZE / lost)
            small = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
            image = cv2.resize(small, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
        elif random.random() < 0.15:
            image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.2))
        if random.random() > CLEAR:
            image = self._exposed(image)
        zoom = CROP_SIZE / xywh[2]
        left, top = np.clip(-xywh[:2] * zoom, 0, CROP_SIZE).astype(int)
        right, bottom = np.clip((IMAGE_SIZE - xywh[:2]) * zoom, 0, CROP_SIZE).astype(int)
        image[:top] = image[bottom:] = 0
        image[:, :left] = image[:, right:] = 0
        return np.asarray(image, np.uint8)

    def _exposed(self, image: ImageArray) -> ImageArray:
        """Brighter or darker, its white and its contrast off, with noise."""
        random = self._random
        levels = np.arange(256) / 255
        gain = random.uniform(0.7, 1.25) * random.uniform(0.92, 1.08, 3)  # (3,)
        curve = levels[:, None] ** random.uniform(0.6, 1.2)  # (256, 1)
        table = 255 * curve * gain + random.normal(0, 8)
        exposed = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
        if random.random() < 0.5:
            noise = np.empty(exposed.shape, np.int16)
            cv2.randn(noise, 0, random.uniform(1, 7))
            exposed = cv2.add(exposed, noise, dtype=cv2.CV_8U)
        return np.asarray(exposed, np.uint8)


def points_of_faces(assets: BodyAssets, parts: NDArray[np.uint8]) -> NDArray[np.float16]:
    """(F + 1, 3): a face's centre on the body at rest, from the joint of its part (F,).

    In sizes of that part, so that a finger's points are as far from each other as a trunk's. The
    last is nobody's.
    """
    centres = assets.body_template[assets.body_faces].mean(1)  # (F, 3)
    joints = assets.body_joint_regressor @ assets.body_template  # (55, 3)
    off = centres - joints[parts]
    squares = np.bincount(parts, (off**2).sum(1), NOBODY)
    faces = np.bincount(parts, minlength=NOBODY)
    sizes = np.sqrt(squares / faces.clip(min=1)).clip(min=1e-3)  # (55,)
    return np.vstack((off / sizes[parts, None], np.zeros((1, 3)))).astype(np.float16)


def by_token(pixels: Tensor) -> Tensor:
    """(N, 64, 48, ...) -> (N, 192, 16, ...): the pixels of each token together."""
    side = TOKEN_PX // PART_PX
    tokens = pixels.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (N, 16, 4, 12, 4, ...)
    return tokens.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class Batches(IterableDataset[Batch]):
    """Endless; every worker draws others."""

    def __init__(
        self,
        assets: BodyAssets,
        repertoire: Repertoire,
        size: int,
        seed: int,
        make_target: TargetMaker | None = None,
    ) -> None:
        self._assets, self._repertoire, self._size, self._seed = assets, repertoire, size, seed
        self._make_target = make_target

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        if worker:
            os.nice(10)  # on a CPU the network comes first, and waits where it must
        number = worker.id if worker else 0
        maker = CropMaker(
            self._assets, self._repertoire, self._seed * 1000 + number, self._make_target
        )
        while True:
            yield maker.batch(self._size)
