"""The ROS node: images in, people out."""

from __future__ import annotations

import copy
import dataclasses
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
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
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from pear_ros.config import Config
from pear_ros.errors import PearError, SettingError
from pear_ros.msg import HumanArray
from pear_ros.people import Boxes, Frame, People
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.ros import to_messages as convert
from pear_ros.ros.frame_reader import FrameReader
from pear_ros.ros.mailbox import Mailbox
from pear_ros.ros.parameters import as_setting, declare_parameters
from pear_ros.ros.synchronizer import Gate
from pear_ros.ros.visualization import OF_MESHES, Views

RESULTS = QoSProfile(depth=10)  # reliable


@dataclass(frozen=True)
class Job:
    """An image on its way to the worker."""

    message: Image | CompressedImage
    info: CameraInfo | None
    boxes: Boxes | None
    received_s: float  # of the monotonic clock


@dataclass
class Source:
    """One camera: what its images go through, and what comes of them."""

    name: str
    topic: str
    gate: Gate[Image | CompressedImage]
    read: FrameReader
    publishers: dict[str, Any]
    views: Views
    info: CameraInfo | None = None


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
            self._pipeline = pipeline = load_pipeline(self.config, self._problems)
            self._tf = self._create_output(TFMessage, "/tf", QoSProfile(depth=100))
            for name in self.config.cameras or ("",):
                self._sources[name] = self._make_source(name, pipeline)
        except Exception as error:  # rclpy would swallow it: memory of a GPU, a bad QoS, ...
            self._tell_failure("configure", error)
            self._free()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(
            f"loaded {self.config.checkpoint} and {self.config.assets} "
            f"in {time.monotonic() - started_s:.1f} s: {pipeline.description}"
        )
        self._state = "inactive"
        return super().on_configure(state)

    def _tell_failure(self, transition: str, error: Exception) -> None:
        is_known = isinstance(error, PearError)
        reason = str(error) if is_known else traceback.format_exc()
        self.get_logger().error(f"cannot {transition}: {reason}")

    def _make_source(self, name: str, pipeline: Pipeline) -> Source:
        prefix = f"{name}/" if name else ""
        suffix = "/compressed" if self.config.image_transport == "compressed" else ""
        topic = self.resolve_topic_name(f"{prefix}image{suffix}")
        types = {
            "humans": HumanArray,
            "markers": MarkerArray,
            "skeletons": MarkerArray,
            "points": PointCloud2,
            "overlay": Image,
        }
        publishers = {
            output: self._create_output(kind, f"~/{prefix}{output}", RESULTS)
            for output, kind in types.items()
        }
        read = FrameReader(name, topic, self._problems, pipeline.forget)
        views = Views(publishers, pipeline.body_model, self._problems)
        return Source(name, topic, self._make_gate(), read, publishers, views)

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
        source.gate.put_image(convert.stamp_ns(message.header), message, time.monotonic())
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
        source.gate.put_boxes(convert.stamp_ns(detections.header), boxes)
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
            elif frame := self._sources[name].read(job.message, job.info, job.boxes, self.config):
                frames[name] = frame
        mesh = any(OF_MESHES & wanted[name] for name in frames)
        people_by_frame = self._pipeline.step(list(frames.values()), mesh) if frames else []
        for (name, frame), people in zip(frames.items(), people_by_frame, strict=True):
            source = self._sources[name]
            job = jobs[name]
            if self._attempt(partial(self._answer, source, job, frame, people, wanted[name])):
                del jobs[name]
            header, overlay_rate_hz = job.message.header, self.config.overlay_rate_hz
            show = source.views.publish
            self._attempt(partial(show, wanted[name], frame, people, header, overlay_rate_hz))

    def _wanted(self, source: Source) -> set[str]:
        wanted = {k for k, p in source.publishers.items() if p.get_subscription_count()}
        if self._tf.get_subscription_count():
            wanted.add("tf")
        return wanted

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
