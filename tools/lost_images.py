"""Counts how many images arrive from another process: the table of docs/troubleshooting.md.

`python -m tools.lost_images` sends 60 images of 640x480 px, best effort, at 20 Hz, for each setting
of Fast DDS.
"""

from __future__ import annotations

import array
import os
import subprocess
import sys
import time

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

IMAGES, RATE_HZ, WIDTH, HEIGHT = 60, 20.0, 640, 480
DISCOVERY_S, LAST_S = 5.0, 2.0  # longest wait for the other process; for images under way
DOMAIN = "231"
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
SETTINGS: dict[str, tuple[dict[str, str], dict[str, str]]] = {  # sender, receiver
    "default": ({}, {}),
    f"{LARGE_IMAGES} on the sender": ({TRANSPORTS: LARGE_IMAGES}, {}),
    "LARGE_DATA on both sides": ({TRANSPORTS: "LARGE_DATA"},) * 2,
    "LARGE_DATA on the sender": ({TRANSPORTS: "LARGE_DATA"}, {}),
    f"{LARGE_IMAGES} on both sides, {RANGE}=LOCALHOST": (
        {TRANSPORTS: LARGE_IMAGES, RANGE: "LOCALHOST"},
    )
    * 2,
}


def send() -> None:
    """Publishes when there is a subscriber, or after DISCOVERY_S."""
    node = rclpy.create_node("sender")
    publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
    end_s = time.monotonic() + DISCOVERY_S
    while not publisher.get_subscription_count() and time.monotonic() < end_s:
        time.sleep(0.1)
    time.sleep(0.5)
    message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    message.data = array.array("B", bytes(3 * WIDTH * HEIGHT))
    for _ in range(IMAGES):
        publisher.publish(message)
        time.sleep(1 / RATE_HZ)


def receive() -> None:
    """Prints how many images arrived."""
    node = rclpy.create_node("receiver")
    arrived: list[Image] = []
    node.create_subscription(Image, "image", arrived.append, qos_profile_sensor_data)
    end_s = time.monotonic() + DISCOVERY_S + IMAGES / RATE_HZ + LAST_S
    while time.monotonic() < end_s and len(arrived) < IMAGES:
        rclpy.spin_once(node, timeout_sec=0.1)
    print(len(arrived))


def count(sender: dict[str, str], receiver: dict[str, str]) -> int:
    """Runs both sides as processes with these environment variables."""
    common = {k: v for k, v in os.environ.items() if k not in (TRANSPORTS, RANGE)}
    common["ROS_DOMAIN_ID"] = DOMAIN
    command = (sys.executable, "-m", "tools.lost_images")
    receiving = subprocess.Popen(
        (*command, "receive"), env=common | receiver, stdout=subprocess.PIPE, text=True
    )
    subprocess.run((*command, "send"), env=common | sender, check=True)
    return int(receiving.communicate()[0])


def main() -> None:
    if side := sys.argv[1:]:
        with rclpy.init():
            {"send": send, "receive": receive}[side[0]]()
        return
    print(f"| setting | arrived, of {IMAGES} |\n|---|---|")
    for name, (sender, receiver) in SETTINGS.items():
        print(f"| {name} | {count(sender, receiver)} |", flush=True)


if __name__ == "__main__":
    main()
