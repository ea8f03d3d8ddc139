"""Writes depth images as compressed_depth_image_transport does."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_M, QUANTIZATION = 10.0, 100.0  # the transport's defaults


def inverse_header() -> tuple[float, float]:
    """The numbers a and b of depth = a / (value - b)."""
    a = QUANTIZATION * (QUANTIZATION + 1)
    return a, 1 - a / MOST_M


def compressed_depth(values: NDArray[np.generic], codec: str) -> bytes:
    """(H, W) uint16 mm, or float32 m as their inverse."""
    a, b = (0.0, 0.0)
    if values.dtype == np.float32:
        a, b = inverse_header()
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where((values > 0) & (values < MOST_M), a / values + b, 0)
        values = values.astype(np.uint16)
    return struct.pack("<iff", 0, a, b) + _CODECS[codec](values)


def png_encoded(values: NDArray[np.generic]) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def rvl_encoded(values: NDArray[np.generic]) -> bytes:
    """With its size before it."""
    height, width = values.shape
    nibbles: list[int] = []

    def write(number: int) -> None:
        while number > 7:
            nibbles.append(8 | number & 7)
            number >>= 3
        nibbles.append(number)

    pixels, at, before = values.ravel().tolist(), 0, 0
    while at < len(pixels):
        first = next((i for i in range(at, len(pixels)) if pixels[i]), len(pixels))
        end = next((i for i in range(first, len(pixels)) if not pixels[i]), len(pixels))
        write(first - at)
        write(end - first)
        for pixel in pixels[first:end]:
            difference, before = pixel - before, pixel
            write(2 * difference if difference >= 0 else -2 * difference - 1)
        at = end
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int(bytes(nibbles[i : i + 8]).hex()[1::2], 16) for i in range(0, len(nibbles), 8)]
    return struct.pack(f"<{2 + len(words)}I", width, height, *words)


_CODECS = {"png": png_encoded, "rvl": rvl_encoded}
