"""Raw image bytes -> RGB arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import ImageError
from pear_ros.people import ImageArray

Bytes = NDArray[np.uint8]
Data = bytes | bytearray | memoryview | Bytes


@dataclass(frozen=True)
class _Packed:
    """Rows of pixels, each with all of its channels."""

    channels: int
    convert: Callable[[Bytes], ImageArray]  # (H, W, channels) -> (H, W, 3) RGB
    value_bytes: int = 1
    block: tuple[int, int] = (1, 1)  # height and width that share a colour, px

    def sections(self, width: int, height: int, step: int) -> list[Section]:
        size = self.channels * self.value_bytes
        return [Section(0, (height, width, size), (step, size, 1))]

    def rgb(self, sections: list[Bytes], is_bigendian: bool) -> ImageArray:
        (values,) = sections
        return self.convert(values if self.value_bytes == 1 else _scaled(values, is_bigendian))


@dataclass(frozen=True)
class _TwoPlanes:
    """A plane of y, then a plane of pairs (u, v), one for each block of pixels."""

    convert: Callable[[Bytes, Bytes], ImageArray]  # y (H, W), pairs (rows, columns, 2) -> RGB
    block: tuple[int, int]

    def sections(self, width: int, height: int, step: int) -> list[Section]:
        rows, columns = height // self.block[0], width // self.block[1]
        pairs_step = 2 * step // self.block[1]
        return [
            Section(0, (height, width), (step, 1)),
            Section(step * height, (rows, columns, 2), (pairs_step, 2, 1)),
        ]

    def rgb(self, sections: list[Bytes], is_bigendian: bool) -> ImageArray:
        return self.convert(*sections)


@dataclass(frozen=True)
class Section:
    """A part of the data as an array of bytes."""

    start: int  # byte
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes

    @property
    def end(self) -> int:
        """The first byte behind it; the padding of its last row may be missing."""
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return self.start + last + 1

    def of(self, data: Data) -> Bytes:
        return np.ndarray(self.shape, np.uint8, data, self.start, self.strides)


def _scaled(values: Bytes, is_bigendian: bool) -> Bytes:
    """16-bit values as pairs of bytes (H, W, 2 C) -> 8 bit (H, W, C): 65535 becomes 255."""
    wide = np.ascontiguousarray(values).view(">u2" if is_bigendian else "<u2").astype(np.uint16)
    return np.asarray(cv2.convertScaleAbs(wide, alpha=1 / 257), np.uint8)


def _by_opencv(code: int) -> Callable[[Bytes], ImageArray]:
    return lambda image: np.asarray(cv2.cvtColor(image, code), np.uint8)


def _planes_by_opencv(code: int) -> Callable[[Bytes, Bytes], ImageArray]:
    return lambda y, pairs: np.asarray(cv2.cvtColorTwoPlane(y, pairs, code), np.uint8)


def _nv24(y: Bytes, pairs: Bytes) -> ImageArray:
    """OpenCV has no 4:4:4 of video range: each pixel becomes two of 4:2:2, (u, y) and (v, y)."""
    height, width = y.shape
    doubled = np.stack((pairs, np.repeat(y[..., None], 2, -1)), -1)  # (H, W, 2, 2)
    rgb = cv2.cvtColor(doubled.reshape(height, 2 * width, 2), cv2.COLOR_YUV2RGB_UYVY)
    return np.ascontiguousarray(rgb[:, ::2], np.uint8)


# The keys are those of sensor_msgs/image_encodings. OpenCV names a Bayer pattern by the second and
# third pixel of its second row, ROS by the first two pixels of its first row.
_PAIRS = (1, 2)
_ONE_BYTE = {
    "rgb8": _Packed(3, lambda image: image),
    "bgr8": _Packed(3, _by_opencv(cv2.COLOR_BGR2RGB)),
    "rgba8": _Packed(4, _by_opencv(cv2.COLOR_RGBA2RGB)),
    "bgra8": _Packed(4, _by_opencv(cv2.COLOR_BGRA2RGB)),
    "mono8": _Packed(1, _by_opencv(cv2.COLOR_GRAY2RGB)),
    "bayer_rggb8": _Packed(1, _by_opencv(cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": _Packed(1, _by_opencv(cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": _Packed(1, _by_opencv(cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": _Packed(1, _by_opencv(cv2.COLOR_BayerGB2RGB)),
}
ENCODINGS: dict[str, _Packed | _TwoPlanes] = {
    **_ONE_BYTE,
    **{
        f"{name.removesuffix('8')}16": replace(layout, value_bytes=2)
        for name, layout in _ONE_BYTE.items()
    },
    # OpenCV's types name no colours; its own order is bgr.
    "8UC1": _ONE_BYTE["mono8"],
    "8UC3": _ONE_BYTE["bgr8"],
    "8UC4": _ONE_BYTE["bgra8"],
    # All yuv is of BT.601, video range: y 16 to 235.
    "yuv422": _Packed(2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY), block=_PAIRS),
    "uyvy": _Packed(2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY), block=_PAIRS),
    "yuv422_yuy2": _Packed(2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2), block=_PAIRS),
    "yuyv": _Packed(2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2), block=_PAIRS),
    "nv12": _TwoPlanes(_planes_by_opencv(cv2.COLOR_YUV2RGB_NV12), block=(2, 2)),
    "nv21": _TwoPlanes(_planes_by_opencv(cv2.COLOR_YUV2RGB_NV21), block=(2, 2)),
    "nv24": _TwoPlanes(_nv24, block=(1, 1)),
}
DEPTH_ENCODINGS = ("16UC1", "32FC1")  # REP 118
LARGEST_SIDE = 1 << 15  # px; a larger image means a broken header


def rgb_from_raw(
    data: Data, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> ImageArray:
    """A raw image whose rows are `step` bytes apart -> (H, W, 3) RGB; `rgb8` is a view of `data`.

    Values of 16 bits are divided by 257; `is_bigendian` is their byte order. Where y has a plane of
    its own, `step` is that of this plane.

    Raises:
        ImageError: If the encoding is not in ENCODINGS, or if size, `step` and `data` do not fit.
    """
    if encoding in DEPTH_ENCODINGS:
        raise ImageError(
            f"encoding {encoding!r} is that of depth images; connect the camera's colour image"
        )
    if encoding not in ENCODINGS:
        raise ImageError(f"encoding {encoding!r} is none of {', '.join(ENCODINGS)}")
    layout = ENCODINGS[encoding]
    if height % layout.block[0] or width % layout.block[1]:
        raise ImageError(
            f"{encoding} has one colour for {layout.block[1]}x{layout.block[0]} px, so it cannot "
            f"have {width}x{height} px"
        )
    return layout.rgb(views(data, layout.sections(width, height, step), encoding), is_bigendian)


def views(data: Data, sections: list[Section], encoding: str) -> list[Bytes]:
    """The sections of `data`, not copied; the first has a row of pixels for each step.

    Raises:
        ImageError: If size, step and `data` do not fit.
    """
    height, width = sections[0].shape[:2]
    step, pixel_bytes = sections[0].strides[:2]
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise ImageError(f"an image of {width}x{height} px is empty or too large")
    if step < width * pixel_bytes:
        raise ImageError(f"step {step} is less than {width} px of {pixel_bytes} bytes ({encoding})")
    needed = sections[-1].end
    if len(data) < needed:
        raise ImageError(
            f"{len(data)} bytes of data, but {width}x{height} {encoding} needs {needed}"
        )
    return [section.of(data) for section in sections]
