"""Decoding of camera images, which are encoded here by independent code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pictures import picture

from pear_ros.errors import ImageError
from pear_ros.images.decode import LARGEST_SIDE, rgb_from_raw
from pear_ros.people import ImageArray


def channels(order: str) -> Callable[[ImageArray], ImageArray]:
    """The channels of RGBA in another order; a is opaque."""

    def encode(rgb: ImageArray) -> ImageArray:
        rgba = np.concatenate((rgb, np.full_like(rgb[..., :1], 255)), -1)
        return rgba[..., ["rgba".index(letter) for letter in order]]

    return encode


def bayer(pattern: str) -> Callable[[ImageArray], ImageArray]:
    """One channel per pixel; the pattern names those of the first 2x2 pixels, row by row."""

    def encode(rgb: ImageArray) -> ImageArray:
        mosaic = np.zeros((*rgb.shape[:2], 1), np.uint8)
        for i, letter in enumerate(pattern):
            cell = np.s_[i // 2 :: 2, i % 2 :: 2]
            mosaic[..., 0][cell] = rgb[..., "rgb".index(letter)][cell]
        return mosaic

    return encode


def yuv422(order: str) -> Callable[[ImageArray], ImageArray]:
    """BT.601, video range; u and v are those of the first pixel of each pair."""
    matrix = np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    )

    def encode(rgb: ImageArray) -> ImageArray:
        y, u, v = np.moveaxis(rgb / 255 @ matrix.T + (16, 128, 128), -1, 0).round()
        pair = {"y": y, "u": u, "v": v}
        packed = np.zeros((*rgb.shape[:2], 2), np.uint8)
        for i, letter in enumerate(order):  # bytes of a pair of pixels
            columns = slice(1 if i > 1 and letter == "y" else 0, None, 2)
            packed[:, i // 2 :: 2, i % 2] = pair[letter][:, columns]
        return packed

    return encode


# Encoding -> its encoder, and the largest difference from the original, grey levels.
# Measured: mosaics 0 inside (2 allowed: libraries round means differently), pairs 3 (their second
# pixel has the first's colour, and y, u, v are rounded; 4 allowed). Wrong phases: above 100.
ENCODERS = {
    "rgb8": (channels("rgb"), 0),
    "bgr8": (channels("bgr"), 0),
    "rgba8": (channels("rgba"), 0),
    "bgra8": (channels("bgra"), 0),
    "bayer_rggb8": (bayer("rggb"), 2),
    "bayer_bggr8": (bayer("bggr"), 2),
    "bayer_gbrg8": (bayer("gbrg"), 2),
    "bayer_grbg8": (bayer("grbg"), 2),
    "yuv422": (yuv422("uyvy"), 4),
    "uyvy": (yuv422("uyvy"), 4),
    "yuv422_yuy2": (yuv422("yuyv"), 4),
    "yuyv": (yuv422("yuyv"), 4),
    "mono8": (lambda rgb: rgb[..., 1:2], 0),
}


def packed(pixels: ImageArray, padding: int, whole_last_row: bool = True) -> tuple[bytes, int]:
    """The data of padded rows, and the length of a row, bytes."""
    rows = pixels.reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    data = padded.tobytes()
    return data if whole_last_row else data[: len(data) - padding], padded.shape[1]


@pytest.mark.parametrize(
    ("padding", "whole_last_row"),
    [(0, True), (12, True), (5, True), (12, False)],
    ids=["dense", "padded", "oddly padded", "last padding missing"],
)
@pytest.mark.parametrize("encoding", ENCODERS)
def test_encodings(encoding: str, padding: int, whole_last_row: bool) -> None:
    encode, tolerance = ENCODERS[encoding]
    rgb = picture()
    expected = rgb if encoding != "mono8" else rgb[..., [1, 1, 1]]
    data, step = packed(encode(rgb), padding, whole_last_row)
    found = rgb_from_raw(data, encoding, *rgb.shape[:2], step)
    assert found.shape == rgb.shape
    assert found.dtype == np.uint8
    error = np.abs(found.astype(int) - expected)
    # Pixels at the border of a mosaic lack neighbours.
    inner = error[2:-2, 2:-2] if encoding.startswith("bayer") else error
    assert inner.max() <= tolerance


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 5), (33, 17)], ids=str)
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_odd_sizes(encoding: str, size: tuple[int, int]) -> None:
    rgb = picture(*size)
    data, step = packed(ENCODERS[encoding][0](rgb), 3)
    expected = rgb if encoding != "mono8" else rgb[..., [1, 1, 1]]
    np.testing.assert_array_equal(rgb_from_raw(data, encoding, *size, step), expected)


@pytest.mark.parametrize("encoding", [name for name in ENCODERS if name.startswith("bayer")])
def test_odd_mosaics(encoding: str) -> None:
    rgb = picture(33, 17)
    data, step = packed(ENCODERS[encoding][0](rgb), 0)
    error = np.abs(rgb_from_raw(data, encoding, 33, 17, step).astype(int) - rgb)
    assert error[2:-2, 2:-2].max() <= 2


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, np.frombuffer])
def test_kinds_of_data(kind: Callable[..., object]) -> None:
    rgb = picture()
    data, step = packed(rgb, 4)
    given = np.frombuffer(data, np.uint8) if kind is np.frombuffer else kind(data)
    for encoding, expected in (("rgb8", rgb), ("bgr8", rgb[..., ::-1])):
        found = rgb_from_raw(given, encoding, *rgb.shape[:2], step)
        np.testing.assert_array_equal(found, expected)


def test_rgb8_is_a_view() -> None:
    data = np.zeros(6 * 10, np.uint8)
    found = rgb_from_raw(data, "rgb8", 6, 3, 10)
    assert np.shares_memory(found, data)
    data[12] = 9  # the second row's third byte
    assert found[1, 0, 2] == 9


REFUSED = {
    "unknown encoding": (("rgb32", 4, 4, 48), 1000, "encoding 'rgb32' is none of rgb8, bgr8"),
    "no encoding": (("", 4, 4, 12), 1000, "encoding '' is none of"),
    "upper case": (("RGB8", 4, 4, 12), 1000, "is none of"),
    "no rows": (("rgb8", 0, 4, 12), 1000, "4x0 px is empty"),
    "no columns": (("rgb8", 4, 0, 0), 1000, "0x4 px is empty"),
    "too high": (("mono8", LARGEST_SIDE + 1, 1, 1), 99999, "too large"),
    "too wide": (("mono8", 1, 2**32 - 1, 2**32 - 1), 1000, "too large"),
    "step too short": (("rgb8", 4, 4, 11), 1000, "step 11 is less than 4 px of 3 bytes"),
    "step zero": (("mono8", 4, 4, 0), 1000, "step 0 is less"),
    "step of mono for rgb": (("bgra8", 4, 4, 4), 1000, "step 4 is less than 4 px of 4 bytes"),
    "data too short": (("rgb8", 4, 4, 12), 47, "47 bytes of data, but 4x4 rgb8 needs 48"),
    "padded data too short": (("rgb8", 4, 4, 20), 71, "71 bytes of data, but 4x4 rgb8 needs 72"),
    "no data": (("mono8", 1, 1, 1), 0, "0 bytes of data"),
    "odd yuv": (("uyvy", 4, 5, 10), 1000, "uyvy has one colour for 2x1 px, so it cannot have 5x4"),
    "huge step": (("rgb8", 4, 4, 2**32 - 1), 1000, "1000 bytes of data"),
}


@pytest.mark.parametrize(("header", "length", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_images_are_refused(
    header: tuple[str, int, int, int], length: int, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        rgb_from_raw(bytes(length), *header)


def test_padding_of_the_last_row_may_be_missing() -> None:
    assert rgb_from_raw(bytes(72), "rgb8", 4, 4, 20).shape == (4, 4, 3)
