"""What a real camera does to a picture: resolution, blur, exposure, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import FloatArray, ImageArray

Random = np.random.Generator

CLEAR = 0.45  # fraction of crops with neither another exposure nor noise
COARSE = 0.15  # of crops whose picture has less detail than its pixels
BLURRED, MOVED = 0.12, 0.08  # out of focus; moved during the exposure
COMPRESSED = 0.35  # by JPEG
FEW_COLORS = 0.06  # a palette, as in GIF
GREY = 0.03


def with_camera_effects(
    image: ImageArray, square: FloatArray, image_size: tuple[int, int], random: Random
) -> ImageArray:
    """A crop (256, 256, 3) RGB as a camera would have taken it, black outside of its image.

    Args:
        image: The crop, drawn without errors.
        square: xywh, px, the crop in the camera's image.
        image_size: Width and height of the camera's image, px.
        random: Source of random numbers.
    """
    image = _with_resolution(image, square[2], random)
    if random.random() > CLEAR:
        image = _with_exposure(image, random)
    if random.random() < GREY:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if random.random() < COMPRESSED:
        quality = int(random.integers(25, 90))
        _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    elif random.random() < FEW_COLORS:
        image = _with_palette(image, random)
    image[outside(square, image_size)] = 0
    return np.asarray(image, np.uint8)


def _with_resolution(image: ImageArray, square_px: float, random: Random) -> ImageArray:
    """The detail that the camera's image has, of whose pixels the crop has `square_px` a side."""
    enlarged = CROP_SIZE / square_px  # > 1: the image has fewer pixels than the crop
    if random.random() < COARSE:
        enlarged = max(enlarged, 1) * random.uniform(1.1, 2.5)
    if enlarged > 1.2:
        side = max(round(CROP_SIZE / enlarged), 40)
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    chance = random.random()
    if chance < BLURRED:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.6)), np.uint8)
    if chance < BLURRED + MOVED:
        return np.asarray(cv2.filter2D(image, -1, _line(random)), np.uint8)
    return image


def _line(random: Random) -> np.ndarray:
    """A kernel (K, K) that blurs along a line."""
    size = 2 * int(random.integers(2, 6)) + 1
    kernel = np.zeros((size, size), np.float32)
    angle = random.uniform(0, np.pi)
    end = (size // 2) * np.array((np.cos(angle), np.sin(angle)))
    first, last = (np.round(size // 2 + sign * end).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0)
    return kernel / kernel.sum()


def _with_exposure(image: ImageArray, random: Random) -> ImageArray:
    """Changes brightness, white balance, contrast and colours, and sometimes adds noise."""
    levels = np.arange(256) / 255
    gain = random.uniform(0.65, 1.3) * random.uniform(0.88, 1.12, 3)  # (3,)
    curve = levels[:, None] ** random.uniform(0.55, 1.4)  # (256, 1)
    table = 255 * curve * gain + random.normal(0, 12)
    exposed = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
    if random.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(exposed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        colored = random.uniform(0.2, 1.4)
        exposed = cv2.addWeighted(exposed, colored, grey, 1 - colored, 0)
    if random.random() < 0.5:
        cv2.setRNGSeed(int(random.integers(2**31)))  # else it depends on earlier crops
        noise = np.empty(exposed.shape, np.int16)
        cv2.randn(noise, 0, random.uniform(1, 10))
        if random.random() < 0.5:  # of the sensor, smoothed by the camera
            noise = cv2.blur(noise, (2, 2))
        exposed = cv2.add(exposed, noise, dtype=cv2.CV_8U)
    return np.asarray(exposed, np.uint8)


def _with_palette(image: ImageArray, random: Random) -> ImageArray:
    """Few levels of each colour, with dithering."""
    step = int(random.integers(16, 48))
    dither = random.integers(0, step, (*image.shape[:2], 1))
    coarse = (image.astype(np.int16) + dither) // step * step
    return np.clip(coarse, 0, 255).astype(np.uint8)


def outside(square: FloatArray, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """(256, 256) the pixels of a crop `square`, xywh, px, that are outside of the image."""
    zoom = CROP_SIZE / square[2]
    left, top = np.clip(-square[:2] * zoom, 0, CROP_SIZE).astype(int)
    right, bottom = np.clip((image_size - square[:2]) * zoom, 0, CROP_SIZE).astype(int)
    is_outside = np.ones((CROP_SIZE, CROP_SIZE), bool)
    is_outside[top:bottom, left:right] = False
    return is_outside
