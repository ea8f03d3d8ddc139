"""Depth images of rendered people."""

from __future__ import annotations

import numpy as np

from pear_ros.people import FloatArray
from pear_ros.rendering.renderer import render
from pear_ros.synthetic.scene import Cast, Shot

WALL_M = 6.5


def depth_image(shot: Shot, cast: Cast) -> FloatArray:
    """(H, W) m, perfect, with a wall behind the people."""
    people = shot.people
    assert people.vertices is not None
    placed = people.vertices + people.translation[:, None]
    white = np.ones((1, 1, 3), np.float32)
    return np.minimum(render(shot.image, placed, cast.faces, white, shot.camera).depth_m, WALL_M)
