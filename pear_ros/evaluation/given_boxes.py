"""Estimates of people whose boxes are known, for evaluations: no detector, nobody is followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.config import Config
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.geometry.crop_camera import camera_from_crop
from pear_ros.people import Boxes, Camera, FloatArray, Frame, ImageArray, People
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems

BATCH = 4  # images per step of the pipeline

T = TypeVar("T")


@dataclass(frozen=True)
class View(Generic[T]):
    """An image with the boxes of B people, and the `truth` that the caller needs again."""

    image: ImageArray  # (H, W, 3) RGB
    camera: Camera
    xyxy: FloatArray  # (B, 4) px
    truth: T


@dataclass(frozen=True)
class Estimated:
    """The estimates for one view: `people` has vertices, `rows` says who is whom."""

    people: People
    rows: NDArray[np.int64]  # (B,) the row of each box's person; -1 if the pipeline left it out


def load_judged_pipeline(config: Config, problems: Problems) -> Pipeline:
    """Loads a pipeline that takes the boxes of its frames and keeps implausible estimates, too.

    Raises:
        PearError: As `load_pipeline`.
    """
    everybody = {"detection.detector": "topic", "detection.min_plausibility": 0.0}
    return load_pipeline(config.replaced(everybody), problems)


def estimates(pipeline: Pipeline, views: Iterable[View[T]]) -> Iterator[tuple[View[T], Estimated]]:
    """Estimates the people in all views, BATCH images in a step; the pipeline takes given boxes."""
    remaining = iter(views)
    while batch := list(islice(remaining, BATCH)):
        boxes = [Boxes(view.xyxy, np.ones(len(view.xyxy), np.float32)) for view in batch]
        frames = [
            Frame(view.image, view.camera, 0.0, f"view{i}", given, is_still=True)
            for i, (view, given) in enumerate(zip(batch, boxes, strict=True))
        ]
        people_by_view = pipeline.step(frames, mesh=True)
        for view, given, people in zip(batch, boxes, people_by_view, strict=True):
            yield view, Estimated(people, rows_of(people, given))


def rows_of(found: People, boxes: Boxes) -> NDArray[np.int64]:
    """Returns (B,) the row of `found` for each box; -1 if the pipeline left the person out."""
    same = (boxes.xyxy[:, None] == found.boxes.xyxy[None]).all(-1)  # (B, N)
    return np.where(same.any(1), same.argmax(1) if same.size else 0, -1)


def in_crop_axes(points: FloatArray, people: People, camera: Camera) -> FloatArray:
    """Rotates points (N, J, 3) of N people from the camera's axes to those of their crop's camera.

    The network estimates the orientation in the axes of the crop's camera, and the pipeline turns
    people into the axes of `camera`. Published evaluations do not turn them.
    """
    squares = torch.from_numpy(people.crop_xywh)
    turn = camera_from_crop(squares, intrinsics_of([camera] * len(people))).numpy()  # (N, 3, 3)
    rotated: FloatArray = points @ turn  # the inverse of each rotation, applied to rows
    return rotated
