"""`pear-ros infer`: estimates the people in images and videos, without ROS."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from pear_ros.config import Config
from pear_ros.errors import PearError
from pear_ros.geometry.camera import assumed_camera, intrinsics_of
from pear_ros.images.encoded import read_picture
from pear_ros.people import Boxes, Camera, EhmParameters, Frame, ImageArray, People
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems
from pear_ros.rendering.overlay import draw_people

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class InferOptions:
    """Options of `infer` other than the pipeline's settings."""

    output: Path  # .npz
    overlay: Path | None = None  # folder for images with meshes
    boxes: Sequence[tuple[float, ...]] = ()  # xyxy, px; used in every image
    intrinsics: tuple[float, float, float, float] | None = None  # fx, fy, cx, cy, px
    vertices: bool = True  # store the meshes


@dataclass(frozen=True)
class NamedImage:
    """An image of the input; `image` is None if it cannot be read."""

    name: str  # unique, usable as a file name
    image: ImageArray | None  # (H, W, 3) RGB
    stamp_s: float
    source: str = ""  # images of the same source are in order of time
    is_still: bool = False  # not of a video


def infer(inputs: Sequence[Path], config: Config, options: InferOptions) -> int:
    """Writes one row per person to `options.output`; returns 1 if an input cannot be read.

    Raises:
        PearError: If the weights or the body model cannot be used, the output cannot be written, or
            none of the inputs can be read.
    """
    paths = list_inputs(inputs)
    _require_writable(options.output)  # fails now rather than after the work
    problems = Problems(lambda message: tqdm.write(message, file=sys.stderr))
    pipeline = load_pipeline(config, problems)
    boxes = None
    if options.boxes:
        xyxy = np.array(options.boxes, np.float32)
        boxes = Boxes(xyxy, np.ones(len(xyxy), np.float32))
    if options.overlay is not None:
        _make_directory(options.overlay)

    rows: list[tuple[int, Camera, People]] = []
    names: list[str] = []
    unreadable = 0
    with (
        contextlib.suppress(KeyboardInterrupt),  # writes the finished images after Ctrl-C
        tqdm(total=sum(count for _, count in paths), unit="image") as progress,
    ):
        for entry in read_images(path for path, _ in paths):
            progress.update()
            if entry.image is None:
                tqdm.write(f"{entry.name}: cannot be read as an image or video", file=sys.stderr)
                unreadable += 1
                continue
            camera = _camera(entry.image, config, options)
            frame = Frame(entry.image, camera, entry.stamp_s, entry.source, boxes, entry.is_still)
            wants_mesh = options.vertices or options.overlay is not None
            (people,) = pipeline.step([frame], wants_mesh)
            if options.overlay is not None:
                picture = draw_people(entry.image, people, pipeline.body_model.faces, camera)
                _write_picture(options.overlay / f"{entry.name}.png", picture)
            rows.append((len(names), camera, people))
            names.append(entry.name)

    if not rows:
        raise PearError("none of the inputs can be read")
    write_people(options.output, names, rows, options.vertices)
    found = sum(len(people) for _, _, people in rows)
    print(f"people found: {found}, in images: {len(names)}; wrote {options.output}")
    for kind, count in problems.counts().items():
        print(f"{kind}: {count}", file=sys.stderr)
    return 1 if unreadable else 0


def list_inputs(inputs: Iterable[Path]) -> list[tuple[Path, int]]:
    """Returns the files with their number of images; a folder's image files are sorted by name.

    Raises:
        PearError: If a path does not exist or a folder has no images.
    """
    files: list[tuple[Path, int]] = []
    for path in inputs:
        if path.is_dir():
            images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not images:
                raise PearError(f"{path} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
            files += [(image, 1) for image in images]
        elif path.is_file():
            files.append(
                (path, 1 if path.suffix.lower() in IMAGE_SUFFIXES else _video_length(path))
            )
        else:
            raise PearError(f"{path} does not exist")
    return files


def _video_length(path: Path) -> int:
    video = cv2.VideoCapture(str(path))
    return max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 1) if video.isOpened() else 1


def read_images(paths: Iterable[Path]) -> Iterator[NamedImage]:
    """Yields every image of the files; videos frame by frame."""
    for index, path in enumerate(paths):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            # A source of its own: people are not followed from one picture to the next.
            name = f"{index:05d}_{path.stem}"
            yield NamedImage(name, read_picture(path), 0.0, f"i{index}", is_still=True)
        else:
            yield from _read_video(index, path)


def _read_video(index: int, path: Path) -> Iterator[NamedImage]:
    video = cv2.VideoCapture(str(path))
    rate_hz = video.get(cv2.CAP_PROP_FPS) or 30.0
    frame = 0
    while True:
        is_read, image = video.read() if video.isOpened() else (False, None)
        if not is_read:
            break
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        yield NamedImage(f"{index:05d}_{path.stem}_{frame:06d}", rgb, frame / rate_hz, f"v{index}")
        frame += 1
    if frame == 0:
        yield NamedImage(path.name, None, 0.0)


def write_people(
    output: Path, names: Sequence[str], rows: Sequence[tuple[int, Camera, People]], vertices: bool
) -> None:
    """Writes an .npz file with one row per person: docs/reference/people_file.md.

    `rows` has an entry for each image, at least one: its index in `names`, its camera and its
    people, who need vertices if `vertices` is True.

    Raises:
        OSError: If the file cannot be written.
    """
    people = [p for _, _, p in rows]
    counts = [len(p) for p in people]
    intrinsics = intrinsics_of([camera for _, camera, _ in rows]).numpy()  # (images, 4)
    arrays: dict[str, Any] = {
        "image_names": np.array(names, dtype=np.str_),
        "image_index": np.repeat([i for i, _, _ in rows], counts).astype(np.int64),
        "id": np.array([id_ for p in people for id_ in p.ids], dtype=np.str_),
        "boxes_xyxy": np.concatenate([p.boxes.xyxy for p in people]),
        "score": np.concatenate([p.boxes.scores for p in people]),
        "crop_xywh": np.concatenate([p.crop_xywh for p in people]),
        "intrinsics": np.repeat(intrinsics, counts, axis=0),
        "joints": np.concatenate([p.joints for p in people]),
        "translation": np.concatenate([p.translation for p in people]),
        "is_metric": np.array([p.is_metric for p in people for _ in p.ids], dtype=np.bool_),
        "visible": np.array([seen for p in people for seen in p.visible], dtype=np.bool_),
        "age_s": np.concatenate([p.age_s for p in people]),
        "plausibility": np.concatenate([p.plausibility for p in people]),
        "shape_confidence": np.concatenate([p.shape_confidence for p in people]),
    }
    for field in dataclasses.fields(EhmParameters):
        arrays[field.name] = np.concatenate([getattr(p.parameters, field.name) for p in people])
    if vertices:
        arrays["vertices"] = np.concatenate([p.vertices for p in people if p.vertices is not None])
    with output.open("wb") as file:
        np.savez(file, **arrays)


def _require_writable(output: Path) -> None:
    _make_directory(output.parent)
    target = output if output.exists() else output.parent
    if output.is_dir() or not os.access(target, os.W_OK):
        raise PearError(f"{output} cannot be written")


def _camera(image: ImageArray, config: Config, options: InferOptions) -> Camera:
    if options.intrinsics is not None:
        return Camera(*options.intrinsics)
    height, width = image.shape[:2]
    return assumed_camera(width, height, config.camera.assumed_fov_deg)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PearError(f"{path} cannot be written: {error}") from error


def _write_picture(path: Path, image: ImageArray) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise PearError(f"{path} cannot be written")
