"""Pictures of the recovered people over the camera's image."""

from __future__ import annotations

import colorsys
import re
import zlib

import cv2
import numpy as np

from pear_ros.people import Camera, ImageArray, IntArray, People
from pear_ros.rendering.renderer import render

GOLDEN = (5**0.5 - 1) / 2  # of a circle: steps that always fall where there is most room


def person_color(id_: str) -> tuple[float, float, float]:
    """RGB, 0 to 1; a person has the same in every marker and image.

    People whose ids differ by a few in their last number have hues that are far apart.
    """
    number = re.search("[0-9]*$", id_)
    assert number is not None
    first = zlib.crc32(id_[: number.start()].encode()) / 2**32  # another one for each camera
    hue = (first + GOLDEN * int(number[0] or 0)) % 1
    return colorsys.hsv_to_rgb(hue, 0.45, 0.95)


def draw_people(
    image: ImageArray, people: People, faces: IntArray, camera: Camera, opacity: float = 0.8
) -> ImageArray:
    """A copy of the image (H, W, 3) RGB with the meshes drawn over it, the nearest in front."""
    assert people.vertices is not None
    colors = np.array([person_color(id_) for id_ in people.ids], np.float32).reshape(-1, 1, 3)
    placed = people.vertices + people.translation[:, None]  # (N, V, 3) m, optical
    drawn = render(image, placed, faces, colors, camera).image
    return np.asarray(cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0), np.uint8)
