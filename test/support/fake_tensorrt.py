"""A fake of the module tensorrt: the part of its API that we call, as 10.3 and 11.1 document it.

Names, arguments and errors are those of the Python bindings of these versions (python/src/infer
and python/src/parsers of NVIDIA/TensorRT, tags v10.3.0 and v11.1): where the real module logs an
error and returns None, False or -1, so does this one; where it raises, this one raises.

Not imitated: GPU memory and its alignment to 256 bytes (addresses are those of torch's CPU
tensors), CUDA graphs, and the builder's optimisations.
"""

from __future__ import annotations

import enum
import json
import threading
from types import ModuleType
from typing import Any

import fake_tensorrt_runtime
import onnx
from fake_tensorrt_runtime import (
    MAGIC,
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    Overridable,
    Severity,
    need,
)

TIMINGS = b"fake timings\n"
GPU = "fake GPU"


def make_fake(version: str) -> Any:
    """The module. Tests set `distort`, `gpu` and `fails`, and read `last_build`."""
    major = int(version.split(".")[0])
    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    module.gpu = GPU
    module.distort = lambda name, values: values  # of an output, before it is written
    module.fails = set()  # names of methods that fail
    module.last_build = {}  # settings of the last build

    class IProgressMonitor(Overridable):
        pass

    class BuilderFlag(enum.IntEnum):
        TF32 = 6

    flags = {"STRONGLY_TYPED": 1} if major >= 11 else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", flags)

    class IHostMemory(bytearray):
        """A buffer and nothing more."""

        @property
        def nbytes(self) -> int:
            return memoryview(self).nbytes

        def __len__(self) -> int:
            raise TypeError("object of type 'IHostMemory' has no len()")

    # --- Build

    class IOptimizationProfile:
        def __init__(self) -> None:
            self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            shapes = tuple(tuple(int(x) for x in shape) for shape in (min, opt, max))
            if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
                raise RuntimeError("Shape provided for min is inconsistent with other shapes.")
            self.shapes[input] = shapes

    class ITimingCache:
        def __init__(self, gpu: str) -> None:
            self.gpu = gpu

        def serialize(self) -> IHostMemory:
            return IHostMemory(TIMINGS + self.gpu.encode())

    class IBuilderConfig:
        def __init__(self, logger: Any) -> None:
            self._logger = logger
            self._flags = {BuilderFlag.TF32}
            self.profiles: list[IOptimizationProfile] = []
            self.cache: ITimingCache | None = None
            self._monitor: Any = None

        def clear_flag(self, flag: BuilderFlag) -> None:
            self._flags.discard(flag)

        def get_flag(self, flag: BuilderFlag) -> bool:
            return flag in self._flags

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            if not profile.shapes or "add_optimization_profile" in module.fails:
                self._logger.log(Severity.ERROR, "the profile is not valid")
                return -1
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache | None:
            data = bytes(memoryview(serialized_timing_cache))
            if not data:
                return ITimingCache(module.gpu)
            if not data.startswith(TIMINGS):
                self._logger.log(Severity.ERROR, "the timing cache cannot be read")
                return None
            return ITimingCache(data[len(TIMINGS) :].decode())

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            need(cache, ITimingCache)
            if cache.gpu != module.gpu and not ignore_mismatch:
                self._logger.log(Severity.ERROR, "the timing cache is of another device")
                return False
            self.cache = cache
            return True

        @property
        def progress_monitor(self) -> Any:
            return self._monitor

        @progress_monitor.setter
        def progress_monitor(self, monitor: Any) -> None:
            self._monitor = need(monitor, IProgressMonitor)

    class INetworkDefinition:
        def __init__(self, is_strongly_typed: bool) -> None:
            self.is_strongly_typed = is_strongly_typed
            self.model: onnx.ModelProto | None = None

    class ParserError:
        def __init__(self, text: str) -> None:
            self._text = text

        def __str__(self) -> str:
            return self._text

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            self._network, self._errors = need(network, INetworkDefinition), []
            need(logger, ILogger)

        def parse_from_file(self, model: str) -> bool:
            need(model, str)
            try:
                self._network.model = onnx.load(model)  # with its external data
            except Exception as error:
                self._errors.append(ParserError(f"In node -1: {error}"))
                return False
            refusal = unsupported_part(self._network.model)
            if refusal:
                self._errors.append(ParserError(refusal))
            return not refusal

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._logger = need(logger, ILogger)

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            asked = bool(flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            return INetworkDefinition(asked or major >= 11)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig(self._logger)

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(
            self, network: INetworkDefinition, config: IBuilderConfig
        ) -> IHostMemory | None:
            if not config.profiles:
                self._logger.log(Severity.ERROR, "dynamic inputs, but no optimization profile")
                return None
            if "build_serialized_network" in module.fails or not report(config.progress_monitor):
                self._logger.log(Severity.ERROR, "no implementation found for node 7")
                return None
            module.last_build = {
                "strongly typed": network.is_strongly_typed,
                "TF32": config.get_flag(BuilderFlag.TF32),
                "shapes": config.profiles[0].shapes,
                "GPU of the timings": None if config.cache is None else config.cache.gpu,
            }
            header = {"version": version, "gpu": module.gpu, "shapes": config.profiles[0].shapes}
            assert network.model is not None
            model = network.model.SerializeToString()
            return IHostMemory(MAGIC + json.dumps(header).encode() + b"\n" + model)

    def report(monitor: Any) -> bool:
        """Reports progress from another thread; returns False if the monitor stops the build."""
        going_on = []

        def build() -> None:
            monitor.phase_start("Building Engine", None, 2)
            for step in range(2):
                monitor.phase_start("Timing", "Building Engine", 1)
                going_on.append(monitor.step_complete("Timing", 0))
                monitor.phase_finish("Timing")
                going_on.append(monitor.step_complete("Building Engine", step))
            monitor.phase_finish("Building Engine")

        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
        return len(going_on) == 4 and all(going_on)

    class Runtime(fake_tensorrt_runtime.Runtime):
        pass

    Runtime.module = module
    for name, value in locals().copy().items():
        if isinstance(value, type):
            setattr(module, name, value)
    module.ILogger, module.DataType = ILogger, DataType
    module.ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    return module


def unsupported_part(model: onnx.ModelProto) -> str:
    """The part of a model that TensorRT's parser refuses; "" if there is none."""
    opset = max(entry.version for entry in model.opset_import if entry.domain == "")
    if opset > 20:
        return f"opset {opset} is newer than 20"
    for entry in model.graph.input:
        uses = [node.op_type for node in model.graph.node if entry.name in node.input]
        if entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and uses != ["Cast"]:
            return f"UINT8 is only supported as an input that is cast: {entry.name} goes to {uses}"
    return ""
