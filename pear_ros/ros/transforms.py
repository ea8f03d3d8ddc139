"""Listens to the robot's TF: with tf2_ros if it is installed, else with our own tree.

tf2_ros needs compiled code that is not on PyPI.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from pear_ros.geometry.transform_tree import TransformError, TransformTree
from pear_ros.problems import Problems
from pear_ros.ros.from_messages import stamp_ns

# Best effort, because that takes reliable publishers and others.
MOVING = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
STATIC = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Transforms(Protocol):
    """TF, from when it is created until `close`. Used in the executor thread only."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """Returns target_from_source at a time, (4, 4), interpolated but never extrapolated.

        Raises:
            TransformError: If it is not known; the message says why.
        """

    def close(self) -> None:
        """Ends the subscriptions and forgets all transforms."""


def listen(node: Node, problems: Problems) -> Transforms:
    """Listens to /tf and /tf_static; invalid transforms are counted as problems."""
    try:
        import tf2_ros
    except ImportError:
        return OwnTransforms(node, problems)
    return Tf2Transforms(tf2_ros, node)


class OwnTransforms:
    """Without tf2_ros."""

    def __init__(self, node: Node, problems: Problems) -> None:
        self._node = node
        self._problems = problems
        self._tree = TransformTree()
        self._subscriptions = [
            node.create_subscription(TFMessage, topic, callback, copy.copy(qos))
            for topic, callback, qos in (
                ("/tf", self._on_moving, MOVING),
                ("/tf_static", self._on_static, STATIC),
            )
        ]

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """See `Transforms`."""
        return self._tree.lookup(target, source, stamp_ns)

    def close(self) -> None:
        """See `Transforms`."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._tree = TransformTree()

    def _on_moving(self, message: TFMessage) -> None:
        self._put(message, is_static=False)

    def _on_static(self, message: TFMessage) -> None:
        self._put(message, is_static=True)

    def _put(self, message: TFMessage, is_static: bool) -> None:
        for stamped in message.transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            try:
                self._tree.put(
                    stamped.header.frame_id,
                    stamped.child_frame_id,
                    stamp_ns(stamped.header),
                    (t.x, t.y, t.z),
                    (q.x, q.y, q.z, q.w),
                    is_static,
                )
            except ValueError as error:
                self._problems.count(
                    "transforms_invalid",
                    f"ignored a transform on {'/tf_static' if is_static else '/tf'}: {error}; "
                    "correct its publisher (ros2 topic info --verbose names it)",
                )


class Tf2Transforms:
    """With tf2_ros, the module."""

    def __init__(self, tf2_ros: Any, node: Node) -> None:
        self._tf2 = tf2_ros
        # Without the node: some versions raise in their own callback when its clock jumps.
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(
            self._buffer, node, qos=copy.copy(MOVING), static_qos=copy.copy(STATIC)
        )
        any_jump_back = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = node.get_clock().create_jump_callback(
            any_jump_back, post_callback=lambda _: self._buffer.clear()
        )

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """See `Transforms`."""
        kinds = (
            (self._tf2.LookupException, TransformError.UNKNOWN),
            (self._tf2.ConnectivityException, TransformError.SEPARATE),
            (self._tf2.ExtrapolationException, TransformError.TOO_NEW),
        )
        try:
            stamped = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
        except self._tf2.TransformException as error:
            fitting = (kind for exception, kind in kinds if isinstance(error, exception))
            raise TransformError(next(fitting, TransformError.OTHER), str(error)) from error
        t, q = stamped.transform.translation, stamped.transform.rotation
        # A tree of one static frame checks the transform and makes the matrix.
        tree = TransformTree()
        try:
            tree.put("target", "source", 0, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w), is_static=True)
        except ValueError as error:
            raise TransformError(
                TransformError.OTHER,
                f"tf2 gave a transform from {source!r} to {target!r} that cannot be used: {error}",
            ) from error
        return tree.lookup("target", "source", 0)

    def close(self) -> None:
        """See `Transforms`."""
        self._jumps.unregister()
        self._listener.unregister()
        self._buffer.clear()
