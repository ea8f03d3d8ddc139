"""Input of a benchmark: random weights and frames with people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pear_ros.errors import SettingError
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import Boxes, Camera, Frame
from pear_ros.system.files import replacing, temporary_folder

# Shift of the boxes from step to step as a fraction of their sides (standard deviation). Without
# it, the shape cache would have everybody's shape.
BOX_JITTER = 0.02
FRAME_S = 1 / 30  # between the stamps of successive steps


@contextmanager
def random_weights(network_config: str, kept: str) -> Iterator[str]:
    """Writes a checkpoint with random weights; yields its path.

    The weights are the same every time. The network places everybody in front of the camera.

    Args:
        network_config: JSON file with the network's sizes; empty: the published sizes.
        kept: The file to write; empty: a temporary file.

    Raises:
        SettingError: If the file cannot be written.
        CheckpointError: If `network_config` cannot be read.
    """
    sizes = NetworkConfig.from_json(Path(network_config)) if network_config else NetworkConfig()
    with temporary_folder() as folder:
        path = kept or str(folder / "random.pt")
        try:
            with replacing(Path(path)) as file:
                _write_random(sizes, file)
        except (OSError, RuntimeError) as error:  # torch's writer may convert one into the other
            raise SettingError(
                f"random weights cannot be written to {path} ({error}); the published size needs "
                "2.5 GiB; set TMPDIR to put temporary files on another disk"
            ) from error
        yield path


def _write_random(sizes: NetworkConfig, file: Any) -> None:
    torch.manual_seed(0)
    network = PearNetwork(sizes)
    for parameter in network.head.cam_decoder.parameters():
        nn.init.zeros_(parameter)
    parts = {"backbone": network.backbone, "head": network.head}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)


class Workload:
    """Frames of one camera with N people, whose boxes move a little in each step."""

    def __init__(self, people: int, image_size: tuple[int, int], source: str = "") -> None:
        """`image_size` is (width, height), px; `source` is the camera's name."""
        self.people = people
        self._source = source
        self._random = np.random.default_rng(people)
        width, height = image_size
        coarse = self._random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
        self._image = coarse[rows[:, None], columns]  # (H, W, 3)
        self._camera = Camera(0.9 * width, 0.9 * width, width / 2, height / 2)
        size = self._random.uniform(0.4, 0.9, people) * height
        left = self._random.uniform(0, 1, people) * np.maximum(width - 0.4 * size, 0)
        top = self._random.uniform(0, 1, people) * (height - size)
        self._xyxy = np.stack((left, top, left + 0.4 * size, top + size), -1)  # (N, 4) px
        self._steps = 0

    def frame(self) -> Frame:
        """Returns the frame of the next step."""
        self._steps += 1
        sides = self._xyxy[:, 2:] - self._xyxy[:, :2]  # (N, 2)
        moved = self._xyxy + np.tile(sides, 2) * self._random.normal(0, BOX_JITTER, (1, 4))
        boxes = Boxes(moved.astype(np.float32), np.ones(self.people, np.float32))
        return Frame(self._image, self._camera, self._steps * FRAME_S, self._source, boxes)
