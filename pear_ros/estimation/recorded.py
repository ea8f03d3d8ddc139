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
from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.estimation.estimator import Estimates, OnStage, ignore_stages
from pear_ros.estimation.staging import (
    CROP_PADDING_ROW,
    FIRST_PIXEL,
    IMAGE_SIZE,
    SQUARE_XYWH,
    StagedTable,
    crop_sources,
    device_and_host,
)
from pear_ros.geometry.crop_camera import rotated
from pear_ros.images.crop import Squares, cut_on_device
from pear_ros.network.network import Network
from pear_ros.people import (
    EhmParameters,
    Frame,
    ImageArray,
    map_tensors,
    neutral_parameters,
)
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.system.cuda_graphs import BATCHES, Recorded

PIXELS = 1 << 23  # initial capacity for the images of a step: one of 3840x2160
TURN_PADDING_ROW = (1, 0, 0, 0, 1, 0, 0, 0, 1)  # no turn between crop and camera

TensorShapes = tuple[torch.Size, ...]
T = TypeVar("T")


class Stream(Protocol):
    """The interface of `pear_ros.system.cuda_graphs.CudaStream`."""

    def current(self) -> AbstractContextManager[None]: ...

    def record(self, work: Callable[[], T]) -> Recorded[T]: ...

    def forget(self) -> None: ...

    def wait(self) -> None: ...


@dataclass(frozen=True)
class _Packed:
    """All results of B people in one tensor, so that one copy brings them to the host."""

    packed: Tensor  # (B, K)
    tensor_shapes: TensorShapes  # of the packed tensors, without the batch dimension


@dataclass(frozen=True)
class _Step:
    """The recordings for a batch of B people, replayed one after the other."""

    people: int  # B
    crops: Recorded[Tensor]  # (B, 256, 256, 3) uint8
    network: Recorded[EhmParameters]
    estimates: Recorded[_Packed]


