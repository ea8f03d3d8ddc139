"""From what squares of images show to bodies in their cameras: what PEAR computes.

`Estimator` computes as it reads, on a CPU. `RecordedEstimator` does the same on a GPU: the images
go up once, bodies stay there until they are posed, one copy comes back, and nothing waits in
between. What is to be done is recorded in CUDA graphs for each of a few batch sizes, so that
starting hundreds of small operations costs little; other numbers of people are padded to the next.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.body.shape_cache import ShapeCache, ShapeTable
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.geometry.crop_camera import camera_from_crop, turned
from pear_ros.images.crop import Squares, cut_crops, cut_on_device
from pear_ros.network.network import Network
from pear_ros.people import EhmParameters, Frame, ImageArray, map_tensors
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.problems import Problems
from pear_ros.system.cuda_graphs import BATCHES, CudaStream, Recorded

PIXELS = 1 << 23  # of all images together there is room for at first: one of 3840x2160
# An image's first pixel, its width and height, the square's xywh, px: of an image of one pixel.
SIGHT_OF_NOBODY = (0, 1, 1, 0, 0, 1, 1)
# Crop camera's axes to the camera's, row by row; what ShapeTable.enter gives.
TURN_OF_NOBODY = (1, 0, 0, 0, 1, 0, 0, 0, 1, *ShapeTable.NOBODY)

Shapes = tuple[torch.Size, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Estimates:
    """N people, on the CPU."""

    parameters: EhmParameters  # in the axes of their cameras
    bodies: Bodies
    translation: Tensor  # (N, 3) m, that puts the bodies in their cameras; NaN where there is none


Estimate = Callable[[Sequence[Frame], Squares, tuple[str, ...], bool], Estimates]


def make_estimator(
    network: Network,
    body_model: BodyModel,
    hold_shapes_after: int,
    most_people: int,
    problems: Problems,
) -> Estimate:
    """The one for the network's device; more than `most_people` at a time are not expected."""
    step_by_step = Estimator(network, body_model, hold_shapes_after)
    if network.device.type != "cuda":
        return step_by_step

    def recorded() -> Estimate:
        stream = CudaStream(network.device)
        return RecordedEstimator(network, body_model, hold_shapes_after, stream, most_people)

    return RecordedWherePossible(recorded, step_by_step, problems)


class Estimator:
    """Step by step. Not for several threads at once."""

    def __init__(self, network: Network, body_model: BodyModel, hold_shapes_after: int) -> None:
        self._network = network
        self._body_model = body_model
        self._shapes = ShapeCache(body_model, hold_shapes_after)

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        """Of N squares, one batch over all frames; `ids` tell whose shapes are whose."""
        device = self._network.device
        crops = torch.from_numpy(cut_crops(frames, squares)).to(device)  # (N, 256, 256, 3)
        xywh, intrinsics = _seen_by(frames, squares)  # (N, 4), (N, 4) px
        turn = camera_from_crop(xywh, intrinsics).to(device)  # (N, 3, 3)
        parameters = self._network(crops)  # of N people
        parameters = turned(parameters, turn)  # now in the cameras' axes, so the bodies are, too
        parameters, shape = self._shapes(ids, parameters, mesh)
        bodies = self._body_model(parameters, shape, mesh)  # (N, 55, 3), (N, V, 3) m
        parameters, bodies = map_tensors(parameters, Tensor.cpu), map_tensors(bodies, Tensor.cpu)
        translation = place_in_camera(bodies.joints, parameters.camera_t, xywh, intrinsics)
        return Estimates(parameters, bodies, translation)


def _seen_by(frames: Sequence[Frame], squares: Squares) -> tuple[Tensor, Tensor]:
    """(N, 4) xywh and (N, 4) fx, fy, cx, cy of their cameras, px."""
    intrinsics = intrinsics_of([frames[i].camera for i in squares.frame_index])
    return torch.from_numpy(squares.xywh), intrinsics


class RecordedWherePossible:
    """Step by step from when a recording cannot be made or used; that is told as a problem.

    Recordings are made at first, and later for meshes, larger batches and larger images.
    """

    def __init__(
        self, recorded: Callable[[], Estimate], step_by_step: Estimate, problems: Problems
    ) -> None:
        self._step_by_step = step_by_step
        self._problems = problems
        self._recorded: Estimate | None = None
        try:
            self._recorded = recorded()
        except RuntimeError as error:  # of CUDA, such as no memory
            self._give_up(error)

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        if self._recorded is not None:
            try:
                return self._recorded(frames, squares, ids, mesh)
            except RuntimeError as error:
                self._give_up(error)
            gc.collect()  # an error and what it failed in hold each other, and memory
        return self._step_by_step(frames, squares, ids, mesh)

    def _give_up(self, error: RuntimeError) -> None:
        self._recorded = None
        reason = str(error).partition("\n")[0]
        self._problems.count(
            "not_recorded",
            "CUDA graphs cannot be recorded or used, so that each step is slower, its answers the "
            f"same: {reason}; fewer max_people or cameras need less memory",
        )


