"""Where the camera of a training crop is, what its image cuts off, and what stands in front.

The network sees people whom the image cuts as often as whole ones: a webcam sees a person at a desk
from the hips up, a robot at close range sees the legs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import project
from pear_ros.people import Camera, FloatArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Random = np.random.Generator

IMAGE_SIZES = ((640, 480), (640, 360), (480, 640), (360, 640))  # width, height, px
IMAGE_SHARES = (0.5, 0.3, 0.1, 0.1)
FOCAL = (0.6, 1.5)  # focal lengths as fractions of the longer image side: webcams, phones, robots
WHOLE, HALF, BUST, SIDE, TOP = 0.48, 0.34, 0.11, 0.04, 0.03  # fractions of crops by their view
HALF_HEIGHT = (0.30, 0.85)  # visible fraction of a person's height, from the top
BUST_HEIGHT = (0.15, 0.30)  # head and shoulders
LEAST_INSIDE = 0.8  # least fraction of the box of a whole person that is inside the image
NEAREST_M = 0.25
BOX_JITTER = 0.08  # largest error of a detected box, relative to its size
OCCLUDED = 0.3  # fraction of crops with something in front of the person
DESK = 0.5  # fraction of occluders that hide all below a line
TIGHT = 0.8  # fraction of boxes around what is visible; others include what is hidden
LEAST_VISIBLE = 0.35  # of the points inside the image


@dataclass(frozen=True)
class View:
    """The camera of one crop."""

    camera: Camera
    place: FloatArray  # (3,) m, translation of the body to the camera's frame
    image_size: tuple[int, int]  # width, height, px
    square: FloatArray  # xywh, px, the crop in the image
    occluders: tuple[FloatArray, ...]  # (K, 2) px, convex polygons in front of everybody


def frame_person(vertices: FloatArray, random: Random) -> View:
    """Places a camera in front of a body, vertices (V, 3) m, optical axes, at any place."""
    while True:
        view = _try(vertices, random)
        if view is not None:
            return view


def _try(vertices: FloatArray, random: Random) -> View | None:
    size = IMAGE_SIZES[random.choice(len(IMAGE_SIZES), p=IMAGE_SHARES)]
    width, height = size
    focal_px = random.uniform(*FOCAL) * max(size)
    camera = Camera(focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
    kind = random.choice(5, p=(WHOLE, HALF, BUST, SIDE, TOP))
    place = (_whole, _half, _bust, _side, _top)[kind](vertices, camera, size, random)
    placed = vertices + place.astype(np.float32)
    if placed[:, 2].min() < NEAREST_M:
        return None
    pixels = project(placed, camera)
    inside = ((pixels >= 0) & (pixels < size)).all(1)
    if kind == 0 and not _is_whole(pixels, size):
        return None
    occluders = _occluders(pixels[inside], size, random) if random.random() < OCCLUDED else ()
    visible = inside & ~_covered(pixels, occluders)
    if visible.sum() < max(LEAST_VISIBLE * inside.sum(), 0.04 * len(pixels)):
        return None
    seen = pixels[visible if random.random() < TIGHT else inside]
    box = np.concatenate((seen.min(0), seen.max(0)))
    extent = (box[2:] - box[:2]).max()
    if extent < 60:  # px
        return None
    box += np.clip(random.normal(0, BOX_JITTER / 2, 4), -BOX_JITTER, BOX_JITTER) * extent
    box = np.clip(box, 0, (width, height, width, height)).astype(np.float32)
    (square,) = square_boxes(box[None], width, height)
    return View(camera, place.astype(np.float32), size, square, occluders)


def _is_whole(pixels: FloatArray, size: tuple[int, int]) -> bool:
    box = np.concatenate((pixels.min(0), pixels.max(0)))
    inside = np.clip(box, 0, (*size, *size))
    area = float(np.prod(inside[2:] - inside[:2]))
    return area >= LEAST_INSIDE * float(np.prod(box[2:] - box[:2]))


def _whole(vertices: FloatArray, camera: Camera, size: tuple[int, int], random: Random) -> Array:
    """Somewhere in the image, 150 to 500 px high."""
    width, height = size
    size_px = np.exp(random.uniform(np.log(150), np.log(1.04 * height)))
    depth_m = camera.fy * float(np.ptp(vertices[:, 1])) / size_px
    uv = random.uniform((0.1 * width, 0.3 * height), (0.9 * width, 0.7 * height))
    return _at(vertices, (0.5, 0.5), uv, depth_m, camera)


def _half(vertices: FloatArray, camera: Camera, size: tuple[int, int], random: Random) -> Array:
    return _cut_below(vertices, camera, size, random.uniform(*HALF_HEIGHT), random)


def _bust(vertices: FloatArray, camera: Camera, size: tuple[int, int], random: Random) -> Array:
    return _cut_below(vertices, camera, size, random.uniform(*BUST_HEIGHT), random)


def _cut_below(
    vertices: FloatArray, camera: Camera, size: tuple[int, int], share: float, random: Random
) -> Array:
    """The bottom of the image cuts the person, of whose height the `share` is visible."""
    width, height = size
    visible_px = random.uniform(0.35, 1.02) * height
    depth_m = camera.fy * share * float(np.ptp(vertices[:, 1])) / visible_px
    uv = np.array((random.uniform(0.15, 0.85) * width, height))
    return _at(vertices, (0.5, share), uv, depth_m, camera)


def _side(vertices: FloatArray, camera: Camera, size: tuple[int, int], random: Random) -> Array:
    """The left or right side of the image cuts the person, often also the bottom."""
    width, height = size
    tall = random.uniform(0.6, 2.2)  # of the image's height
    depth_m = camera.fy * float(np.ptp(vertices[:, 1])) / (tall * height)
    at_left = random.random() < 0.5
    share = random.uniform(0.3, 0.7)  # of the person's width that is cut off
    uv = np.array((0 if at_left else width, random.uniform(0.0, 0.25) * height))
    return _at(vertices, (share if at_left else 1 - share, 0.0), uv, depth_m, camera)


def _top(vertices: FloatArray, camera: Camera, size: tuple[int, int], random: Random) -> Array:
    """The top of the image cuts the head, or more."""
    width, height = size
    share = random.uniform(0.04, 0.45)
    tall = random.uniform(0.7, 1.6)  # of the image's height
    depth_m = camera.fy * float(np.ptp(vertices[:, 1])) / (tall * height)
    uv = np.array((random.uniform(0.2, 0.8) * width, 0))
    return _at(vertices, (0.5, share), uv, depth_m, camera)


def _at(
    vertices: FloatArray,
    share: tuple[float, float],
    uv: Array,
    depth_m: float,
    camera: Camera,
) -> Array:
    """(3,) m, moves the point at `share` of the body's width and height to the pixel `uv`."""
    low, high = vertices.min(0).astype(float), vertices.max(0).astype(float)
    point = low + np.array((*share, 0.5)) * (high - low)
    ray = np.append((uv - (camera.cx, camera.cy)) / (camera.fx, camera.fy), 1)
    return ray * depth_m - point


