"""The topics of one camera: images in, people out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from pear_ros import msg
from pear_ros.config import Config
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, Frame, People
from pear_ros.pipeline import Pipeline
from pear_ros.problems import Problems
from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS
from pear_ros.ros.diagnostics import Statistics
from pear_ros.ros.frame_reader import FrameReader
from pear_ros.ros.from_messages import boxes_from_detections, stamp_ns
from pear_ros.ros.mailbox import Mailbox
from pear_ros.ros.synchronizer import Synchronizer
from pear_ros.ros.to_messages import humans_message, transforms_message
from pear_ros.ros.visualization import NEED_MESHES, Visualization

RESULTS = QoSProfile(depth=10)  # reliable
OUTPUTS = {
    "humans": msg.HumanArray,
    "markers": MarkerArray,
    "skeletons": MarkerArray,
    "points": PointCloud2,
    "overlay": Image,
}

CreateOutput = Callable[[Any, str, QoSProfile], Any]
"""(type, topic, QoS) -> a lifecycle publisher, which the node destroys later."""


@dataclass(frozen=True)
class ImageJob:
    """An image on its way to the worker thread."""

    message: Image | CompressedImage
    info: CameraInfo | None
    boxes: Boxes | None
    received_s: float  # on the monotonic clock


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
    ) -> None:
        self.name = name
        self._node = node
        self.config = config  # its live settings may be replaced
        self._tf = tf
        self._mailbox = mailbox
        self._problems = problems
        self._statistics = statistics
        self._prefix = f"{name}/" if name else ""
        self._is_compressed = config.camera.image_transport == "compressed"
        suffix = "/compressed" if self._is_compressed else ""
        self.topic: str = node.resolve_topic_name(f"{self._prefix}image{suffix}")
        self._publishers = {
            output: create_output(kind, f"~/{self._prefix}{output}", RESULTS)
            for output, kind in OUTPUTS.items()
        }
        self._subscriptions: list[Any] = []
        self._info: CameraInfo | None = None
        self._synchronizer = self._new_synchronizer()
        self._reader = FrameReader(name, self.topic, problems, pipeline.forget)
        self._visualization = Visualization(self._publishers, pipeline.body_model, problems)

    # --- Executor thread ---

    def subscribe(self) -> None:
        """Creates the subscriptions.

        Raises:
            SettingError: If vision_msgs is needed but not installed.
            Exception: Whatever rclpy raises, for example for a bad QoS override.
        """
        kind = CompressedImage if self._is_compressed else Image
        events = SubscriptionEventCallbacks(message_lost=self._on_lost)
        self._subscribe(kind, self.topic, self._on_image, events)
        self._subscribe(CameraInfo, f"{self._prefix}camera_info", self._on_info)
        if self.config.detection.detector == "topic":
            kind, topic = detections_type(), f"{self._prefix}detections"
            self._subscribe(kind, topic, self._on_detections)

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
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )

    def unsubscribe(self) -> None:
        """Destroys the subscriptions and drops waiting images, which would be outdated later."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._mailbox.drop(self.name, len(self._synchronizer))
        self._synchronizer = self._new_synchronizer()

    def _new_synchronizer(self) -> Synchronizer[Image | CompressedImage]:
        return Synchronizer(
            calibration_timeout_s=self.config.camera.info_timeout_s,
            needs_boxes=self.config.detection.detector == "topic",
            boxes_timeout_s=self.config.detection.timeout_s,
        )

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._statistics.count("images_received")
        self._synchronizer.put_image(stamp_ns(message.header), message, time.monotonic())
        self.release()

    def _on_lost(self, lost: QoSMessageLostInfo) -> None:
        self._problems.count(
            "images_lost",
            f"{self.topic}: images were lost in transport; if the sender uses Fast DDS, start it "
            f"with {TRANSPORTS}='{LARGE_IMAGES}', see docs/troubleshooting.md",
            self.name,
            times=lost.total_count_change,
        )

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info
        self._synchronizer.put_calibration()
        self.release()

    def _on_detections(self, detections: Any) -> None:
        boxes = boxes_from_detections(detections, self.config.detection.person_class)
        self._synchronizer.put_boxes(stamp_ns(detections.header), boxes)
        self.release()

    def release(self) -> None:
        """Puts the newest complete image into the mailbox; also called by a timer."""
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
            job = ImageJob(released.image, self._info, released.boxes, now_s)
            self._mailbox.put(self.name, job)

    # --- Worker thread ---

    def wanted(self) -> set[str]:
        """Returns the names of the outputs that have subscribers."""
        wanted = {name for name, p in self._publishers.items() if p.get_subscription_count()}
        return wanted | {"tf"} if self._tf.get_subscription_count() else wanted

    def read(self, job: ImageJob) -> Frame | None:
        """Returns the decoded image with its camera; None, counted as a problem, if unusable."""
        return self._reader(job.message, job.info, job.boxes, self.config)

    def publish(self, job: ImageJob, frame: Frame, people: People, wanted: set[str]) -> None:
        """Publishes TF and `humans`, before the slower pictures: robots act on these."""
        header = job.message.header
        if "tf" in wanted and len(people):
            self._tf.publish(transforms_message(people, header))
        elapsed_s = time.monotonic() - job.received_s
        if "humans" in wanted:
            size = frame.image.shape[:2]
            message = humans_message(people, header, size, processing_time_s=elapsed_s)
            message.dropped = self._mailbox.take_dropped(self.name)
            self._publishers["humans"].publish(message)
        self._statistics.count_answer(len(people), elapsed_s)

    def publish_pictures(
        self, job: ImageJob, frame: Frame, people: People, wanted: set[str]
    ) -> None:
        """Publishes meshes, skeletons, points and the overlay."""
        rate_hz = self.config.visualization.overlay_rate_hz
        self._visualization.publish(wanted, frame, people, job.message.header, rate_hz)


def needs_mesh(wanted: set[str]) -> bool:
    """Returns True if one of the outputs needs vertices, not only joints."""
    return bool(NEED_MESHES & wanted)


def detections_type() -> Any:
    """Returns the type vision_msgs/Detection2DArray.

    Raises:
        SettingError: If vision_msgs is not installed.
    """
    try:
        from vision_msgs.msg import Detection2DArray
    except ImportError as error:
        raise SettingError(
            "detection.detector is 'topic', which needs the ROS package vision_msgs: apt install "
            "ros-$ROS_DISTRO-vision-msgs, or choose another detector"
        ) from error
    return Detection2DArray
