"""ONNX exports for tests, and copies that tests may change."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pear_ros.network.engine_backend import Target
from pear_ros.network.network import PearNetwork


@dataclass(frozen=True)
class Model:
    """A network, its checkpoint and its export; must not be changed."""

    network: PearNetwork
    checkpoint: Path  # with network.json beside it
    onnx: Path

    @property
    def tensorrt(self) -> Target:
        """The GPU of the fake TensorRT is this CPU."""
        return Target("tensorrt", self.network.device, self.network.precision)

    @property
    def openvino(self) -> Target:
        return Target("openvino", self.network.device, self.network.precision)

    @property
    def sizes(self) -> Path:
        return self.checkpoint.with_name("network.json")


def copy_export(path: Path, folder: Path) -> Path:
    """Copies the files of the export `path` into a folder; returns the path of the new graph."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in path.parent.iterdir():
        shutil.copy(file, folder / file.name)
    return folder / path.name
