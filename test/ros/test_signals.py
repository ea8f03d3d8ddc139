"""SIGINT and SIGTERM end the node at once, quietly and with exit code 0, whatever it is doing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from harness import ENVIRONMENT, NodeProcess, Peer, arguments_of, own_domain
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from pear_ros.msg import HumanArray
from samples import ROOT
from sensor_msgs.msg import Image

from pear_ros.ros.signals import InterruptError, run_unless

pytestmark = pytest.mark.ros

SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"]
)
MOST_S = 2.0
START_S = 60.0  # longest time until a process does what it is interrupted in

# What a node does at the moment of the signal; it prints `here` then.
LOADING = """
import sys, time, torch
from pear_ros.ros.node import main

def here():
    print("here", flush=True)

def load(config, problems):
    {work}

sys.exit(main(["--ros-args", *sys.argv[1:]], load))
"""
WORK = {
    "waits": "here(); time.sleep(600)",
    "computes": "a = torch.ones(1500, 1500); here()\n    while True: a = a @ a",
    "runs Python": "here()\n    while True: pass",
    "swallows exceptions": """here()
    while True:
        try: time.sleep(0.01)
        except BaseException: print("swallowed", flush=True)""",
}


@contextmanager
def process(domain: int, log: Path, script: str, *arguments: str) -> Iterator[subprocess.Popen]:
    environment = {**os.environ, **ENVIRONMENT, "ROS_DOMAIN_ID": str(domain)}
    environment["ROS_LOG_DIR"] = str(log.parent)
    with open(log, "w") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        child.wait()


def wait_for(text: str, log: Path, child: subprocess.Popen) -> None:
    end_s = time.monotonic() + START_S
    while text not in log.read_text():
        assert child.poll() is None, log.read_text()
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(0.02)


def check_end(child: subprocess.Popen, log: Path, number: int, expected: str) -> None:
    """Sends the signal: the process ends in time, with exit code 0, and says nothing more."""
    start_s = time.monotonic()
    child.send_signal(number)
    assert child.wait(20) == 0
    assert time.monotonic() - start_s < MOST_S
    assert log.read_text() == expected


@pytest.mark.parametrize(
    ("work", "number"),
    [
        pytest.param(work, (signal.SIGINT, signal.SIGTERM)[i % 2], id=name)
        for i, (name, work) in enumerate(WORK.items())
    ],
)
def test_while_loading(tmp_path: Path, work: str, number: int) -> None:
    log = tmp_path / "log"
    script = LOADING.format(work=work)
    with own_domain() as domain, process(domain, log, script) as child:
        wait_for("here", log, child)
        check_end(child, log, number, "here\n")


def test_while_configuring_by_a_service(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = LOADING.format(work=WORK["waits"])
    with own_domain() as domain, process(domain, log, script, "-p", "autostart:=false") as child:
        peer = Peer(domain)
        try:
            client = peer.node.create_client(ChangeState, "/pear/change_state")
            assert client.wait_for_service(START_S)
            request = ChangeState.Request()
            request.transition.id = Transition.TRANSITION_CONFIGURE
            client.call_async(request)
            wait_for("here", log, child)
            check_end(child, log, signal.SIGTERM, "here\n")
        finally:
            peer.close()


def test_several_signals(tmp_path: Path) -> None:
    """A terminal and `ros2 launch` may both send one."""
    log = tmp_path / "log"
    script = LOADING.format(work=WORK["waits"])
    with own_domain() as domain, process(domain, log, script) as child:
        wait_for("here", log, child)
        child.send_signal(signal.SIGTERM)
        time.sleep(0.02)
        check_end(child, log, signal.SIGINT, "here\n")


WORKING = """
import sys, time
sys.path.insert(0, "test/support")
import torch
from node_in_process import StandInPipeline
from pear_ros.ros.node import main

class Slow(StandInPipeline):
    def step(self, frames, mesh=False):
        print("here", flush=True)
        time.sleep(600)

    def __init__(self):
        self.body_model = None

sys.exit(main(["--ros-args", *sys.argv[1:]], lambda config, problems: Slow()))
"""


def test_while_an_image_is_in_work(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with own_domain() as domain, process(domain, log, WORKING) as child:
        peer = Peer(domain)
        try:
            publisher = peer.node.create_publisher(Image, "/image", 10)
            peer.collect(HumanArray, "/pear/humans")
            image = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(9216))
            image.header.frame_id = "camera"

            def is_in_work() -> bool:
                image.header.stamp = peer.node.get_clock().now().to_msg()
                publisher.publish(image)
                time.sleep(0.1)
                return "here" in log.read_text()

            peer.wait(is_in_work, "an image in work")
            check_end(child, log, signal.SIGINT, log.read_text())
        finally:
            peer.close()


@SIGNALS
def test_while_active(tmp_path: Path, files: dict[str, Any], number: int) -> None:
    with own_domain() as domain:
        node = NodeProcess(tmp_path, domain, arguments_of(files))
        try:
            wait_for("active: images from", node.log_path, node.process)
            before = node.log()
            start_s = time.monotonic()
            assert node.interrupt(number) == 0
            assert time.monotonic() - start_s < MOST_S
            assert node.log() == before
        finally:
            node.end()


@pytest.mark.slow
def test_at_any_moment(tmp_path: Path, files: dict[str, Any]) -> None:
    """While Python imports, exit codes are those of a process that the signal ends."""
    chance = random.Random(7)
    with own_domain() as domain:
        started_s = time.monotonic()
        node = NodeProcess(tmp_path, domain, arguments_of(files))
        wait_for("active: images from", node.log_path, node.process)
        whole_s = time.monotonic() - started_s
        node.end()
        for number in (signal.SIGINT, signal.SIGTERM) * 3:
            node = NodeProcess(tmp_path, domain, arguments_of(files))
            try:
                time.sleep(chance.uniform(0.3, 1.0) * whole_s)
                assert node.interrupt(number) in (0, 128 + number), node.log()
                for word in ("Traceback", "Error", "terminate", "cannot"):
                    assert word not in node.log(), node.log()
            finally:
                node.end()


# --- Waiting for a thread ------------------------------------------------------------------------


def test_the_result_or_the_error_of_the_work_is_passed_on() -> None:
    assert run_unless(lambda: False, lambda: 7) == 7
    with pytest.raises(KeyError, match="it"):
        run_unless(lambda: False, lambda: {}["it"])


def test_work_is_left_behind() -> None:
    start_s = time.monotonic()
    with pytest.raises(InterruptError):
        run_unless(lambda: time.monotonic() - start_s > 0.2, lambda: time.sleep(5))
    assert time.monotonic() - start_s < 2
