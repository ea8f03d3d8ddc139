"""Input buffers of recordings: one on the device, and one on the host that is copied to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pear_ros.images.crop import Squares
from pear_ros.people import Frame, ImageArray

# Columns of a row with a person's crop inputs; all images are concatenated in one pixel buffer.
FIRST_PIXEL = slice(0, 1)  # index of the image's first pixel
IMAGE_SIZE = slice(1, 3)  # width, height, px
SQUARE_XYWH = slice(3, 7)  # px
CROP_PADDING_ROW = (0, 1, 1, 0, 0, 1, 1)  # a square of one pixel in an image of one pixel


class StagedTable:
    """A table with one row per person, filled before each replay.

    A recording for B people reads the first B of `rows` rows of `on_device`. Rows without a person
    contain `padding_row`.
    """

    def __init__(
        self, rows: int, padding_row: tuple[float, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.on_device, self._on_host = device_and_host(rows, len(padding_row), dtype, device)
        self._padding_row = torch.tensor(padding_row, dtype=dtype)

    def send(self, rows: Tensor, people: int) -> None:
        """Enqueues a copy of `rows` (N, columns) to the device, padded to `people` rows."""
        self._on_host[: len(rows)] = rows
        self._on_host[len(rows) : people] = self._padding_row
        self.on_device[:people].copy_(self._on_host[:people], non_blocking=True)

    def clear(self) -> None:
        """Fills all rows on the device with the padding row; waits for the device."""
        self.on_device.copy_(self._padding_row)


def device_and_host(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns zeros (rows, columns) on the device and on the host, there in pinned memory."""
    on_host = torch.zeros(rows, columns, dtype=dtype, pin_memory=device.type == "cuda")
    return torch.zeros(rows, columns, dtype=dtype, device=device), on_host


def crop_sources(frames: Sequence[Frame], squares: Squares) -> tuple[list[ImageArray], Tensor]:
    """Returns the images that contain squares, (H W, 3) each, and the crop inputs, rows (N, 7).

    The columns of the rows are FIRST_PIXEL, IMAGE_SIZE and SQUARE_XYWH, for a buffer in which the
    returned images are concatenated.
    """
    images: list[ImageArray] = []
    sources = np.zeros((len(frames), 3))  # first pixel, width, height of each frame
    first_pixel = 0
    for i in np.unique(squares.frame_index):
        height, width, _ = frames[i].image.shape
        images.append(frames[i].image.reshape(-1, 3))
        sources[i] = first_pixel, width, height
        first_pixel += height * width
    rows = np.concatenate((sources[squares.frame_index], squares.xywh), 1)
    return images, torch.from_numpy(rows)
