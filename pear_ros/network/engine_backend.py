"""What builds and runs engines: TensorRT or OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pear_ros.errors import EngineError
from pear_ros.network.network import Network

BACKENDS = ("openvino", "tensorrt")


@dataclass(frozen=True)
class Target:
    """With what and where an engine runs."""

    backend: str  # of BACKENDS
    device: torch.device  # of the tensors that go in and come out
    precision: str  # of the backbone: float32, float16, bfloat16
    openvino_device: str = "CPU"  # CPU or GPU (of Intel)
    threads: int = 0  # of the CPU; 0: as many as PyTorch uses


class EngineBackend(Protocol):
    """The interface of the modules `openvino_engine` and `tensorrt_engine`."""

    NAME: str  # for users

    def require_version(self) -> str:
        """Returns the backend's full version.

        Raises:
            EngineError: If the version is not supported.
        """

    def describe_hardware(self, target: Target) -> dict[str, str]:
        """Returns what an engine depends on besides the backend's version.

        Raises:
            EngineError: If engines cannot run there.
        """

    def exported_precision(self, target: Target) -> str:
        """Returns the precision of the ONNX file that an engine is built from.

        Raises:
            EngineError: If the backend does not support that of the target.
        """

    def build_plan(self, onnx: Path, timings: bytes, target: Target) -> tuple[Any, bytes]:
        """Returns the engine as a buffer, and timings that make the next build faster.

        Raises:
            EngineError: If the build fails; the message has the reason.
        """

    def load_network(self, path: Path, target: Target) -> Network:
        """Loads an engine.

        Raises:
            StaleEngineError: If building the engine again would help.
            EngineError: If it would not help.
        """


def backend_of(name: str) -> EngineBackend:
    """The module of one of BACKENDS.

    Raises:
        EngineError: If it is not installed, or if its version is not supported.
    """
    try:
        if name == "openvino":
            from pear_ros.network import openvino_engine as module
        else:
            from pear_ros.network import tensorrt_engine as module  # type: ignore[no-redef]
    except ImportError as error:
        title = {"openvino": "OpenVINO", "tensorrt": "TensorRT"}[name]
        raise EngineError(
            f"{title} is not installed ({error}); see docs/how_to/{name}.md"
        ) from error
    backend: EngineBackend = module
    backend.require_version()
    return backend


def usual_backend(device: torch.device) -> str:
    """The backend for a device: TensorRT on NVIDIA's GPUs, else OpenVINO."""
    return "tensorrt" if device.type == "cuda" else "openvino"
