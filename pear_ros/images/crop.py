"""Square crops of people, the input of PEAR's network."""

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
    """The squares of N crops in several frames."""

    xywh: FloatArray  # (N, 4) px
    frame_index: IntArray  # (N,) the frame of each square

    def __len__(self) -> int:
        return len(self.xywh)


def cut_crop(image: ImageArray, xywh: FloatArray) -> ImageArray:
    """Cuts the square `xywh`, px, from an image (H, W, 3) RGB uint8: (256, 256, 3), black outside.

    Interpolation is bilinear and exact (`src/crop.c`). As a crop only scales and translates, it
    needs two weights for each row and each column. OpenCV 4's warpAffine rounds coordinates to
    1/32 px, which changes edges by up to 8 grey levels.

    Raises:
        ValueError: If the image is empty or does not have three uint8 channels.
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
    """For each of 256 samples from `start` on: its two neighbouring pixels and weights (2, 256).

    Pixels outside of 0 ... limit - 1 have weight 0.
    """
    position = float(start) + np.arange(CROP_SIZE) * (float(size) / CROP_SIZE)
    below = np.floor(position).astype(np.int64)
    pixels = np.stack((below, below + 1))
    weights = 1 - np.abs(position - pixels)
    weights[(pixels < 0) | (pixels >= limit)] = 0
    return pixels.clip(0, limit - 1), weights.astype(np.float32)


def squares_of(frames: Sequence[Frame], boxes: Sequence[Boxes]) -> Squares:
    """The square of each box, in the order of the frames.

    Raises:
        ValueError: If there are not as many `boxes` as `frames`.
    """
    squares = [np.zeros((0, 4), np.float32)]
    for frame, found in zip(frames, boxes, strict=True):
        height, width = frame.image.shape[:2]
        squares.append(square_boxes(found.xyxy, width, height))
    index = np.repeat(np.arange(len(frames)), [len(found) for found in boxes])
    return Squares(np.concatenate(squares), index)


def cut_crops(frames: Sequence[Frame], squares: Squares) -> NDArray[np.uint8]:
    """The crops (N, 256, 256, 3) RGB of N squares; raises what `cut_crop` raises."""
    crops = np.empty((len(squares), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for crop, xywh, i in zip(crops, squares.xywh, squares.frame_index, strict=True):
        crop[:] = cut_crop(frames[i].image, xywh)
    return crops


def cut_on_device(pixels: Tensor, first: Tensor, size: Tensor, xywh: Tensor) -> Tensor:
    """Does what `cut_crop` does for all crops at once, on the device of the images.

    It never waits for the device. It uses few operations on large tensors, because launching a GPU
    kernel costs microseconds, more than most of these kernels take to run.

    Args:
        pixels: (P, 3) uint8, all images, row by row and one after the other.
        first: (N,) row of `pixels` at which a crop's image begins.
        size: (N, 2) px, width and height of a crop's image.
        xywh: (N, 4) px, the squares.

    Returns:
        (N, 256, 256, 3) uint8.
    """
    # Each of 256 samples lies between two pixels, along the columns and along the rows.
    (columns, rows), (across, down) = (both.unbind(1) for both in _interpolations(xywh, size))
    begin = first[:, None, None] + rows * size[:, :1, None]  # (N, 256, 2) of each row
    at = begin.int()[:, :, :, None, None] + columns.int()[:, None, None]  # (N, 256, 2, 256, 2)
    picked = pixels.index_select(0, at.flatten()).unflatten(0, at.shape)  # (..., 3)
    parts = picked * across[:, None, None, :, :, None]
    parts = (parts[..., 0, :] + parts[..., 1, :]) * down[..., None, None]  # (N, 256, 2, 256, 3)
    crops = parts[:, :, 0] + parts[:, :, 1]
    return (crops + 0.5).to(torch.uint8)


def _interpolations(xywh: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """`_interpolation` for both axes of N squares (N, 4) in images of (N, 2) pixels.

    Returns pixels, float64, and weights, float32, both (N, 2, 256, 2).
    """
    start, step = xywh.double()[..., None].split(2, 1)  # (N, 2, 1)
    samples = torch.arange(CROP_SIZE, device=xywh.device, dtype=torch.float64)
    position = torch.addcmul(start, samples, step, value=1 / CROP_SIZE)  # (N, 2, 256)
    below = position.floor()
    pixels = torch.stack((below, below + 1), -1)
    inside = pixels.clamp(min=0).minimum(size[..., None, None] - 1)
    weights = (1 - (position[..., None] - pixels).abs()) * (inside == pixels)
    return inside, weights.float()


# --- The C library --------------------------------------------------------------------------------


class _Samples(ctypes.Structure):
    """The result of `_interpolation`."""

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
