"""`make soak MINUTES=60`: runs the node under load; memory, files, threads and image accounting.

A prepared camera publishes images of four people. Each person comes for some seconds and leaves for
longer than `tracking.timeout_s`, so that every visit gets a new id. The subscriber leaves from time
to time, too. Prints a line every minute, and at the end whether the limits hold:

    memory      grows by less than MOST_GROWTH_MB_H after the first sixth of the time
    files       as many descriptors at the end as after the first sixth, and as many threads
    accounting  images_received = images_answered + images_dropped + images_unwatched, exactly
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from pear_ros.msg import HumanArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from visualization_msgs.msg import MarkerArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.errors import PearError
from pear_ros.people import Boxes
from pear_ros.ros.dds import allow_large_images
from pear_ros.ros.schedule import Schedule
from pear_ros.synthetic.scene import Cast
from pear_ros.system.installed import shared_file
from tools.bench_camera import PreparedCamera
from tools.bench_node import node_command, write_shots
from tools.domain import use_own_domain

PEOPLE, IMAGE = 4, (640, 480)
VISIT_S, BREAK_S = 6.0, 3.0  # the break is longer than tracking.timeout_s
WATCHED_S, UNWATCHED_S = 50.0, 5.0
SAMPLE_S, SAMPLES_A_LINE = 2.0, 30
MOST_GROWTH_MB_H = 5.0
START_S, LAST_S = 120.0, 5.0  # timeouts for the first result, and for the counters after the last
ACCOUNTED = ("images_answered", "images_dropped", "images_unwatched")


@dataclass(frozen=True)
class Sample:
    """The node's process at one moment."""

    time_s: float
    anonymous_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int, time_s: float) -> Sample:
        """Reads `/proc`. Raises PearError if the process has exited."""
        try:
            status = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":" in line
            )
            files = len(os.listdir(f"/proc/{pid}/fd"))
            anonymous_kb = int(status["RssAnon"].split()[0])
        except (OSError, KeyError) as error:
            raise PearError(f"the node has exited ({error})") from error
        return cls(time_s, anonymous_kb / 1024, files, int(status["Threads"]))


class ComingAndGoing(PreparedCamera):
    """A camera whose people visit in turns."""

    def __init__(self, shots: Path) -> None:
        super().__init__(shots, name="")
        with np.load(shots) as file:
            self._boxes: NDArray[np.float32] = file["boxes_xyxy"].astype(np.float32)  # (S, N, 4) px
        self._shot = 0

    def publish_at(self, time_s: float) -> None:
        """Publishes the next image with the people who are there at `time_s`."""
        period_s = VISIT_S + BREAK_S
        offsets_s = period_s / PEOPLE * np.arange(PEOPLE)
        is_here = (time_s + offsets_s) % period_s < VISIT_S
        boxes = self._boxes[self._shot % len(self._boxes)][is_here]
        self._shot += 1
        self.publish(Boxes(boxes, np.ones(len(boxes), np.float32)))


class Watcher(Node):
    """Subscribes to people and meshes, at times, and to the counters."""

    def __init__(self) -> None:
        super().__init__("soak_watcher")
        self.ids: set[str] = set()
        self.answers = 0
        self.counters: dict[str, int] = {}
        self.diagnosed_s = 0.0
        self._outputs: list[Any] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def watch(self, wants: bool) -> None:
        """Subscribes or unsubscribes, if it has not already."""
        if wants and not self._outputs:
            qos = QoSProfile(depth=10)
            self._outputs = [
                self.create_subscription(HumanArray, "/pear/humans", self._on_humans, qos),
                # Raw: to make Python objects of a mesh's 60,000 points takes a second.
                self.create_subscription(
                    MarkerArray, "/pear/markers", lambda _: None, qos, raw=True
                ),
            ]
        elif not wants:
            for subscription in self._outputs:
                self.destroy_subscription(subscription)
            self._outputs = []

    def _on_humans(self, message: HumanArray) -> None:
        self.answers += 1
        self.ids.update(human.id for human in message.humans)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id == "pear_ros":
                values = {pair.key: pair.value for pair in status.values}
                self.counters = {k: int(v) for k, v in values.items() if v.isdigit()}
                self.diagnosed_s = time.monotonic()


