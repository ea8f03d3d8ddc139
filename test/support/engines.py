"""Helpers for tests of TensorRT engines: the fake module is installed, the CPU replaces the GPU."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import fake_tensorrt
import pytest
from host_stream import HostStream

VERSIONS = ("10.3.0", "11.1.0.106")
GPU = {"gpu": "fake GPU", "compute_capability": "9.0", "cuda": "12.8"}
both_versions = pytest.mark.parametrize("fake", VERSIONS, indirect=True)


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> Any:
    """Installs the fake as the module tensorrt and returns it."""
    fake = fake_tensorrt.make_fake(version)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.delitem(sys.modules, "pear_ros.network.tensorrt_engine", raising=False)
    module = importlib.import_module("pear_ros.network.tensorrt_engine")
    monkeypatch.setattr(module, "CudaStream", HostStream)
    monkeypatch.setattr(module, "BATCHES", (1, 2, 4, 32))  # fewer, as each is recorded and run
    monkeypatch.setattr(module, "describe_hardware", lambda target: dict(GPU))
    return fake


def flip_a_bit(path: Path, where: float = 0.5) -> None:
    """Damages a file at a fraction of its length."""
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
