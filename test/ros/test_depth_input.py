"""Depth images that are read with an image, and those that are refused with a reason."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from compressed_depth import compressed_depth
from node_in_process import an_image
from sensor_msgs.msg import CompressedImage, Image

from pear_ros.config import Config
from pear_ros.people import Frame
from pear_ros.problems import Problems
from pear_ros.ros.arrivals import Arrival
from pear_ros.ros.frame_reader import FrameReader

pytestmark = pytest.mark.ros

HEIGHT, WIDTH = 48, 64  # of `an_image`
DEPTH_MM = np.linspace(500, 4000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)


def raw(values: np.ndarray = DEPTH_MM, encoding: str = "16UC1") -> Image:
    height, width = values.shape
    message = Image(height=height, width=width, encoding=encoding, step=values.strides[0])
    message.data = array.array("B", values.tobytes())
    message.header.frame_id = "camera_optical_frame"
    return message


def compressed(values: np.ndarray = DEPTH_MM, format_: str = "") -> CompressedImage:
    message = CompressedImage(format=format_ or "16UC1; compressedDepth png")
    message.data = array.array("B", compressed_depth(values, "png"))
    message.header.frame_id = "camera_optical_frame"
    return message


def read(depth: Any, told: list[str], times: int = 1) -> tuple[Frame, dict[str, int]]:
    problems = Problems(told.append)
    reader = FrameReader("front", "/image", problems, lambda source: None, "/front/depth")
    image = an_image()
    for _ in range(times):
        frame = reader(Arrival(image, image.header, 0, 0), None, None, Config(), depth)
    assert frame is not None
    counts = problems.counts()
    counts.pop("images_uncalibrated")
    return frame, counts


@pytest.mark.parametrize(
    "message",
    [
        raw(),
        raw((DEPTH_MM / 1000).astype(np.float32), "32FC1"),
        compressed(),
        compressed((DEPTH_MM / 1000).astype(np.float32), "32FC1; compressedDepth png"),
    ],
    ids=["millimetres", "metres", "compressed millimetres", "compressed metres"],
)
def test_frames_have_depth(message: Any) -> None:
    frame, counts = read(message, [])
    assert frame.depth_m is not None
    np.testing.assert_allclose(frame.depth_m, DEPTH_MM / 1000, rtol=1e-3)
    assert not counts


def test_a_big_endian_image() -> None:
    message = raw(DEPTH_MM.astype(">u2"))
    message.is_bigendian = 1
    frame, _ = read(message, [])
    np.testing.assert_allclose(frame.depth_m, DEPTH_MM / 1000, rtol=1e-6)


def test_without_a_depth_image_a_frame_has_none() -> None:
    frame, counts = read(None, [])
    assert frame.depth_m is None
    assert not counts


def with_frame(message: Any, frame_id: str) -> Any:
    message.header.frame_id = frame_id
    return message


def cut(message: Any) -> Any:
    message.data = message.data[:-1]
    return message


REFUSED: list[tuple[str, Callable[[], Any], str, tuple[str, ...]]] = [
    (
        "half the size",
        lambda: raw(np.ascontiguousarray(DEPTH_MM[::2, ::2])),
        "depth_sizes_differ",
        ("32x24 px, the image 64x48", "register"),
    ),
    (
        "half the size, compressed",
        lambda: compressed(DEPTH_MM[::2, ::2]),
        "depth_sizes_differ",
        ("32x24 px, the image 64x48", "register"),
    ),
    (
        "turned",
        lambda: raw(np.ascontiguousarray(DEPTH_MM.T)),
        "depth_sizes_differ",
        ("48x64 px, the image 64x48",),
    ),
    (
        "another frame",
        lambda: with_frame(raw(), "camera_depth_optical_frame"),
        "depth_frames_differ",
        ("'camera_depth_optical_frame', the image in 'camera_optical_frame'", "aligned depth"),
    ),
    ("no frame", lambda: with_frame(raw(), ""), "depth_frames_differ", ("the frame ''",)),
    (
        "a colour image",
        lambda: raw(DEPTH_MM, "bgr8"),
        "bad_depth_images",
        ("'bgr8' is none of depth images", "16UC1"),
    ),
    ("too few bytes", lambda: cut(raw()), "bad_depth_images", ("6143 bytes of data", "driver")),
    ("truncated", lambda: cut(compressed()), "bad_depth_images", ("truncated",)),
    (
        "another transport",
        lambda: compressed(DEPTH_MM, "16UC1; png compressed "),
        "bad_depth_images",
        ("/compressedDepth",),
    ),
    (
        "all zero",
        lambda: raw(np.zeros_like(DEPTH_MM)),
        "depth_images_empty",
        ("nothing was measured", "check"),
    ),
    (
        "not a number",
        lambda: raw(np.full((HEIGHT, WIDTH), np.nan, np.float32), "32FC1"),
        "depth_images_empty",
        ("nothing was measured",),
    ),
]


@pytest.mark.parametrize(
    ("make", "kind", "texts"),
    [pytest.param(make, kind, texts, id=name) for name, make, kind, texts in REFUSED],
)
def test_depth_that_is_refused(make: Callable[[], Any], kind: str, texts: tuple[str, ...]) -> None:
    told: list[str] = []
    frame, counts = read(make(), told, times=3)
    assert frame.depth_m is None
    assert counts == {kind: 3}
    (line,) = (line for line in told if kind in line)
    for text in ("/front/depth", "without depth", *texts):
        assert text in line


def test_a_leading_slash_of_the_frame_does_not_matter() -> None:
    frame, counts = read(with_frame(raw(), "/camera_optical_frame"), [])
    assert frame.depth_m is not None
    assert not counts
