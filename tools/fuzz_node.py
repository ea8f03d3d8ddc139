"""Kinds of inputs of `tools.fuzz`: damaged messages, sent over DDS to a node in its own process."""

from __future__ import annotations

import ctypes
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tools import fuzz_messages
from tools.domain import use_own_domain
from tools.fuzz_damage import Random, Try, damaged, fuzzer, hostile_float, hostile_int

GOOD_EVERY = 500  # messages: then a good image must be answered
ANSWER_S, START_S = 5.0, 110.0  # timeouts
DATA = Path(__file__).resolve().parent.parent / "test/data"


@fuzzer("cdr", needs_ros=True)
def cdr(folder: Path) -> Try:
    """Damaged images, calibrations and detections."""
    return NodeUnderFire(folder, is_compressed=False)


@fuzzer("cdr-compressed", needs_ros=True)
def cdr_compressed(folder: Path) -> Try:
    """The same with compressed images."""
    return NodeUnderFire(folder, is_compressed=True)


class NodeUnderFire:
    """Runs a node, sends one damaged message at a call, and a good image now and then.

    Raises:
        AssertionError: If the node has ended, or does not answer a good image within ANSWER_S.
    """

    def __init__(self, folder: Path, is_compressed: bool) -> None:
        use_own_domain()
        import rclpy
        from pear_ros.msg import HumanArray
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image
        from vision_msgs.msg import Detection2DArray

        self._is_compressed = is_compressed
        self._pictures = fuzz_messages.encoded_pictures()
        self._log = folder / "node.log"
        self._process = self._start()
        self.pid = self._process.pid  # whose memory is limited
        rclpy.init()
        self._node = rclpy.create_node("fuzz")
        image = (CompressedImage, "image/compressed") if is_compressed else (Image, "image")
        self._publishers = {
            kind: self._node.create_publisher(kind, topic, QoSProfile(depth=10))
            for kind, topic in (
                image,
                (CameraInfo, "camera_info"),
                (Detection2DArray, "detections"),
            )
        }
        self._answered: set[tuple[int, int]] = set()  # stamps
        self._node.create_subscription(
            HumanArray, "/pear/humans", self._on_humans, QoSProfile(depth=10)
        )
        self._sent = 0
        self._check(START_S)

    def _start(self) -> subprocess.Popen[bytes]:
        from pear_ros.system.installed import shared_file

        settings = {
            "network.checkpoint": DATA / "network_tiny.pt",
            "network.config": DATA / "network_tiny.json",
            "network.device": "cpu",
            "body.assets": shared_file("standin/body.npz"),
            "camera.image_transport": "compressed" if self._is_compressed else "raw",
            "detection.detector": "topic",
            "detection.min_plausibility": 0.0,
        }
        command = [sys.executable, "-m", "pear_ros.cli", "node", "--ros-args"]
        for name, value in settings.items():
            command += ["-p", f"{name}:={value}"]
        with self._log.open("w") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent
            )

    def _on_humans(self, message: Any) -> None:
        self._answered.add((message.header.stamp.sec, message.header.stamp.nanosec))

    def __call__(self, random: Random) -> None:
        from rclpy.serialization import serialize_message

        messages = self._messages(random)
        spoiled = random.choice(list(messages))
        for kind, message in messages.items():
            data = serialize_message(message)
            self._publishers[kind].publish(_damaged(data, random) if kind is spoiled else data)
        self._sent += 1
        assert self._process.poll() is None, f"the node has ended: {self._log.read_text()[-3000:]}"
        if self._sent % GOOD_EVERY == 0:
            self._check(ANSWER_S)

    def _messages(self, random: Random) -> dict[Any, Any]:
        """A good image with its calibration and detections, all with the stamp of now."""
        from sensor_msgs.msg import CompressedImage, Image

        info = fuzz_messages.valid_info(random)
        detections = fuzz_messages.detections_message(random, rate=0)
        if self._is_compressed:
            data = random.choice(self._pictures)
            image = CompressedImage(format="jpeg", data=data)
        else:
            image = Image(**fuzz_messages.valid_image_fields(random))
            info.width, info.height = image.width, image.height
        messages = {type(message): message for message in (info, detections, image)}
        stamp = self._node.get_clock().now().to_msg()
        for message in messages.values():
            message.header.stamp, message.header.frame_id = stamp, "camera"
        return messages

    def _check(self, timeout_s: float) -> None:
        """Sends good messages until one is answered."""
        import rclpy

        self._answered.clear()
        stamps: set[tuple[int, int]] = set()
        end_s = time.monotonic() + timeout_s
        while not self._answered & stamps:
            assert self._process.poll() is None, f"the node has ended: {self._log.read_text()}"
            assert time.monotonic() < end_s, f"no answer: {self._log.read_text()[-3000:]}"
            messages = self._messages(Random(0))
            for kind, message in messages.items():
                self._publishers[kind].publish(message)
                stamps.add((message.header.stamp.sec, message.header.stamp.nanosec))
            rclpy.spin_once(self._node, timeout_sec=0.2)


def _damaged(data: bytes, random: Random) -> bytes:
    """Any damage, or another number where a number can be, mostly near the beginning."""
    if random.random() < 0.4:
        return damaged(data, random)
    end = min(len(data), random.choice((64, 64, 400, len(data))))
    at = 4 * random.randrange(end // 4)
    new = random.choice((
        struct.pack("<I", hostile_int(random)),
        struct.pack("<d", hostile_float(random)),
    ))  # fmt: skip
    return data[:at] + new + data[at + len(new) :]


def _die_with_parent() -> None:
    """Otherwise the node would outlive a child of the fuzzer that is killed. Linux only."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
