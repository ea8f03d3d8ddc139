"""Calibrations, boxes and images are read from real messages, without a node."""

from __future__ import annotations

import array
import sys
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import cv2
from harness import round_trip
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from pear_ros.errors import ImageError
from pear_ros.images.decode import ENCODINGS
from pear_ros.people import Camera
from pear_ros.ros.from_messages import boxes_from_detections, camera_from_info, rgb_from_message
from pear_ros.ros.to_messages import image_message

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="camera_optical_frame")
HEADER.stamp.sec, HEADER.stamp.nanosec = 1_700_000_000, 123_456_789


# --- Calibration ---------------------------------------------------------------------------------

K = [500.0, 0.0, 330.0, 0.0, 520.0, 250.0, 0.0, 0.0, 1.0]


def info(k: list[float] = K, roi: tuple[int, ...] = (), **fields: int) -> CameraInfo:
    message = CameraInfo(**{"width": 640, "height": 480, **fields}, k=k)
    if roi:
        x, y, width, height = roi
        message.roi = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    return message


@pytest.mark.parametrize(
    ("message", "size", "expected"),
    [
        pytest.param(info(), (640, 480), (500, 520, 330, 250), id="plain"),
        pytest.param(
            info(binning_x=1, binning_y=1), (640, 480), (500, 520, 330, 250), id="binning of 1"
        ),
        pytest.param(
            info(binning_x=2, binning_y=4), (320, 120), (250, 130, 165, 62.5), id="binning"
        ),
        pytest.param(
            info(roi=(100, 50, 200, 160)), (200, 160), (500, 520, 230, 200), id="region"
        ),
        pytest.param(
            info(roi=(100, 50, 200, 160), binning_x=2, binning_y=2),
            (100, 80),
            (250, 260, 115, 100),
            id="region and binning",
        ),
        pytest.param(info(), (320, 240), None, id="of another size"),
        pytest.param(info(roi=(100, 50, 200, 160)), (640, 480), None, id="region not cut out"),
        pytest.param(info(k=[0.0] * 9), (640, 480), None, id="K of zeros"),
        pytest.param(info(k=[float("nan"), *K[1:]]), (640, 480), None, id="focal NaN"),
        pytest.param(info(k=[*K[:5], float("nan"), *K[6:]]), (640, 480), None, id="centre NaN"),
        pytest.param(info(k=[float("inf"), *K[1:]]), (640, 480), None, id="focal infinite"),
        pytest.param(info(k=[-500.0, *K[1:]]), (640, 480), None, id="focal negative"),
    ],
)  # fmt: skip
def test_camera_from_info(
    message: CameraInfo, size: tuple[int, int], expected: tuple[float, ...] | None
) -> None:
    camera = camera_from_info(round_trip(message), *size)
    assert camera == (None if expected is None else Camera(*expected, is_metric=True))


P = [400.0, 0.0, 310.0, 0.0, 0.0, 410.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("rectified", "p", "expected"),
    [
        pytest.param(False, P, (500, 520, 330, 250), id="raw: K"),
        pytest.param(True, P, (400, 410, 310, 230), id="rectified: P"),
        pytest.param(True, [0.0] * 12, None, id="rectified, P of zeros"),
    ],
)
def test_rectified_images_use_the_matrix_p(
    rectified: bool, p: list[float], expected: tuple[float, ...] | None
) -> None:
    message = info()
    message.p = p
    camera = camera_from_info(round_trip(message), 640, 480, rectified)
    assert camera == (None if expected is None else Camera(*expected, is_metric=True))


# --- Detections ----------------------------------------------------------------------------------

QUARTER_TURN = np.pi / 2


@pytest.mark.parametrize(
    ("results", "person_class", "theta", "expected"),
    [
        pytest.param([("dog", 0.4)], "", 0, [(90, 180, 110, 220, 0.4)], id="any class"),
        pytest.param([("dog", 0.9), ("person", 0.5)], "person", 0,
                     [(90, 180, 110, 220, 0.5)], id="score of the class asked for"),
        pytest.param([("a", 0.5), ("b", 0.75), ("c", 0.25)], "", 0,
                     [(90, 180, 110, 220, 0.75)], id="best of several"),
        pytest.param([("dog", 0.9)], "person", 0, [], id="of another class"),
        pytest.param([], "", 0, [(90, 180, 110, 220, 1.0)], id="without a result"),
        pytest.param([], "person", 0, [], id="without a result, a class asked for"),
        pytest.param([("person", 0.5)], "", QUARTER_TURN,
                     [(80, 190, 120, 210, 0.5)], id="rotated by 90 degrees"),
        pytest.param([("person", 0.5)], "", np.pi / 6,
                     [(81.34, 177.68, 118.66, 222.32, 0.5)], id="rotated by 30 degrees"),
        pytest.param([("person", 0.5)], "", np.inf,
                     [(np.nan,) * 4 + (0.5,)], id="infinite rotation"),
    ],
)  # fmt: skip
def test_boxes_from_detections(
    results: list[tuple[str, float]], person_class: str, theta: float, expected: list[tuple]
) -> None:
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    detection = vision_msgs.Detection2D()
    detection.bbox.center.position.x, detection.bbox.center.position.y = 100.0, 200.0
    detection.bbox.center.theta = float(theta)
    detection.bbox.size_x, detection.bbox.size_y = 20.0, 40.0
    for class_id, score in results:
        result = vision_msgs.ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = class_id, score
        detection.results.append(result)
    message = round_trip(vision_msgs.Detection2DArray(detections=[detection]))

    boxes = boxes_from_detections(message, person_class)
    assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
    found = np.concatenate((boxes.xyxy, boxes.scores[:, None]), 1)
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 5), atol=0.01)


