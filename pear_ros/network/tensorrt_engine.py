"""TensorRT: an engine is built from ONNX, and run. The only module that imports tensorrt.

Written against the documented API of TensorRT 10.3 and 11, and tested against a fake of it alone:
nothing here has been run with the real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorrt as trt
import torch
from torch import Tensor
from tqdm import tqdm

from pear_ros.errors import EngineError, StaleEngineError
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.network.onnx_export import INPUT, OUTPUTS, PROFILE
from pear_ros.people import EhmParameters
from pear_ros.system.cuda_graphs import BATCHES, CudaStream

CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)


def require_version() -> str:
    """TensorRT's full version. Raises EngineError for one that this module was not written for."""
    version = str(trt.__version__)
    major, minor = (int(part) for part in version.split(".")[:2])
    if not (10, 3) <= (major, minor) < (12, 0):
        raise EngineError(f"TensorRT {version} is installed; 10.3 to 11 are supported")
    return version


def describe_gpu(device: torch.device) -> dict[str, str]:
    """What an engine depends on besides TensorRT. Raises EngineError for another device."""
    if device.type != "cuda":
        raise EngineError(f"an engine needs an NVIDIA GPU, and the device is {device}")
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "gpu": torch.cuda.get_device_name(device),
        "compute_capability": f"{major}.{minor}",
        "cuda": str(torch.version.cuda),
    }


