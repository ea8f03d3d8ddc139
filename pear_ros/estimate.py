"""From what squares of images show to bodies in their cameras: what PEAR computes.

`Estimator` computes as it reads, for a CPU. `RecordedEstimator` does the same on a GPU: the images
go up once, everything stays there, one copy comes back, and nothing waits in between. What is to be
done is recorded in a CUDA graph for each of a few batch sizes, so that starting hundreds of small
operations costs nothing; other numbers of people are padded to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pear_ros.body_model import Bodies, BodyModel
from pear_ros.camera import camera_from_crop, intrinsics_of, place_in_camera, turned
from pear_ros.crop import Squares, cut_crops, cut_on_device
from pear_ros.cuda import CudaStream
from pear_ros.network import Network
from pear_ros.people import EhmParameters, Frame, map_tensors
from pear_ros.shape_cache import ShapeCache, ShapeTable

BATCHES = (1, 2, 4, 8, 16, 32)  # people; more are taken in turns
PIXELS = 1 << 22  # of all images together there is room for at first

Shapes = tuple[torch.Size, ...]


@dataclass(frozen=True)
class Estimates:
    """N people, on the CPU."""

    parameters: EhmParameters  # in the axes of their cameras
    bodies: Bodies
    translation: Tensor  # (N, 3) m, that puts the bodies in their cameras; NaN where there is none


Estimate = Callable[[Sequence[Frame], Squares, tuple[str, ...], bool], Estimates]


def make_estimator(network: Network, body_model: BodyModel, hold_shapes_after: int) -> Estimate:
    """The one for the network's device."""
    if network.device.type == "cuda":
        stream = CudaStream(network.device)
        return RecordedEstimator(network, body_model, hold_shapes_after, stream)
    return Estimator(network, body_model, hold_shapes_after)


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
        xywh = torch.from_numpy(squares.xywh)  # (N, 4) px
        intrinsics = intrinsics_of([frames[i].camera for i in squares.frame_index])  # (N, 4) px
        turn = camera_from_crop(xywh, intrinsics).to(device)  # (N, 3, 3)
        parameters = self._network(crops)  # of N people
        parameters = turned(parameters, turn)  # now in the cameras' axes, so the bodies are, too
        parameters, shape = self._shapes(ids, parameters, mesh)
        bodies = self._body_model(parameters, shape, mesh)  # (N, 55, 3), (N, V, 3) m
        parameters, bodies = map_tensors(parameters, Tensor.cpu), map_tensors(bodies, Tensor.cpu)
        translation = place_in_camera(bodies.joints, parameters.camera_t, xywh, intrinsics)
        return Estimates(parameters, bodies, translation)


# --- Recorded -------------------------------------------------------------------------------------


class Stream(Protocol):
    """Where work is enqueued: `pear_ros.cuda.CudaStream`."""

    def current(self) -> AbstractContextManager[None]: ...

    def record(self, enqueue: Callable[[], None]) -> Callable[[], None]: ...

    def wait(self) -> None: ...


@dataclass
class _Recording:
    """One batch size, with or without meshes."""

    parts: list[Callable[[], None]]  # to be called in turn
    crops: Tensor  # (B, 256, 256, 3) uint8
    parameters: EhmParameters
    packed: Tensor  # (B, K) all that comes back
    shapes: Shapes  # of that, without the batch


