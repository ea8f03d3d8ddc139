"""Colours of every raw encoding, against bytes that are written here value by value.

The expected numbers are those of ITU-R BT.601 (video range) and of the definitions in
sensor_msgs/image_encodings.hpp and the kernel's V4L2 pages; no image library encodes them.
"""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.errors import ImageError
from pear_ros.images.decode import ENCODINGS, rgb_from_raw

HEIGHT, WIDTH = 8, 12
# RGB and BT.601's y, u, v. Two of them share each picture, so that rows and columns differ.
COLOURS = {
    "black": ((0, 0, 0), (16, 128, 128)),
    "white": ((255, 255, 255), (235, 128, 128)),
    "red": ((255, 0, 0), (81, 90, 240)),
    "green": ((0, 255, 0), (145, 54, 34)),
    "blue": ((0, 0, 255), (41, 240, 110)),
    "skin": ((200, 140, 110), (149, 106, 156)),
}
PICTURES = [("red", "blue"), ("green", "white"), ("skin", "black"), ("blue", "green")]


def colour_at(pair: tuple[str, str], row: int, column: int) -> str:
    """The second colour fills the last 4 columns and the last 4 rows."""
    return pair[row >= 4 or column >= 8]


def value_of(channel: str, colour: str) -> int:
    rgb, yuv = COLOURS[colour]
    if channel == "a":
        return 255
    return dict(zip("rgbyuv", rgb + yuv, strict=True))[channel]


def packed(pair: tuple[str, str], order: str, value_bytes: int = 1, big: bool = False) -> bytearray:
    """Pixels of the channels `order`; 16-bit values are 257 times those of 8 bits."""
    data = bytearray()
    for row in range(HEIGHT):
        for column in range(WIDTH):
            for channel in order:
                value = value_of(channel, colour_at(pair, row, column))
                value *= 257 if value_bytes == 2 else 1
                data += value.to_bytes(value_bytes, "big" if big else "little")
    return data


def mosaic(pair: tuple[str, str], pattern: str, value_bytes: int, big: bool) -> bytearray:
    """The pattern names the channels of the first 2x2 pixels, row by row."""
    data = bytearray()
    for row in range(HEIGHT):
        for column in range(WIDTH):
            channel = pattern[2 * (row % 2) + column % 2]
            value = value_of(channel, colour_at(pair, row, column))
            value *= 257 if value_bytes == 2 else 1
            data += value.to_bytes(value_bytes, "big" if big else "little")
    return data


def pairs(pair: tuple[str, str], order: str) -> bytearray:
    """4:2:2: four bytes for two pixels."""
    data = bytearray()
    for row in range(HEIGHT):
        for column in range(0, WIDTH, 2):
            for channel in order:
                data.append(value_of(channel, colour_at(pair, row, column)))
    return data