# --- Recorded -------------------------------------------------------------------------------------


class Stream(Protocol):
    """Where work is enqueued: `pear_ros.system.cuda_graphs.CudaStream`."""

    def current(self) -> AbstractContextManager[None]: ...

    def record(self, work: Callable[[], T]) -> Recorded[T]: ...

    def forget(self) -> None: ...

    def wait(self) -> None: ...


@dataclass(frozen=True)
class _Posed:
    """All that comes back of B people."""

    packed: Tensor  # (B, K)
    shapes: Shapes  # of its parts, without the batch


@dataclass(frozen=True)
class _Step:
    """What B people at a time are done with, one after the other."""

    people: int  # B
    crops: Recorded[Tensor]  # (B, 256, 256, 3) uint8
    network: Recorded[EhmParameters]
    posed: Recorded[_Posed]


class RecordedEstimator:
    """Like Estimator, on the network's device. Not for several threads at once.

    Three recordings make a step: to cut, to ask the network, and to pose, with or without meshes.
    """

    def __init__(
        self,
        network: Network,
        body_model: BodyModel,
        hold_shapes_after: int,
        stream: Stream,
        most_people: int = 1,
    ) -> None:
        self._network = network
        self._body_model = body_model
        self._stream = stream
        self._device = network.device
        self._shapes = ShapeTable(self._device, hold_shapes_after)
        self._sights = _Table(SIGHT_OF_NOBODY, torch.float64, self._device)  # exact for any pixel
        self._turns = _Table(TURN_OF_NOBODY, torch.float32, self._device)
        self._steps: dict[tuple[int, bool], _Step] = {}  # by people, and whether with meshes
        self._make_room(PIXELS)
        for people in reversed(BATCHES[: BATCHES.index(_batch_of(most_people)) + 1]):
            self._step(people, mesh=False)  # the largest first: the others use its memory

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        images, sights = _sights_of(frames, squares)  # (H W, 3) each, (N, 7)
        xywh, intrinsics = _seen_by(frames, squares)  # (N, 4), (N, 4) px
        pixels = sum(map(len, images))
        if pixels > len(self._pixels):
            self._make_room(2 * pixels)
        most = BATCHES[-1]
        batches = [slice(start, start + most) for start in range(0, max(len(ids), 1), most)]
        steps = [self._step(_batch_of(len(ids[rows])), mesh) for rows in batches]
        packed = []
        with self._stream.current():
            self.upload(images)
            for rows, step in zip(batches, steps, strict=True):
                if ids:
                    self.cut(step, sights[rows])
                    self.ask(step)
                    self.pose(step, xywh[rows], intrinsics[rows], ids[rows])
                packed.append(self.download(step, len(ids[rows])))
        # A copy in any case: people may be kept for long, memory that is not paged is for the next.
        parameters, bodies = _unpack(torch.cat(packed), steps[0].posed.result.shapes)
        translation = self.place(bodies.joints, parameters.camera_t, xywh, intrinsics)
        return Estimates(parameters, bodies, translation)

    # --- The parts of a step, on the stream; up to the download they only enqueue ---

    def upload(self, images: Sequence[ImageArray]) -> None:  # (H W, 3) each
        total = sum(map(len, images))
        if total:
            np.concatenate(images, out=self._host_pixels.numpy()[:total])
            self._pixels[:total].copy_(self._host_pixels[:total], non_blocking=True)

    def cut(self, step: _Step, sights: Tensor) -> None:  # (B, 7)
        self._sights.send(sights, step.people)
        step.crops.replay()

    def ask(self, step: _Step) -> None:
        step.network.replay()

    def pose(
        self, step: _Step, xywh: Tensor, intrinsics: Tensor, ids: tuple[str, ...]
    ) -> None:  # (B, 4), (B, 4) px
        # The CPU has time for this: the device is at work with what was enqueued before.
        turn = camera_from_crop(xywh, intrinsics)  # (B, 3, 3)
        shapes = torch.tensor(self._shapes.enter(ids))  # (B, 2)
        self._turns.send(torch.cat((turn.flatten(1), shapes), 1), step.people)
        step.posed.replay()

    def download(self, step: _Step, count: int) -> Tensor:
        """Packed parameters and bodies of so many people, (B, K) on the CPU, when they are done."""
        packed = step.posed.result.packed[:count]
        here = torch.empty_like(packed, device="cpu", pin_memory=self._device.type == "cuda")
        if count:
            here.copy_(packed, non_blocking=True)
            self._stream.wait()
        return here

    def place(
        self, joints: Tensor, camera_t: Tensor, xywh: Tensor, intrinsics: Tensor
    ) -> Tensor:  # (N, 3) m
        # Not recorded: its many steps on few numbers take a CPU less time than a GPU to start them.
        return place_in_camera(joints, camera_t, xywh, intrinsics)

    def _make_room(self, pixels: int) -> None:
        # A recording knows the address of what it works on.
        self._steps.clear()
        self._stream.forget()
        self._pixels, self._host_pixels = _pair(pixels, 3, torch.uint8, self._device)

    # --- What is recorded ---

    def _step(self, people: int, mesh: bool) -> _Step:
        if (people, mesh) not in self._steps:
            # Each part runs once while it is recorded: at nobody.
            self._sights.clear()
            self._turns.clear()
            sights, turns = self._sights.there[:people], self._turns.there[:people]
            if (other := self._steps.get((people, not mesh))) is not None:
                crops, network = other.crops, other.network
            else:
                crops = self._stream.record(lambda: self._cut(sights))
                network = self._record_network(crops)
            posed = self._stream.record(lambda: self._posed(turns, network.result, mesh))
            self._steps[people, mesh] = _Step(people, crops, network, posed)
        return self._steps[people, mesh]

    def _cut(self, sights: Tensor) -> Tensor:
        first, size, xywh = sights.split((1, 2, 4), 1)  # (B, 1), (B, 2), (B, 4)
        return cut_on_device(self._pixels, first[:, 0], size, xywh)

    def _record_network(self, crops: Recorded[Tensor]) -> Recorded[EhmParameters]:
        if self._network.can_be_recorded:
            return self._stream.record(lambda: self._network(crops.result))
        # It records itself; its answer is copied to where the next recording expects it.
        with torch.inference_mode():
            answer = map_tensors(self._network(crops.result), Tensor.clone)

        def ask() -> None:
            found = self._network(crops.result)
            for field in fields(EhmParameters):
                getattr(answer, field.name).copy_(getattr(found, field.name))

        return Recorded(ask, answer)

    def _posed(self, turns: Tensor, predicted: EhmParameters, mesh: bool) -> _Posed:
        turn, shape_row, share = turns.split((9, 1, 1), 1)  # (B, 9), (B, 1), (B, 1)
        parameters = turned(predicted, turn.unflatten(1, (3, 3)))
        parameters = self._shapes(parameters, shape_row[:, 0], share[:, 0])
        tensors = _tensors(parameters, self._body_model(parameters, mesh=mesh))
        packed = torch.cat([tensor.flatten(1) for tensor in tensors], 1)
        return _Posed(packed, tuple(tensor.shape[1:] for tensor in tensors))