def _occluders(pixels: FloatArray, size: tuple[int, int], random: Random) -> tuple[FloatArray, ...]:
    """Polygons in front of the person, whose visible points are `pixels` (P, 2)."""
    if len(pixels) == 0:
        return ()
    low, high = pixels.min(0).astype(float), pixels.max(0).astype(float)
    extent = high - low
    width, height = size
    if random.random() < DESK:
        y = low[1] + random.uniform(0.35, 0.95) * extent[1]
        slope = random.normal(0, 0.06)
        left = -width if random.random() < 0.6 else low[0] - random.uniform(-0.3, 0.6) * extent[0]
        right = (
            2 * width if random.random() < 0.6 else high[0] + random.uniform(-0.3, 0.6) * extent[0]
        )
        ends = np.array((left, right))
        tops = y + slope * (ends - width / 2)
        deep = 3 * height if random.random() < 0.7 else random.uniform(0.08, 0.5) * extent[1]
        corners = [
            (left, tops[0]),
            (right, tops[1]),
            (right, tops[1] + deep),
            (left, tops[0] + deep),
        ]
        return (np.array(corners, np.float32),)
    occluders = []
    for _ in range(random.integers(1, 4)):
        middle = low + random.uniform(0, 1, 2) * extent
        radii = extent.max() * np.exp(random.uniform(np.log(0.04), np.log(0.3), 2))
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 12)))
        turn = random.uniform(0, np.pi)
        x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
        corners_xy = np.stack(
            (np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y), -1
        )
        occluders.append((middle + corners_xy).astype(np.float32))
    return tuple(occluders)


def _covered(pixels: FloatArray, occluders: tuple[FloatArray, ...]) -> Bools:
    """(P,) whether points (P, 2) are inside one of the convex polygons."""
    covered = np.zeros(len(pixels), bool)
    for corners in occluders:
        edges = np.roll(corners, -1, 0) - corners  # (K, 2)
        offsets = pixels[:, None] - corners  # (P, K, 2)
        side = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]  # (P, K)
        covered |= (side >= 0).all(1) | (side <= 0).all(1)
    return covered
