"""The appearance loss of stage 2: a person's look in one frame, driven by the pose in another.

PEAR's second stage takes the appearance of a person from a source frame, moves it with the
predicted body, and compares the picture with the target frame; its code is not published. Here the
appearance is the colour of each surface point that the source frame shows, and the picture consists
of Gaussian splats. The loss is the L1 difference of colours where the target shows these points,
and, where a mask is known, of the outline. It needs no labels: two frames of one person are enough.

LPIPS, which the paper adds, is left out: its weights come in no package with a suitable licence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import EhmParameters, map_tensors
from training.pixel_loss import CELL_PX, HOLE_FREE, LEAST_KNOWN, SLACK_M, blurred
from training.splat import Projected, not_hidden, project_points, splat, spread_points
from training.true_camera import TrueCameras

SIDE_PX = 32  # columns of the crop that the network does not see, on each side
LEAST_SHARED = 0.02  # least fraction of the picture in which a pair is compared


@dataclass(frozen=True)
class Pairs:
    """N pairs of frames; each pair shows one person. Sources come first: 2 N rows."""

    crops: Tensor  # (2 N, 256, 192, 3) RGB, uint8
    cameras: TrueCameras  # of 2 N
    known: Tensor  # (2 N, 256, 192) pixels that nothing hides and that are inside the image
    masks: Tensor | None  # (2 N, 256, 192) pixels that show the person, if known
    is_near: Tensor  # (2 N, 192) whether a token shows the person or a part of the box

    def to(self, device: torch.device) -> Pairs:
        """The pairs on `device`."""
        return Pairs(
            self.crops.to(device),
            map_tensors(self.cameras, lambda tensor: tensor.to(device)),
            self.known.to(device),
            None if self.masks is None else self.masks.to(device),
            self.is_near.to(device),
        )


class AppearanceLoss:
    """Compares frames of one person through the predicted bodies."""

    def __init__(
        self,
        assets: BodyAssets,
        device: torch.device | str = "cpu",
        size: tuple[int, int] = (64, 48),
        num_points: int = 1500,
        sigma: float = 1.0,  # cells, of the blur
    ) -> None:
        self._points = spread_points(assets, num_points)
        self._size, self._sigma = size, sigma
        self._cell_px = CROP_SIZE / size[0]
        self._model = BodyModel(assets, device, self._points.ids)
        self._spacing_m, self._normals, self._weights = (
            torch.as_tensor(array, device=device)
            for array in (
                np.sqrt(self._points.area_m2),
                self._points.normals,
                self._points.weights,
            )
        )

    def __call__(self, predicted: EhmParameters, pairs: Pairs) -> dict[str, Tensor]:
        """Losses `appearance` and, with masks, `outline`; means over N pairs.

        Args:
            predicted: Parameters of 2 N people, in their crop cameras' axes; sources come first.
            pairs: The frames. Each is the target of the other in turn.
        """
        projected, facing = self._projected(predicted, pairs.cameras)
        is_seen = not_hidden(projected, facing, CELL_PX, SLACK_M)  # (2 N, P)
        pictures = pairs.crops.permute(0, 3, 1, 2).float() / 255  # (2 N, 3, 256, 192)
        is_colored = pairs.known if pairs.masks is None else pairs.known & pairs.masks
        colors, is_shown = self._sampled(pictures, is_colored, projected.uv.detach())
        has_color = (is_seen & is_shown).float()  # (2 N, P)
        half = len(facing) // 2
        other = torch.arange(2 * half, device=facing.device).roll(half)
        shown, cover, outline = self._drawn(
            projected, facing * is_seen, colors[other], has_color[other]
        )
        true_colors, known = self._reduced(pictures, pairs.known)
        least = LEAST_SHARED * known[0].numel()
        # The weight has a gradient, so that bodies leave the background, whose colours differ
        # more than the mean, and cover the person. Without it bodies grew, and those that were
        # wrong in both frames moved away from the person.
        weight = known * cover.clamp(max=1)  # (2 N, H, W)
        shared = weight.sum((1, 2))
        error = (weight * (shown - true_colors).abs().mean(1)).sum((1, 2))
        certainty = (shared.detach() / least).clamp(max=1)
        losses = {"appearance": (certainty * error / shared.clamp(min=LEAST_KNOWN)).mean()}
        if pairs.masks is not None:
            true_outline, _ = self._reduced(pairs.masks[:, None].float(), pairs.known)
            difference = known * (outline.clamp(max=1) - true_outline[:, 0]).abs()
            area = (known * true_outline[:, 0]).sum((1, 2))
            losses["outline"] = (difference.sum((1, 2)) / area.clamp(min=least)).mean()
        return losses

    def _projected(
        self, predicted: EhmParameters, cameras: TrueCameras
    ) -> tuple[Projected, Tensor]:
        """The points in the crops, and how much each faces the camera (2 N, P)."""
        bodies = self._model(predicted, mesh=True)
        assert bodies.vertices is not None
        placed = cameras.placed(bodies.vertices, bodies.joints, predicted.camera_t)
        projected = project_points(placed, cameras)
        with torch.no_grad():
            ray = placed / projected.depth_m[..., None]  # (2 N, P, 3)
            rotations = cameras.camera_from_crop[:, None] @ bodies.rotations  # (2 N, 55, 3, 3)
            skinned = (self._weights @ rotations.flatten(2)).unflatten(2, (3, 3))
            normals = (skinned @ self._normals[..., None])[..., 0]
            facing = -(normals * ray).sum(-1)
        return projected, facing

    def _sampled(self, pictures: Tensor, known: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (2 N, P, 3) at points (2 N, P, 2) px of the crop, and whether they are known."""
        height, width = pictures.shape[-2:]
        at = torch.stack((uv[..., 0] - SIDE_PX, uv[..., 1]), -1)
        grid = at / at.new_tensor((width, height)) * 2 - 1  # (2 N, P, 2)

        def sample(images: Tensor) -> Tensor:
            drawn = F.grid_sample(images, grid[:, None], align_corners=False)
            return drawn[:, :, 0].mT  # (2 N, P, C)

        return sample(pictures), sample(known[:, None].float())[..., 0] > 0.99

    def _drawn(
        self, projected: Projected, facing: Tensor, colors: Tensor, has_color: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean colours (2 N, 3, H, W), the cover of coloured points and of all points (2 N, H, W).

        Args:
            projected: The points in the target.
            facing: (2 N, P), 0 where a point is hidden.
            colors: (2 N, P, 3) in the source.
            has_color: (2 N, P) whether the source shows the point, 0 or 1.
        """
        cell = self._cell_px
        spacing_px = self._spacing_m * projected.px_per_m  # (2 N, P)
        position = torch.stack((projected.uv[..., 0] - SIDE_PX, projected.uv[..., 1]), -1) / cell
        sigma = (HOLE_FREE * spacing_px / cell).clamp(min=self._sigma)
        mass = spacing_px.square() * facing / cell**2
        inputs = torch.cat((colors * has_color[..., None], has_color[..., None]), -1)
        count = (len(self._points.ids),)
        outline, colored = splat(position, sigma, mass, count, inputs, self._size)
        cover = colored[:, 3]
        return colored[:, :3] / cover[:, None].clamp(min=LEAST_KNOWN), cover, outline[:, 0]

    def _reduced(self, images: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Means over the known pixels of each cell, blurred like the splats.

        Args:
            images: (2 N, C, 256, 192).
            known: (2 N, 256, 192).

        Returns:
            (2 N, C, H, W), and the known fraction (2 N, H, W).
        """
        cell = int(self._cell_px)
        weight = known[:, None].float()
        fraction = blurred(F.avg_pool2d(weight, cell), self._sigma)
        mean = blurred(F.avg_pool2d(images * weight, cell), self._sigma)
        return mean / fraction.clamp(min=LEAST_KNOWN), fraction[:, 0]
