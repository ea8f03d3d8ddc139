"""Bytes of depth images -> metres, and what is refused."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from compressed_depth import compressed_depth, inverse_header, png_encoded, rvl_encoded
from numpy.typing import NDArray

from pear_ros.errors import ImageError
from pear_ros.images.depth import CompressedDepth, depth_from_raw, open_compressed_depth
from pear_ros.images.rvl import rvl_decoded

HEADER = struct.pack("<iff", 0, 0, 0)
INVERSE = struct.pack("<iff", 0, *inverse_header())
NAN, INF = float("nan"), float("inf")

# --- Raw -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, 6], ids="padding {}".format)
@pytest.mark.parametrize("big", [False, True], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize(
    ("encoding", "code", "values", "metres"),
    [
        ("16UC1", "H", [0, 1, 1000, 2500, 256, 65535], [0, 0.001, 1, 2.5, 0.256, 65.535]),
        ("mono16", "H", [0, 1, 1000, 2500, 256, 65535], [0, 0.001, 1, 2.5, 0.256, 65.535]),
        ("32FC1", "f", [0, 0.5, 2.25, 100, 1e-3, 7], [0, 0.5, 2.25, 100, 1e-3, 7]),
        ("32FC1", "f", [NAN, INF, -INF, -1.0, -0.0, 3.0], [0, 0, 0, 0, 0, 3]),
    ],
    ids=["16UC1", "mono16", "32FC1", "not measured"],
)
def test_raw(
    encoding: str, code: str, values: list[float], metres: list[float], big: bool, padding: int
) -> None:
    rows = [struct.pack(f"{'<>'[big]}3{code}", *values[i : i + 3]) for i in (0, 3)]
    data = rows[0] + bytes(padding) + rows[1]  # the padding of the last row may be missing
    found = depth_from_raw(data, encoding, 2, 3, len(rows[0]) + padding, big)
    assert (found.shape, found.dtype) == ((2, 3), np.float32)
    np.testing.assert_allclose(found.ravel(), metres, rtol=1e-6)


@pytest.mark.parametrize(
    ("encoding", "height", "width", "step", "length", "message"),
    [
        ("rgb8", 4, 4, 12, 48, "'rgb8' is none of depth images, 16UC1"),
        ("64FC1", 4, 4, 32, 128, "'64FC1' is none of depth images"),
        ("", 4, 4, 8, 32, "'' is none of depth images"),
        ("16UC1", 4, 4, 7, 100, "step 7 is less than 4 px of 2 bytes"),
        ("32FC1", 4, 4, 8, 100, "step 8 is less than 4 px of 4 bytes"),
        ("16UC1", 4, 4, 8, 31, "31 bytes of data, but 4x4 16UC1 needs 32"),
        ("32FC1", 4, 4, 20, 75, "75 bytes of data, but 4x4 32FC1 needs 76"),
        ("16UC1", 0, 4, 8, 32, "4x0 px is empty"),
        ("16UC1", 4, 0, 8, 32, "0x4 px is empty"),
        ("16UC1", 2**32 - 1, 4, 8, 32, "or too large"),
        ("16UC1", 4, 2**31, 2**32 - 1, 32, "or too large"),
        ("16UC1", 4, 4, 2**32 - 1, 32, "32 bytes of data"),
    ],
)
def test_bad_raw_images(
    encoding: str, height: int, width: int, step: int, length: int, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        depth_from_raw(bytes(length), encoding, height, width, step)


# --- Compressed ----------------------------------------------------------------------------------


def some_values(seed: int = 0, height: int = 17, width: int = 23) -> NDArray[np.uint16]:
    """A slope, some noise and holes."""
    random = np.random.default_rng(seed)
    values = 1500 + 40 * np.arange(height)[:, None] + random.normal(0, 20, (height, width))
    values[random.random(values.shape) < 0.3] = 0
    values[0, :2], values[-1, -2:] = (0, 65535), (1, 9999)
    return values.astype(np.uint16)


@pytest.mark.parametrize("codec", ["png", "rvl"])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_compressed_millimetres(codec: str, encoding: str) -> None:
    values = some_values()
    found = open_compressed_depth(
        compressed_depth(values, codec), f"{encoding}; compressedDepth {codec}"
    )
    assert (found.height, found.width) == values.shape
    assert found.metres().dtype == np.float32
    np.testing.assert_allclose(found.metres(), values * 1e-3, rtol=1e-6)


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_compressed_metres_are_stored_as_their_inverse(codec: str) -> None:
    random = np.random.default_rng(1)
    depth_m = random.uniform(0.3, 9.9, (17, 23)).astype(np.float32)
    depth_m[3:6, 2:9] = [[0.0], [NAN], [INF]]
    found = open_compressed_depth(
        compressed_depth(depth_m, codec), f"32FC1; compressedDepth {codec}"
    ).metres()
    is_measured = (depth_m > 0) & (depth_m < INF)
    assert not found[~is_measured].any()
    # A step of the stored value is depth² / a.
    a, _ = inverse_header()
    error_m = np.abs(found - depth_m)[is_measured]
    assert (error_m <= 1.01 * depth_m[is_measured] ** 2 / a + 1e-5).all()


@pytest.mark.parametrize(
    "format_",
    [
        "16UC1",
        "16UC1; compressedDepth",
        "16UC1; compressedDepth ",
        "16UC1;compressedDepth png",
        " 16UC1 ; compressedDepth png ",
    ],
)
def test_formats_of_old_senders(format_: str) -> None:
    values = some_values()
    found = open_compressed_depth(compressed_depth(values, "png"), format_)
    np.testing.assert_allclose(found.metres(), values * 1e-3, rtol=1e-6)


def test_values_without_a_depth_are_not_measured() -> None:
    """Below b the depth is negative, at b infinite."""
    values = np.array([[0, 1, 49, 50, 51, 150]], np.uint16)
    data = struct.pack("<iff", 0, 200, 50) + png_encoded(values)
    found = open_compressed_depth(data, "32FC1; compressedDepth png").metres()
    np.testing.assert_allclose(found, [[0, 0, 0, 0, 200, 2]])


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def huge_png(width: int, height: int) -> bytes:
    """Names a size; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def open_and_decode(data: bytes, format_: str, max_pixels: int = 10_000) -> NDArray[np.float32]:
    return open_compressed_depth(data, format_, max_pixels).metres()


