"""A camera driver and a person detector that publish from the test's process."""

from __future__ import annotations

import array
import time
from typing import Any

import cv2
import numpy as np
from harness import RELIABLE, TIMEOUT_S, System, stamp_ns
from pear_ros.msg import HumanArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

WIDTH, HEIGHT = 640, 480
FOCAL_PX = 600.0
BOXES = [  # x0, y0, x1, y1 px, score
    (20, 40, 180, 440, 0.9),
    (240, 100, 400, 460, 0.8),
    (450, 20, 630, 300, 0.7),
]


class CameraDriver:
    """Publishes images, calibration and boxes; stamps are 0.1 s apart, the first is now."""

    def __init__(self, system: System, name: str = "", compressed: bool = False) -> None:
        prefix = f"/{name}" if name else ""
        node = system.peer.node
        self.system = system
        self.frame_id = f"{name or 'camera'}_optical_frame"
        self.compressed = compressed
        kind, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        self.topic = f"{prefix}/image{suffix}"
        qos = RELIABLE if compressed else qos_profile_sensor_data  # drivers use either
        self._images = node.create_publisher(kind, self.topic, qos)
        self._infos = node.create_publisher(
            CameraInfo, f"{prefix}/camera_info", qos_profile_sensor_data
        )
        self._boxes: Any = None
        self._boxes_topic = f"{prefix}/detections"
        self._humans_topic = f"/pear{prefix}/humans"
        self.humans: list[HumanArray] | None = None  # not subscribed until `get_ready`
        self.stamp_ns = time.time_ns() // 10**8 * 10**8
        self.picture = gradient_picture()
        self.k: list[float] | None = None  # of camera_info

    def message(self) -> Image | CompressedImage:
        """A valid image with the next stamp."""
        self.stamp_ns += 100_000_000
        if self.compressed:
            jpeg = cv2.imencode(".jpg", self.picture)[1].tobytes()
            message = CompressedImage(format="jpeg", data=array.array("B", jpeg))
        else:
            message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
            message.data = array.array("B", self.picture.tobytes())
        message.header.frame_id = self.frame_id
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.stamp_ns, 10**9)
        return message

    def publish(self, message: Image | CompressedImage | None = None, boxes: Any = None) -> int:
        """Publishes an image and its boxes (xyxy, score); returns its stamp, ns."""
        message = message or self.message()
        self._images.publish(message)
        if boxes is not None:
            self.publish_boxes(message.header, boxes)
        return stamp_ns(message)

    def publish_boxes(self, header: Any, boxes: list[tuple[float, ...]]) -> None:
        from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

        if self._boxes is None:
            self._boxes = self.system.peer.node.create_publisher(
                Detection2DArray, self._boxes_topic, qos_profile_sensor_data
            )
        detections = Detection2DArray(header=header)
        for x0, y0, x1, y1, score in boxes:
            detection = Detection2D(header=header)
            center = detection.bbox.center.position
            center.x, center.y = (x0 + x1) / 2, (y0 + y1) / 2
            detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = "person", float(score)
            detection.results.append(result)
            detections.detections.append(detection)
        self._boxes.publish(detections)

    def subscribers(self) -> int:
        """Number of subscribers of the images."""
        return self._images.get_subscription_count()

    def publish_info(self) -> None:
        info = CameraInfo(width=WIDTH, height=HEIGHT)
        info.header.frame_id = self.frame_id
        info.k = self.k or [FOCAL_PX, 0.0, WIDTH / 2, 0.0, FOCAL_PX, HEIGHT / 2, 0.0, 0.0, 1.0]
        self._infos.publish(info)

    def answer(self, stamp: int) -> HumanArray:
        """Waits for the message about the image with that stamp."""
        return self.system.peer.wait(
            lambda: next((m for m in reversed(self.humans) if stamp_ns(m) == stamp), None),
            f"answer to an image on {self.topic}",
        )

    def ask(self, message: Any = None, boxes: Any = None) -> HumanArray:
        """Publishes an image and waits for its answer."""
        return self.answer(self.publish(message, boxes))

    def get_ready(self, boxes: Any = None, info: bool = True) -> None:
        """Publishes until an image is answered, so that all endpoints are discovered."""
        if self.humans is None:
            self.humans = self.system.peer.collect(HumanArray, self._humans_topic)
        behind_ns = max(time.time_ns() - self.stamp_ns, 0)
        self.stamp_ns += behind_ns // 10**8 * 10**8  # stamps stay near the node's clock
        end_s = time.monotonic() + TIMEOUT_S
        stamps = set()
        while not any(stamp_ns(m) in stamps for m in self.humans):
            assert self.system.process.is_alive(), self.system.process.log()
            assert self.system.peer.is_alive(), "the peer's executor has ended"
            assert time.monotonic() < end_s, (
                f"no image on {self.topic} was answered: {self.subscribers()} subscribers, "
                f"{self.system.peer.node.get_node_names()}, {self.system.diagnostics_values()}"
            )
            if info:
                self.publish_info()
            stamps.add(self.publish(None, boxes))
            with self.system.peer.arrived:
                self.system.peer.arrived.wait(0.2)
        self.ask(None, boxes)  # all images before are answered or dropped now


def gradient_picture() -> np.ndarray:
    """(480, 640, 3): a colour gradient, so that crops differ and JPEG changes little."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    channels = (u * 255 // WIDTH, v * 255 // HEIGHT, (u + v) * 255 // (WIDTH + HEIGHT))
    return np.stack(channels, -1).astype(np.uint8)