def _sights_of(frames: Sequence[Frame], squares: Squares) -> tuple[list[ImageArray], Tensor]:
    """The images that N squares are in, (H W, 3) each, and what is to be cut of them.

    That is (N, 7) as in SIGHT_OF_NOBODY, where the images lie one behind the other.
    """
    seen = sorted(set(squares.frame_index.tolist()))
    images = [frames[i].image.reshape(-1, 3) for i in seen]
    # One sum more than images: the last is where they end.
    first = dict(zip(seen, accumulate(map(len, images), initial=0), strict=False))
    of_frame = [(first.get(i, 0), *f.image.shape[1::-1]) for i, f in enumerate(frames)]
    of_square = np.array(of_frame).reshape(-1, 3)[squares.frame_index]  # (N, 3)
    return images, torch.from_numpy(np.concatenate((of_square, squares.xywh), 1))


def _batch_of(people: int) -> int:
    """The smallest batch for so many, or the largest there is."""
    return next((size for size in BATCHES if size >= people), BATCHES[-1])


class _Table:
    """Numbers about each of B people that a recording reads, filled anew before each replay."""

    def __init__(self, nobody: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.there, self._here = _pair(BATCHES[-1], len(nobody), dtype, device)
        self._nobody = torch.tensor(nobody, dtype=dtype)

    def send(self, rows: Tensor, people: int) -> None:
        """Enqueues that `rows` and, as far as `people`, nobody's go to the device."""
        self._here[: len(rows)] = rows
        self._here[len(rows) : people] = self._nobody
        self.there[:people].copy_(self._here[:people], non_blocking=True)

    def clear(self) -> None:
        """Nobody's numbers in all rows; waits for the device."""
        self.there.copy_(self._nobody)


def _pair(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """On the device and, for its copies, in memory that is not paged."""
    here = torch.zeros(rows, columns, dtype=dtype, pin_memory=device.type == "cuda")
    return torch.zeros(rows, columns, dtype=dtype, device=device), here


def _tensors(parameters: EhmParameters, bodies: Bodies) -> list[Tensor]:
    """All, vertices last if there are any."""
    parts = (parameters, bodies)
    values = [getattr(part, field.name) for part in parts for field in fields(part)]
    return [value for value in values if value is not None]


def _unpack(packed: Tensor, shapes: Shapes) -> tuple[EhmParameters, Bodies]:  # (N, K)
    pieces = packed.split([math.prod(shape) for shape in shapes], 1)
    tensors = [piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes, strict=True)]
    count = len(fields(EhmParameters))
    joints, rotations, *vertices = tensors[count:]
    bodies = Bodies(joints, rotations, vertices[0] if vertices else None)
    return EhmParameters(*tensors[:count]), bodies
