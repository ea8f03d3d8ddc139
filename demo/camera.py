"""A camera node for the demo, in its own process: publishes a video or a webcam's images.

Run `python -m demo.camera SOURCE RATE_HZ LIMIT_S`; SOURCE is a file, a webcam's number or device.
At the end it prints how many images it published.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pear_ros.people import ImageArray
from pear_ros.ros.synthetic_camera import FRAME_ID
from pear_ros.ros.to_messages import image_message


def main(source: str, rate_hz: float, limit_s: float) -> int:
    """Publishes for at most `limit_s`; returns 1 if there is no image or no subscriber."""
    images = read_images(source)
    first = next(images, None)
    if first is None:
        print(
            f"{source} cannot be read as a video or webcam; check the path or the number",
            file=sys.stderr,
        )
        return 1
    rclpy.init()
    node = Node("demo_camera")
    image_publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
    waiting_since_s = time.monotonic()
    while not image_publisher.get_subscription_count():
        if time.monotonic() - waiting_since_s > 60:
            print(
                "no node subscribed to the camera within 60 s; see the node's log", file=sys.stderr
            )
            return 1
        time.sleep(0.1)
    time.sleep(1.0)  # the subscriber must discover the publisher, too

    started_s = time.monotonic()
    published = 0
    for published, image in enumerate(itertools.chain([first], images), 1):
        header = Header(stamp=node.get_clock().now().to_msg(), frame_id=FRAME_ID)
        image_publisher.publish(image_message(image, header))
        due_s = started_s + published / rate_hz
        time.sleep(max(due_s - time.monotonic(), 0))
        if time.monotonic() - started_s > limit_s:
            break
    print(f"published {published} images")
    time.sleep(0.5)  # for the last images to arrive
    rclpy.try_shutdown()
    return 0


def read_images(source: str) -> Iterator[ImageArray]:
    """Yields (H, W, 3) RGB images; videos repeat."""
    is_webcam = source.isdigit() or source.startswith("/dev/")
    while True:
        video = cv2.VideoCapture(int(source) if source.isdigit() else source)
        is_read, image = video.read() if video.isOpened() else (False, None)
        if not is_read:
            return
        while is_read:
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            is_read, image = video.read()
        if is_webcam:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
