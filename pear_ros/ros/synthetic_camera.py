"""The synthetic camera as a ROS node: images of rendered people, with ground truth.

Topics, all with the same stamp: `image`, `camera_info`, `depth`, `detections` (the true boxes) and
`ground_truth`, a HumanArray with the true people. TF has odom -> base_link -> camera_optical_frame;
the floor is at z = 0 of `odom` and `base_link`.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import rclpy
import torch
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from pear_ros.assets.body_assets import load_assets
from pear_ros.config import SyntheticCameraConfig
from pear_ros.errors import PearError
from pear_ros.geometry.boxes import boxes_inside
from pear_ros.msg import HumanArray
from pear_ros.ros.parameters import declare_parameters
from pear_ros.ros.schedule import Schedule
from pear_ros.ros.to_messages import (
    camera_info_message,
    depth_message,
    detections_message,
    humans_message,
    image_message,
    pose_message,
)
from pear_ros.synthetic.depth_sensor import DepthSensor
from pear_ros.synthetic.held_out import REPERTOIRES, STANDING
from pear_ros.synthetic.optics import camera_with
from pear_ros.synthetic.scene import Cast, Scene, Shot
from pear_ros.system.installed import shared_file

FRAME_ID = "camera_optical_frame"
ODOM, BASE = "odom", "base_link"
RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DISCOVERY_S = 1.0  # time for the other subscribers to be discovered after the first one


class SyntheticCamera(Node):
    """Renders and publishes images in `run()`.

    Raises:
        SettingError: If a parameter has a bad value.
        ParameterException: If a parameter has the wrong type or is out of range.
        AssetError: If the body model cannot be loaded.
    """

    def __init__(self) -> None:
        super().__init__("synthetic_camera")
        values = declare_parameters(self, SyntheticCameraConfig, read_only=True)
        self.config = config = SyntheticCameraConfig(**values)
        assets = Path(config.assets) if config.assets else shared_file("standin/body.npz")
        size = config.width, config.height
        self._scene = Scene(
            Cast(load_assets(assets)),
            (REPERTOIRES | {"standing": STANDING})[config.repertoire],
            config.seed,
            config.people,
            *size,
            camera=camera_with(config.lens, config.fov_deg, *size) if config.fov_deg else None,
            base=config.base,
        )
        self._sensor = DepthSensor(config.depth_noise, config.depth_holes) if config.depth else None
        self._image = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._depth = None
        if config.depth:
            self._depth = self.create_publisher(Image, "depth", qos_profile_sensor_data)
        self._tf = self.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        self._tf_static = self.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._truth = self.create_publisher(HumanArray, "ground_truth", RELIABLE)
        self._detections = self._create_detections()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def _create_detections(self) -> Any:
        try:
            from vision_msgs.msg import Detection2DArray
        except ImportError:
            self.get_logger().warning(
                "vision_msgs is not installed, so `detections` is not published"
            )
            return None
        return self.create_publisher(Detection2DArray, "detections", RELIABLE)

    def run(self) -> None:
        """Renders each image ahead of time and publishes it when it is due.

        If rendering takes longer than a period, images are skipped, which is logged; the people
        still move in real time.

        Raises:
            ExternalShutdownException: When interrupted.
        """
        config = self.config
        self._shot(0.0)  # the first one is slow: render it unscheduled
        self._publish_mount()
        if config.wait_for_subscriber:
            while not self._image.get_subscription_count():
                self._executor.spin_once(0.1)
            self._spin_until(time.monotonic() + DISCOVERY_S)
        self._play(Schedule(config.rate_hz, time.monotonic()))

    def _play(self, clock: Schedule) -> None:
        rate_hz, duration_s = self.config.rate_hz, self.config.duration_s
        published = 0
        while not duration_s or clock.time_s < duration_s:
            shot = self._shot(clock.time_s)
            self._spin_until(clock.due_s)
            self._publish(shot)
            published += 1
            missed = clock.advance(time.monotonic())
            if missed and missed == clock.left_out:
                self.get_logger().warning(
                    f"images are skipped because rendering one takes longer than 1 / rate_hz = "
                    f"{1 / rate_hz:.3f} s; lower rate_hz, people, width or height"
                )
        self._truth.wait_for_all_acked(Duration(seconds=5))  # the process ends after this
        self.get_logger().info(f"published {published} images, skipped {clock.left_out}")

    def _spin_until(self, due_s: float) -> None:
        self._executor.spin_once(0)  # raises ExternalShutdownException after an interrupt
        while (left_s := due_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)

    def _shot(self, time_s: float) -> Shot:
        return self._scene.shot(time_s, visibility=False, motion=True, sensor=self._sensor)

    def _publish_mount(self) -> None:
        """Publishes where the camera is on its base."""
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=BASE)
        mount = pose_message(self._scene.base_from_optical, header, FRAME_ID)
        self._tf_static.publish(TFMessage(transforms=[mount]))

    def _publish(self, shot: Shot) -> None:
        stamp = self.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=FRAME_ID)
        size = shot.image.shape[:2]
        base = pose_message(shot.world_from_base, Header(stamp=stamp, frame_id=ODOM), BASE)
        self._tf.publish(TFMessage(transforms=[base]))
        if self._depth is not None and shot.depth_m is not None:
            self._depth.publish(depth_message(shot.depth_m, header))
        self._info.publish(camera_info_message(shot.camera, header, size))
        self._image.publish(image_message(shot.image, header))
        if self._detections is not None:
            boxes = boxes_inside(shot.people.boxes, size)
            self._detections.publish(detections_message(boxes, header))
        self._truth.publish(humans_message(shot.people, header, size))


def main(args: list[str] | None = None) -> int:
    """Runs the camera until it is interrupted; returns 1 if a parameter has a bad value."""
    # rclpy shuts the context down by itself; its C++ code would turn an exception raised by a
    # handler into a different one.
    signal.signal(signal.SIGINT, lambda *_: None)
    torch.set_num_threads(1)  # leaves the other cores to the node
    try:
        rclpy.init(args=args)
        SyntheticCamera().run()
    except (PearError, ParameterException) as error:
        rclpy.logging.get_logger("synthetic_camera").fatal(f"bad parameter: {error}")
        return 1
    except ExternalShutdownException:
        pass
    except Exception:  # a ROS call that a signal interrupts may raise anything
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
    return 0
