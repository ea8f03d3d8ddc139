"""The Fast DDS setting that lets large images through."""

from __future__ import annotations

import os

TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
"""The environment variable that Fast DDS reads when a process creates a participant."""
LARGE_IMAGES = "DEFAULT?sockets_size=16MB"
"""Its value for images; the default shared memory, 0.5 MB, is smaller than a 640x480 image."""


def allow_large_images() -> None:
    """Sets the variable for this process and its children, unless the user has set it."""
    os.environ.setdefault(TRANSPORTS, LARGE_IMAGES)
