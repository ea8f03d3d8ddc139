"""Transforms as messages, and a robot that publishes them."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # of /tf_static


def stamped(
    parent: str, child: str, stamp_ns: int, place: np.ndarray, turn: Rotation
) -> TransformStamped:
    """The pose of `child` in `parent` as a message."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, place)
    q.x, q.y, q.z, q.w = turn.as_quat().tolist()
    return message


def matrix_of(transform: TransformStamped) -> np.ndarray:
    """(4, 4) parent_from_child."""
    t, q = transform.transform.translation, transform.transform.rotation
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat((q.x, q.y, q.z, q.w)).as_matrix()
    pose[:3, 3] = (t.x, t.y, t.z)
    return pose


# A camera 1.2 m above the base, looks forward and 10 degrees down.
CAMERA_PLACE = np.array((0.1, 0.0, 1.2))
CAMERA_TURN = Rotation.from_euler("y", 10, degrees=True) * Rotation.from_matrix(
    [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
)


class DrivingRobot:
    """Drives in a circle of 2 m at 0.5 rad/s: `odom` -> `base_link` -> the camera's frame."""

    def __init__(self, node: Node, camera_frame: str) -> None:
        self._tf = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        self._static = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._mount = stamped("base_link", camera_frame, 0, CAMERA_PLACE, CAMERA_TURN)
        self._static.publish(TFMessage(transforms=[self._mount]))

    def base(self, stamp_ns: int) -> TransformStamped:
        """The pose of base_link in odom."""
        angle = 0.5 * (stamp_ns % 10**11) * 1e-9
        place = np.array((2 * np.cos(angle), 2 * np.sin(angle), 0.0))
        turn = Rotation.from_euler("z", angle + np.pi / 2)
        return stamped("odom", "base_link", stamp_ns, place, turn)

    def send(self, *stamps_ns: int) -> None:
        """Publishes the pose at these times."""
        self._tf.publish(TFMessage(transforms=[self.base(stamp) for stamp in stamps_ns]))

    def send_static(self, *transforms: TransformStamped) -> None:
        """Publishes more static transforms."""
        self._static.publish(TFMessage(transforms=[self._mount, *transforms]))

    def odom_from_camera(self, stamp_ns: int) -> np.ndarray:
        """(4, 4), of the truth."""
        return matrix_of(self.base(stamp_ns)) @ matrix_of(self._mount)

    def listeners(self) -> int:
        """Number of subscribers of /tf."""
        return min(self._tf.get_subscription_count(), self._static.get_subscription_count())
