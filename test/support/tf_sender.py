"""Transforms as messages, and a robot that publishes them."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation

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
