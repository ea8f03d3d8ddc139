"""The ROS node: images in, people out."""

from __future__ import annotations

import copy
import dataclasses
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from pear_ros import convert
from pear_ros.camera import assumed_camera
from pear_ros.config import Config
from pear_ros.errors import ImageError, PearError, SettingError
from pear_ros.gate import Gate
from pear_ros.mailbox import Mailbox
from pear_ros.msg import HumanArray
from pear_ros.overlay import draw_people
from pear_ros.parameters import as_setting, declare_parameters
from pear_ros.people import Boxes, Camera, Frame, ImageArray, People
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems

RESULTS = QoSProfile(depth=10)  # reliable
MESH_OUTPUTS = {"markers", "points", "overlay"}
RESTART_S = 1.0  # a stamp that jumps back further is a clock or a recording that starts again


@dataclass(frozen=True)
class Job:
    """An image on its way to the worker."""

    message: Image | CompressedImage
    info: CameraInfo | None
    boxes: Boxes | None
    received_s: float  # of the monotonic clock


@dataclass
class Source:
    """One camera: its gate and what is remembered of it."""

    name: str
    topic: str
    gate: Gate[Image | CompressedImage]
    publishers: dict[str, Any] = field(default_factory=dict)
    info: CameraInfo | None = None
    last_stamp_ns: int | None = None
    shown: dict[str, set[str]] = field(default_factory=dict)  # ids with a marker, by topic
    overlay_due_s: float = -np.inf  # of the monotonic clock


