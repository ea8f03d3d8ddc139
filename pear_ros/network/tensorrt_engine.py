"""Builds TensorRT engines from ONNX and runs them. The only module that imports tensorrt.

Written for the documented API of TensorRT 10.3 and 11, and tested only with a fake of that API:
it has never been run with TensorRT itself.
"""

from __future__ import annotations

import math
import mmap
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
from pear_ros.network.engine_backend import Target
from pear_ros.network.onnx_export import INPUT, OUTPUTS, PRECISIONS, PROFILE
from pear_ros.people import EhmParameters
from pear_ros.system.cuda_graphs import BATCHES, CudaStream
from pear_ros.system.files import open_file

NAME = "TensorRT"
CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)


def require_version() -> str:
    """Returns TensorRT's full version.

    Raises:
        EngineError: If this module does not support the version.
    """
    version = str(trt.__version__)
    major, minor = (int(part) for part in version.split(".")[:2])
    if not (10, 3) <= (major, minor) < (12, 0):
        raise EngineError(f"TensorRT {version} is installed; 10.3 to 11 are supported")
    return version


def describe_hardware(target: Target) -> dict[str, str]:
    """Returns what an engine depends on besides TensorRT: GPU, compute capability, CUDA version.

    Raises:
        EngineError: If the device is not an NVIDIA GPU.
    """
    device = target.device
    if device.type != "cuda":
        raise EngineError(f"TensorRT needs an NVIDIA GPU, and the device is {device}")
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "gpu": torch.cuda.get_device_name(device),
        "compute_capability": f"{major}.{minor}",
        "cuda": str(torch.version.cuda),
    }


def exported_precision(target: Target) -> str:
    """Returns the target's precision.

    Raises:
        EngineError: If TensorRT does not support it.
    """
    if target.precision not in PRECISIONS:
        raise EngineError(
            f"TensorRT does not support {target.precision}; use {' or '.join(PRECISIONS)}"
        )
    return target.precision


class _Logger(trt.ILogger):  # type: ignore[misc]
    """Collects error messages for our exceptions, because TensorRT raises none itself."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors.append(msg.strip())

    def pop_errors(self) -> str:
        """The errors since the last call."""
        errors, self._errors = "; ".join(self._errors[:3]), []
        return errors or "TensorRT gave no reason"


LOGGER = _Logger()  # shared, because TensorRT keeps using the first logger that it gets


class _Progress(trt.IProgressMonitor):  # type: ignore[misc]
    """Progress bars for the outermost phases of a build, updated by TensorRT's own threads."""

    def __init__(self) -> None:
        trt.IProgressMonitor.__init__(self)
        self._bars: dict[str, tqdm[Any]] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if parent_phase is None:
            self._bars[phase_name] = tqdm(total=num_steps, desc=phase_name, unit="step")

    def step_complete(self, phase_name: str, step: int) -> bool:
        if bar := self._bars.get(phase_name):
            bar.update()
        return True  # continue the build

    def phase_finish(self, phase_name: str) -> None:
        if bar := self._bars.pop(phase_name, None):
            bar.close()


# --- Build ---------------------------------------------------------------------------------------


def build_plan(onnx: Path, timings: bytes, target: Target) -> tuple[Any, bytes]:
    """Returns the engine as a buffer, and the timing cache, which makes the next build faster.

    Args:
        onnx: The exported network.
        timings: The timing cache of an earlier build, or nothing.
        target: The GPU to build for.

    Raises:
        EngineError: If the build fails; the message has TensorRT's reason.
    """
    with _on(target.device):
        builder = trt.Builder(LOGGER)
        flags = 0
        if trt.__version__.startswith("10."):  # in 11 all networks are strongly typed
            flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, LOGGER)
        if not parser.parse_from_file(str(onnx)):
            reasons = [str(parser.get_error(i)) for i in range(parser.num_errors)]
            raise EngineError(f"TensorRT cannot read {onnx}: {'; '.join(reasons)}")

        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # TF32 is on by default and rounds float32
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *((people, *CROP_SHAPE) for people in PROFILE))
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(
                f"TensorRT rejected the profile of {PROFILE} people: {LOGGER.pop_errors()}"
            )
        cache = config.create_timing_cache(timings)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            LOGGER.pop_errors()  # the old cache is damaged or from another GPU
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        config.progress_monitor = _Progress()

        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"TensorRT could not build the engine: {LOGGER.pop_errors()}")
        return plan, bytes(cache.serialize())


