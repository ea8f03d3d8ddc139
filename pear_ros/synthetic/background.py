"""Random rooms made of shapes and noise, so that no photographs are needed."""

from __future__ import annotations

import cv2
import numpy as np

from pear_ros.people import ImageArray

Random = np.random.Generator


def draw_background(width: int, height: int, random: Random) -> ImageArray:
    """Draws (H, W, 3) RGB: a wall, often a floor, random shapes, noise, blur. Sizes in px."""
    image = np.empty((height, width, 3), np.float32)
    image[:] = _gradient(width, height, random)
    if random.random() < 0.7:
        horizon = int(height * random.uniform(0.35, 0.85))
        image[horizon:] = _gradient(width, height - horizon, random)
    for _ in range(random.integers(0, 22)):
        _draw_shape(image, random)
    for cells in (8, 40):
        noise = random.normal(0, random.uniform(0, 14), (cells * height // width + 1, cells, 3))
        noise[:] = noise if random.random() < 0.1 else noise.mean(-1, keepdims=True)
        image += cv2.resize(
            noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
    if random.random() < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 4))
    grain = random.normal(0, random.uniform(0, 5), (height, width, 1))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _gradient(width: int, height: int, random: Random) -> np.ndarray:
    corners = np.clip(_color(random) + random.normal(0, 25, (2, 2, 1)), 0, 255)
    return cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def _color(random: Random) -> np.ndarray:
    """(3,) RGB, mostly greyish, as rooms are."""
    color = random.uniform(0, 255, 3)
    return color.mean() + random.beta(1, 2.5) * (color - color.mean())


def _draw_shape(image: np.ndarray, random: Random) -> None:
    height, width = image.shape[:2]
    color = _color(random).tolist()
    x, y = int(random.integers(width)), int(random.integers(height))
    size = np.exp(random.uniform(np.log(8), np.log(width / 2.5), 2)).astype(int)
    kind = random.integers(4)
    if kind == 0:
        cv2.rectangle(image, (x, y), (x + int(size[0]), y + int(size[1])), color, -1)
    elif kind == 1:
        angle = float(random.uniform(0, 180))
        cv2.ellipse(image, (x, y), (int(size[0]), int(size[1])), angle, 0, 360, color, -1)
    elif kind == 2:
        corners = np.array((x, y)) + random.normal(0, 1, (random.integers(3, 7), 2)) * size
        cv2.fillPoly(image, [corners.astype(np.int32)], color)
    else:
        end = np.array((x, y)) + random.normal(0, 2, 2) * size
        thickness = int(random.integers(1, 30))
        cv2.line(image, (x, y), (int(end[0]), int(end[1])), color, thickness, cv2.LINE_AA)
