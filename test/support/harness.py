"""Runs the node as a process, with a peer in the test's process that talks to it over DDS."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from samples import ROOT

from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

TIMEOUT_S = 60.0  # most time until an expected event
RELIABLE = QoSProfile(depth=1000)
ENVIRONMENT = {
    TRANSPORTS: LARGE_IMAGES,
    # LOCALHOST would override the line above. Tests are kept apart by their domains.
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    "OMP_NUM_THREADS": "1",
}
os.environ.pop("ROS_LOCALHOST_ONLY", None)  # also limits the range; Jazzy warns about it


@contextmanager
def own_domain() -> Iterator[int]:
    """Reserves a ROS_DOMAIN_ID that no other test on this machine uses."""
    # Nodes refer to themselves, so those of earlier tests may still be there. With more than four
    # DDS participants in a process, new ones are not discovered.
    gc.collect()
    for k in range(100):
        domain = 1 + (os.getpid() + k) % 100
        with open(f"/tmp/pear_ros_test_domain_{domain}", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise RuntimeError("all ROS domains are taken")


def _die_with_parent() -> None:
    """Without this, a node could outlive its test and disturb the next one. Linux only."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


class NodeProcess:
    """The process of `pear-ros node` or another command that runs a node, and its log."""

    def __init__(self, folder: Path, domain: int, arguments: list[str], name: str = "node") -> None:
        self.log_path = folder / f"{name}_{domain}_{time.monotonic_ns()}.log"
        environment = {**os.environ, **ENVIRONMENT}
        environment |= {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(folder / "ros_log")}
        command = [sys.executable, "-m", "pear_ros.cli", name, "--ros-args", *arguments]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def log(self) -> str:
        return self.log_path.read_text()

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Sends a signal and returns the exit code."""
        os.killpg(self.process.pid, number)
        return self.process.wait(10)

    def end(self) -> None:
        """Interrupts before it kills: a killed process leaves its shared memory behind."""
        with suppress(subprocess.TimeoutExpired):
            if self.is_alive():
                self.interrupt()
        if self.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def arguments_of(parameters: dict[str, Any]) -> list[str]:
    """Arguments `-p name:=value`, values in YAML."""
    arguments = []
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments += ["-p", f"{name}:={text}"]
    return arguments


class Peer:
    """A ROS node in the test's process that spins in a thread; messages are collected in lists."""

    def __init__(self, domain: int) -> None:
        os.environ.update(ENVIRONMENT)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node(f"peer_{domain}", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.arrived = threading.Condition()
        self._subscriptions: list[Any] = []
        self._clients: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self.executor.spin()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def collect(self, kind: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """A list to which the messages of `topic` are appended."""
        messages: list[Any] = []

        def on_message(message: Any) -> None:
            with self.arrived:
                messages.append(message)
                self.arrived.notify_all()

        subscription = self.node.create_subscription(kind, topic, on_message, qos)
        self._subscriptions.append(subscription)
        return messages

    def forget(self) -> None:
        """Ends all subscriptions."""
        while self._subscriptions:
            self.node.destroy_subscription(self._subscriptions.pop())

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Waits until `condition()` is true and returns its value."""
        end_s = time.monotonic() + timeout_s
        with self.arrived:
            while not (value := condition()):
                if time.monotonic() > end_s:
                    raise AssertionError(f"{what}: not within {timeout_s:.0f} s")
                assert self.is_alive(), "the peer's executor has ended"
                self.arrived.wait(0.02)
        return value

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Calls a service and returns its response."""
        # Clients are kept: an answer is lost if the server has not discovered a new client yet.
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        assert client.wait_for_service(TIMEOUT_S), f"no service {name}"
        can_repeat = kind is GetState  # which changes no state
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            future = client.call_async(request)
            try:
                timeout_s = 5 if can_repeat else TIMEOUT_S
                self.wait(future.done, f"answer of {name}", timeout_s)
                return future.result()
            except AssertionError:
                if not can_repeat or time.monotonic() > end_s:
                    raise

    def close(self) -> None:
        rclpy.shutdown(context=self.context)
        self._thread.join(TIMEOUT_S)
        self.executor.shutdown()
        self.node.destroy_node()


class System:
    """The process of a node, and a peer in the same ROS domain."""

    def __init__(self, folder: Path, domain: int, arguments: list[str]) -> None:
        self.process = NodeProcess(folder, domain, arguments)
        self.peer = Peer(domain)
        self.diagnostics: list[DiagnosticArray] = []
        self.watch_diagnostics()

    def watch_diagnostics(self) -> None:
        self.diagnostics = self.peer.collect(DiagnosticArray, "/diagnostics")

    def close(self) -> None:
        try:
            self.peer.close()
        finally:
            self.process.end()
            print(self.process.log())  # pytest shows it where a test failed

    def new_log(self, since: str) -> list[str]:
        """Warnings and errors logged after `since`, an earlier `process.log()`."""
        lines = self.process.log()[len(since) :].splitlines()
        return [line for line in lines if line.startswith(("[WARN]", "[ERROR]", "[FATAL]"))]

    # Lifecycle and parameters

    def state(self) -> str:
        return self.peer.call(GetState, "/pear/get_state", GetState.Request()).current_state.label

    def change(self, *transitions: str) -> bool:
        """Runs lifecycle transitions; returns False at the first that fails."""
        for name in transitions:
            request = ChangeState.Request()
            request.transition.id = getattr(Transition, f"TRANSITION_{name.upper()}")
            if not self.peer.call(ChangeState, "/pear/change_state", request).success:
                return False
        return True

    def set_parameters(self, **values: Any) -> list[str]:
        """Sets parameters; returns the reasons of those that were refused."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        results = self.peer.call(SetParameters, "/pear/set_parameters", request).results
        return [result.reason for result in results if not result.successful]

    def reconfigure(self, **parameters: Any) -> None:
        """Activates the node with other parameters, from any state."""
        down = {"active": ("deactivate", "cleanup"), "inactive": ("cleanup",)}
        assert self.change(*down.get(self.state(), ()))
        assert self.set_parameters(**parameters) == []
        assert self.change("configure", "activate")

    # Diagnostics

    def counts(self) -> dict[str, str]:
        """Values of a diagnostic status that is sent after this call."""
        before = len(self.diagnostics)
        self.peer.wait(lambda: len(self.diagnostics) > before, "diagnostics")
        return self.diagnostics_values()

    def diagnostics_values(self) -> dict[str, str]:
        """Values of the last diagnostic status, which may be a second old."""
        last = self.diagnostics[-1:]
        return {value.key: value.value for m in last for value in m.status[0].values}

    def count(self, key: str) -> int:
        return int(self.counts().get(key, 0))


def round_trip(message: Any) -> Any:
    """Serializes and deserializes a message, as sending it does."""
    return deserialize_message(serialize_message(message), type(message))


def stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec


# Each image is one person, whatever the network with random weights makes of it.
AS_SEEN = {
    "detection.detector": "full_frame",
    "detection.min_plausibility": 0.0,
    "tracking.predict_s": 0.0,
}


@contextmanager
def running(folder: Path, *arguments: str, **parameters: Any) -> Iterator[System]:
    """A System in its own domain; the settings are AS_SEEN, unless changed by `parameters`."""
    with own_domain() as domain:
        system = System(folder, domain, [*arguments_of(AS_SEEN | parameters), *arguments])
        try:
            yield system
        finally:
            system.close()
