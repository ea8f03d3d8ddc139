"""A stand-in for the module tensorrt: what we call of its API, as 10.3 and 11.1 document it.

Names, arguments and refusals are those of the Python bindings of these versions (python/src/infer
and python/src/parsers of NVIDIA/TensorRT, tags v10.3.0 and v11.1): where the real one logs an error
and returns None, False or -1, so does this; where it raises, this raises. An engine is the ONNX
model itself, and onnxruntime executes it, so that the numbers are real.

Not imitated: GPU memory and its alignment to 256 bytes (addresses are the CPU's, of torch), CUDA
graphs, and what the builder makes of the model.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import json
import os
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

from pear_ros.system.cuda_graphs import Recorded

MAGIC = b"fake engine\n"
TIMINGS = b"fake timings\n"
MEMORY_BYTES = 4096  # that an execution context wants
GPU = "fake GPU"


class HostStream:
    """In place of CudaStream: the CPU does at once what is enqueued while the stream is current."""

    is_current = False

    def __init__(self, device: Any) -> None:
        self.handle = 0x5EA

    def record(self, work: Callable[[], Any]) -> Recorded[Any]:
        with self.current():
            work()
        recorded = Recorded(lambda: None, work())

        def replay() -> None:
            assert HostStream.is_current, "the graph is replayed on another stream"
            recorded.result = work()

        recorded.replay = replay
        return recorded

    def forget(self) -> None:
        pass

    def wait(self) -> None:
        pass

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        HostStream.is_current = True
        try:
            yield
        finally:
            HostStream.is_current = False


def make_fake(version: str) -> Any:
    """The module, with knobs for tests: `distort`, `gpu`, `fails` and what it `saw`."""
    major = int(version.split(".")[0])
    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    module.gpu = GPU
    module.distort = lambda name, values: values  # of an output, before it is written
    module.fails = set()  # names of methods that fail
    module.saw = {}  # what the last build was told

    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class Overridable:
        """As pybind11: a subclass must call __init__ of the base."""

        is_made = False

        def __init__(self) -> None:
            self.is_made = True

    def need(instance: Any, kind: type) -> Any:
        if not isinstance(instance, kind):
            raise TypeError(f"{kind.__name__} expected, got {type(instance).__name__}")
        if isinstance(instance, Overridable) and not instance.is_made:
            raise TypeError(f"{kind.__name__}.__init__() must be called when overriding __init__")
        return instance

    class ILogger(Overridable):
        pass

    class IProgressMonitor(Overridable):
        pass

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    class BuilderFlag(enum.IntEnum):
        TF32 = 6

    flags = {"STRONGLY_TYPED": 1} if major >= 11 else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", flags)

    class ExecutionContextAllocationStrategy(enum.IntEnum):
        STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)

    class DataType(enum.IntEnum):
        FLOAT, HALF, INT8, INT32, BOOL, UINT8 = range(6)

    dtypes = {onnx.TensorProto.FLOAT: DataType.FLOAT, onnx.TensorProto.FLOAT16: DataType.HALF}
    dtypes[onnx.TensorProto.UINT8] = DataType.UINT8

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
            refusal = what_is_unsupported(self._network.model)
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
            module.saw = {
                "strongly typed": network.is_strongly_typed,
                "TF32": config.get_flag(BuilderFlag.TF32),
                "shapes": config.profiles[0].shapes,
                "timings of": None if config.cache is None else config.cache.gpu,
            }
            header = {"version": version, "gpu": module.gpu, "shapes": config.profiles[0].shapes}
            assert network.model is not None
            model = network.model.SerializeToString()
            return IHostMemory(MAGIC + json.dumps(header).encode() + b"\n" + model)

    def report(monitor: Any) -> bool:
        """From a thread of its own; False where the monitor stops the build."""
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

    # --- Run

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = need(logger, ILogger)

        def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
            data = bytes(memoryview(serialized_engine))
            magic, header_line, model = (*data.split(b"\n", 2), b"", b"")[:3]
            if magic + b"\n" != MAGIC:
                self._logger.log(Severity.ERROR, "the magic tag does not match")
                return None
            header = json.loads(header_line)
            if header["version"] != version or header["gpu"] != module.gpu:
                self._logger.log(Severity.ERROR, "the engine is of another version or device")
                return None
            return ICudaEngine(self._logger, header["shapes"], model)

    class ICudaEngine:
        device_memory_size_v2 = MEMORY_BYTES

        def __init__(self, logger: Any, profile: dict[str, Any], model: bytes) -> None:
            self.logger, self.profile = logger, profile
            self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            graph = onnx.load_from_string(model).graph
            self.inputs, self.outputs = ([x.name for x in y] for y in (graph.input, graph.output))
            values = (*graph.input, *graph.output)
            self.types = {v.name: dtypes[v.type.tensor_type.elem_type] for v in values}
            self.shapes = {
                v.name: tuple(d.dim_value or -1 for d in v.type.tensor_type.shape.dim)
                for v in values
            }

        @property
        def num_io_tensors(self) -> int:
            return len(self.types)

        def get_tensor_name(self, index: int) -> str:
            return (*self.inputs, *self.outputs)[index]

        def get_tensor_dtype(self, name: str) -> DataType:
            return self.types[name]

        def create_execution_context(
            self, strategy: Any = ExecutionContextAllocationStrategy.STATIC
        ) -> IExecutionContext | None:
            if "create_execution_context" in module.fails:
                self.logger.log(Severity.ERROR, "out of memory")
                return None
            return IExecutionContext(self, need(strategy, ExecutionContextAllocationStrategy))

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine, strategy: Any) -> None:
            self._engine = engine
            self._has_memory = strategy != ExecutionContextAllocationStrategy.USER_MANAGED
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}

        def _refuse(self, why: str) -> bool:
            self._engine.logger.log(Severity.ERROR, why)
            return False

        def set_device_memory(self, memory: int, size: int) -> None:
            self._has_memory = memory != 0 and size >= MEMORY_BYTES

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            if name not in self._engine.inputs:
                return self._refuse(f"{name} is not an input")
            least, _, most = self._engine.profile[name]
            if not all(a <= x <= b for a, x, b in zip(least, shape, most, strict=True)):
                return self._refuse(f"{shape} is outside of the profile {least} to {most}")
            self._shapes[name] = tuple(shape)
            return True

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            if name in self._shapes:
                return self._shapes[name]
            people = next((shape[0] for shape in self._shapes.values()), -1)
            return (people, *self._engine.shapes[name][1:])

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if name not in self._engine.types:
                return self._refuse(f"{name} is no input or output")
            self._addresses[name] = need(memory, int)
            return True

        def get_tensor_address(self, name: str) -> int:
            return self._addresses.get(name, 0)

        def execute_async_v3(self, stream_handle: int) -> bool:
            need(stream_handle, int)
            if "execute_async_v3" in module.fails:
                return self._refuse("the GPU has fallen off the bus")
            if missing := [n for n in self._engine.inputs if n not in self._shapes]:
                return self._refuse(f"the shape of {missing} is not set")
            if missing := [n for n in self._engine.types if not self._addresses.get(n)]:
                return self._refuse(f"the address of {missing} is not set")
            if not self._has_memory:
                return self._refuse("the context has no device memory")
            feed = {n: array_at(self._addresses[n], self._shapes[n]) for n in self._engine.inputs}
            for name, values in zip(
                self._engine.outputs, self._engine.session.run(None, feed), strict=True
            ):
                values = np.ascontiguousarray(module.distort(name, values), dtype=values.dtype)
                ctypes.memmove(self._addresses[name], values.ctypes.data, values.nbytes)
            return True

    def array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
        buffer = (ctypes.c_uint8 * int(np.prod(shape))).from_address(address)
        return np.frombuffer(buffer, np.uint8).reshape(shape)

    for name, value in locals().copy().items():
        if isinstance(value, type):
            setattr(module, name, value)
    return module


def what_is_unsupported(model: onnx.ModelProto) -> str:
    """What TensorRT's parser refuses of what we could come to write; empty: nothing."""
    opset = max(entry.version for entry in model.opset_import if entry.domain == "")
    if opset > 20:
        return f"opset {opset} is newer than 20"
    for entry in model.graph.input:
        uses = [node.op_type for node in model.graph.node if entry.name in node.input]
        if entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and uses != ["Cast"]:
            return f"UINT8 is only supported as an input that is cast: {entry.name} goes to {uses}"
    return ""
