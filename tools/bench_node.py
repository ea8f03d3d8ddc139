"""`make bench-node`: latency of the node, from an image's stamp to the receipt of its people.

Cameras, node and this recorder are separate processes that communicate over DDS. The images are
those of the synthetic camera, rendered beforehand, and are published with their detections.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from pear_ros.msg import HumanArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tqdm import tqdm

from pear_ros.assets.body_assets import load_assets
from pear_ros.cli.arguments import image_size
from pear_ros.errors import PearError
from pear_ros.geometry.boxes import boxes_inside
from pear_ros.ros.dds import allow_large_images
from pear_ros.ros.from_messages import stamp_ns
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene
from pear_ros.system.device import choose_device
from pear_ros.system.hardware import hardware
from pear_ros.system.installed import shared_file
from tools.domain import use_own_domain

SHOTS, SHOT_EVERY_S, SEED = 16, 0.1, 5
MOST_DROPPED = 0.05  # allowed fraction of dropped images at the highest rate
SLOWEST_HZ, FASTEST_HZ = 1.0, 240.0  # range of the search
SEARCH_STEPS = 4
WARM_UP_HZ, WARM_UP_S = 5.0, 2.0
START_S = 60.0  # timeout for the start of a process and for the first result
LAST_S = 5.0  # timeout for the last image's result


@dataclass(frozen=True)
class Setup:
    cameras: tuple[str, ...]  # names
    people: int  # in front of each camera


@dataclass(frozen=True)
class Result:
    """The result of sending images at one rate; all cameras together."""

    people: int  # in front of each camera
    cameras: int
    rate_hz: float  # achieved rate of each camera
    sent: int
    answered: int
    found: float  # mean number of people per processed image
    p50_ms: float  # from stamp to receipt; NaN if no image was processed
    p95_ms: float
    p99_ms: float
    is_highest: bool = False  # the highest rate with at most MOST_DROPPED

    @property
    def dropped(self) -> float:
        """Fraction of the images without a result."""
        return 1 - self.answered / self.sent

    @property
    def keeps_up(self) -> bool:
        return self.dropped <= MOST_DROPPED


class Recorder(Node):
    def __init__(self, cameras: Sequence[str]) -> None:
        super().__init__("bench_recorder")
        self.latencies_s: dict[tuple[str, int], float] = {}  # by camera and stamp, ns
        self.people: list[int] = []
        self._since_ns = 0
        for name in cameras:
            topic = f"/pear/{name}/humans" if name else "/pear/humans"
            self.create_subscription(
                HumanArray, topic, partial(self._receive, name), QoSProfile(depth=100)
            )

    def _receive(self, camera: str, message: HumanArray) -> None:
        sent_ns = stamp_ns(message.header)
        if sent_ns < self._since_ns:
            return
        latency_s = (self.get_clock().now().nanoseconds - sent_ns) * 1e-9
        self.latencies_s[camera, sent_ns] = latency_s
        self.people.append(len(message.humans))

    def restart(self) -> None:
        """Clears the records and ignores images sent before this call."""
        self._since_ns = self.get_clock().now().nanoseconds
        self.latencies_s.clear()
        self.people.clear()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    results: list[Result] = []
    allow_large_images()  # an image is larger than Fast DDS's default shared memory
    use_own_domain()
    rclpy.init()
    try:
        machine = hardware(choose_device(options.device))
        cast = Cast(load_assets(shared_file("standin/body.npz")))
        with tempfile.TemporaryDirectory(prefix="pear_ros_") as folder:
            for setup in tqdm(options.setups, unit="setup", disable=None):
                results += bench_setup(setup, cast, options, Path(folder))
    except PearError as error:
        print(f"bench-node: {error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"\n{markdown(results)}")
    if options.output:
        report = {
            "hardware": machine,
            "image": options.image,
            "seconds": options.seconds,
            "results": [dataclasses.asdict(result) for result in results],
        }
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def bench_setup(
    setup: Setup, cast: Cast, options: argparse.Namespace, folder: Path
) -> list[Result]:
    """Measures at the given rates, then searches the highest rate the node keeps up with.

    Raises:
        PearError: If the node does not start or process images, or `setup` does not fit the image.
    """
    shots, log = folder / "shots.npz", folder / "node.log"
    write_shots(shots, cast, setup.people, options.image)
    recorder = Recorder(setup.cameras)
    with ExitStack() as stack:
        stack.callback(recorder.destroy_node)
        stack.enter_context(node_process(options, setup.cameras, log))
        cameras = [stack.enter_context(camera_process(shots, name)) for name in setup.cameras]
        if not all(is_ready(camera) for camera in cameras):
            raise PearError(f"the node did not start; its log:\n{log.read_text()}")
        measure = partial(run, setup, recorder, cameras)
        deadline_s = time.monotonic() + START_S
        while not measure(WARM_UP_HZ, WARM_UP_S).answered:
            if time.monotonic() > deadline_s:
                raise PearError(f"the node processes no images; its log:\n{log.read_text()}")
        results = [measure(rate_hz, options.seconds) for rate_hz in options.rates]
        best = highest_rate(lambda rate_hz: measure(rate_hz, options.seconds), results)
    return results if best is None else [*results, dataclasses.replace(best, is_highest=True)]


def highest_rate(measure: Callable[[float], Result], measured: Sequence[Result]) -> Result | None:
    """Searches the highest rate with at most MOST_DROPPED, starting from the results `measured`.

    Each step bisects, logarithmically, the interval between the highest rate that works and the
    next one that does not. Returns None if no rate works.
    """
    results = list(measured)
    for _ in range(SEARCH_STEPS):
        low_hz = max((r.rate_hz for r in results if r.keeps_up), default=SLOWEST_HZ)
        failed_hz = (r.rate_hz for r in results if not r.keeps_up and r.rate_hz > low_hz)
        results.append(measure((low_hz * min(failed_hz, default=FASTEST_HZ)) ** 0.5))
    return max((r for r in results if r.keeps_up), key=lambda r: r.rate_hz, default=None)


def run(
    setup: Setup,
    recorder: Recorder,
    cameras: Sequence[subprocess.Popen[str]],
    rate_hz: float,
    seconds: float,
) -> Result:
    """Sends images; receives until the result of the last one, at most LAST_S after it."""
    recorder.restart()
    for camera in cameras:
        assert camera.stdin is not None
        camera.stdin.write(f"{rate_hz} {seconds}\n")
        camera.stdin.flush()
    reports = [_report(camera, recorder) for camera in cameras]
    last = [(name, r["last_stamp_ns"]) for name, r in zip(setup.cameras, reports, strict=True)]
    deadline_s = time.monotonic() + LAST_S
    while not all(key in recorder.latencies_s for key in last) and time.monotonic() < deadline_s:
        rclpy.spin_once(recorder, timeout_sec=0.1)
    latencies_ms = 1e3 * np.array(list(recorder.latencies_s.values()) or [np.nan])
    p50, p95, p99 = np.percentile(latencies_ms, (50, 95, 99)).tolist()
    return Result(
        people=setup.people,
        cameras=len(cameras),
        rate_hz=float(np.mean([report["rate_hz"] for report in reports])),
        sent=sum(report["sent"] for report in reports),
        answered=len(recorder.latencies_s),
        found=float(np.mean(recorder.people or [0])),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def _report(camera: subprocess.Popen[str], recorder: Recorder) -> dict[str, Any]:
    """The camera's report when it has sent all images; until then the recorder receives."""
    assert camera.stdout is not None
    while not select.select([camera.stdout], [], [], 0)[0]:
        rclpy.spin_once(recorder, timeout_sec=0.02)
    if not (line := camera.stdout.readline()):
        raise PearError("a camera's process has exited")
    return json.loads(line)


