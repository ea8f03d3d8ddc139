"""What other nodes publish on the topics of a subscription."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def type_name(kind: Any) -> str:
    """The name of a message type as in `ros2 topic info`: sensor_msgs/msg/Image."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def wrong_types(node: Node, topic: str, kind: Any) -> set[str]:
    """The names of the types on `topic` other than `kind`; DDS delivers nothing of them."""
    publishers = node.get_publishers_info_by_topic(topic)
    return {publisher.topic_type for publisher in publishers} - {type_name(kind)}


def is_latched(node: Node, topic: str) -> bool:
    """Returns True if somebody publishes reliably for those who subscribe later."""
    return any(
        publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        for publisher in node.get_publishers_info_by_topic(topic)
    )


def advice(topic: str, kind: Any, found: str, is_depth: bool = False) -> str:
    """What to do if there is `found` on `topic` instead of `kind`."""
    setting, name, suffix = "camera.image_transport", "image", "compressed"
    if is_depth:
        setting, name, suffix = "camera.depth", "depth", "compressedDepth"
    transports = {RAW: ("raw", name), COMPRESSED: ("compressed", f"{name}/{suffix}")}
    if found in transports and type_name(kind) in transports:
        transport, name = transports[found]
        return f"set {setting} to {transport} and remap {name} to {topic}"
    return f"remap it to a topic of the type {type_name(kind)}"
