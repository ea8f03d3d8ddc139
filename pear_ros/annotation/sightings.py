"""People in the images of one input: where they are, what the experts see, what PEAR estimates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pear_ros.annotation.experts import Experts
from pear_ros.body.landmarks import NUM_LANDMARKS
from pear_ros.errors import LabelError
from pear_ros.geometry.camera import assumed_camera, intrinsics_of
from pear_ros.offline.image_files import NamedImage
from pear_ros.people import (
    EhmParameters,
    FloatArray,
    Frame,
    ImageArray,
    IntArray,
    join,
    map_tensors,
    neutral_parameters,
)
from pear_ros.pipeline import Pipeline

PICTURE_MARGIN = 1.6  # side of a crop's picture over that of the square that the network sees
LARGEST_PICTURE_PX = 448
JPEG_QUALITY = 92
LEAST_BOX_PX = 24  # of the longer side: nobody can be annotated below it


@dataclass(frozen=True)
class Picture:
    """A square part of an image, maybe made smaller."""

    pixels: ImageArray  # (S, S, 3) RGB, black outside of the image
    corner: tuple[int, int]  # px of the image, of its first pixel
    scale: float  # its pixels over the image's
    image_size: tuple[int, int]  # width, height, px

    def from_image(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) px of the image -> (..., 2) px of the picture."""
        return ((points + 0.5 - self.corner) * self.scale - 0.5).astype(np.float32)

    def intrinsics_from_image(self, intrinsics: FloatArray) -> FloatArray:
        """fx, fy, cx, cy (4,) px of the image -> (4,) px of the picture."""
        return np.concatenate((intrinsics[:2] * self.scale, self.from_image(intrinsics[2:])))

    @property
    def image_xyxy(self) -> FloatArray:
        """(4,) px of the picture: the borders of the image, half a pixel around its pixels."""
        borders = np.array(((-0.5, -0.5), np.subtract(self.image_size, 0.5)), np.float32)
        return self.from_image(borders).reshape(4)


@dataclass(frozen=True)
class Sightings:
    """M people in the images of one input; `px` are pixels of the whole image."""

    frame: IntArray  # (M,) image of the input, from 0
    stamp_s: FloatArray  # (M,)
    person: tuple[str, ...]  # M, the same in all images of a video
    boxes_xyxy: FloatArray  # (M, 4) px, what is visible of the person
    intrinsics: FloatArray  # (M, 4) fx, fy, cx, cy, px; assumed
    keypoints: FloatArray  # (M, 133, 3) x, y, px, confidence
    parameters: EhmParameters  # PEAR's, in the axes of the image's camera
    translation: FloatArray  # (M, 3) m, optical
    pictures: tuple[Picture, ...]  # M, without pixels once they are in files
    files: tuple[str, ...]  # M, names of the crops' pictures

    def __len__(self) -> int:
        return len(self.frame)


def collect(
    name: str, images: Iterable[NamedImage], pipeline: Pipeline, experts: Experts, crops: Path
) -> tuple[Sightings, int, list[str]]:
    """Finds the people of an input and writes their crops to the folder `crops`.

    Args:
        name: Of the input; the pictures' names begin with it.
        images: The input's images in order of time.
        pipeline: Finds and follows people, and estimates where the fit starts.
        experts: Find the keypoints.
        crops: An existing folder.

    Returns:
        The people, the number of images that were read, and those that cannot be, with the reason.

    Raises:
        LabelError: If a picture cannot be written.
    """
    seen: list[Sightings] = []
    unreadable: list[str] = []
    for number, image in enumerate(images):
        if image.image is None:
            unreadable.append(f"{image.name}: cannot be read: {image.reason}")
            continue
        people = _in_image(name, number, image, pipeline, experts)
        for file, picture in zip(people.files, people.pictures, strict=True):
            write_picture(crops / file, picture.pixels)
        seen.append(_without_pixels(people))
    return _joined(seen), len(seen), unreadable


def _in_image(
    name: str, number: int, image: NamedImage, pipeline: Pipeline, experts: Experts
) -> Sightings:
    assert image.image is not None
    height, width, _ = image.image.shape
    camera = assumed_camera(width, height, pipeline.config.camera.assumed_fov_deg)
    source = f"{name}_{image.source}"  # people are not followed from one input to the next
    frame = Frame(image.image, camera, image.stamp_s, source, is_still=image.is_still)
    (people,) = pipeline.step([frame])
    boxes = people.boxes.xyxy
    is_large = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0) >= LEAST_BOX_PX
    rows = np.flatnonzero(np.array(people.visible, bool) & is_large)
    people = people.rows(rows)
    ids = tuple(id_.rpartition("_")[2] for id_ in people.ids)
    return Sightings(
        frame=np.full(len(people), number),
        stamp_s=np.full(len(people), image.stamp_s, np.float32),
        # Pictures of a folder have different people, though each has a first one.
        person=tuple(f"{image.source}_{id_}" for id_ in ids) if image.is_still else ids,
        boxes_xyxy=people.boxes.xyxy,
        intrinsics=np.repeat(intrinsics_of([camera]).numpy(), len(people), axis=0),
        keypoints=experts(image.image, people.boxes.xyxy, image.name),
        parameters=map_tensors(people.parameters, torch.Tensor.clone),
        translation=people.translation,
        pictures=tuple(cut_picture(image.image, square) for square in people.crop_xywh),
        files=tuple(f"{name}_{number:06d}_{id_}.jpg" for id_ in ids),
    )


def cut_picture(image: ImageArray, square_xywh: FloatArray) -> Picture:
    """Cuts the picture around the square (4,) px that the network sees."""
    centre = square_xywh[:2] + square_xywh[2:] / 2
    side = max(round(float(square_xywh[2]) * PICTURE_MARGIN), 2)
    left, top = (int(corner) for corner in np.round(centre - side / 2))
    height, width, _ = image.shape
    pixels = np.zeros((side, side, 3), np.uint8)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x1 < x2 and y1 < y2:
        pixels[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    size = min(side, LARGEST_PICTURE_PX)
    if size < side:
        pixels = np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA))
    return Picture(pixels, (left, top), size / side, (width, height))


def write_picture(path: Path, image: ImageArray) -> None:
    """Writes an RGB image as JPEG.

    Raises:
        LabelError: If it cannot be written.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality):
        raise LabelError(f"{path} cannot be written")


def _without_pixels(sightings: Sightings) -> Sightings:
    nothing = np.zeros((0, 0, 3), np.uint8)
    pictures = tuple(dataclasses.replace(p, pixels=nothing) for p in sightings.pictures)
    return dataclasses.replace(sightings, pictures=pictures)


def _joined(parts: list[Sightings]) -> Sightings:
    def arrays(name: str, *shape: int) -> FloatArray:
        empty = np.zeros((0, *shape), np.float32)
        return np.concatenate([empty, *(getattr(part, name) for part in parts)])

    return Sightings(
        frame=arrays("frame").astype(np.int64),
        stamp_s=arrays("stamp_s"),
        person=tuple(id_ for part in parts for id_ in part.person),
        boxes_xyxy=arrays("boxes_xyxy", 4),
        intrinsics=arrays("intrinsics", 4),
        keypoints=arrays("keypoints", NUM_LANDMARKS, 3),
        parameters=join([neutral_parameters(0), *(part.parameters for part in parts)]),
        translation=arrays("translation", 3),
        pictures=tuple(picture for part in parts for picture in part.pictures),
        files=tuple(file for part in parts for file in part.files),
    )
