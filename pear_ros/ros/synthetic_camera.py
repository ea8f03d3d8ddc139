"""The synthetic camera as a ROS node: images of people who do not exist, and the truth about them.

Topics, all with one stamp: `image`, `camera_info`, `detections` (the true boxes), and
`ground_truth`, a HumanArray as the node would publish it were it never wrong.
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
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from pear_ros.assets.body_assets import load_assets
from pear_ros.config import SyntheticCameraConfig
from pear_ros.errors import PearError
from pear_ros.geometry.boxes import boxes_inside
from pear_ros.msg import HumanArray
from pear_ros.ros.parameters import declare_parameters
from pear_ros.ros.schedule import Schedule
from pear_ros.ros.to_messages import (
    camera_info_message,
    detections_message,
    humans_message,
    image_message,
)
from pear_ros.synthetic.actions import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene, Shot
from pear_ros.system.installed import shared_file

FRAME_ID = "camera_optical_frame"
RELIABLE = QoSProfile(depth=10)
MEET_S = 1.0  # the first subscriber is there: time for the others to be found, too


class SyntheticCamera(Node):
    """`run()` draws and publishes until its time is over."""

    def __init__(self) -> None:
        super().__init__("synthetic_camera")
        values = declare_parameters(self, SyntheticCameraConfig, read_only=True)
        self.config = config = SyntheticCameraConfig(**values)
        assets = Path(config.assets) if config.assets else shared_file("standin/body.npz")
        self._scene = Scene(
            Cast(load_assets(assets)),
            REPERTOIRES[config.repertoire],
            config.seed,
            config.people,
            config.width,
            config.height,
        )
        self._image = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._truth = self.create_publisher(HumanArray, "ground_truth", RELIABLE)
        self._detections = self._create_detections()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def _create_detections(self) -> Any:
        try:
            from vision_msgs.msg import Detection2DArray
        except ImportError:
            self.get_logger().warning("no detections: vision_msgs is not installed")
            return None
        return self.create_publisher(Detection2DArray, "detections", RELIABLE)

    def run(self) -> None:
        """Each image is drawn ahead, then published when it is due.

        Where drawing takes longer than a period, people move on as time does and images are left
        out: the log says so. Raises ExternalShutdownException when it is interrupted.
        """
        config = self.config
        self._scene.shot(0.0, visibility=False)  # the first drawing is slow: before the clock runs
        if config.wait_for_subscriber:
            while not self._image.get_subscription_count():
                self._executor.spin_once(0.1)
            self._spin_until(time.monotonic() + MEET_S)
        self._play(Schedule(config.rate_hz, time.monotonic()))

    def _play(self, clock: Schedule) -> None:
        rate_hz, duration_s = self.config.rate_hz, self.config.duration_s
        published = 0
        while not duration_s or clock.time_s < duration_s:
            shot = self._scene.shot(clock.time_s, visibility=False)
            self._spin_until(clock.due_s)
            self._publish(shot)
            published += 1
            missed = clock.advance(time.monotonic())
            if missed and missed == clock.left_out:
                self.get_logger().warning(
                    f"drawing takes longer than 1 / rate_hz, {1 / rate_hz:.3f} s: images are left "
                    "out; lower rate_hz, people or the size"
                )
        self._truth.wait_for_all_acked(Duration(seconds=5))  # the process ends now
        self.get_logger().info(f"published {published} images, left out {clock.left_out}")

    def _spin_until(self, due_s: float) -> None:
        self._executor.spin_once(0)  # raises ExternalShutdownException after an interrupt
        while (left_s := due_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)

    def _publish(self, shot: Shot) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=FRAME_ID)
        size = shot.image.shape[:2]
        self._info.publish(camera_info_message(shot.camera, header, size))
        self._image.publish(image_message(shot.image, header))
        if self._detections is not None:
            boxes = boxes_inside(shot.people.boxes, size)
            self._detections.publish(detections_message(boxes, header))
        self._truth.publish(humans_message(shot.people, header, size))


def main(args: list[str] | None = None) -> int:
    """Runs the camera until it is interrupted; 1 where its parameters cannot be used."""
    # rclpy shuts the context down; an exception amid its C++ code would come out as another.
    signal.signal(signal.SIGINT, lambda *_: None)
    torch.set_num_threads(1)  # the other cores are for those who look
    try:
        rclpy.init(args=args)
        SyntheticCamera().run()
    except (PearError, ParameterException) as error:
        rclpy.logging.get_logger("synthetic_camera").fatal(f"bad parameter: {error}")
        return 1
    except ExternalShutdownException:
        pass
    except Exception:  # a signal amid a call of ROS raises whatever that call raises
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
    return 0