class PearNode(LifecycleNode):
    """configure loads the files, activate works, deactivate stops, cleanup frees the memory."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("pear", **kwargs)
        self.config = self._declare_parameters()
        self._problems = Problems(self.get_logger().warning)
        self._pipeline: Pipeline | None = None
        self._sources: dict[str, Source] = {}
        self._outputs: list[Any] = []  # lifecycle publishers
        self._subscriptions_of_work: list[Any] = []
        self._mailbox: Mailbox[Job] = Mailbox()
        self._worker: threading.Thread | None = None
        self._counts: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=100)
        self._problems_told = 0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._state = "unconfigured"
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on where simulated time is paused
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self.create_timer(0.1, self._release_all, clock=steady)

    # Parameters

    def _declare_parameters(self) -> Config:
        values = declare_parameters(self, Config)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        return Config(**values)

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        settings = {setting.name: setting for setting in dataclasses.fields(Config)}
        changed = {p.name: as_setting(p.value) for p in parameters if p.name in settings}
        fixed = [name for name in changed if not settings[name].metadata["live"]]
        if fixed and self._pipeline is not None:
            return SetParametersResult(
                successful=False,
                reason=f"{', '.join(fixed)} can be set only before the node is configured: "
                f"`ros2 lifecycle set {self.get_fully_qualified_name()} cleanup` first",
            )
        try:
            config = dataclasses.replace(self.config, **changed)
        except SettingError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.config = config
        if self._pipeline is not None:
            self._pipeline.config = config
        return SetParametersResult(successful=True)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            if self.config.detector == "topic":
                _detections_type()
            started_s = time.monotonic()
            self._pipeline = load_pipeline(self.config, self._problems)
            self._tf = self._create_output(TFMessage, "/tf", QoSProfile(depth=100))
            for name in self.config.cameras or ("",):
                self._sources[name] = self._make_source(name)
        except Exception as error:  # rclpy would swallow it: memory of a GPU, a bad QoS, ...
            self._tell_failure("configure", error)
            self._free()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(
            f"loaded {self.config.checkpoint} and {self.config.assets} "
            f"in {time.monotonic() - started_s:.1f} s: {self._pipeline.description}"
        )
        self._state = "inactive"
        return super().on_configure(state)

    def _tell_failure(self, transition: str, error: Exception) -> None:
        is_known = isinstance(error, PearError)
        reason = str(error) if is_known else traceback.format_exc()
        self.get_logger().error(f"cannot {transition}: {reason}")

    def _make_source(self, name: str) -> Source:
        prefix = f"{name}/" if name else ""
        suffix = "/compressed" if self.config.image_transport == "compressed" else ""
        source = Source(name, self.resolve_topic_name(f"{prefix}image{suffix}"), self._make_gate())
        types = {
            "humans": HumanArray,
            "markers": MarkerArray,
            "skeletons": MarkerArray,
            "points": PointCloud2,
            "overlay": Image,
        }
        for output, kind in types.items():
            source.publishers[output] = self._create_output(kind, f"~/{prefix}{output}", RESULTS)
        return source

    def _make_gate(self) -> Gate[Image | CompressedImage]:
        return Gate(
            self.config.camera_info_timeout_s,
            self.config.detector == "topic",
            self.config.detections_timeout_s,
        )

    def _create_output(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        overriding = QoSOverridingOptions.with_default_policies()
        own_qos = copy.copy(qos)  # overriding changes it
        output = self.create_lifecycle_publisher(
            kind, topic, own_qos, qos_overriding_options=overriding
        )
        self._outputs.append(output)
        return output

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._problems.forget_told()
        self._mailbox.open()
        result = super().on_activate(state)  # publishers first, then what feeds them
        self._worker = threading.Thread(target=self._work, name="pear worker", daemon=True)
        self._worker.start()
        try:
            for source in self._sources.values():
                self._subscribe_source(source)
        except Exception as error:  # rclpy would swallow it
            self._tell_failure("activate", error)
            self.stop()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        topics = ", ".join(source.topic for source in self._sources.values())
        self.get_logger().info(f"active: images from {topics}")
        self._state = "active"
        return result

    def _subscribe_source(self, source: Source) -> None:
        prefix = f"{source.name}/" if source.name else ""
        kind = CompressedImage if self.config.image_transport == "compressed" else Image
        events = SubscriptionEventCallbacks(message_lost=partial(self._on_lost, source))
        self._subscribe(kind, source.topic, partial(self._on_image, source), events)
        self._subscribe(CameraInfo, f"{prefix}camera_info", partial(self._on_info, source))
        if self.config.detector == "topic":
            on_boxes = partial(self._on_detections, source)
            self._subscribe(_detections_type(), f"{prefix}detections", on_boxes)

    def _subscribe(
        self,
        kind: Any,
        topic: str,
        callback: Any,
        events: SubscriptionEventCallbacks | None = None,
    ) -> None:
        overriding = QoSOverridingOptions.with_default_policies()
        own_qos = copy.copy(qos_profile_sensor_data)  # overriding changes it
        self._subscriptions_of_work.append(
            self.create_subscription(
                kind,
                topic,
                callback,
                own_qos,
                event_callbacks=events,
                qos_overriding_options=overriding,
            )
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        self._state = "inactive"
        return super().on_deactivate(state)

    def stop(self) -> None:
        """Ends the work, waiting for the image that is being worked on."""
        for subscription in self._subscriptions_of_work:
            self.destroy_subscription(subscription)
        self._subscriptions_of_work.clear()
        self._mailbox.close()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        for source in self._sources.values():  # what waits is of another time when work goes on
            self._mailbox.drop(source.name, len(source.gate))
            source.gate = self._make_gate()

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        self._free()
        self._state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        self._free()
        return super().on_error(state)

    def _free(self) -> None:
        self._pipeline = None
        for output in self._outputs:
            self.destroy_lifecycle_publisher(output)
        self._outputs.clear()
        self._sources.clear()
        self._state = "unconfigured"

    def start(self) -> None:
        """Configures and activates; stays unconfigured, having said why, where that fails."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Executor thread: what arrives goes through the gate into the mailbox

    def _on_image(self, source: Source, message: Image | CompressedImage) -> None:
        self._counts["images_received"] += 1
        source.gate.put_image(_stamp_ns(message.header), message, time.monotonic())
        self._release(source)

    def _on_lost(self, source: Source, lost: QoSMessageLostInfo) -> None:
        self._problems.count(
            "images_lost",
            f"{source.topic}: images got lost on the way here; if the sender uses Fast DDS, start "
            "it with FASTDDS_BUILTIN_TRANSPORTS='DEFAULT?sockets_size=16MB', see README.md",
            source.name,
            times=lost.total_count_change,
        )

    def _on_info(self, source: Source, info: CameraInfo) -> None:
        source.info = info
        source.gate.see_calibration()
        self._release(source)

    def _on_detections(self, source: Source, detections: Any) -> None:
        boxes = convert.boxes_from_detections(detections, self.config.person_class)
        source.gate.put_boxes(_stamp_ns(detections.header), boxes)
        self._release(source)

    def _release_all(self) -> None:
        for source in self._sources.values():
            self._release(source)

    def _release(self, source: Source) -> None:
        now_s = time.monotonic()
        released = source.gate.release(now_s)
        self._mailbox.drop(source.name, released.superseded + released.without_boxes)
        if released.without_boxes:
            self._problems.count(
                "images_without_detections",
                f"{source.topic}: no detections with an image's stamp came within "
                f"{self.config.detections_timeout_s} s; is the detector running, does it copy "
                "header.stamp from the image?",
                source.name,
                times=released.without_boxes,
            )
        if released.image is not None:
            job = Job(released.image, source.info, released.boxes, now_s)
            self._mailbox.put(source.name, job)

    # Worker thread

    def _work(self) -> None:
        while (jobs := self._mailbox.take()) is not None:
            self._attempt(partial(self._process, jobs))
            for name in jobs:  # those that were not answered
                self._mailbox.drop(name)

    def _attempt(self, work: Callable[[], None]) -> bool:
        """True if it worked; whatever goes wrong is told, and the next image gets its chance."""
        try:
            work()
            return True
        except Exception as error:
            if self.context.ok():  # else interrupted: nothing can be published any more
                self._problems.count(
                    "internal_errors",
                    f"an image could not be processed, please report it:\n{traceback.format_exc()}",
                    type(error).__name__,
                )
            return False

    def _process(self, jobs: dict[str, Job]) -> None:
        """One batch over the newest image of each camera; takes out of `jobs` what is done."""
        assert self._pipeline is not None
        wanted = {name: self._wanted(self._sources[name]) for name in jobs}
        frames = {}
        for name, job in list(jobs.items()):
            if not wanted[name]:
                self._counts["images_unwatched"] += 1
                del jobs[name]
            elif frame := self._frame(self._sources[name], job):
                frames[name] = frame
        mesh = any(MESH_OUTPUTS & wanted[name] for name in frames)
        people_by_frame = self._pipeline.step(list(frames.values()), mesh) if frames else []
        for (name, frame), people in zip(frames.items(), people_by_frame, strict=True):
            source = self._sources[name]
            job = jobs[name]
            if self._attempt(partial(self._answer, source, job, frame, people, wanted[name])):
                del jobs[name]
            self._attempt(partial(self._show, source, job, frame, people, wanted[name]))

    def _wanted(self, source: Source) -> set[str]:
        wanted = {k for k, p in source.publishers.items() if p.get_subscription_count()}
        if self._tf.get_subscription_count():
            wanted.add("tf")
        return wanted

    def _frame(self, source: Source, job: Job) -> Frame | None:
        """The image with its camera; None, counted, where it cannot be used."""
        header = job.message.header
        if not self._is_in_order(source, _stamp_ns(header)):
            return None
        try:
            image = convert.rgb_from_message(job.message)
        except ImageError as error:
            self._problems.count(
                "bad_images", f"{source.topic}: {error}; check the camera driver", source.name
            )
            return None
        camera = self._camera(source, job.info, image)
        return Frame(image, camera, _stamp_ns(header) * 1e-9, source.name, job.boxes)

    def _is_in_order(self, source: Source, stamp_ns: int) -> bool:
        behind_ns = 0 if source.last_stamp_ns is None else source.last_stamp_ns - stamp_ns
        if 0 < behind_ns <= RESTART_S * 1e9:
            self._problems.count(
                "stamps_backwards",
                f"{source.topic}: an image is {behind_ns * 1e-9:.3f} s older than the one before; "
                "it is dropped: check that one camera alone publishes there",
                source.name,
            )
            return False
        if behind_ns > 0:
            assert self._pipeline is not None
            self._pipeline.forget(source.name)
            self._problems.count(
                "clock_restarts",
                f"{source.topic}: stamps jumped back by {behind_ns * 1e-9:.1f} s; "
                "taken as a new start, people get new ids",
                source.name,
            )
        source.last_stamp_ns = stamp_ns
        return True

    def _camera(self, source: Source, info: CameraInfo | None, image: ImageArray) -> Camera:
        height, width = image.shape[:2]
        camera = None
        if info is not None:
            rectified = self.config.rectified
            camera = convert.camera_from_info(info, width, height, rectified)
        if camera is not None:
            return camera
        why = "no camera_info came"
        if info is not None:
            name, matrix = ("P", info.p) if self.config.rectified else ("K", info.k)
            why = (
                f"camera_info ({info.width}x{info.height}, {name} {np.asarray(matrix).tolist()}) "
                f"is no calibration of the {width}x{height} images"
            )
        self._problems.count(
            "images_uncalibrated",
            f"{source.topic}: {why}; a field of view of {self.config.assumed_fov_deg} degrees is "
            "assumed and is_metric is false: calibrate the camera, or set assumed_fov_deg",
            source.name,
        )
        return assumed_camera(width, height, self.config.assumed_fov_deg)

    def _answer(
        self, source: Source, job: Job, frame: Frame, people: People, wanted: set[str]
    ) -> None:
        """Numbers first: whoever acts on them does not wait for pictures."""
        header = job.message.header
        if "tf" in wanted and len(people):
            self._tf.publish(convert.transforms_message(people, header))
        elapsed_s = time.monotonic() - job.received_s
        if "humans" in wanted:
            size = frame.image.shape[:2]
            message = convert.humans_message(people, header, size, processing_time_s=elapsed_s)
            message.dropped = self._mailbox.take_dropped(source.name)
            source.publishers["humans"].publish(message)
        self._counts["images_answered"] += 1
        self._counts["people"] += len(people)
        self._latencies_s.append(elapsed_s)

    def _show(
        self, source: Source, job: Job, frame: Frame, people: People, wanted: set[str]
    ) -> None:
        assert self._pipeline is not None
        header, publishers = job.message.header, source.publishers
        faces, bones = self._pipeline.body_model.faces, self._pipeline.body_model.bones
        if "skeletons" in wanted:
            gone = self._gone(source, "skeletons", people.ids)
            publishers["skeletons"].publish(convert.skeleton_markers(people, bones, header, gone))
        if "markers" in wanted:
            gone = self._gone(source, "markers", people.ids)
            publishers["markers"].publish(convert.mesh_markers(people, faces, header, gone))
        if "points" in wanted:
            self._publish_points(source, people, header)
        if "overlay" in wanted and self._is_overlay_due(source):
            drawn = draw_people(frame.image, people, faces, frame.camera)
            publishers["overlay"].publish(convert.image_message(drawn, header))

    def _gone(self, source: Source, output: str, ids: Iterable[str]) -> set[str]:
        """Whose marker was shown and must go."""
        before = source.shown.get(output, set())
        source.shown[output] = set(ids)
        return before - source.shown[output]

    def _publish_points(self, source: Source, people: People, header: Header) -> None:
        try:
            source.publishers["points"].publish(convert.cloud_message(people, header))
        except ImportError:
            self._problems.count(
                "points_unavailable",
                "the topic points needs the ROS package sensor_msgs_py, which is not installed",
            )

    def _is_overlay_due(self, source: Source) -> bool:
        now_s, period_s = time.monotonic(), 1 / self.config.overlay_rate_hz
        if now_s < source.overlay_due_s:
            return False
        # A period of credit, or jitter would halve a rate near the camera's own.
        source.overlay_due_s = max(source.overlay_due_s, now_s - period_s) + period_s
        return True

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        problems = self._problems.counts()
        total = sum(problems.values())
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id="pear_ros")
        status.level, status.message = DiagnosticStatus.OK, self._state
        if total > self._problems_told:
            status.level = DiagnosticStatus.WARN
            status.message += "; new problems, see the values and the log"
        elif self._state == "unconfigured":
            status.level = DiagnosticStatus.WARN
        self._problems_told = total
        values: dict[str, Any] = {**self._counts, **problems}
        values["images_dropped"] = self._mailbox.total_dropped
        if self._latencies_s:
            values["median_processing_time_ms"] = f"{1e3 * np.median(self._latencies_s):.1f}"
        status.values = [KeyValue(key=k, value=str(v)) for k, v in sorted(values.items())]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _stamp_ns(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def _detections_type() -> Any:
    try:
        from vision_msgs.msg import Detection2DArray
    except ImportError as error:
        raise SettingError(
            "detector topic needs the ROS package vision_msgs, which is not installed: "
            "apt install ros-$ROS_DISTRO-vision-msgs, or choose another detector"
        ) from error
    return Detection2DArray


def main(args: list[str] | None = None) -> int:
    """Runs the node until it is interrupted; 1 where its parameters cannot be used."""
    node: PearNode | None = None
    may_interrupt = True

    def on_interrupt(*_: object) -> None:
        # Once, and not while spinning or ending: rclpy ends spin() by itself, and an exception
        # amid its C++ code would come out as another. A terminal and ros2 launch both send one.
        nonlocal may_interrupt
        if may_interrupt:
            may_interrupt = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)  # before init, as rclpy calls what it finds
    try:
        rclpy.init(args=args)
        node = PearNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.config.autostart:
            node.start()
        may_interrupt = False
        executor.spin()
    except (PearError, ParameterException) as error:
        rclpy.logging.get_logger("pear").fatal(f"bad parameter: {error}")
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        may_interrupt = False
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
