"""Draws the estimated meshes over the camera's image."""

from __future__ import annotations

import colorsys
import re
import zlib

import cv2
import numpy as np

from pear_ros.people import Camera, ImageArray, IntArray, People
from pear_ros.rendering.renderer import render

GOLDEN = (5**0.5 - 1) / 2  # golden ratio, step of the hue: successive hues are far apart


def person_color(id_: str) -> tuple[float, float, float]:
    """RGB, 0 to 1, that depends on the id only: a person has the same colour in all outputs.

    Ids whose last numbers are close have hues that are far apart.
    """
    number = re.search("[0-9]*$", id_)
    assert number is not None
    offset = zlib.crc32(id_[: number.start()].encode()) / 2**32  # differs between cameras
    hue = (offset + GOLDEN * int(number[0] or 0)) % 1
    return colorsys.hsv_to_rgb(hue, 0.45, 0.95)


def draw_people(
    image: ImageArray, people: People, faces: IntArray, camera: Camera, opacity: float = 0.8
) -> ImageArray:
    """Draws the meshes over a copy of the image (H, W, 3) RGB, the nearest in front.

    Args:
        image: (H, W, 3) RGB.
        people: People with vertices.
        faces: (F, 3) faces of the meshes.
        camera: Camera of the image.
        opacity: Opacity of the meshes, 0 to 1.

    Raises:
        IndexError: If a face has a corner that is not a vertex.
    """
    assert people.vertices is not None
    colors = np.array([person_color(id_) for id_ in people.ids], np.float32).reshape(-1, 1, 3)
    placed = people.vertices + people.translation[:, None]  # (N, V, 3) m, optical
    drawn = render(image, placed, faces, colors, camera).image
    return np.asarray(cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0), np.uint8)