class RecordedEstimator:
    """Computes the same as Estimator, on the network's device. Not thread-safe.

    An estimate replays three recordings: crop, network, and body model. Posing replays one.

    Raises:
        RuntimeError: If CUDA cannot record or run the work, for example for lack of memory. Calls
            raise it, too.
    """

    def __init__(
        self,
        network: Network,
        body_model: BodyModel,
        stream: Stream,
        most_people: int = 1,
        on_stage: OnStage = ignore_stages,
    ) -> None:
        self._network = network
        self._body_model = body_model
        self._stream = stream
        self._on_stage = on_stage
        self._device = network.device
        # float64 represents every pixel index exactly
        self._crop_rows = StagedTable(BATCHES[-1], CROP_PADDING_ROW, torch.float64, self._device)
        self._turns = StagedTable(BATCHES[-1], TURN_PADDING_ROW, torch.float32, self._device)
        at_rest = _tensors(neutral_parameters(1))
        self._parameter_shapes = tuple(tensor.shape[1:] for tensor in at_rest)
        parameters_row = tuple(_flat(at_rest)[0].tolist())
        self._parameters = StagedTable(BATCHES[-1], parameters_row, torch.float32, self._device)
        self._steps: dict[int, _Step] = {}  # by people
        self._bodies: dict[tuple[int, bool], Recorded[_Packed]] = {}  # by people and mesh
        self._allocate(PIXELS)
        for people in reversed(BATCHES[: BATCHES.index(_batch_of(most_people)) + 1]):
            self._step(people)  # largest first, so that the others reuse its memory
            self._posed(people, mesh=False)

    def __call__(self, frames: Sequence[Frame], squares: Squares) -> Estimates:
        """Estimates the people in N squares; see `Estimator`."""
        images, crop_rows = crop_sources(frames, squares)  # (H W, 3) each, (N, 7)
        cameras = CropCameras.of(frames, squares)
        pixels = sum(map(len, images))
        if pixels > len(self._pixels):
            self._allocate(2 * pixels)
        turns = cameras.camera_from_crop  # (N, 3, 3)
        batches = _batches(len(turns))
        steps = [self._step(_batch_of(len(turns[rows]))) for rows in batches]
        packed = []
        with self._stream.current():
            self._upload(images)
            for rows, step in zip(batches, steps, strict=True):
                if len(turns):
                    self._enqueue(step, crop_rows[rows], turns[rows])
                packed.append(self._download(step.estimates.result, len(turns[rows])))
        # torch.cat copies, even a single tensor: callers may keep results for long, and the pinned
        # memory is needed for the next step.
        tensors = _unpack(torch.cat(packed), steps[0].estimates.result.tensor_shapes)
        count = len(fields(EhmParameters))
        joints, rotations = tensors[count:]
        parameters, bodies = EhmParameters(*tensors[:count]), Bodies(joints, rotations, None)
        self._on_stage("placement")
        # Not recorded: for so few numbers the CPU should finish before a GPU has launched the
        # kernels (not measured).
        translation = place_in_camera(
            bodies.joints, parameters.camera_t, cameras.xywh, cameras.intrinsics, cameras.lenses
        )
        self._on_stage("")
        return Estimates(parameters, bodies, translation)

    def pose(self, ids: tuple[str, ...], parameters: EhmParameters, mesh: bool) -> Bodies:
        """Poses the bodies of M people; see `Estimator`.

        Shapes are blended again each time: checking whether they have changed would require
        waiting for the device.
        """
        rows_of_all = _flat(_tensors(parameters))  # (M, K)
        batches = _batches(len(rows_of_all))
        recordings = [self._posed(_batch_of(len(rows_of_all[rows])), mesh) for rows in batches]
        packed = []
        with self._stream.current():
            for rows, posed in zip(batches, recordings, strict=True):
                self._on_stage("pose")
                count = len(rows_of_all[rows])
                if count:
                    self._parameters.send(rows_of_all[rows], _batch_of(count))
                    posed.replay()
                packed.append(self._download(posed.result, count))
        tensors = _unpack(torch.cat(packed), recordings[0].result.tensor_shapes)
        self._on_stage("")
        joints, rotations, *vertices = tensors
        return Bodies(joints, rotations, vertices[0] if vertices else None)

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
        turns: Tensor,  # (B, 3, 3)
    ) -> None:
        self._on_stage("crop")
        self._crop_rows.send(crop_rows, step.people)
        step.crops.replay()
        self._on_stage("network")
        step.network.replay()
        self._on_stage("body")
        self._turns.send(turns.flatten(1), step.people)
        step.estimates.replay()

    def _download(self, result: _Packed, count: int) -> Tensor:
        """Waits for the device; returns the packed results (count, K) on the CPU."""
        self._on_stage("download")
        packed = result.packed[:count]
        on_host = torch.empty_like(packed, device="cpu", pin_memory=self._device.type == "cuda")
        if count:
            on_host.copy_(packed, non_blocking=True)
            self._stream.wait()
        return on_host

    def _allocate(self, pixels: int) -> None:
        self._steps.clear()  # recordings hold the addresses of the old buffer
        self._bodies.clear()  # the stream forgets their memory, too
        self._stream.forget()
        self._pixels, self._host_pixels = device_and_host(pixels, 3, torch.uint8, self._device)

    # --- Recordings ---

    def _step(self, people: int) -> _Step:
        if people not in self._steps:
            # Recording runs each part once, so its input must be valid.
            self._crop_rows.clear()
            self._turns.clear()
            crop_rows = self._crop_rows.on_device[:people]
            turns = self._turns.on_device[:people]
            crops = self._stream.record(lambda: self._crop(crop_rows))
            network = self._record_network(crops)
            estimates = self._stream.record(lambda: self._estimates(turns, network.result))
            self._steps[people] = _Step(people, crops, network, estimates)
        return self._steps[people]

    def _posed(self, people: int, mesh: bool) -> Recorded[_Packed]:
        if (people, mesh) not in self._bodies:
            self._parameters.clear()
            rows = self._parameters.on_device[:people]
            self._bodies[people, mesh] = self._stream.record(lambda: self._pose(rows, mesh))
        return self._bodies[people, mesh]

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

    def _estimates(self, turns: Tensor, predicted: EhmParameters) -> _Packed:  # (B, 9)
        parameters = rotated(predicted, turns.unflatten(1, (3, 3)))
        return _pack((*_tensors(parameters), *_tensors(self._body_model(parameters))))

    def _pose(self, rows: Tensor, mesh: bool) -> _Packed:  # (B, K)
        parameters = EhmParameters(*_unpack(rows, self._parameter_shapes))
        return _pack(_tensors(self._body_model(parameters, mesh=mesh)))


def _batches(people: int) -> list[slice]:
    """The rows of each batch; one empty batch for nobody."""
    limit = BATCHES[-1]
    return [slice(start, start + limit) for start in range(0, max(people, 1), limit)]


def _batch_of(people: int) -> int:
    """The smallest batch size for this number of people, at most the largest size."""
    return next((size for size in BATCHES if size >= people), BATCHES[-1])


def _tensors(batch: EhmParameters | Bodies) -> list[Tensor]:
    """All tensors, in the order of the fields."""
    values = [getattr(batch, field.name) for field in fields(batch)]
    return [value for value in values if value is not None]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors (B, ...) -> (B, K)."""
    return torch.cat([tensor.flatten(1) for tensor in tensors], 1)


def _pack(tensors: Sequence[Tensor]) -> _Packed:
    return _Packed(_flat(tensors), tuple(tensor.shape[1:] for tensor in tensors))


def _unpack(packed: Tensor, shapes: TensorShapes) -> list[Tensor]:  # (N, K)
    pieces = packed.split([math.prod(shape) for shape in shapes], 1)
    return [piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes, strict=True)]