def test_no_detections_are_no_boxes() -> None:
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    boxes = boxes_from_detections(vision_msgs.Detection2DArray())
    assert (boxes.xyxy.shape, boxes.scores.shape) == ((0, 4), (0,))


# --- Images --------------------------------------------------------------------------------------

LEFT, RIGHT_RGB = (200, 40, 90), (30, 150, 220)


def encode(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """(H, W, 3) -> (H, W, channels), from the definitions of sensor_msgs/image_encodings."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    full = np.full_like(r, 255)
    if encoding in ("rgb8", "bgr8", "rgba8", "bgra8"):
        planes = {"r": r, "g": g, "b": b, "a": full}
        return np.stack([planes[c] for c in encoding.removesuffix("8")], -1)
    if encoding == "mono8":
        return np.rint(0.299 * r + 0.587 * g + 0.114 * b).astype(np.uint8)[..., None]
    if encoding.startswith("bayer"):  # names the colours of the first 2x2 pixels
        c = encoding.removeprefix("bayer_")
        raw = np.empty_like(r)
        planes = {"r": r, "g": g, "b": b}
        for k, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            raw[row::2, column::2] = planes[c[k]][row::2, column::2]
        return raw[..., None]
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    chroma = np.where(np.arange(rgb.shape[1]) % 2 == 0, u, v)  # shared by a pair of pixels
    luma_first = encoding in ("yuyv", "yuv422_yuy2")
    pairs = (y, chroma) if luma_first else (chroma, y)
    return np.rint(np.stack(pairs, -1)).astype(np.uint8)


@pytest.mark.parametrize("is_bigendian", [0, 1], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rgb_from_message(encoding: str, is_bigendian: int) -> None:
    rgb = np.empty((12, 24, 3), np.uint8)
    rgb[:, :12], rgb[:, 12:] = LEFT, RIGHT_RGB
    pixels = encode(rgb, encoding)
    rows = pixels.reshape(12, -1)
    padded = np.pad(rows, ((0, 0), (0, 5)), constant_values=77)
    message = Image(height=12, width=24, encoding=encoding, step=padded.shape[1])
    message.is_bigendian = is_bigendian
    message.data = array.array("B", padded.tobytes())

    found = rgb_from_message(round_trip(message))
    assert (found.shape, found.dtype) == (rgb.shape, np.uint8)
    expected = np.repeat(encode(rgb, "mono8"), 3, -1) if encoding == "mono8" else rgb
    exact = encoding in ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
    inner = [column for column in range(2, 22) if column not in (10, 11, 12, 13)]
    difference = np.abs(found.astype(int) - expected)[2:-2, inner]
    assert difference.max() <= (0 if exact else 3)


def test_an_unknown_encoding_needs_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # as if not installed
    message = Image(height=2, width=2, encoding="16UC1", step=4, data=array.array("B", bytes(8)))
    with pytest.raises(ImageError, match=r"'16UC1' needs the ROS package cv_bridge.*rgb8, bgr8"):
        rgb_from_message(message)


def test_cv_bridge_decodes_unknown_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    cv_bridge = ModuleType("cv_bridge")

    class CvBridgeError(TypeError):
        pass

    class CvBridge:
        def imgmsg_to_cv2(self, message: Image, desired: str) -> np.ndarray:
            if message.encoding != "rgb16":
                raise CvBridgeError("Unrecognized image encoding")
            assert desired == "rgb8"
            return np.full((message.height, message.width, 3), 9, np.uint8)

    cv_bridge.CvBridge, cv_bridge.CvBridgeError = CvBridge, CvBridgeError
    monkeypatch.setitem(sys.modules, "cv_bridge", cv_bridge)
    image = rgb_from_message(Image(height=2, width=3, encoding="rgb16", step=18))
    np.testing.assert_array_equal(image, np.full((2, 3, 3), 9))
    with pytest.raises(ImageError, match=r"cv_bridge cannot convert 'odd': Unrecognized"):
        rgb_from_message(Image(height=2, width=3, encoding="odd"))


def test_compressed_message() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    message = round_trip(CompressedImage(format="rgb8; png", data=array.array("B", data)))
    np.testing.assert_array_equal(rgb_from_message(message), rgb)


@pytest.mark.parametrize("stride", [1, 2], ids=["contiguous", "view"])
def test_image_message(stride: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)[:, ::stride]
    message = round_trip(image_message(image, HEADER))
    assert message.header == HEADER
    np.testing.assert_array_equal(rgb_from_message(message), image)
