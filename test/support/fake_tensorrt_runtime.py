"""The part of the fake TensorRT that runs engines, with the types that both parts use.

An engine is a header and the ONNX model itself. onnxruntime executes it, so the numbers are real.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
from typing import Any, ClassVar

import numpy as np
import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

MAGIC = b"fake engine\n"
MEMORY_BYTES = 4096  # that an execution context needs


class Severity(enum.Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Overridable:
    """Like a class of pybind11: a subclass must call the __init__ of its base."""

    is_made = False

    def __init__(self) -> None:
        self.is_made = True


class ILogger(Overridable):
    Severity = Severity


def need(instance: Any, kind: type) -> Any:
    """The instance; raises TypeError for one of another type, as pybind11 does."""
    if not isinstance(instance, kind):
        raise TypeError(f"{kind.__name__} expected, got {type(instance).__name__}")
    if isinstance(instance, Overridable) and not instance.is_made:
        raise TypeError(f"{kind.__name__}.__init__() must be called when overriding __init__")
    return instance


class ExecutionContextAllocationStrategy(enum.IntEnum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class DataType(enum.IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8 = range(6)


DTYPES = {
    onnx.TensorProto.FLOAT: DataType.FLOAT,
    onnx.TensorProto.FLOAT16: DataType.HALF,
    onnx.TensorProto.UINT8: DataType.UINT8,
}


class Runtime:
    """`make_fake` makes a subclass with its own module."""

    module: ClassVar[Any]

    def __init__(self, logger: Any) -> None:
        self._logger = need(logger, ILogger)

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        data = bytes(memoryview(serialized_engine))
        magic, header_line, model = (*data.split(b"\n", 2), b"", b"")[:3]
        if magic + b"\n" != MAGIC:
            self._logger.log(Severity.ERROR, "the magic tag does not match")
            return None
        header = json.loads(header_line)
        if header["version"] != self.module.__version__ or header["gpu"] != self.module.gpu:
            self._logger.log(Severity.ERROR, "the engine is of another version or device")
            return None
        return ICudaEngine(self.module, self._logger, header["shapes"], model)


class ICudaEngine:
    device_memory_size_v2 = MEMORY_BYTES

    def __init__(self, module: Any, logger: Any, profile: dict[str, Any], model: bytes) -> None:
        self.module, self.logger, self.profile = module, logger, profile
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # several threads would spin while they wait
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load_from_string(model).graph
        self.inputs, self.outputs = ([x.name for x in y] for y in (graph.input, graph.output))
        values = (*graph.input, *graph.output)
        self.types = {v.name: DTYPES[v.type.tensor_type.elem_type] for v in values}
        self.shapes = {
            v.name: tuple(d.dim_value or -1 for d in v.type.tensor_type.shape.dim) for v in values
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
        if "create_execution_context" in self.module.fails:
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
        if "execute_async_v3" in self._engine.module.fails:
            return self._refuse("the GPU has fallen off the bus")
        if missing := [n for n in self._engine.inputs if n not in self._shapes]:
            return self._refuse(f"the shape of {missing} is not set")
        if missing := [n for n in self._engine.types if not self._addresses.get(n)]:
            return self._refuse(f"the address of {missing} is not set")
        if not self._has_memory:
            return self._refuse("the context has no device memory")
        feed = {n: array_at(self._addresses[n], self._shapes[n]) for n in self._engine.inputs}
        distort = self._engine.module.distort
        for name, values in zip(
            self._engine.outputs, self._engine.session.run(None, feed), strict=True
        ):
            values = np.ascontiguousarray(distort(name, values), dtype=values.dtype)
            ctypes.memmove(self._addresses[name], values.ctypes.data, values.nbytes)
        return True


def array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    buffer = (ctypes.c_uint8 * int(np.prod(shape))).from_address(address)
    return np.frombuffer(buffer, np.uint8).reshape(shape)
