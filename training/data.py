"""Renders crops of people with their labels during training.

Each sample has its own person and camera. The crop is rendered directly, with the intrinsics of its
own pixels. It is equal to the crop that `pear_ros.images.crop` would cut from the image, but for a
few grey levels along edges, where the image's pixels are larger or smaller.

The network sees the crop only, so orientations and joints are labelled in the axes of the crop
camera, whose optical axis passes through the crop's centre (pear_ros/geometry/crop_camera.py).
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

NETWORK_COLUMNS = slice(32, -32)  # columns of the crop that the network sees
IMAGE_SIZE = (640, 480)  # width, height, px, of the camera's image
MOTIONS, LOOKS, BACKGROUNDS = 48, 96, 48  # numbers that are kept in memory and replaced in turn
USES = 24  # of a motion before it is replaced
VIEWS = 2  # of each pose
FACING = 0.65  # fraction of people who roughly face the camera; others have any heading
SECOND_PERSON = 0.2  # fraction of crops with another person in front or behind
TOKEN_PX = 16
TOKENS = (CROP_SIZE // TOKEN_PX) * ((CROP_SIZE - 64) // TOKEN_PX)  # of a crop
PART_PX = 4  # distance of the pixels whose parts are labelled
PIXELS = (TOKEN_PX // PART_PX) ** 2  # labelled pixels of a token
BACKGROUND = NUM_JOINTS  # label of pixels that do not show the person
OUTLINE = 7  # the size of a body is measured with every 7th vertex
CLEAR = 0.5  # fraction of crops without changes of exposure and noise
WHOLE = 0.8  # least fraction of a person's box that is inside the image
BOX_JITTER = 0.08  # largest error of a detected box, relative to its size


@dataclass(frozen=True)
class Batch:
    """N crops with ground truth."""

    crops: Tensor  # (N, 256, 192, 3) RGB, uint8
    parameters: EhmParameters  # in the crop camera's axes
    joints: Tensor  # (N, 55, 3) m, in the crop camera's axes, relative to the pelvis
    joints_uv: Tensor  # (N, 55, 2) in half sides of the crop from its centre
    parts: Tensor  # (N, 192, 16) uint8: joint of the part at 16 pixels of each token, or BACKGROUND
    surface: Tensor  # (N, 192, 16, 3) float16: point of the body at these pixels, points_of_faces
    cameras: TrueCameras
    target: Target | None = None  # image targets of stage 2

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            move(self.crops),
            map_tensors(self.parameters, move),
            move(self.joints),
            move(self.joints_uv),
            move(self.parts),
            move(self.surface),
            map_tensors(self.cameras, move),
            None if self.target is None else self.target.to(device),
        )


class CropMaker:
    """Renders batches, with the targets of stage 2 if `make_target` is given."""

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
        # The renderer's face -1, no mesh, indexes the last entry.
        self._part_of_face = np.append(joint[assets.body_faces[:, 0]], np.uint8(BACKGROUND))
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
        """Renders `count` crops."""
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
            if random.random() < SECOND_PERSON:
                meshes.append(self._second_person(vertices[(i + 1) % count], place))
            looks = np.stack([self._looks[random.integers(LOOKS)] for _ in meshes])
            drawn = self._draw(np.stack(meshes), looks, camera, xywh)
            if self._make_target is not None:
                face_colors = looks[0][self._cast.faces].mean(1)  # (F, 3)
                targets.append(self._make_target(drawn.people, drawn.faces, face_colors))
            parts[i], surface[i] = self._pixel_labels(drawn)
            crops[i] = self._with_camera_effects(drawn.image, xywh)[:, NETWORK_COLUMNS]
            centre = xywh[:2] + xywh[2:] / 2
            joints_uv[i] = (project(joints[i] + place, camera) - centre) / (xywh[2] / 2)
            squares[i] = xywh
            cameras.append(camera)
        true_cameras = TrueCameras(torch.from_numpy(squares), intrinsics_of(cameras))
        camera_from_crop = true_cameras.camera_from_crop  # (N, 3, 3)
        relative = torch.from_numpy(joints - joints[:, :1])
        return Batch(
            torch.from_numpy(crops),
            rotated(parameters, camera_from_crop.mT),
            relative @ camera_from_crop,  # row vectors: rotated by the transpose
            torch.from_numpy(joints_uv),
            by_token(torch.from_numpy(parts)),
            by_token(torch.from_numpy(surface)),
            true_cameras,
            Target.stack(targets) if targets else None,
        )

    def _bodies(self, count: int) -> tuple[EhmParameters, FloatArray, FloatArray]:
        """N people: parameters, vertices (N, V, 3) m, joints (N, 55, 3) m.

        Each pose is used VIEWS times with different headings, because rotating a mesh takes less
        time than posing one.
        """
        random = self._random
        poses = -(-count // VIEWS)
        controls, faces = self._poses(poses)
        upright = np.tile(FACING_CAMERA.as_matrix(), (poses, 1, 1))
        posed = parameters_of(upright, controls, faces, self._cast.shapes(poses, random))
        bodies = self._cast.body_model(posed, mesh=True)
        assert bodies.vertices is not None
        # Roll and pitch of the camera are small, and most people roughly face it.
        any_heading = random.uniform(0, 360, count)
        heading = np.where(random.random(count) < FACING, random.normal(0, 50, count), any_heading)
        angles = (random.normal(0, 4, count), random.normal(5, 9, count), -heading)
        matrices = Rotation.from_euler("zxy", np.stack(angles, -1), degrees=True).as_matrix()
        rotations = torch.from_numpy(matrices.astype(np.float32))  # (N, 3, 3)

        rows = torch.arange(count) % poses
        pelvis = bodies.joints[rows, :1]
        vertices = (bodies.vertices[rows] - pelvis) @ rotations.mT + pelvis
        joints = (bodies.joints[rows] - pelvis) @ rotations.mT + pelvis
        parameters = rotated(map_tensors(posed, lambda values: values[rows]), rotations)
        return parameters, vertices.numpy(), joints.numpy()

    def _renew(self) -> None:
        """Replaces motions that are used up, one set of colours, and sometimes a background."""
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
        """A camera, the body's translation (3,) m in its frame, and the square xywh, px."""
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

    def _second_person(self, vertices: FloatArray, place: FloatArray) -> FloatArray:
        """(V, 3) m, another person at a random distance to the side, in front or behind."""
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

    def _pixel_labels(self, drawn: Rendering) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Parts (64, 48) and points (64, 48, 3) of the crop's person; others are background."""
        labelled = (
            slice(PART_PX // 2, None, PART_PX),
            slice(NETWORK_COLUMNS.start + PART_PX // 2, NETWORK_COLUMNS.stop, PART_PX),
        )
        faces = np.where(drawn.people[labelled] == 0, drawn.faces[labelled], -1)
        return self._part_of_face[faces], self._point_of_face[faces]

    def _with_camera_effects(self, image: ImageArray, xywh: FloatArray) -> ImageArray:
        """Adds the camera's resolution, blur, exposure and noise, and black outside its image."""
        random = self._random
        enlarged = CROP_SIZE / xywh[2]  # > 1: the image has fewer pixels than the crop
        if enlarged > 1.2:
            side = round(CROP_SIZE / enlarged)
            small = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
            image = cv2.resize(small, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
        elif random.random() < 0.15:
            image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.2))
        if random.random() > CLEAR:
            image = self._with_exposure(image)
        zoom = CROP_SIZE / xywh[2]
        left, top = np.clip(-xywh[:2] * zoom, 0, CROP_SIZE).astype(int)
        right, bottom = np.clip((IMAGE_SIZE - xywh[:2]) * zoom, 0, CROP_SIZE).astype(int)
        image[:top] = image[bottom:] = 0
        image[:, :left] = image[:, right:] = 0
        return np.asarray(image, np.uint8)

    def _with_exposure(self, image: ImageArray) -> ImageArray:
        """Changes brightness, white balance and contrast randomly, and sometimes adds noise."""
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
    """(F + 1, 3) the centre of each face on the body at rest, relative to the joint of its part.

    The unit is the size of the part, so that points of a finger differ as much as points of the
    trunk. The last row is for the background.

    Args:
        assets: The body.
        parts: (F,) the joint of each face's part.
    """
    centres = assets.body_template[assets.body_faces].mean(1)  # (F, 3)
    joints = assets.body_joint_regressor @ assets.body_template  # (55, 3)
    offsets = centres - joints[parts]
    squares = np.bincount(parts, (offsets**2).sum(1), BACKGROUND)
    faces = np.bincount(parts, minlength=BACKGROUND)
    sizes = np.sqrt(squares / faces.clip(min=1)).clip(min=1e-3)  # (55,)
    return np.vstack((offsets / sizes[parts, None], np.zeros((1, 3)))).astype(np.float16)


def by_token(pixels: Tensor) -> Tensor:
    """Groups pixels by token: (N, 64, 48, ...) -> (N, 192, 16, ...)."""
    side = TOKEN_PX // PART_PX
    tokens = pixels.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (N, 16, 4, 12, 4, ...)
    return tokens.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class Batches(IterableDataset[Batch]):
    """Endless batches; each worker process renders different ones."""

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
            os.nice(10)  # on a CPU, the training process has priority over the workers
        number = worker.id if worker else 0
        maker = CropMaker(
            self._assets, self._repertoire, self._seed * 1000 + number, self._make_target
        )
        while True:
            yield maker.batch(self._size)