class _Logger(trt.ILogger):  # type: ignore[misc]
    """Keeps the errors, to tell them with ours; TensorRT has no exceptions."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors.append(msg.strip())

    def taken(self) -> str:
        """The errors since the last time."""
        told, self._errors = "; ".join(self._errors[:3]), []
        return told or "TensorRT gave no reason"


LOGGER = _Logger()  # one for all: TensorRT keeps the first that it sees


class _Progress(trt.IProgressMonitor):  # type: ignore[misc]
    """A bar for the outermost phases of a build, which TensorRT reports from threads of its own."""

    def __init__(self) -> None:
        trt.IProgressMonitor.__init__(self)
        self._bars: dict[str, tqdm[Any]] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if parent_phase is None:
            self._bars[phase_name] = tqdm(total=num_steps, desc=phase_name, unit="step")

    def step_complete(self, phase_name: str, step: int) -> bool:
        if bar := self._bars.get(phase_name):
            bar.update()
        return True  # go on

    def phase_finish(self, phase_name: str) -> None:
        if bar := self._bars.pop(phase_name, None):
            bar.close()


# --- Build ---------------------------------------------------------------------------------------


def build_plan(onnx: Path, timings: bytes, device: torch.device) -> tuple[Any, bytes]:
    """The engine as a buffer, and the timing cache, which makes the next build faster.

    Raises EngineError with TensorRT's reason.
    """
    with _on(device):
        builder = trt.Builder(LOGGER)
        flags = 0
        if trt.__version__.startswith("10."):  # in 11 there are no others
            flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, LOGGER)
        if not parser.parse_from_file(str(onnx)):
            reasons = [str(parser.get_error(i)) for i in range(parser.num_errors)]
            raise EngineError(f"TensorRT cannot read {onnx}: {'; '.join(reasons)}")

        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # set by default; float32 is meant where it stands
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *((people, *CROP_SHAPE) for people in PROFILE))
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT takes no profile of {PROFILE} people: {LOGGER.taken()}")
        cache = config.create_timing_cache(timings)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            LOGGER.taken()  # the old one is of another GPU, or damaged
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        config.progress_monitor = _Progress()

        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"TensorRT has built no engine: {LOGGER.taken()}")
        return plan, bytes(cache.serialize())


# --- Run -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recording:
    """One batch size: its buffers, and what computes the outputs from the crops."""

    context: Any  # must not change, nor go, while the graph is used
    crops: Tensor  # (B, 256, 256, 3) uint8
    outputs: Tensor  # all of them, one behind the other, so that one copy takes them away
    shapes: dict[str, tuple[int, ...]]  # of the outputs
    replay: Callable[[], None]


class TensorRTNetwork:
    """A Network that is an engine. Not for several threads at once."""

    can_be_recorded = False  # it replays graphs of its own

    def __init__(self, plan: Any, device: torch.device) -> None:
        """Raises StaleEngineError where this TensorRT does not read it, EngineError otherwise."""
        self._device = device
        with _on(device):
            self._runtime = trt.Runtime(LOGGER)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise StaleEngineError(f"TensorRT does not read it: {LOGGER.taken()}")
            names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
            if names != {INPUT, *OUTPUTS}:
                raise StaleEngineError("it has other inputs and outputs than the network")
            self._stream = CudaStream(device)
            # One context a batch size, as a graph belongs to its context's shapes; they run one
            # after the other, so that all of them work in one piece of memory.
            size = max(1, self._engine.device_memory_size_v2)
            self._memory = torch.empty(size, dtype=torch.uint8, device=device)
            self._recordings = {people: self._record(people) for people in BATCHES}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def description(self) -> str:
        """For people."""
        return f"engine of TensorRT {trt.__version__} on {self._device}"

    def __call__(self, crops: Tensor) -> EhmParameters:  # (N, 256, 256, 3) RGB, uint8
        with _on(self._device):
            parts = [self._run(part) for part in crops.split(BATCHES[-1])]
        if len(parts) == 1:
            return EhmParameters(**parts[0])
        return EhmParameters(**{name: torch.cat([p[name] for p in parts]) for name in OUTPUTS})

    def _run(self, crops: Tensor) -> dict[str, Tensor]:
        people = len(crops)
        recording = self._recordings[next(size for size in BATCHES if size >= people)]
        with self._stream.current():
            recording.crops[:people].copy_(crops)
            recording.replay()
        outputs = _views(recording.outputs.clone(), recording.shapes)
        return {name: rows[:people] for name, rows in outputs.items()}

    def _record(self, people: int) -> _Recording:
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise EngineError(f"TensorRT makes no execution context: {LOGGER.taken()}")
        context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
        crops = torch.zeros(people, *CROP_SHAPE, dtype=torch.uint8, device=self._device)
        _require(context.set_input_shape(INPUT, tuple(crops.shape)), f"takes {people} people")
        for name in OUTPUTS:
            _require(self._engine.get_tensor_dtype(name) == trt.DataType.FLOAT, f"float32 {name}")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in OUTPUTS}
        outputs = torch.empty(sum(map(_padded, shapes.values())), device=self._device)
        for name, tensor in (*_views(outputs, shapes).items(), (INPUT, crops)):
            _require(context.set_tensor_address(name, tensor.data_ptr()), f"address of {name}")

        def enqueue() -> None:
            _require(context.execute_async_v3(self._stream.handle), f"{people} people")

        replay = self._stream.record(enqueue).replay
        return _Recording(context, crops, outputs, shapes, replay)


def load_network(plan: Any, device: torch.device) -> TensorRTNetwork:
    """Raises StaleEngineError where another build helps, EngineError where it does not."""
    return TensorRTNetwork(plan, device)


def _views(values: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of those shapes in a flat one, each at an address that TensorRT takes."""
    pieces = values.split([_padded(shape) for shape in shapes.values()])
    named = zip(shapes.items(), pieces, strict=True)
    return {name: piece[: math.prod(shape)].view(shape) for (name, shape), piece in named}


def _padded(shape: tuple[int, ...]) -> int:
    """The number of float32, rounded up to 256 bytes."""
    return -(-math.prod(shape) // 64) * 64


def _require(is_done: bool, what: str) -> None:
    if not is_done:
        raise EngineError(f"TensorRT has refused ({what}): {LOGGER.taken()}")


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """TensorRT works on CUDA's current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
