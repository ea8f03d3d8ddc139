"""Where the boxes of followed people should be, and how detected boxes overlap them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.geometry.camera import project
from pear_ros.people import Camera, FloatArray
from pear_ros.tracking.motion import LEAST_DEPTH_M

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

AT_EDGE = 0.01  # of the image's size: a side of a box that is so near to an edge is cut by it


def moved_boxes(xyxy: FloatArray, before_m: Array, after_m: Array, camera: Camera) -> FloatArray:
    """Boxes (T, 4), px, of people who move from one position (T, 3), m, to another."""
    is_visible = np.minimum(before_m[:, 2], after_m[:, 2])[:, None] > LEAST_DEPTH_M
    with np.errstate(divide="ignore", invalid="ignore"):
        before_px, after_px = (
            project(position.astype(np.float32), camera) for position in (before_m, after_m)
        )  # (T, 2)
        scale = before_m[:, 2:] / after_m[:, 2:]
    corners = [(xyxy[:, i : i + 2] - before_px) * scale + after_px for i in (0, 2)]
    return np.where(is_visible, np.concatenate(corners, 1), xyxy).astype(np.float32)


def cut_sides(xyxy: FloatArray, size: tuple[int, int]) -> Bools:
    """Which sides of boxes (T, 4), px, an image of `size` (height, width) cuts: (T, 4)."""
    corner = np.array(size[::-1])
    margin = AT_EDGE * corner
    return np.concatenate((xyxy[:, :2] <= margin, xyxy[:, 2:] >= corner - margin), 1)


def overlaps(
    expected_xyxy: FloatArray, is_cut: Bools, seen_xyxy: FloatArray, size: tuple[int, int]
) -> Array:
    """Intersection over union (T, N) of expected and seen boxes, inside of the image.

    Args:
        expected_xyxy: (T, 4) px.
        is_cut: (T, 4) the sides that the image cut when the person was seen last. The body may go
            on there, so such a side is expected at the edge again, if that fits better.
        seen_xyxy: (N, 4) px.
        size: Height and width of the image, px.
    """
    edges = np.array((*size[::-1], *size[::-1]), np.float32)  # (4,)
    reaching = np.where(is_cut, edges * (0, 0, 1, 1), expected_xyxy)
    seen = seen_xyxy.clip(0, edges)
    alone, reached = (box_iou_batch(b.clip(0, edges), seen) for b in (expected_xyxy, reaching))
    return np.maximum(alone, reached)


def share_inside(xyxy: FloatArray, size: tuple[int, int]) -> Array:
    """(T,) the share of each box (T, 4), px, that is inside of an image (height, width)."""
    height, width = size
    clipped = xyxy.clip(0, (width, height, width, height)).astype(np.float64)
    area = np.maximum((xyxy[:, 2:] - xyxy[:, :2]).astype(np.float64).prod(1), 1e-9)
    inside: Array = (clipped[:, 2:] - clipped[:, :2]).prod(1) / area
    return inside
