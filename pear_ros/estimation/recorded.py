"""The computation of `estimator.py` on a GPU, recorded as CUDA graphs.

Images are uploaded once, everything from crop to posed body stays on the device, and one copy
brings the results back. Replaying a graph avoids the launch overhead of hundreds of small kernels.
Graphs are recorded for a few batch sizes; other numbers of people are padded to the next size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.body.shape_cache import ShapeTable
from pear_ros.estimation.estimator import (
    Estimates,
    OnStage,
    ignore_stages,
    squares_and_intrinsics,
)
from pear_ros.estimation.staging import (
    CROP_PADDING_ROW,
    FIRST_PIXEL,
    IMAGE_SIZE,
    SQUARE_XYWH,
    StagedTable,
    crop_sources,
    device_and_host,
)
from pear_ros.geometry.crop_camera import camera_from_crop, rotated
from pear_ros.images.crop import Squares, cut_on_device
from pear_ros.network.network import Network
from pear_ros.people import EhmParameters, Frame, ImageArray, map_tensors
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.system.cuda_graphs import BATCHES, Recorded

PIXELS = 1 << 23  # initial capacity for the images of a step: one of 3840x2160
# Columns of a row with a person's pose inputs.
CAMERA_FROM_CROP = slice(0, 9)  # rotation matrix, row-major
SHAPE_ROW = slice(9, 10)  # row in ShapeTable
SHAPE_WEIGHT = slice(10, 11)  # weight of the new prediction in the mean shape
POSE_PADDING_ROW = (1, 0, 0, 0, 1, 0, 0, 0, 1, *ShapeTable.PADDING)

TensorShapes = tuple[torch.Size, ...]
T = TypeVar("T")


class Stream(Protocol):
    """The interface of `pear_ros.system.cuda_graphs.CudaStream`."""

    def current(self) -> AbstractContextManager[None]: ...

    def record(self, work: Callable[[], T]) -> Recorded[T]: ...

    def forget(self) -> None: ...

    def wait(self) -> None: ...


@dataclass(frozen=True)
class _Posed:
    """All results of B people in one tensor, so that one copy brings them to the host."""

    packed: Tensor  # (B, K)
    tensor_shapes: TensorShapes  # of the packed tensors, without the batch dimension


@dataclass(frozen=True)
class _Step:
    """The recordings for a batch of B people, replayed one after the other."""

    people: int  # B
    crops: Recorded[Tensor]  # (B, 256, 256, 3) uint8
    network: Recorded[EhmParameters]
    posed: Recorded[_Posed]


class RecordedEstimator:
    """Computes the same as Estimator, on the network's device. Not thread-safe.

    A step replays three recordings: crop, network, and body model with or without meshes.

    Raises:
        RuntimeError: If CUDA cannot record or run the work, for example for lack of memory. Calls
            raise it, too.
    """

    def __init__(
        self,
        network: Network,
        body_model: BodyModel,
        hold_shapes_after: int,
        stream: Stream,
        most_people: int = 1,
        on_stage: OnStage = ignore_stages,
    ) -> None:
        self._network = network
        self._body_model = body_model
        self._stream = stream
        self._on_stage = on_stage
        self._device = network.device
        self._shapes = ShapeTable(self._device, hold_shapes_after)
        # float64 represents every pixel index exactly
        self._crop_rows = StagedTable(BATCHES[-1], CROP_PADDING_ROW, torch.float64, self._device)
        self._pose_rows = StagedTable(BATCHES[-1], POSE_PADDING_ROW, torch.float32, self._device)
        self._steps: dict[tuple[int, bool], _Step] = {}  # by people and mesh
        self._allocate(PIXELS)
        for people in reversed(BATCHES[: BATCHES.index(_batch_of(most_people)) + 1]):
            self._step(people, mesh=False)  # largest first, so that the others reuse its memory

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        """Estimates the people in N squares; see `Estimator`."""
        images, crop_rows = crop_sources(frames, squares)  # (H W, 3) each, (N, 7)
        xywh, intrinsics = squares_and_intrinsics(frames, squares)  # (N, 4), (N, 4) px
        pixels = sum(map(len, images))
        if pixels > len(self._pixels):
            self._allocate(2 * pixels)
        limit = BATCHES[-1]
        batches = [slice(start, start + limit) for start in range(0, max(len(ids), 1), limit)]
        steps = [self._step(_batch_of(len(ids[rows])), mesh) for rows in batches]
        packed = []
        with self._stream.current():
            self._upload(images)
            for rows, step in zip(batches, steps, strict=True):
                if ids:
                    self._enqueue(step, crop_rows[rows], xywh[rows], intrinsics[rows], ids[rows])
                packed.append(self._download(step, len(ids[rows])))
        # torch.cat copies, even a single tensor: callers may keep results for long, and the pinned
        # memory is needed for the next step.
        tensor_shapes = steps[0].posed.result.tensor_shapes
        parameters, bodies = _unpack(torch.cat(packed), tensor_shapes)
        self._on_stage("placement")
        # Not recorded: for so few numbers the CPU should finish before a GPU has launched the
        # kernels (not measured).
        translation = place_in_camera(bodies.joints, parameters.camera_t, xywh, intrinsics)
        self._on_stage("")
        return Estimates(parameters, bodies, translation)

    # --- Parts of a step; before the download they only enqueue work on the stream ---

    def _upload(self, images: Sequence[ImageArray]) -> None:  # (H W, 3) each
        self._on_stage("upload")
        total = sum(map(len, images))
        if total:
            np.concatenate(images, out=self._host_pixels.numpy()[:total])
            self._pixels[:total].copy_(self._host_pixels[:total], non_blocking=True)

    def _enqueue(
        self,
        step: _Step,
        crop_rows: Tensor,  # (B, 7)
        xywh: Tensor,  # (B, 4) px
        intrinsics: Tensor,  # (B, 4) px
        ids: tuple[str, ...],
    ) -> None:
        self._on_stage("crop")
        self._crop_rows.send(crop_rows, step.people)
        step.crops.replay()
        self._on_stage("network")
        step.network.replay()
        self._on_stage("body")
        # The host computes this while the device runs the network.
        rotation = camera_from_crop(xywh, intrinsics)  # (B, 3, 3)
        shapes = torch.tensor(self._shapes.enter(ids))  # (B, 2)
        self._pose_rows.send(torch.cat((rotation.flatten(1), shapes), 1), step.people)
        step.posed.replay()

    def _download(self, step: _Step, count: int) -> Tensor:
        """Waits for the device; returns the packed results (count, K) on the CPU."""
        self._on_stage("download")
        packed = step.posed.result.packed[:count]
        on_host = torch.empty_like(packed, device="cpu", pin_memory=self._device.type == "cuda")
        if count:
            on_host.copy_(packed, non_blocking=True)
            self._stream.wait()
        return on_host

    def _allocate(self, pixels: int) -> None:
        self._steps.clear()  # recordings hold the addresses of the old buffer
        self._stream.forget()
        self._pixels, self._host_pixels = device_and_host(pixels, 3, torch.uint8, self._device)

    # --- Recordings ---

    def _step(self, people: int, mesh: bool) -> _Step:
        if (people, mesh) not in self._steps:
            # Recording runs each part once, so its input must be valid.
            self._crop_rows.clear()
            self._pose_rows.clear()
            crop_rows = self._crop_rows.on_device[:people]
            pose_rows = self._pose_rows.on_device[:people]
            if (other := self._steps.get((people, not mesh))) is not None:
                crops, network = other.crops, other.network
            else:
                crops = self._stream.record(lambda: self._crop(crop_rows))
                network = self._record_network(crops)
            posed = self._stream.record(lambda: self._pose(pose_rows, network.result, mesh))
            self._steps[people, mesh] = _Step(people, crops, network, posed)
        return self._steps[people, mesh]

    def _crop(self, rows: Tensor) -> Tensor:  # (B, 7) -> (B, 256, 256, 3)
        first_pixel = rows[:, FIRST_PIXEL][:, 0]
        return cut_on_device(self._pixels, first_pixel, rows[:, IMAGE_SIZE], rows[:, SQUARE_XYWH])

    def _record_network(self, crops: Recorded[Tensor]) -> Recorded[EhmParameters]:
        if self._network.can_be_recorded:
            return self._stream.record(lambda: self._network(crops.result))
        # An engine records itself. Its result is copied to tensors that the next recording reads.
        with torch.inference_mode():
            result = map_tensors(self._network(crops.result), Tensor.clone)

        def infer() -> None:
            parameters = self._network(crops.result)
            for field in fields(EhmParameters):
                getattr(result, field.name).copy_(getattr(parameters, field.name))

        return Recorded(infer, result)

    def _pose(self, rows: Tensor, predicted: EhmParameters, mesh: bool) -> _Posed:  # (B, 11)
        parameters = rotated(predicted, rows[:, CAMERA_FROM_CROP].unflatten(1, (3, 3)))
        parameters = self._shapes(parameters, rows[:, SHAPE_ROW][:, 0], rows[:, SHAPE_WEIGHT][:, 0])
        tensors = _tensors(parameters, self._body_model(parameters, mesh=mesh))
        packed = torch.cat([tensor.flatten(1) for tensor in tensors], 1)
        return _Posed(packed, tuple(tensor.shape[1:] for tensor in tensors))


def _batch_of(people: int) -> int:
    """The smallest batch size for this number of people, at most the largest size."""
    return next((size for size in BATCHES if size >= people), BATCHES[-1])


def _tensors(parameters: EhmParameters, bodies: Bodies) -> list[Tensor]:
    """All tensors; the vertices, if there are any, are last."""
    parts = (parameters, bodies)
    values = [getattr(part, field.name) for part in parts for field in fields(part)]
    return [value for value in values if value is not None]


def _unpack(packed: Tensor, shapes: TensorShapes) -> tuple[EhmParameters, Bodies]:  # (N, K)
    pieces = packed.split([math.prod(shape) for shape in shapes], 1)
    tensors = [piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes, strict=True)]
    count = len(fields(EhmParameters))
    joints, rotations, *vertices = tensors[count:]
    bodies = Bodies(joints, rotations, vertices[0] if vertices else None)
    return EhmParameters(*tensors[:count]), bodies
