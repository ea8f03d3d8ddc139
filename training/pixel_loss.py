"""The pixel loss of stage 2: compares the predicted body, drawn as splats, with a rendered image.

PEAR's second stage renders the predicted mesh with the person's appearance and compares images by
L1 and LPIPS; its code is not published. Here the target is rendered, so the part of the body and
the point of the surface are known for each pixel as well as the colour. The images that are
compared by L1 show the parts of the body, its colours without lighting, and the surface normal at
rest, which distinguishes front from back and the palm from the back of the hand. The whole body is
drawn at a low resolution, hands and head again in close-ups around their true places. LPIPS is left
out, because it needs the weights of VGG and a higher resolution than is practical on a CPU. For 32
people, the loss with its gradients takes 0.28 s on one core, a target 1.8 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import EhmParameters, FloatArray, map_tensors
from training.splat import (
    HEAD,
    LEFT_HAND,
    PARTS,
    RIGHT_HAND,
    Points,
    not_hidden,
    project_points,
    splat,
    spread_points,
)
from training.true_camera import TrueCameras

NETWORK_INPUT = (slice(None), slice(32, -32))  # rows and columns of the crop that it sees
SAMPLES = 4  # along each side of a cell
CLOSE_UP = 1.5  # side of a close-up, relative to the extent of its parts
CLOSE_UP_LEAST_PX = 16.0  # least side of a close-up
LEAST_SHOWN_PX = 30  # least visible pixels of its parts for a close-up
CELL_PX = 4.0  # of the z-buffer
SLACK_M = 0.03  # tolerance of the z-buffer
HOLE_FREE = 0.6  # least sigma of a splat, relative to the distance between points
LEAST_KNOWN = 0.05  # lower limit of a cell's known or covered fraction, for divisions
LEAST_COVER = 0.02  # of a view: errors are relative to the true person's area, but at least to this

ALL = slice(0, len(PARTS))
BACKGROUND, UNKNOWN = len(PARTS), len(PARTS) + 1  # labels besides the parts


@dataclass(frozen=True)
class View:
    """An image of some parts."""

    parts: slice  # of PARTS
    size: tuple[int, int]  # rows and columns of cells


def views_of(size: tuple[int, int]) -> dict[str, View]:
    """The whole body with `size` (H, W) cells, and square close-ups with half its width."""
    close_up = (size[1] // 2, size[1] // 2)
    return {
        "body": View(ALL, size),
        "left_hand": View(LEFT_HAND, close_up),
        "right_hand": View(RIGHT_HAND, close_up),
        "head": View(HEAD, close_up),
    }


# --- Targets --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maps:
    """The target images of N people in one view. A cell has 16 samples."""

    box: Tensor  # (N, 3) px of the crop: left, top, side of a cell
    parts: Tensor  # (N, K, H, W) uint8, number of samples of each part
    known: Tensor  # (N, H, W) uint8, number of samples that no other person occludes
    colors: Tensor  # (N, 6, H, W) int8, mean over the person's samples: RGB, normal at rest


@dataclass(frozen=True)
class Target:
    """The target images of N people."""

    views: dict[str, Maps]
    colors: Tensor  # (N, P, 3) int8, true colours of the points

    @staticmethod
    def stack(targets: Sequence[Target]) -> Target:
        """All targets as one."""
        names = [field.name for field in fields(Maps)]
        views = {
            view: Maps(
                *(torch.cat([getattr(t.views[view], name) for t in targets]) for name in names)
            )
            for view in targets[0].views
        }
        return Target(views, torch.cat([t.colors for t in targets]))

    def to(self, device: torch.device | str) -> Target:
        """The target on `device`."""
        views = {
            name: map_tensors(maps, lambda x: x.to(device)) for name, maps in self.views.items()
        }
        return Target(views, self.colors.to(device))


class TargetMaker:
    """Reduces a rendered crop to what the loss needs, in the workers of a data loader."""

    def __init__(self, points: Points, size: tuple[int, int]) -> None:
        shape = np.empty((CROP_SIZE, CROP_SIZE))[NETWORK_INPUT].shape
        assert shape[0] * size[1] == shape[1] * size[0], f"cells of {size} are not square"
        self._points = points
        self._views = views_of(size)

    def __call__(
        self,
        people: NDArray[np.int32],  # (256, 256) 0: the crop's person, -1: background, else occluded
        faces: NDArray[np.int32],  # (256, 256) used where people is 0
        face_colors: NDArray[np.float32],  # (F, 3) RGB 0 to 1, without lighting
    ) -> Target:
        """The target of one person.

        Occluded pixels and those that the network does not see are unknown.
        """
        part = np.full(people.shape, UNKNOWN, np.uint8)
        part[NETWORK_INPUT] = np.where(people[NETWORK_INPUT] < 0, BACKGROUND, UNKNOWN)
        own = np.nonzero(people[NETWORK_INPUT] == 0)
        part[NETWORK_INPUT][own] = self._points.part_of_face[faces[NETWORK_INPUT][own]]
        views = {
            name: self._maps(view, part, faces, face_colors) for name, view in self._views.items()
        }
        colors = _packed(2 * face_colors[self._points.face] - 1)
        return Target(views, torch.from_numpy(colors)[None])

    def _maps(
        self,
        view: View,
        part: NDArray[np.uint8],
        faces: NDArray[np.int32],
        face_colors: NDArray[np.float32],
    ) -> Maps:
        height, width = view.size
        cells, count = height * width, view.parts.stop - view.parts.start
        box = _box(view, part)
        if box is None:  # the close-up is left out: nothing in it is known
            box, part = (0, 0, 1), np.full_like(part, UNKNOWN)
        left, top, cell = box
        y, x = (
            np.floor(start + (np.arange(SAMPLES * length) + 0.5) * cell / SAMPLES).astype(int)
            for start, length in ((top, height), (left, width))
        )
        sampled = part[y.clip(0, CROP_SIZE - 1)][:, x.clip(0, CROP_SIZE - 1)]
        sampled[(y < 0) | (y >= CROP_SIZE)] = UNKNOWN
        sampled[:, (x < 0) | (x >= CROP_SIZE)] = UNKNOWN
        known = (sampled != UNKNOWN).reshape(height, SAMPLES, -1).sum(1, dtype=np.uint8)
        known = known.reshape(height, width, SAMPLES).sum(2, dtype=np.uint8)

        rows, columns = np.nonzero((sampled >= view.parts.start) & (sampled < view.parts.stop))
        cell_index = rows // SAMPLES * width + columns // SAMPLES
        part_index = sampled[rows, columns].astype(int) - view.parts.start
        parts = np.bincount(part_index * cells + cell_index, minlength=count * cells)
        parts = parts.astype(np.uint8)
        parts = parts.reshape(count, height, width)
        face = faces[y[rows], x[columns]]
        colors = np.concatenate((2 * face_colors[face] - 1, self._points.face_normals[face]), 1)
        total = np.stack([np.bincount(cell_index, channel, cells) for channel in colors.T])
        mean = total.reshape(-1, height, width) / np.maximum(parts.sum(0), 1)
        arrays = (np.array(box, np.float32), parts, known, _packed(mean))
        return Maps(*(torch.from_numpy(array)[None] for array in arrays))


def _packed(values: FloatArray) -> NDArray[np.int8]:
    """Converts -1 to 1 to -127 to 127."""
    return np.rint(127 * values).astype(np.int8)


def _box(view: View, part: NDArray[np.uint8]) -> tuple[float, float, float] | None:
    """Left, top and side of a cell, px, of a view of a part map (256, 256).

    None if fewer than LEAST_SHOWN_PX pixels show the parts of a close-up.
    """
    height, _ = view.size
    if view.parts == ALL:
        rows, columns = (range(CROP_SIZE)[axis] for axis in NETWORK_INPUT)
        return columns.start, rows.start, len(rows) / height
    is_shown = (part >= view.parts.start) & (part < view.parts.stop)
    if np.count_nonzero(is_shown) < LEAST_SHOWN_PX:
        return None
    spans = [np.flatnonzero(is_shown.any(axis)) for axis in (0, 1)]  # of x and y
    first, last = np.array([(span[0], span[-1] + 1) for span in spans]).T
    side = max(CLOSE_UP * (last - first).max(), CLOSE_UP_LEAST_PX)
    left, top = (first + last - side) / 2
    return left, top, side / height


# --- Loss -----------------------------------------------------------------------------------------


class PixelLoss:
    """The L1 difference between images of predicted bodies and their targets.

    The loss of the parts is 2 if a body of the right size does not overlap the true one. The loss
    of a perfect prediction is not 0, because splats are not triangles: 0.2 to 0.3 for parts, 0.03
    to 0.08 for colours and normals.
    """

    def __init__(
        self,
        assets: BodyAssets,
        device: torch.device | str = "cpu",
        size: tuple[int, int] = (64, 48),
        num_points: int = 1500,
        sigma: float = 1.0,  # cells, of the blur; a larger one gives gradients from farther away
    ) -> None:
        self.points = spread_points(assets, num_points)
        self.make_target = TargetMaker(self.points, size)
        self._views = views_of(size)
        self._sigma = sigma
        self._model = BodyModel(assets, device, self.points.ids)
        self._spacing_m, self._normals, self._weights = (
            torch.as_tensor(array, device=device)
            for array in (np.sqrt(self.points.area_m2), self.points.normals, self.points.weights)
        )
        rest = torch.as_tensor(assets.body_joint_regressor @ assets.body_template)
        self._rest_bone_length_m = float(self._bone_length_m(rest))

    def __call__(
        self, predicted: EhmParameters, target: Target, cameras: TrueCameras
    ) -> dict[str, Tensor]:
        """Losses `<view>_parts`, `<view>_colors` and `<view>_normals`, means over N people.

        Views are body, left_hand, right_hand and head. A close-up is weighted by the square of its
        overlap with the target, so its loss may increase while the prediction gets better.
        """
        losses = {}
        for name, (parts, colors) in self.draw(predicted, target, cameras).items():
            maps, sigma = target.views[name], self._sigma
            known = blurred(maps.known / SAMPLES**2, sigma)  # (N, H, W)
            per_sample = 1 / (SAMPLES**2 * known.clamp(min=LEAST_KNOWN))
            true_parts = blurred(maps.parts, sigma) * per_sample[:, None]  # (N, K, H, W)
            true_cover = true_parts.sum(1)  # (N, H, W)
            area = (known * true_cover).sum((1, 2), keepdim=True)  # cells
            weight = known / area.clamp(min=LEAST_COVER * known[0].numel())
            if name != "body":
                # The gradient of a close-up would move a part that does not overlap its target out
                # of the view, so the overlap weights the close-up, and the body's view moves it in.
                overlap = weight * torch.minimum(parts.detach().sum(1), true_cover)
                weight = weight * overlap.sum((1, 2), keepdim=True).square()
            error = (parts - true_parts).abs().sum(1)
            losses[f"{name}_parts"] = (weight * error).sum((1, 2)).mean()

            cover = maps.parts.sum(1) / SAMPLES**2  # (N, H, W)
            true_colors = blurred(maps.colors / 127 * cover[:, None], sigma)
            true_colors = true_colors / blurred(cover, sigma)[:, None].clamp(min=LEAST_KNOWN)
            error = (weight * true_cover)[:, None] * (colors - true_colors).abs()
            albedo, normals = error.sum((2, 3)).mean(0).split(3)
            losses[f"{name}_colors"], losses[f"{name}_normals"] = albedo.mean(), normals.mean()
        return losses

    def draw(
        self, predicted: EhmParameters, target: Target, cameras: TrueCameras
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Draws each view of the target: parts (N, K, H, W) 0 to 1, mean colours (N, 6, H, W)."""
        bodies = self._model(predicted, mesh=True)
        assert bodies.vertices is not None
        placed = cameras.placed(bodies.vertices, bodies.joints, predicted.camera_t)
        projected = project_points(placed, cameras)
        with torch.no_grad():
            ray = placed / projected.depth_m[..., None]  # (N, P, 3), scaled to depth 1
            # Normals are skinned like vertices, with a weighted mean of the joints' rotations.
            rotations = cameras.camera_from_crop[:, None] @ bodies.rotations  # (N, 55, 3, 3)
            skinned = (self._weights @ rotations.flatten(2)).unflatten(2, (3, 3))  # (N, P, 3, 3)
            posed_normals = (skinned @ self._normals[..., None])[..., 0]
            facing = -(posed_normals * ray).sum(-1)  # (N, P)
            scale = self._bone_length_m(bodies.joints) / self._rest_bone_length_m  # (N,)
            spacing_px = scale[:, None] * self._spacing_m * projected.px_per_m  # (N, P)
            area_px = spacing_px**2 * facing * not_hidden(projected, facing, CELL_PX, SLACK_M)
        normals = self._normals.expand(len(facing), -1, -1)
        all_colors = torch.cat((target.colors / 127, normals), -1)  # (N, P, 6)
        images = {}
        for name, view in self._views.items():
            counts = self.points.counts[view.parts]
            start = sum(self.points.counts[: view.parts.start])
            points = slice(start, start + sum(counts))
            corner, cell = target.views[name].box[:, None].split((2, 1), -1)  # (N, 1, 2 or 1)
            parts, colors = splat(
                (projected.uv[:, points] - corner) / cell,
                (HOLE_FREE * spacing_px[:, points] / cell[..., 0]).clamp(min=self._sigma),
                area_px[:, points] / cell[..., 0] ** 2,
                counts,
                all_colors[:, points],
                view.size,
            )
            cover = parts.sum(1, keepdim=True)
            images[name] = parts / cover.clamp(min=1), colors / cover.clamp(min=LEAST_KNOWN)
        return images

    def _bone_length_m(self, joints: Tensor) -> Tensor:
        """(..., 55, 3) m -> (...) the sum of the lengths of all bones."""
        ends = joints[..., self._model.bones, :]  # (..., 54, 2, 3)
        return (ends[..., 1, :] - ends[..., 0, :]).norm(dim=-1).sum(-1)


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Blurs (..., H, W) by a Gaussian, whose kernel is normalised again at the edges."""

    def along(length: int) -> Tensor:
        cells = torch.arange(length, device=maps.device)
        kernel = torch.exp(-0.5 * ((cells - cells[:, None]) / sigma).square())
        return kernel / kernel.sum(1, keepdim=True)

    return along(maps.shape[-2]) @ maps.float() @ along(maps.shape[-1]).T
