"""Runs a camera and the node, records the results, prints their errors and writes pictures."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from tf2_msgs.msg import TFMessage
from tqdm import tqdm

from demo.accuracy import Errors
from demo.pictures import side_by_side, write_animation, write_still
from demo.recorder import Recorder
from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.config import SyntheticCameraConfig
from pear_ros.errors import PearError
from pear_ros.ros.dds import allow_large_images
from pear_ros.system.installed import checkpoint_or_demo, shared_file

FIRST_RESULT_S = 60.0  # timeout for the first result


def main() -> int:
    options = _options()
    allow_large_images()
    # Otherwise another node on this machine would process the demo's images, too.
    os.environ.setdefault("ROS_DOMAIN_ID", str(10 + os.getpid() % 90))
    options.output.mkdir(parents=True, exist_ok=True)
    node_log, camera_log = options.output / "node.log", options.output / "camera.log"
    try:
        commands = {node_log: _node_command(options), camera_log: _camera_command(options)}
    except PearError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"To watch from another terminal: export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}")
    rclpy.init()
    recorder = Recorder()
    processes = []
    for log, command in commands.items():
        with log.open("w") as file:
            processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
    try:
        _record(recorder, *processes)
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(timeout=30)
    rclpy.try_shutdown()
    if not recorder.humans:
        print("The node published nothing. The logs:", file=sys.stderr)
        print(node_log.read_text(), camera_log.read_text(), file=sys.stderr)
        return 1
    _report(recorder, options.output, camera_log)
    return 0


def _node_command(options: argparse.Namespace) -> list[str]:
    """The node; by default with the demo network and the stand-in body."""
    parameters = {
        "network.checkpoint": checkpoint_or_demo(options.checkpoint, options.network_config),
        "network.config": options.network_config,
        "body.assets": options.assets or shared_file("standin/body.npz"),
        "detection.detector": options.detector,
        "camera.info_timeout_s": "0.0" if options.video else "",  # do not wait for it
    }
    given = [x for name, value in parameters.items() if value for x in ("-p", f"{name}:={value}")]
    return [sys.executable, "-m", "pear_ros.cli", "node", "--ros-args", *given]


def _camera_command(options: argparse.Namespace) -> list[str]:
    rate_hz, duration_s = str(options.rate_hz), str(options.duration_s)
    if options.video:
        return [sys.executable, "-m", "demo.camera", options.video, rate_hz, duration_s]
    given = {"rate_hz": rate_hz, "duration_s": duration_s, "wait_for_subscriber": "true",
             "people": options.people, "seed": options.seed}  # fmt: skip
    arguments = [x for name, value in given.items() for x in ("-p", f"{name}:={value}")]
    return [sys.executable, "-m", "pear_ros.cli", "synthetic-camera", "--ros-args", *arguments]


def _record(
    recorder: Recorder, node: subprocess.Popen[bytes], camera: subprocess.Popen[bytes]
) -> None:
    """Receives until the camera or the node exits, or until the first result times out."""
    began_s = time.monotonic()
    with tqdm(unit=" images processed", disable=None) as progress:
        while camera.poll() is None and node.poll() is None:
            rclpy.spin_once(recorder, timeout_sec=0.1)
            progress.update(len(recorder.humans) - progress.n)
            if not recorder.humans and time.monotonic() > began_s + FIRST_RESULT_S:
                return
        deadline_s = time.monotonic() + 2
        while time.monotonic() < deadline_s:  # messages in transit
            rclpy.spin_once(recorder, timeout_sec=0.1)


def _report(recorder: Recorder, output: Path, camera_log: Path) -> None:
    print(recorder.table())
    dropped = sum(message.dropped for message in recorder.humans.values())
    people = np.mean([len(message.humans) for message in recorder.humans.values()])
    camera = camera_log.read_text().strip().splitlines()[-1:] or ["?"]
    print(
        f"camera: {camera[0].split(']: ')[-1]}; node: processed {len(recorder.humans)} images, "
        f"dropped {dropped}; people per image: {people:.1f}"
    )
    if recorder.truth:
        errors = Errors(BodyModel(load_assets(shared_file("standin/body.npz"))))
        known = set(recorder.humans) & set(recorder.truth)
        for stamp in known:
            transforms = recorder.transforms.get(stamp, TFMessage())
            errors.add(recorder.humans[stamp], transforms, recorder.truth[stamp])
        print(f"\n{errors.table()}")
        with_people = {stamp for stamp in known if recorder.humans[stamp].humans}
        print(
            f"processed images without ground truth: {len(recorder.humans) - len(known)}, "
            f"with people but without TF: {len(with_people - set(recorder.transforms))}"
        )
    if pairs := side_by_side(recorder.images, recorder.overlays):
        still, animation = output / "demo.png", output / "demo.webp"
        write_still(still, pairs)
        write_animation(animation, pairs)
        print(f"\npictures: {still}, {animation}; logs: {output}/*.log")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--video",
        default="",
        help="video file or number of a webcam; default: the synthetic camera",
    )
    parser.add_argument(
        "--checkpoint", default="", help="PEAR's weights; default: the demo network"
    )
    parser.add_argument(
        "--network-config", default="", help="JSON file with the sizes of the checkpoint"
    )
    parser.add_argument("--assets", default="", help="body model; default: the stand-in body")
    parser.add_argument(
        "--detector",
        default="",
        help="nanodet (default), topic (the synthetic camera's true boxes) or full_frame",
    )
    camera = SyntheticCameraConfig
    parser.add_argument(
        "--people", type=int, default=camera.people, help="number of people to render"
    )
    parser.add_argument("--seed", type=int, default=camera.seed, help="seed of the scene")
    parser.add_argument("--rate-hz", type=float, default=10.0, help="images per second")
    parser.add_argument("--duration-s", type=float, default=10.0, help="length of the demo")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
