"""1,000 images without people give nobody."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch

from pear_ros.detection.nanodet_detector import NanoDetDetector
from pear_ros.people import Camera, Frame, ImageArray
from pear_ros.synthetic.background import draw_background
from pear_ros.system.installed import shared_file

WIDTH, HEIGHT = 640, 480
Random = np.random.Generator


def wall(random: Random) -> ImageArray:
    """One colour with the noise of a camera."""
    grain = random.normal(0, random.uniform(0, 12), (HEIGHT, WIDTH, 3))
    return (random.uniform(0, 255, 3) + grain).clip(0, 255).astype(np.uint8)


def stripes(random: Random) -> ImageArray:
    """Shelves, tiles, fences: two waves of any direction."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for _ in range(2):
        direction, period = random.uniform(0, np.pi), random.uniform(6, 200)
        wave = np.sin((np.cos(direction) * x + np.sin(direction) * y) * 2 * np.pi / period)
        image += (np.sign(wave) if random.random() < 0.5 else wave)[..., None] * random.uniform(
            -60, 60, 3
        )
    return (image + random.uniform(60, 200, 3)).clip(0, 255).astype(np.uint8)


def clouds(random: Random) -> ImageArray:
    """Smooth random colours at two scales."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for cells in (4, 20):
        noise = random.uniform(0, 128, (cells * 3 // 4, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def room(random: Random) -> ImageArray:
    return draw_background(WIDTH, HEIGHT, random)


def images() -> Iterator[ImageArray]:
    random = np.random.default_rng(0)
    for make, count in ((wall, 150), (stripes, 150), (clouds, 150), (room, 550)):
        for _ in range(count):
            yield make(random)


@pytest.mark.slow
def test_nobody() -> None:
    detector = NanoDetDetector(
        shared_file("detector/nanodet_g.npz"), 320, torch.device("cpu"), torch.float32
    )
    nobody = [np.zeros((0, 4), np.float32)]
    found = [
        (i, boxes.scores.max(initial=0))
        for i, image in enumerate(images())
        for boxes in detector([Frame(image, Camera(600, 600, 320, 240), 0.0)], nobody)
    ]
    assert len(found) == 1000
    assert [(i, score) for i, score in found if score >= 0.5] == []
