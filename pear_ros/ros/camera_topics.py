"""The topics of one camera: images in, people out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    QoSProfile,
    qos_profile_sensor_data,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from pear_ros.body.frames import moved
from pear_ros.config import Config
from pear_ros.people import Boxes, Frame, People
from pear_ros.pipeline import Pipeline
from pear_ros.problems import Problems
from pear_ros.ros.arrivals import Arrival, Arrivals, publishable
from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS
from pear_ros.ros.depth_input import DepthMessage
from pear_ros.ros.depth_matcher import DepthMatcher
from pear_ros.ros.detection_reader import DetectionReader
from pear_ros.ros.diagnostics import Statistics
from pear_ros.ros.frame_reader import FrameReader
from pear_ros.ros.from_messages import stamp_ns
from pear_ros.ros.graph import advice, is_latched, wrong_types
from pear_ros.ros.mailbox import Mailbox
from pear_ros.ros.robot_frames import CameraPose, Lookup, RobotFrames
from pear_ros.ros.synchronizer import Synchronizer
from pear_ros.ros.to_messages import humans_message, transforms_message
from pear_ros.ros.topics import (
    IMAGE_KINDS,
    LATCHED,
    OUTPUTS,
    OVERRIDABLE,
    RESULTS,
    detections_type,
    image_topic,
)
from pear_ros.ros.visualization import Visualization

CreateOutput = Callable[[Any, str, QoSProfile], Any]
"""(type, topic, QoS) -> a lifecycle publisher, which the node destroys later."""


@dataclass(frozen=True)
class ImageJob:
    """An image on its way to the worker thread."""

    arrival: Arrival
    info: CameraInfo | None
    boxes: Boxes | None
    depth: DepthMessage | None
    received_s: float = 0.0  # when it was complete, on the monotonic clock
    pose: CameraPose = field(default_factory=CameraPose)


@dataclass(frozen=True)
class Answer:
    """The people of an image, in the camera's frame and in that of `header`."""

    job: ImageJob
    frame: Frame
    people: People
    header: Header  # the image's, or with placement.output_frame
    placed: People