# --- Processes -----------------------------------------------------------------------------------


def node_command(**parameters: str) -> list[str]:
    """Runs the node on given boxes; names with `__` for the dot, empty ones are left out."""
    settings = {
        "network.checkpoint": shared_file("demo/model.pt"),
        "network.config": shared_file("demo/network.json"),
        "body.assets": shared_file("standin/body.npz"),
        "detection.detector": "topic",
        # Everybody counts who is in the image, and nobody else.
        "detection.min_plausibility": "0.0",
        "tracking.predict_s": "0.0",
        **{name.replace("__", "."): value for name, value in parameters.items()},
    }
    given = [x for name, value in settings.items() if value for x in ("-p", f"{name}:={value}")]
    return [sys.executable, "-m", "pear_ros.cli", "node", "--ros-args", *given]


@contextmanager
def node_process(options: argparse.Namespace, cameras: Sequence[str], log: Path) -> Iterator[None]:
    parameters = {
        "network__device": options.device,
        "camera__names": f"[{', '.join(cameras)}]" if any(cameras) else "",
    }
    if options.checkpoint:
        parameters |= {
            "network__checkpoint": options.checkpoint,
            "network__config": options.network_config,
        }
    if options.assets:
        parameters["body__assets"] = options.assets
    with log.open("w") as file:
        process = subprocess.Popen(
            node_command(**parameters), stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        _end(process)


@contextmanager
def camera_process(shots: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tools.bench_camera", str(shots), name, str(START_S)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        _end(process)


def is_ready(camera: subprocess.Popen[str]) -> bool:
    assert camera.stdout is not None
    return camera.stdout.readline() == "ready\n"


def _end(process: subprocess.Popen[Any]) -> None:
    """Terminates, and kills only after a timeout: a killed process leaks its shared memory."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()


def write_shots(path: Path, cast: Cast, people: int, image_size: tuple[int, int]) -> None:
    """Renders images of one scene; writes them with boxes and intrinsics.

    Raises:
        PearError: If not all people are inside all images.
    """
    scene = Scene(cast, REPERTOIRES["held_out"], SEED, people, *image_size)
    shots = [scene.shot(i * SHOT_EVERY_S, visibility=False) for i in range(SHOTS)]
    boxes = [boxes_inside(shot.people.boxes, shot.image.shape[:2]).xyxy for shot in shots]
    if any(len(rows) != people for rows in boxes):
        raise PearError(f"{people} people do not fit into the image")
    camera = scene.camera
    np.savez(
        path,
        images=np.stack([shot.image for shot in shots]),
        boxes_xyxy=np.stack(boxes),
        intrinsics=np.array((camera.fx, camera.fy, camera.cx, camera.cy)),
    )


# --- Output --------------------------------------------------------------------------------------


def markdown(results: Sequence[Result]) -> str:
    lines = [
        "| cameras x people | rate Hz | sent | processed | people per image | dropped "
        "| p50 ms | p95 ms | p99 ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        rate = f"**{r.rate_hz:.1f}**" if r.is_highest else f"{r.rate_hz:.1f}"
        times = (f"{ms:.1f}" for ms in (r.p50_ms, r.p95_ms, r.p99_ms))
        lines.append(
            f"| {r.cameras} x {r.people} | {rate} | {r.sent} | {r.answered} | {r.found:.1f} "
            f"| {r.dropped:.0%} | {' | '.join(times)} |"
        )
    lines.append(f"\nBold: the highest rate with at most {MOST_DROPPED:.0%} of the images dropped.")
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-node", description=__doc__)
    parser.add_argument("--seconds", type=_positive, default=5.0, help="per measurement")
    parser.add_argument("--rates", type=_positive, nargs="*", default=[10.0, 30.0, 60.0], help="Hz")
    parser.add_argument(
        "--setups",
        type=_setup,
        nargs="+",
        default=[_setup(text) for text in ("1x1", "1x4", "1x8", "1x16", "2x4")],
        metavar="CAMERASxPEOPLE",
        help="number of cameras and of people in front of each",
    )
    parser.add_argument("--image", type=image_size, default=(640, 480), metavar="WIDTHxHEIGHT")
    parser.add_argument(
        "--checkpoint", default="", help="PEAR's weights; default: the demo network"
    )
    parser.add_argument(
        "--network-config", default="", help="JSON file with the checkpoint's sizes"
    )
    parser.add_argument("--assets", default="", help="body model; default: the stand-in body")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    options = parser.parse_args(arguments)
    if options.output and not options.output.parent.is_dir():
        parser.error(
            f"{options.output} cannot be written: {options.output.parent} is not a directory"
        )
    return options


def _positive(text: str) -> float:
    number = float(text)  # argparse reports a ValueError
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _setup(text: str) -> Setup:
    cameras, people = (int(count) for count in text.split("x"))  # argparse reports a ValueError
    if cameras < 1 or people < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: at least one camera and one person")
    names = ("",) if cameras == 1 else tuple(f"camera{i + 1}" for i in range(cameras))
    return Setup(names, people)


if __name__ == "__main__":
    sys.exit(main())
