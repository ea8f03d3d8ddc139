"""Builds OpenVINO engines from ONNX and runs them. The only module that imports openvino.

For CPUs of all makers, and for GPUs of Intel. An engine is OpenVINO's compiled model: it holds the
weights and is only valid for the version and the device that it was compiled for.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# OpenVINO's Python tools would send telemetry; without this package they do not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

from pear_ros.errors import EngineError, StaleEngineError  # noqa: E402
from pear_ros.network.engine_backend import Target  # noqa: E402
from pear_ros.network.onnx_export import INPUT, OUTPUTS  # noqa: E402
from pear_ros.people import EhmParameters  # noqa: E402

NAME = "OpenVINO"
LEAST_VERSION = (2025, 0)
HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
PRECISIONS = {hint: precision for precision, hint in HINTS.items()}


def require_version() -> str:
    """Returns OpenVINO's full version.

    Raises:
        EngineError: If this module does not support the version.
    """
    version = str(ov.get_version())
    year, release = (int(part) for part in version.replace("-", ".").split(".")[:2])
    if (year, release) < LEAST_VERSION:
        raise EngineError(
            f"OpenVINO {version} is installed; {LEAST_VERSION[0]}.{LEAST_VERSION[1]} or newer is "
            "supported"
        )
    return version


def describe_hardware(target: Target) -> dict[str, str]:
    """Returns the device and its processor's name.

    Raises:
        EngineError: If OpenVINO has no such device here.
    """
    if target.device.type != "cpu":
        raise EngineError(
            f"OpenVINO takes crops from the CPU, and network.device is {target.device}"
        )
    core, device = ov.Core(), target.openvino_device
    # Several GPUs are GPU.0, GPU.1 and so on; GPU is the first.
    if device not in {name.partition(".")[0] for name in core.available_devices}:
        raise EngineError(
            f"OpenVINO finds no {device} here, only {', '.join(core.available_devices)}; set "
            "network.openvino_device, or install the driver of the GPU"
        )
    return {"device": device, "processor": str(core.get_property(device, "FULL_DEVICE_NAME"))}


def exported_precision(target: Target) -> str:
    """Float32, which OpenVINO converts: opset 20 has no convolution in bfloat16."""
    return "float32"


def build_plan(onnx: Path, timings: bytes, target: Target) -> tuple[Any, bytes]:
    """Returns the compiled model. There are no timings.

    Raises:
        EngineError: If it cannot be compiled; the message has OpenVINO's reason.
    """
    core = ov.Core()
    try:
        model = core.read_model(str(onnx))
        compiled = core.compile_model(model, target.openvino_device, _properties(target))
        plan = io.BytesIO()
        compiled.export_model(plan)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO could not build the engine: {_reason(error)}") from error
    return plan.getbuffer(), b""


class OpenVINONetwork:
    """A Network that runs an OpenVINO engine. Not thread-safe."""

    can_be_recorded = False

    def __init__(self, path: Path, target: Target) -> None:
        """Loads the engine `path`.

        Raises:
            StaleEngineError: If this OpenVINO cannot read the engine, or if its inputs and outputs
                are not those of the network.
        """
        self._target = target
        # Mapped, and kept: OpenVINO may use the weights where they are.
        self._plan = np.memmap(path, np.uint8, mode="c")  # copy on write
        try:
            compiled = ov.Core().import_model(
                ov.Tensor(self._plan, shared_memory=True),
                target.openvino_device,
                _properties(target),
            )
        except RuntimeError as error:
            raise StaleEngineError(f"OpenVINO cannot read it: {_reason(error)}") from error
        names = [port.get_any_name() for port in (*compiled.inputs, *compiled.outputs)]
        if sorted(names) != sorted((INPUT, *OUTPUTS)):
            raise StaleEngineError("its inputs and outputs differ from those of the network")
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._precision = PRECISIONS.get(used, used)  # some CPUs compute float32 whatever is asked
        self._request = compiled.create_infer_request()
        self._ports = [compiled.output(name) for name in OUTPUTS]

    @property
    def device(self) -> torch.device:
        return self._target.device

    @property
    def description(self) -> str:
        """Version, precision and device, as text for users."""
        version, device = require_version().partition("-")[0], self._target.openvino_device
        return f"OpenVINO {version} engine in {self._precision} on {device}"

    def __call__(self, crops: Tensor) -> EhmParameters:
        """Estimates the parameters of N people from crops (N, 256, 256, 3) RGB uint8."""
        found = self._request.infer([crops.contiguous().numpy()], share_inputs=True)
        outputs = (torch.from_numpy(found[port]) for port in self._ports)
        return EhmParameters(**dict(zip(OUTPUTS, outputs, strict=True)))


def load_network(path: Path, target: Target) -> OpenVINONetwork:
    """Loads an engine.

    Raises:
        StaleEngineError: If building the engine again would help.
    """
    return OpenVINONetwork(path, target)


def _properties(target: Target) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[target.precision],
    }
    if target.openvino_device == "CPU":
        properties["INFERENCE_NUM_THREADS"] = target.threads or torch.get_num_threads()
    return properties


def _reason(error: RuntimeError) -> str:
    """The last line of OpenVINO's text: the first ones are places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
