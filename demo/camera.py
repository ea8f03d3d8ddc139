"""A camera for the demo, a process of its own: plays a video, a webcam or the made clip.

`python -m demo.camera SOURCE RATE_HZ LONGEST_S ASSETS`; SOURCE is a file, a webcam's number or
device, or "clip". Prints how many images it published when it ends.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from demo.clip import CAMERA, make_clip
from pear_ros.convert import image_message
from pear_ros.people import ImageArray

FRAME_ID = "camera_optical_frame"


def main(source: str, rate_hz: float, longest_s: float, assets: Path) -> int:
    images = read_images(source, assets)
    first = next(images, None)
    if first is None:
        print(f"{source} cannot be read as a video or webcam", file=sys.stderr)
        return 1
    rclpy.init()
    node = Node("demo_camera")
    image_publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
    info_publisher = node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
    waiting_since_s = time.monotonic()
    while not image_publisher.get_subscription_count():
        if time.monotonic() - waiting_since_s > 60:
            print("nobody subscribed to the camera for 60 s", file=sys.stderr)
            return 1
        time.sleep(0.1)
    time.sleep(1.0)  # the other side has matched, too

    started_s = time.monotonic()
    published = 0
    for published, image in enumerate(itertools.chain([first], images), 1):
        header = Header(stamp=node.get_clock().now().to_msg(), frame_id=FRAME_ID)
        message = image_message(image, header)
        if source == "clip":
            info_publisher.publish(camera_info(message))
        image_publisher.publish(message)
        due_s = started_s + published / rate_hz
        time.sleep(max(due_s - time.monotonic(), 0))
        if time.monotonic() - started_s > longest_s:
            break
    print(f"published {published}")
    time.sleep(0.5)  # the last images are on their way
    rclpy.try_shutdown()
    return 0


def read_images(source: str, assets: Path) -> Iterator[ImageArray]:
    """(H, W, 3) RGB images; videos and the clip begin again at their end."""
    if source == "clip":
        yield from itertools.cycle(make_clip(assets))
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


def camera_info(image: Image) -> CameraInfo:
    k = (CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0)
    return CameraInfo(header=image.header, width=image.width, height=image.height, k=k)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