# --- Run -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recording:
    """The buffers and the CUDA graph of one batch size."""

    context: Any  # must stay alive and unchanged while the graph is used
    crops: Tensor  # (B, 256, 256, 3) uint8
    outputs: Tensor  # all outputs in one buffer, so that one copy is enough
    shapes: dict[str, tuple[int, ...]]  # of the outputs
    replay: Callable[[], None]  # computes the outputs from the crops


class TensorRTNetwork:
    """A Network that runs a TensorRT engine. Not thread-safe."""

    can_be_recorded = False  # it replays its own CUDA graphs

    def __init__(self, plan: Any, device: torch.device) -> None:
        """Loads the engine `plan` and captures a CUDA graph for each batch size.

        Raises:
            StaleEngineError: If this TensorRT cannot read the engine, or if its inputs and outputs
                are not those of the network.
            EngineError: If TensorRT refuses a call.
        """
        self._device = device
        with _on(device):
            self._runtime = trt.Runtime(LOGGER)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise StaleEngineError(f"TensorRT cannot read it: {LOGGER.pop_errors()}")
            names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
            if names != {INPUT, *OUTPUTS}:
                raise StaleEngineError("its inputs and outputs differ from those of the network")
            self._stream = CudaStream(device)
            # One context for each batch size, because a graph is tied to its context's shapes.
            # The contexts never run at the same time, so they share one block of memory.
            size = max(1, self._engine.device_memory_size_v2)
            self._memory = torch.empty(size, dtype=torch.uint8, device=device)
            self._recordings = {people: self._record(people) for people in BATCHES}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def description(self) -> str:
        """Version and device, as text for users."""
        return f"TensorRT {trt.__version__} engine on {self._device}"

    def __call__(self, crops: Tensor) -> EhmParameters:
        """Estimates the parameters of N people from crops (N, 256, 256, 3) RGB uint8."""
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
            raise EngineError(
                f"TensorRT could not create an execution context: {LOGGER.pop_errors()}"
            )
        context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
        crops = torch.zeros(people, *CROP_SHAPE, dtype=torch.uint8, device=self._device)
        _require(context.set_input_shape(INPUT, tuple(crops.shape)), f"{people} people as input")
        for name in OUTPUTS:
            _require(self._engine.get_tensor_dtype(name) == trt.DataType.FLOAT, f"float32 {name}")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in OUTPUTS}
        outputs = torch.empty(sum(map(_padded, shapes.values())), device=self._device)
        for name, tensor in (*_views(outputs, shapes).items(), (INPUT, crops)):
            _require(context.set_tensor_address(name, tensor.data_ptr()), f"address of {name}")

        def enqueue() -> None:
            _require(context.execute_async_v3(self._stream.handle), f"inference of {people} people")

        replay = self._stream.record(enqueue).replay
        return _Recording(context, crops, outputs, shapes, replay)


def load_network(path: Path, target: Target) -> TensorRTNetwork:
    """Loads an engine.

    Raises:
        StaleEngineError: If building the engine again would help.
        EngineError: If it would not help.
    """
    # Mapped, because an engine is as large as the weights; TensorRT copies it to the GPU.
    with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan:
        return TensorRTNetwork(plan, target.device)


def _views(values: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Views of those shapes into a flat tensor, each at an address that TensorRT accepts."""
    pieces = values.split([_padded(shape) for shape in shapes.values()])
    named = zip(shapes.items(), pieces, strict=True)
    return {name: piece[: math.prod(shape)].view(shape) for (name, shape), piece in named}


def _padded(shape: tuple[int, ...]) -> int:
    """Number of float32 values, rounded up to a multiple of 256 bytes."""
    return -(-math.prod(shape) // 64) * 64


def _require(is_done: bool, what: str) -> None:
    if not is_done:
        raise EngineError(f"TensorRT refused a call ({what}): {LOGGER.pop_errors()}")


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Makes `device` the current CUDA device, which is the one that TensorRT uses."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
