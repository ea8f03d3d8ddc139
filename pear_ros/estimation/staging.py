"""Buffers in pairs: one on the device that recordings read, one on the host to fill it from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pear_ros.images.crop import Squares
from pear_ros.people import Frame, ImageArray

# Columns of a row that says what to crop; images lie one after another in one buffer of pixels.
FIRST_PIXEL = slice(0, 1)  # index of the image's first pixel
IMAGE_SIZE = slice(1, 3)  # width, height, px
SQUARE_XYWH = slice(3, 7)  # px
CROP_PADDING_ROW = (0, 1, 1, 0, 0, 1, 1)  # a square in an image of one pixel


class StagedTable:
    """A row of numbers for each of at most `rows` people, filled again before each replay.

    Recordings of B people read the first B rows of `on_device`. Rows without a person hold
    `padding_row`.
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
        """Puts the padding row into all rows; waits for the device."""
        self.on_device.copy_(self._padding_row)


def device_and_host(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Zeros (rows, columns) on the device, and on the host in memory that is not paged."""
    on_host = torch.zeros(rows, columns, dtype=dtype, pin_memory=device.type == "cuda")
    return torch.zeros(rows, columns, dtype=dtype, device=device), on_host


def crop_sources(frames: Sequence[Frame], squares: Squares) -> tuple[list[ImageArray], Tensor]:
    """The images that N squares lie in, (H W, 3) each, and the rows (N, 7) that say what to crop.

    Images without a square are left out. The rows' columns are FIRST_PIXEL, IMAGE_SIZE and
    SQUARE_XYWH, where the images lie one after another.
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
