"""`pear-ros node` and `pear-ros synthetic-camera`: the ROS nodes, whose arguments ROS reads."""

from __future__ import annotations

import sys
from typing import Any

NODES = ("node", "synthetic-camera")


def add_parser(commands: Any) -> None:
    commands.add_parser(
        "node",
        help="the ROS node",
        usage="pear-ros node --ros-args -p network.checkpoint:=FILE -p body.assets:=FILE ...",
        description="The ROS node; the docs list its parameters.",
    )
    commands.add_parser(
        "synthetic-camera",
        help="a ROS camera that shows rendered people and publishes the ground truth",
        usage="pear-ros synthetic-camera --ros-args -p people:=3 -p seed:=7 ...",
        description="A ROS node; the docs list its parameters.",
    )


def run(command: str, *arguments: str) -> int:
    try:
        if command == "node":
            from pear_ros.ros.node import main
        else:
            from pear_ros.ros.synthetic_camera import main  # type: ignore[assignment]
    except ImportError as error:
        print(f"pear-ros: the {command} needs ROS 2: {error}; see README.md", file=sys.stderr)
        return 1
    return main(list(arguments))