def soak(minutes: float, rate_hz: float, folder: Path) -> dict[str, Any]:
    """Runs the node; returns the report.

    Raises:
        PearError: If the node does not start, or exits.
    """
    shots, log = folder / "shots.npz", folder / "node.log"
    write_shots(shots, Cast(load_assets(shared_file("standin/body.npz"))), PEOPLE, IMAGE)
    with log.open("w") as file:
        node = subprocess.Popen(node_command(), stdout=file, stderr=subprocess.STDOUT)
    watcher = Watcher()
    camera = ComingAndGoing(shots)
    try:
        watcher.watch(True)
        if not camera.wait_for_node(START_S):
            raise PearError(f"the node did not start; its log:\n{log.read_text()}")
        samples = _run(camera, watcher, node.pid, minutes, rate_hz)
        _settle(watcher)
        return report_of(samples, watcher, minutes, rate_hz)
    finally:
        node.terminate()
        node.wait(timeout=30)
        watcher.destroy_node()
        camera.destroy_node()


def _run(
    camera: ComingAndGoing, watcher: Watcher, pid: int, minutes: float, rate_hz: float
) -> list[Sample]:
    samples: list[Sample] = []
    clock = Schedule(rate_hz, time.monotonic())
    while clock.time_s < 60 * minutes:
        while (left_s := clock.due_s - time.monotonic()) > 0:
            rclpy.spin_once(watcher, timeout_sec=left_s)
        watcher.watch(clock.time_s % (WATCHED_S + UNWATCHED_S) < WATCHED_S)
        camera.publish_at(clock.time_s)
        if clock.time_s >= SAMPLE_S * len(samples):
            samples.append(Sample.of(pid, clock.time_s))
            if len(samples) % SAMPLES_A_LINE == 1:
                print(_line(samples[-1], watcher), flush=True)
        clock.advance(time.monotonic())
    return samples


def _line(sample: Sample, watcher: Watcher) -> str:
    return (
        f"{sample.time_s / 60:4.0f} min: {sample.anonymous_mb:.1f} MB, {sample.files} files, "
        f"{sample.threads} threads, {watcher.answers} answers, {len(watcher.ids)} ids"
    )


def _settle(watcher: Watcher) -> None:
    """Waits until the counters are those after the last image."""
    sent_s = time.monotonic()
    while watcher.diagnosed_s < sent_s + LAST_S:
        rclpy.spin_once(watcher, timeout_sec=0.1)
        if time.monotonic() > sent_s + 30:
            raise PearError("the node does not publish /diagnostics any more")


def report_of(
    samples: Sequence[Sample], watcher: Watcher, minutes: float, rate_hz: float
) -> dict[str, Any]:
    """The figures, and whether the limits hold."""
    settled = [s for s in samples if s.time_s >= 60 * minutes / 6]
    hours = np.array([s.time_s / 3600 for s in settled])
    slope_mb_h = float(np.polyfit(hours, [s.anonymous_mb for s in settled], 1)[0])
    quarter = max(len(settled) // 4, 1)
    files, threads = (
        [max(getattr(s, name) for s in part) for part in (settled[:quarter], settled[-quarter:])]
        for name in ("files", "threads")
    )
    counters = watcher.counters
    received = counters.get("images_received", 0)
    accounted = sum(counters.get(name, 0) for name in ACCOUNTED)
    return {
        "minutes": minutes,
        "rate_hz": rate_hz,
        "ids": len(watcher.ids),
        "anonymous_mb": [
            samples[0].anonymous_mb,
            settled[0].anonymous_mb,
            samples[-1].anonymous_mb,
        ],
        "growth_mb_per_hour": slope_mb_h,
        "files": files,
        "threads": threads,
        "counters": counters,
        "holds": {
            "memory": slope_mb_h < MOST_GROWTH_MB_H,
            "files": files[1] <= files[0] and threads[1] <= threads[0],
            "accounting": 0 < received == accounted,
        },
        "samples": [dataclasses.astuple(s) for s in samples[:: max(len(samples) // 120, 1)]],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate-hz", type=float, default=10.0)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report as JSON")
    options = parser.parse_args(arguments)
    allow_large_images()
    use_own_domain()
    rclpy.init()
    try:
        with tempfile.TemporaryDirectory(prefix="pear_ros_") as folder:
            report = soak(options.minutes, options.rate_hz, Path(folder))
    except PearError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    for name, value in report.items():
        if name != "samples":
            print(f"{name}: {value}")
    return 0 if all(report["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
