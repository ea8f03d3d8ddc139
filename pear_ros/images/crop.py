"""Square crops of people, as PEAR's network wants them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import Boxes, FloatArray, Frame, ImageArray, IntArray
from pear_ros.system.native import load_library, require


@dataclass(frozen=True)
class Squares:
    """What N crops show of several frames."""

    xywh: FloatArray  # (N, 4) px, of its frame
    frame_index: IntArray  # (N,)

    def __len__(self) -> int:
        return len(self.xywh)


def cut_crop(image: ImageArray, xywh: FloatArray) -> ImageArray:
    """The square `xywh`, px, of an image (H, W, 3), bilinear, black outside: (256, 256, 3).

    OpenCV 4's warpAffine rounds coordinates to 1/32 pixel, up to 8 grey levels at an edge; as a
    crop only scales and moves, exact interpolation is two weights per row and per column
    (`src/crop.c`).
    """
    height, width, channels = image.shape
    require(image.dtype == np.uint8 and channels == 3, "an image of three uint8 channels")
    require(height > 0 and width > 0, "an image with pixels")
    image = np.ascontiguousarray(image)
    rows = _Samples.of(*_interpolation(xywh[1], xywh[3], height))
    columns = _Samples.of(*_interpolation(xywh[0], xywh[2], width))
    crop = np.empty((CROP_SIZE, CROP_SIZE, 3), np.uint8)
    _LIBRARY.pear_cut_crop(image.ctypes.data, width, rows, columns, crop.ctypes.data)
    return crop


def _interpolation(start: float, size: float, limit: int) -> tuple[IntArray, FloatArray]:
    """For each of 256 samples from `start` on: the two pixels beside it and their weights (2, 256).

    Pixels outside of 0 ... limit - 1 weigh nothing.
    """
    position = float(start) + np.arange(CROP_SIZE) * (float(size) / CROP_SIZE)
    below = np.floor(position).astype(np.int64)
    pixels = np.stack((below, below + 1))
    weights = 1 - np.abs(position - pixels)
    weights[(pixels < 0) | (pixels >= limit)] = 0
    return pixels.clip(0, limit - 1), weights.astype(np.float32)


def squares_of(frames: Sequence[Frame], boxes: Sequence[Boxes]) -> Squares:
    """One square per box, in the order of the frames."""
    squares = [np.zeros((0, 4), np.float32)]
    for frame, found in zip(frames, boxes, strict=True):
        height, width = frame.image.shape[:2]
        squares.append(square_boxes(found.xyxy, width, height))
    index = np.repeat(np.arange(len(frames)), [len(found) for found in boxes])
    return Squares(np.concatenate(squares), index)


def cut_crops(frames: Sequence[Frame], squares: Squares) -> NDArray[np.uint8]:
    """(N, 256, 256, 3) RGB."""
    crops = np.empty((len(squares), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for crop, xywh, i in zip(crops, squares.xywh, squares.frame_index, strict=True):
        crop[:] = cut_crop(frames[i].image, xywh)
    return crops


def cut_on_device(pixels: Tensor, first: Tensor, size: Tensor, xywh: Tensor) -> Tensor:
    """What `cut_crop` does, for all crops at once on the images' device: (N, 256, 256, 3) uint8.

    `pixels` (P, 3) uint8 holds images row by row, one behind the other. For each crop: `first` (N,)
    its image's first pixel, `size` (N, 2) its image's width and height, `xywh` (N, 4) px, the
    square. Nothing waits for the device. Few operations on much: on a GPU each costs its start.
    """
    # Across, then down: for each of 256 samples two pixels.
    (columns, rows), (across, down) = (both.unbind(1) for both in _interpolations(xywh, size))
    begin = first[:, None, None] + rows * size[:, :1, None]  # (N, 256, 2) of each row
    at = begin.int()[:, :, :, None, None] + columns.int()[:, None, None]  # (N, 256, 2, 256, 2)
    picked = pixels.index_select(0, at.flatten()).unflatten(0, at.shape)  # (..., 3)
    parts = picked * across[:, None, None, :, :, None]
    parts = (parts[..., 0, :] + parts[..., 1, :]) * down[..., None, None]  # (N, 256, 2, 256, 3)
    crops = parts[:, :, 0] + parts[:, :, 1]
    return (crops + 0.5).to(torch.uint8)


def _interpolations(xywh: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """`_interpolation` of N squares (N, 4) across and down images of (N, 2) pixels.

    Pixels, float64, and weights, float32: (N, 2, 256, 2).
    """
    start, step = xywh.double()[..., None].split(2, 1)  # (N, 2, 1)
    samples = torch.arange(CROP_SIZE, device=xywh.device, dtype=torch.float64)
    position = torch.addcmul(start, samples, step, value=1 / CROP_SIZE)  # (N, 2, 256)
    below = position.floor()
    pixels = torch.stack((below, below + 1), -1)
    inside = pixels.clamp(min=0).minimum(size[..., None, None] - 1)
    weights = (1 - (position[..., None] - pixels).abs()) * (inside == pixels)
    return inside, weights.float()


# --- The library ----------------------------------------------------------------------------------


class _Samples(ctypes.Structure):
    """What `_interpolation` gives."""

    _fields_ = (
        ("pixels", ctypes.c_int32 * (2 * CROP_SIZE)),
        ("weights", ctypes.c_float * (2 * CROP_SIZE)),
    )

    @classmethod
    def of(cls, pixels: IntArray, weights: FloatArray) -> _Samples:
        return cls.from_buffer_copy(pixels.astype(np.int32).tobytes() + weights.tobytes())


_LIBRARY = load_library("_crop")
_LIBRARY.pear_cut_crop.argtypes = (
    *(ctypes.c_void_p, ctypes.c_int32),
    *[ctypes.POINTER(_Samples)] * 2,
    ctypes.c_void_p,
)
_LIBRARY.pear_cut_crop.restype = None
