"""A camera driver that publishes a registered depth image before each image."""

from __future__ import annotations

import array
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from camera_driver import CameraDriver
from compressed_depth import compressed_depth
from harness import System
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from pear_ros.people import FloatArray


class DepthCameraDriver(CameraDriver):
    """Publishes `depth_m`, if it is set, after `spoil` has changed the message."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.depth_m: FloatArray | None = None  # (H, W) m
        self.is_depth_compressed = False
        self.spoil: Callable[[Any], None] = lambda message: None
        self._depths = {
            kind: system.peer.node.create_publisher(kind, topic, qos_profile_sensor_data)
            for kind, topic in ((Image, "/depth"), (CompressedImage, "/depth/compressedDepth"))
        }

    def depth_message(self, header: Any) -> Image | CompressedImage:
        """In millimetres; compressed as the inverse of metres, by RVL."""
        assert self.depth_m is not None
        if self.is_depth_compressed:
            message = CompressedImage(format="32FC1; compressedDepth rvl")
            message.data = array.array("B", compressed_depth(self.depth_m, "rvl"))
        else:
            values = (1000 * self.depth_m).astype("<u2")
            height, width = values.shape
            message = Image(height=height, width=width, encoding="16UC1", step=2 * width)
            message.data = array.array("B", values.tobytes())
        message.header = copy.deepcopy(header)
        self.spoil(message)
        return message

    def publish(self, message: Image | CompressedImage | None = None, boxes: Any = None) -> int:
        message = message or self.message()
        if self.depth_m is not None:
            depth = self.depth_message(message.header)
            self._depths[type(depth)].publish(depth)
        return super().publish(message, boxes)


def zeros(message: Image) -> None:
    message.data = array.array("B", bytes(len(message.data)))


def halved(message: Image) -> None:
    """Half as many pixels along both sides."""
    values = np.frombuffer(message.data, "<u2").reshape(message.height, message.width)[::2, ::2]
    message.height, message.width = values.shape
    message.step = 2 * message.width
    message.data = array.array("B", np.ascontiguousarray(values).tobytes())
