"""Names, types and QoS of the topics of a camera."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from pear_ros import msg
from pear_ros.errors import SettingError
from pear_ros.ros.visualization import NEED_MESHES

RESULTS = QoSProfile(depth=10)  # reliable
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
OVERRIDABLE = QoSOverridingOptions(
    (
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    )
)
IMAGE_KINDS = {"raw": Image, "compressed": CompressedImage}  # by the transport
OUTPUTS = {
    "humans": msg.HumanArray,
    "markers": MarkerArray,
    "skeletons": MarkerArray,
    "points": PointCloud2,
    "overlay": Image,
}


def image_topic(node: LifecycleNode, name: str, kind: Any, transport: str) -> str:
    """Returns the topic `name` of images, or of compressed ones by a `transport`.

    Remapping `image` moves `image/compressed`, too, as in image_transport; remapping the latter
    overrides that.
    """
    base: str = node.resolve_topic_name(name)
    if kind is not CompressedImage:
        return base
    compressed: str = node.resolve_topic_name(f"{name}/{transport}")
    is_remapped = compressed != node.resolve_topic_name(f"{name}/{transport}", only_expand=True)
    return compressed if is_remapped else f"{base}/{transport}"


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
