"""A camera for `tools.bench_node`, in its own process: publishes images rendered beforehand.

`python -m tools.bench_camera SHOTS.npz NAME TIMEOUT_S` (NAME may be empty) prints `ready` when the
node has subscribed, and exits with status 1 if that takes longer than TIMEOUT_S. For each line
`RATE_HZ SECONDS` on its standard input it publishes for that time, and then prints a line of JSON
with the number of published images, the last image's stamp and the achieved rate.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from pear_ros.people import Boxes, Camera
from pear_ros.ros.schedule import Schedule
from pear_ros.ros.synthetic_camera import FRAME_ID
from pear_ros.ros.to_messages import camera_info_message, detections_message, image_message


class PreparedCamera(Node):
    """Publishes the images from `tools.bench_node.write_shots` in an endless loop."""

    def __init__(self, shots: Path, name: str) -> None:
        super().__init__(f"bench_camera_{name}")
        with np.load(shots) as file:
            images, xyxy = file["images"], file["boxes_xyxy"]  # (S, H, W, 3), (S, N, 4) px
            camera = Camera(*file["intrinsics"].tolist())
        header = Header(frame_id=FRAME_ID)
        scores = np.ones(xyxy.shape[1], np.float32)
        self._info = camera_info_message(camera, header, images.shape[1:3])
        self._shots = cycle([
            (image_message(image, header), detections_message(Boxes(boxes, scores), header))
            for image, boxes in zip(images, xyxy, strict=True)
        ])  # fmt: skip
        prefix = f"{name}/" if name else ""
        self._images, self._infos, self._detections = (
            self.create_publisher(kind, f"{prefix}{topic}", qos)
            for kind, topic, qos in (
                (Image, "image", qos_profile_sensor_data),
                (CameraInfo, "camera_info", qos_profile_sensor_data),
                (Detection2DArray, "detections", QoSProfile(depth=10)),
            )
        )

    def wait_for_node(self, timeout_s: float) -> bool:
        """Returns True when all topics have a subscriber, False after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        publishers = (self._images, self._infos, self._detections)
        while not all(publisher.get_subscription_count() for publisher in publishers):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.05)
        return True

    def send(self, rate_hz: float, seconds: float) -> dict[str, float]:
        """Publishes for some seconds. Overdue images are skipped, as a driver does: no bursts."""
        sent, clock = 0, Schedule(rate_hz, time.monotonic())
        while clock.time_s < seconds:
            time.sleep(max(clock.due_s - time.monotonic(), 0))
            self.publish()
            sent += 1
            clock.advance(time.monotonic())
        return {"sent": sent, "last_stamp_ns": self._stamp_ns, "rate_hz": sent / seconds}

    def publish(self, boxes: Boxes | None = None) -> None:
        """Publishes the next image with its detections, or with `boxes` instead."""
        image, detections = next(self._shots)
        if boxes is not None:
            detections = detections_message(boxes, image.header)
        now = self.get_clock().now()
        self._stamp_ns = now.nanoseconds
        for message in (self._info, image, detections):
            message.header.stamp = now.to_msg()
        self._infos.publish(self._info)
        self._images.publish(image)
        self._detections.publish(detections)


def main(shots: str, name: str, timeout_s: float) -> int:
    rclpy.init()
    camera = PreparedCamera(Path(shots), name)
    if not camera.wait_for_node(timeout_s):
        return 1
    print("ready", flush=True)
    for line in sys.stdin:
        rate_hz, seconds = map(float, line.split())
        print(json.dumps(camera.send(rate_hz, seconds)), flush=True)
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
