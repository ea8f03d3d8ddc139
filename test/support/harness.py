"""The node as a process of its own, and a peer in the test's process that talks to it over DDS."""

from __future__ import annotations

import array
import ctypes
import fcntl
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

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from pear_ros.msg import HumanArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.serialization import deserialize_message, serialize_message
from samples import ROOT
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

TIMEOUT_S = 60.0  # of what must happen; a test goes on as soon as it has
WIDTH, HEIGHT = 640, 480
FOCAL_PX = 600.0
BOXES = [  # x0, y0, x1, y1 px, score
    (20, 40, 180, 440, 0.9),
    (240, 100, 400, 460, 0.8),
    (450, 20, 630, 300, 0.7),
]
RELIABLE = QoSProfile(depth=1000)
ENVIRONMENT = {
    TRANSPORTS: LARGE_IMAGES,
    # A range of LOCALHOST puts the line above out of force; domains of their own keep tests apart.
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    "OMP_NUM_THREADS": "1",
}
os.environ.pop("ROS_LOCALHOST_ONLY", None)  # would limit the range too; Jazzy warns where it is set


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test of this machine has, as long as it is held."""
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
    """A node that outlived its test would talk to others in the domain. Linux only."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


class NodeProcess:
    """`pear-ros node`, or another command that is a node, with its log."""

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
        """Sends a signal and gives the exit code."""
        os.killpg(self.process.pid, number)
        return self.process.wait(10)

    def end(self) -> None:
        """Asks first: a killed process leaves its shared memory behind."""
        with suppress(subprocess.TimeoutExpired):
            if self.is_alive():
                self.interrupt()
        if self.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def arguments_of(parameters: dict[str, Any]) -> list[str]:
    """-p arguments; values as YAML has them."""
    arguments = []
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments += ["-p", f"{name}:={text}"]
    return arguments


class Peer:
    """A ROS node of the test's process, spinning in a thread; what arrives lies in lists."""

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
        """A list that gets what is published on `topic`."""
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
        """Waits until `condition()` is true and gives its value."""
        end_s = time.monotonic() + timeout_s
        with self.arrived:
            while not (value := condition()):
                if time.monotonic() > end_s:
                    raise AssertionError(f"{what}: not within {timeout_s:.0f} s")
                assert self.is_alive(), "the peer's executor has ended"
                self.arrived.wait(0.02)
        return value

    def call(self, kind: Any, name: str, request: Any) -> Any:
        # Kept, as an answer gets lost where the server has not yet found a client that is new.
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        assert client.wait_for_service(TIMEOUT_S), f"no service {name}"
        asks_again = kind is GetState  # which changes nothing
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            future = client.call_async(request)
            try:
                timeout_s = 5 if asks_again else TIMEOUT_S
                self.wait(future.done, f"answer of {name}", timeout_s)
                return future.result()
            except AssertionError:
                if not asks_again or time.monotonic() > end_s:
                    raise

    def close(self) -> None:
        rclpy.shutdown(context=self.context)
        self._thread.join(TIMEOUT_S)
        self.executor.shutdown()
        self.node.destroy_node()