GOOD = some_values()
PNG, RVL = png_encoded(GOOD), rvl_encoded(GOOD)
COLOUR = np.zeros((4, 4, 3), np.uint16)
SPOILED = PNG[:60] + bytes([PNG[60] ^ 255]) + PNG[61:]


@pytest.mark.parametrize(
    ("data", "format_", "message"),
    [
        (b"", "16UC1; compressedDepth png", "0 bytes are too few"),
        (HEADER[:11], "16UC1; compressedDepth png", "11 bytes are too few"),
        (HEADER, "16UC1; compressedDepth png", "no PNG picture"),
        (HEADER + PNG[:20], "16UC1; compressedDepth png", "no PNG picture"),
        (PNG, "16UC1; compressedDepth png", "no PNG picture"),
        (HEADER + RVL, "16UC1; compressedDepth png", "no PNG picture"),
        (HEADER + PNG[:-1], "16UC1; compressedDepth png", "PNG picture is truncated"),
        (HEADER + PNG[: len(PNG) // 2], "16UC1; compressedDepth png", "PNG picture is truncated"),
        (HEADER + SPOILED, "16UC1; compressedDepth png", "PNG picture is truncated or damaged"),
        (HEADER + png_encoded(COLOUR), "16UC1; compressedDepth png", "not a grey one of 16 bits"),
        (HEADER + png_encoded(GOOD.astype(np.uint8)), "16UC1; compressedDepth png", "not a grey"),
        (HEADER + huge_png(101, 100), "16UC1; compressedDepth png", "more pixels than"),
        (HEADER + huge_png(2**31 - 1, 2**31 - 1), "16UC1; compressedDepth png", "more pixels than"),
        (HEADER + huge_png(0, 9), "16UC1; compressedDepth png", "is empty"),
        (HEADER + huge_png(9, 9), "16UC1; compressedDepth png", "truncated or damaged"),
        (HEADER + RVL[:7], "16UC1; compressedDepth rvl", "7 bytes are too few for an RVL image"),
        (HEADER + RVL[:8], "16UC1; compressedDepth rvl", "RVL image is truncated"),
        (HEADER + RVL[:-4], "16UC1; compressedDepth rvl", "RVL image is truncated"),
        (HEADER + RVL[:8] + b"\xff" * 999, "16UC1; compressedDepth rvl", "RVL image is truncated"),
        (HEADER + b"\xff" * 99, "16UC1; compressedDepth rvl", "more pixels than"),
        (HEADER + bytes(99), "16UC1; compressedDepth rvl", "is empty"),
        (HEADER + PNG, "32FC1; compressedDepth png", "which is no depth"),
        (struct.pack("<iff", 0, NAN, 1) + PNG, "32FC1; compressedDepth png", "which is no depth"),
        (struct.pack("<iff", 0, 1, INF) + PNG, "32FC1; compressedDepth png", "which is no depth"),
        (struct.pack("<iff", 0, -1, 0) + PNG, "32FC1; compressedDepth png", "which is no depth"),
        (INVERSE + PNG[:-1], "32FC1; compressedDepth png", "PNG picture is truncated"),
        (HEADER + PNG, "16UC1; compressedDepth zstd", "not compressedDepth of png or rvl"),
        (HEADER + PNG, "16UC1; compressedDepth png x", "not compressedDepth of png or rvl"),
        (PNG, "16UC1; png compressed ", "the topic that ends in /compressedDepth"),
        (PNG, "jpeg", "'jpeg' is none of depth images"),
        (PNG, "rgb8; jpeg compressed bgr8", "'rgb8' is none of depth images"),
        (PNG, "", "'' is none of depth images"),
    ],
)  # fmt: skip
def test_bad_compressed_images(data: bytes, format_: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_and_decode(data, format_)


def test_a_jpeg_behind_the_header_of_a_png_is_refused() -> None:
    jpeg = cv2.imencode(".jpg", COLOUR.astype(np.uint8))[1].tobytes()
    with pytest.raises(ImageError, match="truncated or damaged"):
        open_and_decode(HEADER + PNG[:33] + jpeg, "16UC1; compressedDepth png")


def test_a_size_is_known_before_decoding() -> None:
    found = open_compressed_depth(HEADER + huge_png(80, 60), "16UC1; compressedDepth png")
    assert isinstance(found, CompressedDepth)
    assert (found.height, found.width) == (60, 80)


# --- RVL -----------------------------------------------------------------------------------------


def test_rvl_written_by_hand() -> None:
    """Two zeros; two others, 5 and 2 (10, which needs two nibbles, and 5); one zero, no others."""
    nibbles = (2, 2, 0b1010, 1, 5, 1, 0, 0)
    word = int("".join(f"{nibble:x}" for nibble in nibbles), 16)
    np.testing.assert_array_equal(rvl_decoded(word.to_bytes(4, "little"), 5), [0, 0, 5, 2, 0])


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((40, 50), np.uint16),
        np.full((40, 50), 65535, np.uint16),
        np.arange(1, 2001, dtype=np.uint16).reshape(40, 50),
        np.tile([0, 65535, 0, 1], 500).reshape(40, 50).astype(np.uint16),
        np.tile([1, 65535], 1000).reshape(40, 50).astype(np.uint16),
        np.random.default_rng(0).integers(0, 65536, (40, 50), np.uint16),
        np.ones((1, 1), np.uint16),
    ],
    ids=["zeros", "largest", "slope", "holes", "largest steps", "noise", "one pixel"],
)
def test_rvl_is_lossless(values: NDArray[np.uint16]) -> None:
    found = rvl_decoded(rvl_encoded(values)[8:], values.size)
    np.testing.assert_array_equal(found.reshape(values.shape), values)


def test_rvl_that_is_cut_anywhere_is_refused() -> None:
    data = rvl_encoded(some_values(3))[8:]
    for length in range(0, len(data) - 3):
        with pytest.raises(ImageError, match="truncated"):
            rvl_decoded(data[:length], GOOD.size)


def test_runs_beyond_the_image_are_refused() -> None:
    data = rvl_encoded(np.ones((4, 5), np.uint16))[8:]
    with pytest.raises(ImageError, match="truncated or damaged"):
        rvl_decoded(data, 19)
