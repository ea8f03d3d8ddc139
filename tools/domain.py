"""A ROS domain for a tool: other nodes on this machine, and the tests, use others."""

from __future__ import annotations

import os

FIRST, COUNT = 215, 17  # safe on Linux; the tests use 1 to 100


def use_own_domain() -> None:
    """Sets ROS_DOMAIN_ID, unless the user has, and lets nodes on this machine find each other.

    ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST would undo the setting for large images.
    """
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
    os.environ.setdefault("ROS_DOMAIN_ID", str(FIRST + os.getpid() % COUNT))
