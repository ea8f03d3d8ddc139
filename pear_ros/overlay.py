"""Pictures of the recovered people over the camera's image."""

from __future__ import annotations

import colorsys
import zlib

import cv2
import numpy as np

from pear_ros.camera import project
from pear_ros.people import Camera, FloatArray, ImageArray, IntArray, People

NEAREST_M = 0.05  # triangles nearer to the camera are not drawn
_SUBPIXEL_BITS = 4


def person_color(id_: str) -> tuple[float, float, float]:
    """RGB, 0 to 1; a person has the same in every marker and image."""
    hue = zlib.crc32(id_.encode()) % 360 / 360
    return colorsys.hsv_to_rgb(hue, 0.45, 0.95)


def draw_people(
    image: ImageArray, people: People, faces: IntArray, camera: Camera, opacity: float = 0.8
) -> ImageArray:
    """A copy of the image (H, W, 3) RGB with the meshes drawn over it, the farthest first."""
    assert people.vertices is not None
    colors = np.array([person_color(id_) for id_ in people.ids], np.float32).reshape(-1, 3)
    placed = people.vertices + people.translation[:, None]  # (N, V, 3) m, optical
    pixels = project(placed, camera)  # (N, V, 2) px

    corners = placed[:, faces].reshape(-1, 3, 3)  # (T, 3, 3) m, all triangles of all people
    outlines = pixels[:, faces].reshape(-1, 3, 2)  # (T, 3, 2) px
    base = np.repeat(colors, len(faces), axis=0)  # (T, 3)

    height, width = image.shape[:2]
    is_drawn = (
        (corners[..., 2] > NEAREST_M).all(1)
        & (_winding(outlines) < 0)  # seen from outside: clockwise in the model, y points down
        & (outlines.max(1) >= 0).all(1)
        & (outlines.min(1) < (width, height)).all(1)
    )
    corners, outlines, base = corners[is_drawn], outlines[is_drawn], base[is_drawn]
    farthest_first = np.argsort(-corners[..., 2].mean(1), kind="stable")
    shade = 0.35 + 0.65 * _facing(corners)  # (T,)
    rgb = (255 * base * shade[:, None]).round().astype(int)
    points = np.rint(outlines * (1 << _SUBPIXEL_BITS)).astype(np.int32)

    drawn = image.copy()
    for i in farthest_first:
        cv2.fillConvexPoly(drawn, points[i], rgb[i].tolist(), cv2.LINE_8, _SUBPIXEL_BITS)
    return np.asarray(cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0), np.uint8)


def _winding(outlines: FloatArray) -> FloatArray:
    """(T, 3, 2) px -> (T,) twice the signed area."""
    a, b = outlines[:, 1] - outlines[:, 0], outlines[:, 2] - outlines[:, 0]
    area: FloatArray = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return area


def _facing(corners: FloatArray) -> FloatArray:
    """(T, 3, 3) m -> (T,) cosine between a triangle's normal and the ray to the camera."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    rays = corners.mean(1)
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(rays, axis=1)
    cosine: FloatArray = np.abs((normals * rays).sum(1)) / np.maximum(lengths, 1e-12)
    return cosine
