"""Decoding of camera images, which are encoded here by independent code."""

from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from pictures import png

from pear_ros.errors import ImageError
from pear_ros.images.decode import ENCODINGS, LARGEST_SIDE, rgb_from_compressed, rgb_from_raw
from pear_ros.people import ImageArray


def picture(height: int = 40, width: int = 60) -> ImageArray:
    """A gradient with another level and slope in each channel, so that mixed channels differ."""
    row, column = np.mgrid[:height, :width]
    red, green, blue = 40 + column, 120 + row, 220 - column - row
    return np.stack((red, green, blue), -1).astype(np.uint8)


# --- Raw -----------------------------------------------------------------------------------------


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


def test_every_encoding_is_tested() -> None:
    assert ENCODERS.keys() == ENCODINGS.keys()


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
    "unknown encoding": (("rgb16", 4, 4, 24), 1000, "encoding 'rgb16' is none of rgb8, bgr8"),
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
    "odd yuv": (("uyvy", 4, 5, 10), 1000, "stores pixels in pairs, but the width is 5"),
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


# --- Compressed ----------------------------------------------------------------------------------


def encoded(suffix: str, image: ImageArray | None = None, *options: int) -> bytes:
    """Encodes with OpenCV."""
    image = picture()[..., ::-1] if image is None else image  # OpenCV expects BGR
    return cv2.imencode(suffix, image, options)[1].tobytes()


JPEG, PNG = encoded(".jpg", None, cv2.IMWRITE_JPEG_QUALITY, 95), encoded(".png")


def test_png_is_lossless() -> None:
    np.testing.assert_array_equal(rgb_from_compressed(PNG), picture())
    by_hand = rgb_from_compressed(png(2, 3, bytes((255, 0, 0, 1, 2, 3))))
    np.testing.assert_array_equal(by_hand, [[[255, 0, 0], [1, 2, 3]]] * 3)


@pytest.mark.parametrize("padding", [1, 60, 100, 4096])
def test_bytes_after_the_end_of_a_png(padding: int) -> None:
    np.testing.assert_array_equal(rgb_from_compressed(PNG + bytes(padding)), picture())


def test_jpeg() -> None:
    found = rgb_from_compressed(JPEG)
    assert found.shape == (40, 60, 3)
    assert found.dtype == np.uint8
    # Quality 95 with subsampled colour changes this gradient by 3 levels; libraries differ.
    assert np.abs(found.astype(int) - picture()).max() <= 5


GRAY = picture()[..., 1]
KINDS = {
    "gray png": (encoded(".png", GRAY), 0),
    "gray jpeg": (encoded(".jpg", GRAY, cv2.IMWRITE_JPEG_QUALITY, 100), 2),
    "16-bit png": (encoded(".png", GRAY.astype(np.uint16) * 257), 0),
    "jpeg with bytes after its end": (
        encoded(".jpg", GRAY, cv2.IMWRITE_JPEG_QUALITY, 100) + bytes(9),
        2,
    ),
}


@pytest.mark.parametrize(("data", "tolerance"), KINDS.values(), ids=KINDS)
def test_other_kinds_become_rgb(data: bytes, tolerance: int) -> None:
    found = rgb_from_compressed(data).astype(int)
    assert np.abs(found - GRAY[..., None]).max() <= tolerance


def test_transparency_is_ignored() -> None:
    bgra = np.concatenate((picture()[..., ::-1], GRAY[..., None]), -1)
    np.testing.assert_array_equal(rgb_from_compressed(encoded(".png", bgra)), picture())


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_kinds_of_compressed_data(kind: Callable[[bytes], bytearray]) -> None:
    np.testing.assert_array_equal(rgb_from_compressed(kind(PNG)), picture())


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["jpeg", "png"])
@pytest.mark.parametrize("kept", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_truncated(data: bytes, kept: float) -> None:
    with pytest.raises(ImageError):
        rgb_from_compressed(data[: int(kept * len(data))])


def _damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 255,)) + data[at + 1 :]


NO_IMAGES = {
    "nothing": b"",
    "one byte": b"\xff",
    "text": b"not an image, but long enough to be one",
    "zeros": bytes(1000),
    "only start and end": b"\xff\xd8\xff\xd9",
    "only a png's signature": PNG[:8],
    "jpeg without its last byte": JPEG[:-1],
    "png without its end": PNG[:-12],
    "bmp": encoded(".bmp"),
    "gif": b"GIF89a" + bytes(100),
    "damaged png": _damaged(PNG, len(PNG) // 2),
    "png of no pixels": png(0, 0, b""),
    "png of more pixels than there is memory": png(60000, 60000, bytes(180000)),
}


@pytest.mark.parametrize("data", NO_IMAGES.values(), ids=NO_IMAGES)
def test_data_that_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"truncated or damaged|neither JPEG nor PNG"):
        rgb_from_compressed(data)


def test_exif_orientation_is_ignored() -> None:
    """Calibration and boxes refer to the pixels as they are stored."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    turned = JPEG[:2] + segment + JPEG[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (60, 40, 3)
    np.testing.assert_array_equal(rgb_from_compressed(turned), rgb_from_compressed(JPEG))
