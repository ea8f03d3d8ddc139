"""What PEAR computes: crop, network, body model, placement; executed eagerly.

An estimator has two parts: from images to parameters and places, and, after these were smoothed,
from parameters to posed bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.body.shape_cache import ShapeCache
from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.geometry.crop_camera import rotated
from pear_ros.images.crop import Squares, cut_crops
from pear_ros.network.network import Network
from pear_ros.people import EhmParameters, Frame, map_tensors
from pear_ros.placement.reprojection import place_in_camera

OnStage = Callable[[str], object]
"""Called with a stage's name when the stage begins, and with "" when the last one ends."""


def ignore_stages(stage: str) -> None:
    """An OnStage that does nothing."""


@dataclass(frozen=True)
class Estimates:
    """The estimates of N people, on the CPU."""

    parameters: EhmParameters  # global_orient in the axes of the real camera
    bodies: Bodies  # without meshes
    translation: Tensor  # (N, 3) m, from body to optical frame; NaN: not placeable


class Estimate(Protocol):
    """The interface of Estimator and RecordedEstimator."""

    def __call__(self, frames: Sequence[Frame], squares: Squares) -> Estimates: ...

    def pose(self, ids: tuple[str, ...], parameters: EhmParameters, mesh: bool) -> Bodies: ...


class Estimator:
    """Estimates the people of all frames in one batch. Not thread-safe."""

    def __init__(
        self, network: Network, body_model: BodyModel, on_stage: OnStage = ignore_stages
    ) -> None:
        self._network = network
        self._body_model = body_model
        self._shapes = ShapeCache(body_model)
        self._on_stage = on_stage

    def __call__(self, frames: Sequence[Frame], squares: Squares) -> Estimates:
        """Estimates the people in N squares of the frames, without meshes."""
        device = self._network.device
        self._on_stage("crop")
        crops = torch.from_numpy(cut_crops(frames, squares))  # (N, 256, 256, 3) uint8
        cameras = CropCameras.of(frames, squares)
        self._on_stage("upload")
        crops = crops.to(device)
        self._on_stage("network")
        parameters = self._network(crops)  # of N people, global_orient in crop cameras' axes
        self._on_stage("body")
        parameters = rotated(parameters, cameras.camera_from_crop.to(device))
        bodies = self._body_model(parameters)  # joints (N, 55, 3) m
        self._on_stage("download")
        parameters, bodies = map_tensors(parameters, Tensor.cpu), map_tensors(bodies, Tensor.cpu)
        self._on_stage("placement")
        translation = place_in_camera(
            bodies.joints, parameters.camera_t, cameras.xywh, cameras.intrinsics, cameras.lenses
        )
        self._on_stage("")
        return Estimates(parameters, bodies, translation)

    def pose(self, ids: tuple[str, ...], parameters: EhmParameters, mesh: bool) -> Bodies:
        """Poses the bodies of M people from `parameters` on the CPU; returns them on the CPU.

        Args:
            ids: M ids; a body shape computed for an id may be reused in later calls.
            parameters: Smoothed parameters.
            mesh: Compute vertices, too.
        """
        self._on_stage("pose")
        parameters = map_tensors(parameters, lambda rows: rows.to(self._network.device))
        shape = self._shapes(ids, parameters, mesh)
        bodies = map_tensors(self._body_model(parameters, shape, mesh), Tensor.cpu)
        self._on_stage("")
        return bodies
