"""Calibrations, boxes and images are read from real messages, without a node."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import cv2
from harness import round_trip
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from pear_ros.errors import ImageError
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
        pytest.param(
            info(k=[1e-37, *K[1:]], width=2**32 - 1, binning_x=2**31),
            (1, 480),
            None,
            id="focal 0 after binning",
        ),
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


@pytest.mark.parametrize(
    ("is_bigendian", "grey"), [(0, 0x34), (1, 0x12)], ids=["little-endian", "big-endian"]
)
def test_size_step_and_byte_order_of_a_raw_message(is_bigendian: int, grey: int) -> None:
    """All encodings: test/images/test_raw.py."""
    rows = b"\x12\x34" * 3 + b"\xee" * 5
    message = Image(height=2, width=3, encoding="mono16", step=11, is_bigendian=is_bigendian)
    message.data = array.array("B", rows * 2)
    found = rgb_from_message(round_trip(message))
    np.testing.assert_array_equal(found, np.full((2, 3, 3), grey))


@pytest.mark.parametrize(
    ("encoding", "text"), [("16UC1", "is that of depth images"), ("odd", "is none of rgb8, bgr8")]
)
def test_what_is_no_picture_is_refused(encoding: str, text: str) -> None:
    message = Image(height=2, width=2, encoding=encoding, step=4, data=array.array("B", bytes(8)))
    with pytest.raises(ImageError, match=text):
        rgb_from_message(message)


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
