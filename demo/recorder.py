"""Records the node's messages with their rates and latencies."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
from pear_ros.msg import HumanArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from pear_ros.people import ImageArray
from pear_ros.ros.from_messages import rgb_from_message, stamp_ns

OUTPUTS = {
    "/pear/humans": HumanArray,
    "/pear/markers": MarkerArray,
    "/pear/skeletons": MarkerArray,
    "/tf": TFMessage,
    "/pear/overlay": Image,
}


class Recorder(Node):
    """Subscribes to node and camera; stores messages by the stamp of their image, ns."""

    def __init__(self) -> None:
        super().__init__("demo_recorder")
        self.arrivals_s: dict[str, list[float]] = defaultdict(list)  # by topic, monotonic clock
        self.latencies_s: dict[str, list[float]] = defaultdict(list)  # from the image's stamp
        self.humans: dict[int, HumanArray] = {}
        self.truth: dict[int, HumanArray] = {}
        self.transforms: dict[int, TFMessage] = {}
        self.images: dict[int, ImageArray] = {}
        self.overlays: dict[int, ImageArray] = {}
        for topic, kind in OUTPUTS.items():
            # Decoding would make an object of each point of a mesh: only count these messages.
            is_raw = topic == "/pear/markers"
            on_message = partial(self._receive, topic)
            self.create_subscription(kind, topic, on_message, 100, raw=is_raw)
        self.create_subscription(HumanArray, "/ground_truth", self._receive_truth, 100)

    def _receive(self, topic: str, message: Any) -> None:
        self.arrivals_s[topic].append(time.monotonic())
        if (header := _header(message)) is None:
            return
        stamp = stamp_ns(header)
        self.latencies_s[topic].append((self.get_clock().now().nanoseconds - stamp) * 1e-9)
        if isinstance(message, HumanArray):
            # Not earlier: the camera starts with its first subscriber, which must be the node.
            if not self.humans:
                self.create_subscription(
                    Image, "/image", self._receive_image, qos_profile_sensor_data
                )
            self.humans[stamp] = message
        elif isinstance(message, TFMessage):
            self.transforms[stamp] = message
        elif isinstance(message, Image):
            self.overlays[stamp] = rgb_from_message(message)

    def _receive_truth(self, message: HumanArray) -> None:
        self.truth[stamp_ns(message.header)] = message

    def _receive_image(self, message: Image) -> None:
        self.images[stamp_ns(message.header)] = rgb_from_message(message)

    def table(self) -> str:
        """Returns rates and latencies of the node's topics as text."""
        rows = [
            f"{'topic':<16} {'messages':>8} {'rate Hz':>8} {'latency ms, median':>19} {'95 %':>7}"
        ]
        for topic in OUTPUTS:
            arrivals, latencies = self.arrivals_s[topic], self.latencies_s[topic]
            rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0
            row = f"{topic:<16} {len(arrivals):>8} {rate:>8.1f}"
            if latencies:
                median, p95 = np.percentile(latencies, (50, 95)) * 1e3
                row += f" {median:>19.1f} {p95:>7.1f}"
            rows.append(row)
        return "\n".join(rows)


def _header(message: Any) -> Any:
    if isinstance(message, HumanArray | Image):
        return message.header
    parts = getattr(message, "markers", None) or getattr(message, "transforms", None)
    return parts[0].header if parts else None
