"""Starts camera and node, records what the node publishes, prints a table, writes a picture."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

# An image does not fit into the shared memory that Fast DDS sends through by default.
os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT?sockets_size=16MB")
# Another node on this machine would answer the demo's images, too.
os.environ.setdefault("ROS_DOMAIN_ID", str(10 + os.getpid() % 90))

import cv2
import numpy as np
import rclpy
from pear_ros.msg import HumanArray
from rclpy.node import Node
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from tqdm import tqdm
from visualization_msgs.msg import MarkerArray

from pear_ros.convert import rgb_from_message
from pear_ros.toy import write_toy

TOPICS = {
    "/pear/humans": HumanArray,
    "/pear/markers": MarkerArray,
    "/pear/skeletons": MarkerArray,
    "/tf": TFMessage,
    "/pear/overlay": Image,
}


class Recorder(Node):
    """Counts and times messages of the node's topics."""

    def __init__(self) -> None:
        super().__init__("demo_recorder")
        self.arrivals_s: dict[str, list[float]] = defaultdict(list)  # by topic, monotonic clock
        self.latencies_s: dict[str, list[float]] = defaultdict(list)  # from the image's stamp
        self.people: list[int] = []
        self.dropped = 0
        self.picture: Image | None = None
        for topic, kind in TOPICS.items():
            # rclpy makes an object of each of a mesh's points: count those messages undecoded.
            is_raw = topic == "/pear/markers"
            on_message = partial(self._receive, topic)
            self.create_subscription(kind, topic, on_message, 100, raw=is_raw)

    def _receive(self, topic: str, message: Any) -> None:
        self.arrivals_s[topic].append(time.monotonic())
        if (header := _header(message)) is not None:
            stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
            age_ns = self.get_clock().now().nanoseconds - stamp_ns
            self.latencies_s[topic].append(age_ns * 1e-9)
        if isinstance(message, HumanArray):
            self.people.append(len(message.humans))
            self.dropped += message.dropped
        elif isinstance(message, Image):
            self.picture = message

    def table(self) -> str:
        rows = [
            f"{'topic':<16} {'messages':>8} {'rate Hz':>8} {'latency ms, median':>19} {'95 %':>7}"
        ]
        for topic in TOPICS:
            arrivals, latencies = self.arrivals_s[topic], self.latencies_s[topic]
            rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0
            row = f"{topic:<16} {len(arrivals):>8} {rate:>8.1f}"
            if latencies:
                median, late = np.percentile(latencies, (50, 95)) * 1e3
                row += f" {median:>19.1f} {late:>7.1f}"
            rows.append(row)
        return "\n".join(rows)


def _header(message: Any) -> Any:
    if isinstance(message, HumanArray | Image):
        return message.header
    parts = getattr(message, "markers", None) or getattr(message, "transforms", None)
    return parts[0].header if parts else None


def main() -> int:
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    has_weights = bool(options.checkpoint and options.assets)
    toy = write_toy(options.output / "toy")
    parameters = {
        "checkpoint": options.checkpoint if has_weights else str(toy.checkpoint),
        "network_config": options.network_config if has_weights else str(toy.network_config),
        "assets": options.assets if has_weights else str(toy.assets),
        "detector": options.detector,
    }
    if not has_weights:
        print(
            "Toy weights: the network recognises nothing, the people you will see are where the "
            "detector put them, not as they stand. For PEAR itself see docs/assets.md, then\n"
            "  make demo CHECKPOINT=pear_model.pt ASSETS=body.npz\n"
        )
    print(f"To look on from another terminal: export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}")
    node_arguments = [x for k, v in parameters.items() if v for x in ("-p", f"{k}:={v}")]
    log = options.output / "node.log"
    rclpy.init()
    recorder = Recorder()
    with log.open("w") as log_file:
        node = subprocess.Popen(
            [sys.executable, "-m", "pear_ros.cli", "node", "--ros-args", *node_arguments],
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
        camera = subprocess.Popen(
            [
                *(sys.executable, "-m", "demo.camera", options.video),
                *(str(options.rate_hz), str(options.duration_s), str(toy.assets)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            _record(recorder, node, camera)
        finally:
            for process in (node, camera):
                process.send_signal(signal.SIGINT)
            published = (camera.communicate(timeout=30)[0] or "").strip()
            node.wait(timeout=30)
    rclpy.try_shutdown()
    if not recorder.people:
        print(f"Nothing came from the node. {log} says:\n{log.read_text()}", file=sys.stderr)
        return 1

    print(recorder.table())
    print(
        f"camera: {published}; answered {len(recorder.people)}, dropped {recorder.dropped}; ",
        end="",
    )
    print(f"people per image: {np.mean(recorder.people):.1f}")
    if recorder.picture is not None:
        path = options.output / "demo.png"
        cv2.imwrite(str(path), cv2.cvtColor(rgb_from_message(recorder.picture), cv2.COLOR_RGB2BGR))
        print(f"picture: {path}, the node's log: {log}")
    return 0


def _record(recorder: Recorder, node: subprocess.Popen[str], camera: subprocess.Popen[str]) -> None:
    """Receives until the camera ends, or the node does."""
    with tqdm(unit=" images answered", disable=None) as progress:
        while camera.poll() is None and node.poll() is None:
            rclpy.spin_once(recorder, timeout_sec=0.1)
            progress.update(len(recorder.people) - progress.n)
        deadline_s = time.monotonic() + 2
        while time.monotonic() < deadline_s:  # what is still on its way
            rclpy.spin_once(recorder, timeout_sec=0.1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--video", default="", help="a file, a webcam's number, or nothing: a clip")
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--network-config", default="")
    parser.add_argument("--assets", default="")
    parser.add_argument("--detector", default="", help="full_frame, hog; for the clip hog")
    parser.add_argument("--rate-hz", type=float, default=10.0)
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--output", type=Path, default=Path("out"))
    options = parser.parse_args()
    options.detector = options.detector or ("full_frame" if options.video else "hog")
    options.video = options.video or "clip"
    return options


if __name__ == "__main__":
    sys.exit(main())
