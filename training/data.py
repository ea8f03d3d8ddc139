"""Renders crops of people with their labels during training.

Each sample has its own person and camera. The crop is rendered directly, with the intrinsics of its
own pixels. It is equal to the crop that `pear_ros.images.crop` would cut from the image, but for a
few grey levels along edges, where the image's pixels are larger or smaller.

The network sees the crop only, so orientations and joints are labelled in the axes of the crop
camera, whose optical axis passes through the crop's centre (pear_ros/geometry/crop_camera.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import CROP_SIZE, rotated
from pear_ros.people import NUM_JOINTS, Camera, EhmParameters, FloatArray, ImageArray, map_tensors
from pear_ros.rendering.renderer import Lighting, Rendering, render
from pear_ros.synthetic.actions import Repertoire
from pear_ros.synthetic.background import draw_background
from pear_ros.synthetic.motion import Motion
from pear_ros.synthetic.scene import (
    FACING_CAMERA,
    Cast,
    parameters_of,
    random_lighting,
)
from training.camera_effects import outside, with_camera_effects
from training.framing import View, frame_person
from training.outfits import Outfit, Outfits
from training.pixel_loss import Target, TargetMaker
from training.true_camera import TrueCameras

Array = NDArray[np.float64]
Random = np.random.Generator

NETWORK_COLUMNS = slice(32, -32)  # columns of the crop that the network sees
MOTIONS, OUTFITS, BACKGROUNDS = 48, 48, 48  # numbers that are kept in memory and replaced
NEW_OUTFITS = 24  # of each batch
USES = 24  # of a motion before it is replaced
VIEWS = 2  # of each pose
PAIR_S, PAIR_TURN_DEG = (0.2, 1.0), 15.0  # between the frames of a pair
FACING = 0.4  # fraction of people who roughly face the camera; others have any heading
SECOND_PERSON = 0.2  # fraction of crops with another person in front or behind
TOKEN_PX = 16
TOKENS = (CROP_SIZE // TOKEN_PX) * ((CROP_SIZE - 64) // TOKEN_PX)  # of a crop
PART_PX = 4  # distance of the pixels whose parts are labelled
PIXELS = (TOKEN_PX // PART_PX) ** 2  # labelled pixels of a token
OCCLUDER = 1000  # number of what hides people, and of pixels outside of the image
BACKGROUND = NUM_JOINTS  # label of pixels that do not show the person
OUTLINE = 7  # the size of a body is measured with every 7th vertex
FROM_ABOVE = 0.2  # fraction of cameras that look down from high on a wall, or up from the floor
PHOTOS = 0.35  # fraction of backgrounds that are photographs, if there are any
ROLLED = 0.15  # of cameras that are not level


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
    # Of pairs of frames: the first N / 2 people are shown again in the other half.
    known: Tensor | None = None  # (N, 256, 192) pixels that nothing hides, inside the image
    masks: Tensor | None = None  # (N, 256, 192) pixels that show the person

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
            None if self.known is None else move(self.known),
            None if self.masks is None else move(self.masks),
        )


class CropMaker:
    """Renders batches, with the targets of stage 2 if `make_target` is given.

    With `in_pairs`, the second half of a batch shows the people of the first half a moment later,
    in the same clothes and light.
    """

    def __init__(
        self,
        assets: BodyAssets,
        repertoire: Repertoire,
        seed: int,
        make_target: TargetMaker | None = None,
        photos: list[ImageArray] | None = None,
        in_pairs: bool = False,
    ) -> None:
        self._in_pairs = in_pairs
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
        self._photos = photos or []
        size = 3 * CROP_SIZE
        self._backgrounds = [draw_background(size, size, random) for _ in range(BACKGROUNDS)]
        self._wardrobe = Outfits(assets)
        self._outfits = [self._outfit() for _ in range(OUTFITS)]

    @torch.no_grad()
    def batch(self, count: int) -> Batch:
        """Renders `count` crops."""
        random = self._random
        self._renew()
        parameters, vertices, joints = self._bodies(count)
        different = count // 2 if self._in_pairs else count  # people
        outfits = [self._outfits[random.integers(OUTFITS)] for _ in range(different)]
        outfits = [outfits[i % different] for i in range(count)]
        lightings = [random_lighting(random) for _ in range(different)]
        dressed = [
            self._wardrobe.put_on(*worn) for worn in zip(outfits, vertices, joints, strict=True)
        ]
        crops = np.empty((count, CROP_SIZE, CROP_SIZE - 64, 3), np.uint8)
        joints_uv = np.empty((count, joints.shape[1], 2), np.float32)
        size = tuple(side // PART_PX for side in (CROP_SIZE, CROP_SIZE - 64))
        parts = np.empty((count, *size), np.uint8)
        surface = np.empty((count, *size, 3), np.float16)
        squares = np.empty((count, 4), np.float32)
        known = np.empty((count, *crops.shape[1:3]), bool)
        masks = np.empty_like(known)
        cameras = []
        targets = []
        for i in range(count):
            view = frame_person(dressed[i][::OUTLINE], random)
            meshes, looks = [dressed[i] + view.place], [outfits[i].colors]
            if random.random() < SECOND_PERSON:
                other = (i + 1) % count
                meshes.append(self._second_person(dressed[other], view.place))
                looks.append(outfits[other].colors)
            lighting = lightings[i % different]
            drawn = self._draw(np.stack(meshes), np.stack(looks), view, lighting)
            if self._make_target is not None:
                face_colors = looks[0][self._cast.faces].mean(1)  # (F, 3)
                targets.append(self._make_target(drawn.people, drawn.faces, face_colors))
            parts[i], surface[i] = self._pixel_labels(drawn)
            square = view.square
            if not self._in_pairs:
                image = with_camera_effects(drawn.image, square, view.image_size, random)
                crops[i] = image[:, NETWORK_COLUMNS]
            else:
                drawn.image[outside(square, view.image_size)] = 0
                crops[i] = drawn.image[:, NETWORK_COLUMNS]
                known[i] = drawn.people[:, NETWORK_COLUMNS] <= 0  # the person or the background
                masks[i] = drawn.people[:, NETWORK_COLUMNS] == 0
            centre = square[:2] + square[2:] / 2
            joints_uv[i] = (project(joints[i] + view.place, view.camera) - centre) / (square[2] / 2)
            squares[i] = square
            cameras.append(view.camera)
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
            torch.from_numpy(known) if self._in_pairs else None,
            torch.from_numpy(masks) if self._in_pairs else None,
        )

    def _bodies(self, count: int) -> tuple[EhmParameters, FloatArray, FloatArray]:
        """N people: parameters, vertices (N, V, 3) m, joints (N, 55, 3) m.

        Each pose is used VIEWS times with different headings, because rotating a mesh takes less
        time than posing one.
        """
        random = self._random
        poses = count if self._in_pairs else -(-count // VIEWS)
        controls, faces = self._poses(poses)
        upright = np.tile(FACING_CAMERA.as_matrix(), (poses, 1, 1))
        shapes = self._cast.shapes(poses, random)
        if self._in_pairs:
            shapes = shapes.repeated(np.arange(count) % (count // 2))
        posed = parameters_of(upright, controls, faces, shapes)
        bodies = self._cast.body_model(posed, mesh=True)
        assert bodies.vertices is not None
        # Most cameras are nearly level, and most people roughly face them.
        any_heading = random.uniform(0, 360, count)
        heading = np.where(random.random(count) < FACING, random.normal(0, 50, count), any_heading)
        if self._in_pairs:
            half = count // 2
            heading[half:] = heading[:half] + random.normal(0, PAIR_TURN_DEG, count - half)
        pitch = np.where(
            random.random(count) < FROM_ABOVE,
            random.uniform(-25, 50, count),
            random.normal(5, 9, count),
        )
        roll = random.normal(0, np.where(random.random(count) < ROLLED, 15, 4))
        angles = (roll, pitch, -heading)
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
        for _ in range(NEW_OUTFITS):
            self._outfits[random.integers(OUTFITS)] = self._outfit()
        if random.random() < 0.3:
            size = 3 * CROP_SIZE
            self._backgrounds[random.integers(BACKGROUNDS)] = draw_background(size, size, random)

    def _outfit(self) -> Outfit:
        return self._wardrobe.draw(self._random, [*self._photos, *self._backgrounds])

    def _poses(self, count: int) -> tuple[Array, Array]:
        """Controls (N, C) and expressions (N, 50)."""
        random = self._random
        chosen = random.integers(MOTIONS, size=count)
        times_s = 1.7 * self._uses[chosen] + random.uniform(0, 1.7, count)
        if self._in_pairs:
            half = count // 2
            chosen[half:] = chosen[:half]
            times_s[half:] = times_s[:half] + random.uniform(*PAIR_S, count - half)
        self._uses[chosen] += 1
        motions = [self._motions[i] for i in chosen]
        pairs = list(zip(motions, times_s, strict=True))
        return np.stack([m(t) for m, t in pairs]), np.stack([m.face(t) for m, t in pairs])

    def _second_person(self, vertices: FloatArray, place: FloatArray) -> FloatArray:
        """(V, 3) m, another person at a random distance to the side, in front or behind."""
        random = self._random
        side = random.choice((-1, 1)) * random.uniform(0.35, 1.1)
        offset = np.array((side, random.normal(0, 0.1), random.uniform(-0.8, 1.5)))
        offset[2] = max(offset[2], 1.0 - place[2])
        return vertices + (place + offset).astype(np.float32)

    def _draw(
        self, meshes: FloatArray, looks: FloatArray, view: View, lighting: Lighting
    ) -> Rendering:
        """The crop (256, 256) of people, meshes (N, V, 3), behind the view's occluders."""
        random = self._random
        camera, square = view.camera, view.square
        zoom = CROP_SIZE / square[2]
        crop_camera = Camera(
            camera.fx * zoom,
            camera.fy * zoom,
            (camera.cx - square[0]) * zoom,
            (camera.cy - square[1]) * zoom,
        )
        drawn = render(
            self._texture(), meshes, self._cast.faces, looks, crop_camera,
            lighting=lighting,
        )  # fmt: skip
        for polygon in view.occluders:
            mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
            corners = np.round((polygon - square[:2]) * zoom).clip(-9999, 9999)
            cv2.fillConvexPoly(mask, corners.astype(np.int32), 1)
            hidden = mask.astype(bool)
            drawn.image[hidden] = (self._texture() * random.uniform(0.4, 1.0))[hidden]
            drawn.people[hidden], drawn.faces[hidden] = OCCLUDER, -1
        is_outside = outside(square, view.image_size)
        drawn.people[is_outside], drawn.faces[is_outside] = OCCLUDER, -1
        return drawn

    def _texture(self) -> ImageArray:
        """(256, 256, 3), a random part of a background."""
        random = self._random
        chosen = self._backgrounds
        if self._photos and random.random() < PHOTOS:
            chosen = self._photos
        picture = chosen[int(random.integers(len(chosen)))]
        height, width, _ = picture.shape
        shorter = min(height, width)
        side = int(random.integers(shorter // 3, shorter + 1))
        y, x = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
        cut = picture[y : y + side, x : x + side]
        if random.random() < 0.5:
            cut = cut[:, ::-1]
        resized = cv2.resize(cut, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def _pixel_labels(self, drawn: Rendering) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Parts (64, 48) and points (64, 48, 3) of the crop's person; others are background."""
        labelled = (
            slice(PART_PX // 2, None, PART_PX),
            slice(NETWORK_COLUMNS.start + PART_PX // 2, NETWORK_COLUMNS.stop, PART_PX),
        )
        faces = np.where(drawn.people[labelled] == 0, drawn.faces[labelled], -1)
        return self._part_of_face[faces], self._point_of_face[faces]


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
