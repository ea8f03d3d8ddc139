"""How large images pass Fast DDS: the one place where its setting is written."""

from __future__ import annotations

import os

TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
"""The environment variable that Fast DDS reads when a process joins."""
LARGE_IMAGES = "DEFAULT?sockets_size=16MB"
"""Its value for images: the default of 0.5 MB shared memory is less than one of 640x480."""


def allow_large_images() -> None:
    """Sets the variable for this process and those it starts, unless the user has set it."""
    os.environ.setdefault(TRANSPORTS, LARGE_IMAGES)