def two_planes(pair: tuple[str, str], order: str, block: int, padding: int) -> bytearray:
    """V4L2's NV12, NV21 (4:2:0) and NV24 (4:4:4): y, then lines of alternating u and v.

    A line of NV24's second plane is twice as long as one of y, padding included.
    """
    data = bytearray()
    for row in range(HEIGHT):
        for column in range(WIDTH):
            data.append(value_of("y", colour_at(pair, row, column)))
        data += bytes(padding)
    for row in range(0, HEIGHT, block):
        for column in range(0, WIDTH, block):
            for channel in order:
                data.append(value_of(channel, colour_at(pair, row, column)))
        data += bytes(padding * (2 // block))
    return data


def encoded(encoding: str, pair: tuple[str, str], big: bool = False) -> tuple[bytearray, int]:
    """The bytes of a picture without padding, and its step."""
    size = 2 if encoding.endswith("16") else 1
    if encoding.startswith("bayer"):
        pattern = encoding.removeprefix("bayer_")[:4]
        return mosaic(pair, pattern, size, big), size * WIDTH
    planes = {"nv12": ("uv", 2), "nv21": ("vu", 2), "nv24": ("uv", 1)}
    if encoding in planes:
        return two_planes(pair, *planes[encoding], padding=0), WIDTH
    in_pairs = {"yuv422": "uyvy", "uyvy": "uyvy", "yuv422_yuy2": "yuyv", "yuyv": "yuyv"}
    if encoding in in_pairs:
        return pairs(pair, in_pairs[encoding]), 2 * WIDTH
    order = {"8UC3": "bgr", "8UC4": "bgra"}.get(encoding, encoding.removesuffix("16").rstrip("8"))
    return packed(pair, order, size, big), len(order) * size * WIDTH


MONO = ("mono8", "mono16", "8UC1")


@pytest.mark.parametrize("pair", PICTURES, ids="-".join)
@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name not in MONO])
@pytest.mark.parametrize("big", [False, True], ids=["little-endian", "big-endian"])
def test_colours(encoding: str, pair: tuple[str, str], big: bool) -> None:
    data, step = encoded(encoding, pair, big)
    found = rgb_from_raw(data, encoding, HEIGHT, WIDTH, step, big)
    assert (found.shape, found.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    is_yuv = encoding.startswith(("nv", "yuv", "yuyv", "uyvy"))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            # The colours of a mosaic are interpolated where two colours or the border are near.
            if encoding.startswith("bayer") and not (row in (1, 2) and column in (1, 2, 3, 4, 5)):
                continue
            expected = COLOURS[colour_at(pair, row, column)][0]
            error = np.abs(found[row, column].astype(int) - expected).max()
            # y, u and v are rounded; all else is exact.
            assert error <= (2 if is_yuv else 0), (row, column, found[row, column])


@pytest.mark.parametrize(
    ("encoding", "data", "big", "expected"),
    [
        pytest.param("mono8", bytes((0, 7, 255)), False, (0, 7, 255), id="mono8"),
        pytest.param("8UC1", bytes((0, 7, 255)), False, (0, 7, 255), id="8UC1"),
        pytest.param("8UC1", bytes((0, 7, 255)), True, (0, 7, 255), id="8UC1 has no byte order"),
        # 4660 = 0x1234 / 257 = 18.1; 13330 = 0x3412 / 257 = 51.9
        pytest.param(
            "mono16", b"\x34\x12\xff\xff\x00\x01", False, (18, 255, 1), id="little-endian"
        ),
        pytest.param("mono16", b"\x34\x12\xff\xff\x00\x01", True, (52, 255, 0), id="big-endian"),
        # 0xfff0, twelve bits at the top, and 0x0fff, twelve bits at the bottom, which are dark
        pytest.param("mono16", b"\xf0\xff\xff\x0f\0\0", False, (255, 16, 0), id="twelve bits"),
    ],
)
def test_grey_levels(encoding: str, data: bytes, big: bool, expected: tuple[int, int, int]) -> None:
    found = rgb_from_raw(data, encoding, 1, 3, len(data), big)
    assert found.tolist() == [[[value] * 3 for value in expected]]


@pytest.mark.parametrize("padding", [1, 4, 20])
@pytest.mark.parametrize(
    ("encoding", "order", "block"), [("nv12", "uv", 2), ("nv21", "vu", 2), ("nv24", "uv", 1)]
)
def test_step_is_that_of_the_plane_of_y(
    encoding: str, order: str, block: int, padding: int
) -> None:
    data = two_planes(("red", "blue"), order, block, padding)
    step = WIDTH + padding
    found = rgb_from_raw(data, encoding, HEIGHT, WIDTH, step)
    dense, _ = encoded(encoding, ("red", "blue"))
    np.testing.assert_array_equal(found, rgb_from_raw(dense, encoding, HEIGHT, WIDTH, WIDTH))
    last_padding = padding * (2 // block)
    whole = data[: len(data) - last_padding]
    np.testing.assert_array_equal(rgb_from_raw(whole, encoding, HEIGHT, WIDTH, step), found)
    with pytest.raises(ImageError, match=f"{encoding} needs {len(whole)}"):
        rgb_from_raw(whole[:-1], encoding, HEIGHT, WIDTH, step)


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        pytest.param("nv12", bytes((81, 81, 81, 81, 90, 240)), (254, 0, 0), id="nv12"),
        pytest.param("nv21", bytes((81, 81, 81, 81, 240, 90)), (254, 0, 0), id="nv21"),
        pytest.param("nv24", bytes((41, 145, 41, 41, 240, 110, 54, 34, 240, 110, 240, 110)),
                     (0, 0, 255), id="nv24"),
    ],
)  # fmt: skip
def test_the_first_pixel_of_2x2(encoding: str, data: bytes, expected: tuple[int, int, int]) -> None:
    found = rgb_from_raw(data, encoding, 2, 2, 2)
    assert np.abs(found[0, 0].astype(int) - expected).max() <= 2
    if encoding == "nv24":  # each pixel has a colour of its own
        assert np.abs(found[0, 1].astype(int) - (0, 255, 0)).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(4, 5), (5, 4), (1, 1)])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_odd_sizes_of_shared_colours_are_refused(encoding: str, height: int, width: int) -> None:
    message = f"{encoding} has one colour for 2x2 px, so it cannot have {width}x{height} px"
    with pytest.raises(ImageError, match=message):
        rgb_from_raw(bytes(1000), encoding, height, width, 8)


def test_nv24_may_have_odd_sizes() -> None:
    data = bytes((81,) * 15 + (90, 240) * 15)
    assert np.abs(rgb_from_raw(data, "nv24", 3, 5, 5).astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_images_are_no_pictures(encoding: str) -> None:
    with pytest.raises(ImageError, match=f"'{encoding}' is that of depth images; connect the"):
        rgb_from_raw(bytes(1000), encoding, 4, 4, 16)


@pytest.mark.parametrize("encoding", ["64FC3", "32SC4", "8SC1", "8UC2", "16UC3", "yuv444", "RGB8"])
def test_other_types_are_named_with_those_that_can_be_used(encoding: str) -> None:
    with pytest.raises(ImageError, match=f"'{encoding}' is none of rgb8, .*mono16.*8UC3.*nv24"):
        rgb_from_raw(bytes(1000), encoding, 4, 4, 32)


def test_the_colour_encodings_of_ros_are_known() -> None:
    """All that `isColor`, `isMono` and `isBayer` of image_encodings.hpp know."""
    of_ros = {
        f"{order}{bits}" for order in ("rgb", "bgr", "rgba", "bgra", "mono") for bits in (8, 16)
    }
    of_ros |= {
        f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)
    }
    of_ros |= {"uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21", "nv24"}
    assert of_ros <= set(ENCODINGS)
    assert set(ENCODINGS) - of_ros == {"8UC1", "8UC3", "8UC4"}