class RecordedEstimator:
    """Like Estimator, on the network's device. Not for several threads at once."""

    def __init__(
        self, network: Network, body_model: BodyModel, hold_shapes_after: int, stream: Stream
    ) -> None:
        self._network = network
        self._body_model = body_model
        self._stream = stream
        self._device = network.device
        self._shapes = ShapeTable(self._device, hold_shapes_after)
        self._rows, self._host_rows = self._pair(BATCHES[-1], _Row.SIZE, torch.float64)
        self._rows.copy_(torch.tensor(_Row.NOWHERE))
        self._make_room(PIXELS)
        for people in BATCHES:
            self._recording(people, mesh=False)

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        first = self._upload(frames, set(squares.frame_index.tolist()))
        entered = self._shapes.enter(ids)
        rows = [
            _Row.of(first[i], frames[i], xywh, *shape)
            for i, xywh, shape in zip(squares.frame_index, squares.xywh, entered, strict=True)
        ]
        most = BATCHES[-1]
        batches = [rows[start : start + most] for start in range(0, len(rows), most)]
        return _unpack([self._run(batch, mesh) for batch in batches or [[]]])

    def _upload(self, frames: Sequence[Frame], seen: Iterable[int]) -> dict[int, int]:
        """Images of `seen` frames go up, in one copy; where in the pixels each begins."""
        images = {i: frames[i].image.reshape(-1, 3) for i in sorted(seen)}  # (H W, 3)
        stops = np.cumsum([len(image) for image in images.values()], dtype=int)
        total = int(stops[-1]) if len(stops) else 0
        if total > len(self._pixels):
            self._make_room(2 * total)
        first = dict(zip(images, (0, *stops.tolist()), strict=False))
        staged = self._host_pixels.numpy()
        for i, image in images.items():
            staged[first[i] : first[i] + len(image)] = image
        with self._stream.current():
            self._pixels[:total].copy_(self._host_pixels[:total], non_blocking=True)
        return first

    def _run(self, rows: list[list[float]], mesh: bool) -> tuple[Tensor, Shapes]:
        """Packed estimates (N, K) on the CPU, of at most 32 people."""
        count = len(rows)
        people = next(size for size in BATCHES if size >= count)
        recording = self._recording(people, mesh)
        host = torch.empty_like(recording.packed, device="cpu", pin_memory=self._is_cuda)
        if count:
            padding = [list(_Row.NOWHERE)] * (people - count)
            self._host_rows[:people] = torch.tensor(rows + padding, dtype=torch.float64)
            with self._stream.current():
                self._rows[:people].copy_(self._host_rows[:people], non_blocking=True)
                for part in recording.parts:
                    part()
                host[:count].copy_(recording.packed[:count], non_blocking=True)
            self._stream.wait()
        return host[:count], recording.shapes

    def _make_room(self, pixels: int) -> None:
        # A recording knows the address of what it works on.
        self._recordings: dict[tuple[int, bool], _Recording] = {}
        self._pixels, self._host_pixels = self._pair(pixels, 3, torch.uint8)

    def _pair(self, rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """On the device and, for its copies, in memory that is not paged."""
        here = torch.zeros(rows, columns, dtype=dtype, pin_memory=self._is_cuda)
        return torch.zeros(rows, columns, dtype=dtype, device=self._device), here

    @property
    def _is_cuda(self) -> bool:
        return self._device.type == "cuda"

    # --- What is recorded ---

    def _recording(self, people: int, mesh: bool) -> _Recording:
        if (people, mesh) not in self._recordings:
            with torch.inference_mode():
                self._recordings[people, mesh] = self._record(people, mesh)
        return self._recordings[people, mesh]

    def _record(self, people: int, mesh: bool) -> _Recording:
        """Runs once and is recorded: from then on its tensors are those of every replay."""
        row = _Row(self._rows[:people])
        recording = _Recording([], torch.empty(0), _empty(), torch.empty(0), ())

        def cut() -> None:
            recording.crops = cut_on_device(self._pixels, row.first, row.size, row.xywh)

        def ask() -> None:
            recording.parameters = self._network(recording.crops)

        def pose() -> None:
            parameters = turned(recording.parameters, camera_from_crop(row.xywh, row.intrinsics))
            parameters = self._shapes(parameters, row.shape_row, row.shape_share)
            bodies = self._body_model(parameters, mesh=mesh)
            translation = place_in_camera(
                bodies.joints, parameters.camera_t, row.xywh, row.intrinsics
            )
            tensors = _tensors(Estimates(parameters, bodies, translation))
            recording.packed = torch.cat([tensor.flatten(1) for tensor in tensors], 1)
            recording.shapes = tuple(tensor.shape[1:] for tensor in tensors)

        if self._network.can_be_recorded:

            def whole() -> None:
                cut()
                ask()
                pose()

            recording.parts = [self._stream.record(whole)]
            return recording

        cut_again = self._stream.record(cut)
        with self._stream.current():
            ask()
        asked = recording.parameters = map_tensors(recording.parameters, Tensor.clone)

        def ask_again() -> None:
            answer = self._network(recording.crops)
            for field in fields(EhmParameters):
                getattr(asked, field.name).copy_(getattr(answer, field.name))

        recording.parts = [cut_again, ask_again, self._stream.record(pose)]
        return recording


class _Row:
    """What the device is told of each of N people: a table (N, 13) float64, exact for any index."""

    NOWHERE = (0.0, *(1, 1), *(0, 0, 1, 1), *(1, 1, 0, 0), *ShapeTable.NOBODY)  # one pixel
    SIZE = len(NOWHERE)

    def __init__(self, table: Tensor) -> None:
        self._table = table

    @staticmethod
    def of(
        first: int, frame: Frame, xywh: Sequence[float], shape_row: int, shape_share: float
    ) -> list[float]:
        height, width = frame.image.shape[:2]
        camera = frame.camera
        intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
        return [first, width, height, *xywh, *intrinsics, shape_row, shape_share]

    @property
    def first(self) -> Tensor:  # (N,) of an image's pixels
        return self._table[:, 0].long()

    @property
    def size(self) -> Tensor:  # (N, 2) width and height, px
        return self._table[:, 1:3].long()

    @property
    def xywh(self) -> Tensor:  # (N, 4) px
        return self._table[:, 3:7].float()

    @property
    def intrinsics(self) -> Tensor:  # (N, 4) fx, fy, cx, cy, px
        return self._table[:, 7:11].float()

    @property
    def shape_row(self) -> Tensor:  # (N,)
        return self._table[:, 11].long()

    @property
    def shape_share(self) -> Tensor:  # (N,)
        return self._table[:, 12].float()


def _tensors(estimates: Estimates) -> list[Tensor]:
    """All, vertices last if there are any."""
    parts = (estimates.parameters, estimates.bodies)
    values = [getattr(part, field.name) for part in parts for field in fields(part)]
    return [estimates.translation, *(value for value in values if value is not None)]


def _unpack(batches: Sequence[tuple[Tensor, Shapes]]) -> Estimates:
    _, shapes = batches[0]
    packed = torch.cat([rows for rows, _ in batches])  # (N, K)
    pieces = packed.split([math.prod(shape) for shape in shapes], 1)
    tensors = [
        piece.unflatten(1, shape) if shape else piece[:, 0]
        for piece, shape in zip(pieces, shapes, strict=True)
    ]
    translation, *others = tensors
    count = len(fields(EhmParameters))
    bodies = dict(zip((field.name for field in fields(Bodies)), others[count:], strict=False))
    return Estimates(
        EhmParameters(*others[:count]), Bodies(**{"vertices": None, **bodies}), translation
    )


def _empty() -> EhmParameters:
    return EhmParameters(*(torch.empty(0) for _ in fields(EhmParameters)))
