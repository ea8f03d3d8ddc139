"""Decoding of encoded pictures, which are encoded here by independent code."""

from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from pictures import picture, png

from pear_ros.errors import ImageError
from pear_ros.images.encoded import rgb_from_compressed
from pear_ros.people import ImageArray


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