class System:
    """A node's process and a peer in one ROS domain."""

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
        """Lines of warnings and errors after the text `since` of `process.log()`."""
        lines = self.process.log()[len(since) :].splitlines()
        return [line for line in lines if line.startswith(("[WARN]", "[ERROR]", "[FATAL]"))]

    # Lifecycle and parameters

    def state(self) -> str:
        return self.peer.call(GetState, "/pear/get_state", GetState.Request()).current_state.label

    def change(self, *transitions: str) -> bool:
        """Whether all transitions succeeded; stops at the first that did not."""
        for name in transitions:
            request = ChangeState.Request()
            request.transition.id = getattr(Transition, f"TRANSITION_{name.upper()}")
            if not self.peer.call(ChangeState, "/pear/change_state", request).success:
                return False
        return True

    def set_parameters(self, **values: Any) -> list[str]:
        """The reasons why values were refused."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        results = self.peer.call(SetParameters, "/pear/set_parameters", request).results
        return [result.reason for result in results if not result.successful]

    def reconfigure(self, **parameters: Any) -> None:
        """From any state to active, with other parameters."""
        down = {"active": ("deactivate", "cleanup"), "inactive": ("cleanup",)}
        assert self.change(*down.get(self.state(), ()))
        assert self.set_parameters(**parameters) == []
        assert self.change("configure", "activate")

    # Diagnostics

    def counts(self) -> dict[str, str]:
        """Of a status sent after this call."""
        before = len(self.diagnostics)
        self.peer.wait(lambda: len(self.diagnostics) > before, "diagnostics")
        return self.diagnostics_values()

    def diagnostics_values(self) -> dict[str, str]:
        """Of the last status, which may be a second old."""
        last = self.diagnostics[-1:]
        return {value.key: value.value for m in last for value in m.status[0].values}

    def count(self, key: str) -> int:
        return int(self.counts().get(key, 0))


class TestCamera:
    """Publishes what a camera's driver and a detector would; stamps 0.1 s apart."""

    __test__ = False

    def __init__(self, system: System, name: str = "", compressed: bool = False) -> None:
        prefix = f"/{name}" if name else ""
        node = system.peer.node
        self.system = system
        self.frame_id = f"{name or 'camera'}_optical_frame"
        self.compressed = compressed
        kind, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        self.topic = f"{prefix}/image{suffix}"
        qos = RELIABLE if compressed else qos_profile_sensor_data  # as drivers do, both
        self._images = node.create_publisher(kind, self.topic, qos)
        self._infos = node.create_publisher(
            CameraInfo, f"{prefix}/camera_info", qos_profile_sensor_data
        )
        self._boxes: Any = None
        self._boxes_topic = f"{prefix}/detections"
        self._humans_topic = f"/pear{prefix}/humans"
        self.humans: list[HumanArray] | None = None  # nobody watches until `get_ready`
        self.stamp_ns = 1_700_000_000_000_000_000
        self.picture = test_picture()
        self.k: list[float] | None = None  # of camera_info

    def message(self) -> Image | CompressedImage:
        """A good image with the next stamp."""
        self.stamp_ns += 100_000_000
        if self.compressed:
            jpeg = cv2.imencode(".jpg", self.picture)[1].tobytes()
            message = CompressedImage(format="jpeg", data=array.array("B", jpeg))
        else:
            message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
            message.data = array.array("B", self.picture.tobytes())
        message.header.frame_id = self.frame_id
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.stamp_ns, 10**9)
        return message

    def publish(self, message: Image | CompressedImage | None = None, boxes: Any = None) -> int:
        """An image, and the boxes (xyxy, score) found in it; gives its stamp, ns."""
        message = message or self.message()
        self._images.publish(message)
        if boxes is not None:
            self.publish_boxes(message.header, boxes)
        return stamp_ns(message)

    def publish_boxes(self, header: Any, boxes: list[tuple[float, ...]]) -> None:
        from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

        if self._boxes is None:
            self._boxes = self.system.peer.node.create_publisher(
                Detection2DArray, self._boxes_topic, qos_profile_sensor_data
            )
        detections = Detection2DArray(header=header)
        for x0, y0, x1, y1, score in boxes:
            detection = Detection2D(header=header)
            center = detection.bbox.center.position
            center.x, center.y = (x0 + x1) / 2, (y0 + y1) / 2
            detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = "person", float(score)
            detection.results.append(result)
            detections.detections.append(detection)
        self._boxes.publish(detections)

    def subscribers(self) -> int:
        """How many subscribe to the images."""
        return self._images.get_subscription_count()

    def publish_info(self) -> None:
        info = CameraInfo(width=WIDTH, height=HEIGHT)
        info.header.frame_id = self.frame_id
        info.k = self.k or [FOCAL_PX, 0.0, WIDTH / 2, 0.0, FOCAL_PX, HEIGHT / 2, 0.0, 0.0, 1.0]
        self._infos.publish(info)

    def answer(self, stamp: int) -> HumanArray:
        """The message about the image with that stamp."""
        return self.system.peer.wait(
            lambda: next((m for m in reversed(self.humans) if stamp_ns(m) == stamp), None),
            f"answer to an image on {self.topic}",
        )

    def ask(self, message: Any = None, boxes: Any = None) -> HumanArray:
        """Publishes an image and waits for its answer."""
        return self.answer(self.publish(message, boxes))

    def get_ready(self, boxes: Any = None, info: bool = True) -> None:
        """Publishes until an image is answered: publishers and subscribers have met."""
        if self.humans is None:
            self.humans = self.system.peer.collect(HumanArray, self._humans_topic)
        end_s = time.monotonic() + TIMEOUT_S
        stamps = set()
        while not any(stamp_ns(m) in stamps for m in self.humans):
            assert self.system.process.is_alive(), self.system.process.log()
            assert self.system.peer.is_alive(), "the peer's executor has ended"
            assert time.monotonic() < end_s, (
                f"no image on {self.topic} was answered: {self.subscribers()} subscribers, "
                f"{self.system.peer.node.get_node_names()}, {self.system.diagnostics_values()}"
            )
            if info:
                self.publish_info()
            stamps.add(self.publish(None, boxes))
            with self.system.peer.arrived:
                self.system.peer.arrived.wait(0.2)
        self.ask(None, boxes)  # whatever came before is answered or dropped


def test_picture() -> np.ndarray:
    """(480, 640, 3): smooth colours, so that crops differ and JPEG changes little."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    channels = (u * 255 // WIDTH, v * 255 // HEIGHT, (u + v) * 255 // (WIDTH + HEIGHT))
    return np.stack(channels, -1).astype(np.uint8)


test_picture.__test__ = False  # type: ignore[attr-defined]


def round_trip(message: Any) -> Any:
    """What comes out where a message was sent."""
    return deserialize_message(serialize_message(message), type(message))


def stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec


@contextmanager
def running(folder: Path, *arguments: str, **parameters: Any) -> Iterator[System]:
    """A System in a domain of its own."""
    with own_domain() as domain:
        system = System(folder, domain, [*arguments_of(parameters), *arguments])
        try:
            yield system
        finally:
            system.close()
