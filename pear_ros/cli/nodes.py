"""`pear-ros node` and `pear-ros synthetic-camera`: ROS nodes; ROS parses their arguments."""

from __future__ import annotations

import sys
from typing import Any

from pear_ros.system.interrupts import hand_over
from pear_ros.system.memory import memory_is_short

NODES = ("node", "synthetic-camera")


def add_parser(commands: Any) -> None:
    commands.add_parser(
        "node",
        help="run the ROS node",
        usage="pear-ros node --ros-args -p network.checkpoint:=FILE -p body.assets:=FILE ...",
        description="The ROS node. docs/reference/parameters.md lists its parameters.",
    )
    commands.add_parser(
        "synthetic-camera",
        help="run a ROS node that publishes images of rendered people and their ground truth",
        usage="pear-ros synthetic-camera --ros-args -p people:=3 -p seed:=7 ...",
        description="A ROS node. docs/reference/parameters.md lists its parameters.",
    )


def run(command: str, *arguments: str) -> int:
    """Runs the node `command`; returns 1 if ROS is not installed.

    Raises:
        ImportError: If memory is too short for importing it.
    """
    try:
        if command == "node":
            from pear_ros.ros.node import main
        else:
            from pear_ros.ros.synthetic_camera import main  # type: ignore[assignment]
    except ImportError as error:
        if memory_is_short(error):
            raise
        print(
            f"pear-ros: the {command} needs ROS 2 ({error}); see docs/installation.md",
            file=sys.stderr,
        )
        return 1
    hand_over()
    return main(list(arguments))
