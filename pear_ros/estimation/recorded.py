"""The steps of `estimator.py` on a GPU, recorded as CUDA graphs.

Images go to the device once, bodies stay there until they are posed, and one copy comes back. The
work is recorded for a few batch sizes, so that launching hundreds of small kernels costs little;
other numbers of people are padded to the next size.
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

PIXELS = 1 << 23  # room for all images of a step at first: one of 3840x2160
# Columns of a row that says how to pose a person.
CAMERA_FROM_CROP = slice(0, 9)  # a rotation, row by row
SHAPE_ROW = slice(9, 10)  # of ShapeTable
SHAPE_WEIGHT = slice(10, 11)  # of the new prediction in the mean shape
POSE_PADDING_ROW = (1, 0, 0, 0, 1, 0, 0, 0, 1, *ShapeTable.PADDING)

TensorShapes = tuple[torch.Size, ...]
T = TypeVar("T")


class Stream(Protocol):
    """Where work is enqueued: `pear_ros.system.cuda_graphs.CudaStream`."""

    def current(self) -> AbstractContextManager[None]: ...

    def record(self, work: Callable[[], T]) -> Recorded[T]: ...

    def forget(self) -> None: ...

    def wait(self) -> None: ...


@dataclass(frozen=True)
class _Posed:
    """All results of B people in one tensor, so that one copy brings them to the host."""

    packed: Tensor  # (B, K)
    tensor_shapes: TensorShapes  # of the packed tensors, without the batch


@dataclass(frozen=True)
class _Step:
    """The recordings for B people, replayed one after the other."""

    people: int  # B
    crops: Recorded[Tensor]  # (B, 256, 256, 3) uint8
    network: Recorded[EhmParameters]
    posed: Recorded[_Posed]


class RecordedEstimator:
    """Does what Estimator does, on the network's device. Not for several threads at once.

    A step is three recordings: crop, network, and body with or without meshes.
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
        # float64 is exact for the index of any pixel
        self._crop_rows = StagedTable(BATCHES[-1], CROP_PADDING_ROW, torch.float64, self._device)
        self._pose_rows = StagedTable(BATCHES[-1], POSE_PADDING_ROW, torch.float32, self._device)
        self._steps: dict[tuple[int, bool], _Step] = {}  # by people and mesh
        self._make_room(PIXELS)
        for people in reversed(BATCHES[: BATCHES.index(_batch_of(most_people)) + 1]):
            self._step(people, mesh=False)  # the largest first: the others reuse its memory

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        """Estimates the people in N squares; `ids` (N) say whose body shapes may be reused."""
        images, crop_rows = crop_sources(frames, squares)  # (H W, 3) each, (N, 7)
        xywh, intrinsics = squares_and_intrinsics(frames, squares)  # (N, 4), (N, 4) px
        pixels = sum(map(len, images))
        if pixels > len(self._pixels):
            self._make_room(2 * pixels)
        most = BATCHES[-1]
        batches = [slice(start, start + most) for start in range(0, max(len(ids), 1), most)]
        steps = [self._step(_batch_of(len(ids[rows])), mesh) for rows in batches]
        packed = []
        with self._stream.current():
            self._upload(images)
            for rows, step in zip(batches, steps, strict=True):
                if ids:
                    self._enqueue(step, crop_rows[rows], xywh[rows], intrinsics[rows], ids[rows])
                packed.append(self._download(step, len(ids[rows])))
        # torch.cat copies, also one tensor: people may be kept for long, and the memory that is not
        # paged is for the next step.
        tensor_shapes = steps[0].posed.result.tensor_shapes
        parameters, bodies = _unpack(torch.cat(packed), tensor_shapes)
        self._on_stage("placement")
        # Not recorded: on few numbers a CPU is done before a GPU has launched the kernels.
        translation = place_in_camera(bodies.joints, parameters.camera_t, xywh, intrinsics)
        return Estimates(parameters, bodies, translation)

    # --- The parts of a step, on the stream; until the download they only enqueue ---

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
        # The host has time for this: the device works on what was enqueued before.
        rotation = camera_from_crop(xywh, intrinsics)  # (B, 3, 3)
        shapes = torch.tensor(self._shapes.enter(ids))  # (B, 2)
        self._pose_rows.send(torch.cat((rotation.flatten(1), shapes), 1), step.people)
        step.posed.replay()

    def _download(self, step: _Step, count: int) -> Tensor:
        """Waits; the packed results (count, K) on the CPU."""
        self._on_stage("download")
        packed = step.posed.result.packed[:count]
        here = torch.empty_like(packed, device="cpu", pin_memory=self._device.type == "cuda")
        if count:
            here.copy_(packed, non_blocking=True)
            self._stream.wait()
        return here

    def _make_room(self, pixels: int) -> None:
        self._steps.clear()  # recordings hold the addresses of the old buffer
        self._stream.forget()
        self._pixels, self._host_pixels = device_and_host(pixels, 3, torch.uint8, self._device)

    # --- What is recorded ---

    def _step(self, people: int, mesh: bool) -> _Step:
        if (people, mesh) not in self._steps:
            # Each part runs once while it is recorded, so its input must be valid.
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
        # It records itself; its result is copied to where the next recording reads it.
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
    """The smallest batch that holds so many, or the largest there is."""
    return next((size for size in BATCHES if size >= people), BATCHES[-1])


def _tensors(parameters: EhmParameters, bodies: Bodies) -> list[Tensor]:
    """All tensors, vertices last if there are any."""
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