class CameraTopics:
    """Subscribes to a camera, puts images into the mailbox and publishes the results.

    Callbacks run in the executor thread; the worker thread calls `wanted`, `read`, `publish` and
    `publish_pictures`. All cameras share the publisher of `/tf`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,  # empty if there is only one camera
        config: Config,
        pipeline: Pipeline,
        tf: Any,  # a lifecycle publisher
        create_output: CreateOutput,
        mailbox: Mailbox[ImageJob],
        problems: Problems,
        statistics: Statistics,
        lookup: Lookup,
    ) -> None:
        self.name = name
        self._node = node
        self.config = config  # its live settings may be replaced
        self._tf = tf
        self._mailbox = mailbox
        self._problems = problems
        self._statistics = statistics
        self._prefix = f"{name}/" if name else ""
        self._kind = IMAGE_KINDS[config.camera.image_transport]
        self._depth_kind = IMAGE_KINDS.get(config.camera.depth)  # None: no depth
        self.topic = image_topic(node, f"{self._prefix}image", self._kind, "compressed")
        self._depth_topic = image_topic(
            node, f"{self._prefix}depth", self._depth_kind, "compressedDepth"
        )
        self._publishers = {
            output: create_output(kind, f"~/{self._prefix}{output}", RESULTS)
            for output, kind in OUTPUTS.items()
        }
        self._info_topic: str = node.resolve_topic_name(f"{self._prefix}camera_info")
        self._detections_topic: str = node.resolve_topic_name(f"{self._prefix}detections")
        self._subscriptions: list[Any] = []
        self._kinds: dict[str, Any] = {}  # of the subscribed topics
        self._is_latched = False  # the history of camera_info is subscribed, too
        self._info: CameraInfo | None = None
        self._synchronizer = self._new_synchronizer()
        self._robot_frames: RobotFrames[ImageJob] = RobotFrames(
            name, self.topic, config.placement, lookup, problems
        )
        self._arrivals = Arrivals(name, self.topic, problems)
        self._detections = DetectionReader(name, self._detections_topic, problems)
        self._reader = FrameReader(name, self.topic, problems, pipeline.forget, self._depth_topic)
        self._visualization = Visualization(self._publishers, pipeline.body_model, problems)

    # --- Executor thread ---

    def subscribe(self) -> None:
        """Creates the subscriptions.

        Raises:
            SettingError: If vision_msgs is needed but not installed.
            Exception: Whatever rclpy raises, for example for a bad QoS override.
        """
        events = SubscriptionEventCallbacks(message_lost=self._on_lost)
        self._subscribe(self._kind, self.topic, self._on_image, events)
        self._subscribe(CameraInfo, self._info_topic, self._on_info)
        if self._needs_boxes:
            self._subscribe(detections_type(), self._detections_topic, self._on_detections)
        if self._depth_kind is not None:
            events = SubscriptionEventCallbacks(message_lost=self._on_depth_lost)
            self._subscribe(self._depth_kind, self._depth_topic, self._on_depth, events)

    def _subscribe(
        self, kind: Any, topic: str, callback: Any, events: SubscriptionEventCallbacks | None = None
    ) -> None:
        self._subscriptions.append(
            self._node.create_subscription(
                kind,
                topic,
                callback,
                copy.copy(qos_profile_sensor_data),  # rclpy writes overrides into it
                event_callbacks=events,
                qos_overriding_options=OVERRIDABLE,
            )
        )
        self._kinds[topic] = kind

    def _subscribe_latched(self) -> None:
        """Subscribes to camera_info that was published before, if somebody keeps it.

        The other subscription gets no history, as it accepts publishers that keep none. This one
        warns on both sides about such publishers, so it is created only if it is needed.
        """
        if (
            self._subscriptions
            and not self._is_latched
            and is_latched(self._node, self._info_topic)
        ):
            self._is_latched = True
            quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
            self._subscriptions.append(
                self._node.create_subscription(
                    CameraInfo, self._info_topic, self._on_info, LATCHED, event_callbacks=quiet
                )
            )

    def unsubscribe(self) -> None:
        """Destroys the subscriptions and drops waiting images, which would be outdated later."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._kinds.clear()
        self._is_latched = False
        waiting = self._synchronizer.drop_all() + self._robot_frames.drop_all()
        self._mailbox.drop(self.name, waiting)
        self._synchronizer = self._new_synchronizer()

    @property
    def _needs_boxes(self) -> bool:
        return self.config.detection.detector == "topic"

    def _new_synchronizer(self) -> Synchronizer[Arrival, DepthMessage]:
        camera, depths = self.config.camera, None
        if self._depth_kind is not None:
            depths = DepthMatcher[DepthMessage](camera.depth_tolerance_s, camera.depth_timeout_s)
        return Synchronizer(
            calibration_timeout_s=camera.info_timeout_s,
            needs_boxes=self._needs_boxes,
            boxes_timeout_s=self.config.detection.timeout_s,
            depths=depths,
        )

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._statistics.count("images_received")
        now_ns = self._node.get_clock().now().nanoseconds
        arrival = self._arrivals(message, now_ns, needs_stamp=self._needs_boxes)
        if arrival is None:
            self._mailbox.drop(self.name)
            return
        has_stamp = stamp_ns(arrival.header) > 0
        self._synchronizer.put_image(arrival.taken_ns, arrival, time.monotonic(), has_stamp)
        self.release()

    def _on_lost(self, lost: QoSMessageLostInfo) -> None:
        self._count_lost("images_lost", self.topic, lost)

    def _on_depth_lost(self, lost: QoSMessageLostInfo) -> None:
        self._count_lost("depth_images_lost", self._depth_topic, lost)

    def _count_lost(self, kind: str, topic: str, lost: QoSMessageLostInfo) -> None:
        self._problems.count(
            kind,
            f"{topic}: images were lost in transport; if the sender uses Fast DDS, start it "
            f"with {TRANSPORTS}='{LARGE_IMAGES}', see docs/troubleshooting.md",
            self.name,
            times=lost.total_count_change,
        )

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info
        self._synchronizer.put_calibration()
        self.release()

    def _on_detections(self, detections: Any) -> None:
        boxes = self._detections(detections, self.config.detection)
        self._synchronizer.put_boxes(stamp_ns(detections.header), boxes)
        self.release()

    def _on_depth(self, depth: DepthMessage) -> None:
        if not stamp_ns(depth.header):
            self._problems.count(
                "depth_stamps_unset",
                f"{self._depth_topic}: ignored a depth image whose header.stamp is 0; set it in "
                "the camera driver",
                self.name,
            )
            return
        self._synchronizer.put_depth(stamp_ns(depth.header), depth, time.monotonic())
        self.release()

    def tick(self) -> None:
        """Looks for a calibration and for images whose time is over; called by a timer."""
        if self._info is None:
            self._subscribe_latched()
        self.release()

    def release(self) -> None:
        """Lets the newest complete image wait for its transforms, if it needs any."""
        now_s = time.monotonic()
        released = self._synchronizer.release(now_s)
        self._mailbox.drop(self.name, released.superseded + released.without_boxes)
        if released.without_boxes:
            self._problems.count(
                "images_without_detections",
                f"{self.topic}: dropped an image; no detections with its stamp arrived within "
                f"detection.timeout_s ({self.config.detection.timeout_s} s); check that the "
                "detector is running and copies header.stamp from the image",
                self.name,
                times=released.without_boxes,
            )
        if released.image is not None:
            if self._depth_kind is not None and released.depth is None:
                self._count_without_depth(released.image, released.depth_gap_s)
            job = ImageJob(released.image, self._info, released.boxes, released.depth)
            dropped = self._robot_frames.put(job, job.arrival.header, now_s)
            self._mailbox.drop(self.name, dropped)
        self.release_located()

    def release_located(self) -> None:
        """Puts the newest image whose transforms are known, or overdue, into the mailbox."""
        now_s = time.monotonic()
        if released := self._robot_frames.release(now_s):
            job, pose, superseded = released
            self._mailbox.drop(self.name, superseded)
            self._mailbox.put(self.name, replace(job, received_s=now_s, pose=pose))

    def _count_without_depth(self, arrival: Arrival, gap_s: float | None) -> None:
        """Tells why an image has no depth, each reason once."""
        camera = self.config.camera
        if stamp_ns(arrival.header) == 0:
            reason, what = "unset", "header.stamp of the image is not set; set it in the driver"
        elif gap_s is None:
            reason, what = "none", "check that the depth camera publishes on this topic"
        else:
            reason = "gap"
            what = (
                f"the nearest one differs by {gap_s:.3f} s; check that both cameras use the same "
                "clock, or raise camera.depth_tolerance_s"
            )
        self._problems.count(
            "images_without_depth",
            f"{self._depth_topic}: an image is processed without depth: no depth image came within "
            f"camera.depth_timeout_s ({camera.depth_timeout_s} s) whose stamp differs by at most "
            f"camera.depth_tolerance_s ({camera.depth_tolerance_s} s); {what}",
            f"{self.name} {reason}",
        )

    def look_around(self) -> None:
        """Looks at who publishes on the subscribed topics; called by a timer."""
        self._subscribe_latched()
        for topic, kind in self._kinds.items():
            for found in sorted(wrong_types(self._node, topic, kind)):
                self._problems.count(
                    "wrong_types",
                    f"{topic}: somebody publishes {found}, which cannot be received here; "
                    f"{advice(topic, kind, found, topic == self._depth_topic)}",
                    f"{topic} {found}",
                )

    # --- Worker thread ---

    def wanted(self, job: ImageJob) -> set[str]:
        """Returns the names of the outputs that have subscribers and fit to the image's header."""
        wanted = {name for name, p in self._publishers.items() if p.get_subscription_count()}
        if self._tf.get_subscription_count():
            wanted.add("tf")
        return publishable(wanted, job.arrival.header)

    def read(self, job: ImageJob) -> Frame | None:
        """Returns the decoded image with its camera; None, counted as a problem, if unusable."""
        frame = self._reader(job.arrival, job.info, job.boxes, self.config, job.depth)
        if frame is None:
            return None
        pose = job.pose
        return replace(frame, world_from_optical=pose.world_from_optical, floor=pose.floor)

    def answer(self, job: ImageJob, frame: Frame, people: People) -> Answer:
        """Puts the people into `placement.output_frame`, if its transform is known."""
        header, placed = job.arrival.header, people
        if frame.world_from_optical is not None:
            output_frame = self.config.placement.output_frame.lstrip("/")
            header = Header(stamp=header.stamp, frame_id=output_frame)
            placed = moved(people, frame.world_from_optical)
        return Answer(job, frame, people, header, placed)

    def publish(self, answer: Answer, wanted: set[str]) -> None:
        """Publishes TF and `humans`, before the slower pictures: robots act on these."""
        people, header = answer.placed, answer.header
        if "tf" in wanted and len(people):
            self._tf.publish(transforms_message(people, header))
        elapsed_s = time.monotonic() - answer.job.received_s
        if "humans" in wanted:
            size = answer.frame.image.shape[:2]
            message = humans_message(people, header, size, processing_time_s=elapsed_s)
            message.dropped = self._mailbox.take_dropped(self.name)
            self._publishers["humans"].publish(message)
        self._statistics.count_answer(len(people), elapsed_s)

    def publish_pictures(self, answer: Answer, wanted: set[str]) -> None:
        """Publishes meshes, skeletons, points and the overlay."""
        rate_hz = self.config.visualization.overlay_rate_hz
        self._visualization.publish(wanted, answer.placed, answer.header)
        self._visualization.publish_overlay(
            wanted, answer.frame, answer.people, answer.job.arrival.header, rate_hz
        )
