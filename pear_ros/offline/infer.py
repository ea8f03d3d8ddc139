"""`pear-ros infer`: estimates the people in images and videos, without ROS."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from pear_ros.config import Config
from pear_ros.errors import PearError
from pear_ros.geometry.camera import assumed_camera
from pear_ros.offline.image_files import NamedImage, list_inputs, read_images
from pear_ros.offline.people_file import PeopleWriter
from pear_ros.people import Boxes, Camera, Frame, ImageArray
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.rendering.overlay import draw_people
from pear_ros.system.files import replacing
from pear_ros.system.interrupts import received_signals


@dataclass(frozen=True)
class InferOptions:
    """Options of `infer` other than the pipeline's settings."""

    output: Path  # .npz
    overlay: Path | None = None  # folder for images with meshes
    boxes: Sequence[tuple[float, ...]] = ()  # xyxy, px; used in every image
    intrinsics: tuple[float, float, float, float] | None = None  # fx, fy, cx, cy, px
    vertices: bool = True  # store the meshes
    reword: Callable[[str], str] = str  # of messages, which name settings


@dataclass
class Summary:
    """What is told at the end."""

    people: int = 0
    images: int = 0
    nobody: list[str] = field(default_factory=list)  # names of images
    failed: list[str] = field(default_factory=list)  # what could not be read or written, and why
    unused: list[str] = field(default_factory=list)  # what was left out on purpose

    def print(self, problems: Problems) -> None:
        for title, lines in (
            ("nobody was found in", _runs(self.nobody)),
            ("not used", self.unused),
            ("failed", self.failed),
        ):
            for line in lines:
                print(f"{title}: {line}", file=sys.stderr)
        for kind, count in problems.counts().items():
            option = " (--max-people)" if kind == "people_over_limit" else ""
            print(f"{kind}: {count}{option}", file=sys.stderr)


def infer(inputs: Sequence[Path], config: Config, options: InferOptions) -> int:
    """Writes one row per person to `options.output` and prints a summary.

    SIGINT and SIGTERM end it after the image in work; what is finished is written. If there is an
    older output, it stays then, and the new file has `.interrupted` in its name. A second signal
    ends it at once; the finished rows stay beside the output.

    Returns:
        1 if something could not be read or written; 128 + the signal's number after a signal.

    Raises:
        PearError: If the weights or the body model cannot be used, the output cannot be written, or
            none of the inputs can be read.
    """
    listed = list_inputs(inputs)
    _require_writable(options.output)  # fails now rather than after the work
    _require_no_input(options, [file.path for file in listed.files])
    problems = Problems(lambda text: tqdm.write(options.reword(text), file=sys.stderr))
    pipeline = load_pipeline(config, problems)
    if options.overlay is not None:
        _make_directory(options.overlay)

    summary = Summary(unused=list(listed.unused))
    images = read_images(listed.files, config.camera.max_pixels, summary.unused.append)
    total = sum(file.images for file in listed.files)
    output = options.output
    with _writer(options) as writer, received_signals() as received:
        for entry in tqdm(images, total=total, unit="image"):
            if entry.image is None:
                summary.failed.append(f"{entry.file}: {options.reword(entry.reason)}")
            else:
                _estimate(entry, entry.image, pipeline, options, writer, summary)
            if received:
                break
        if writer.images:
            if received and output.exists():
                output = output.with_suffix(f".interrupted{output.suffix}")
            writer.finish(output)
    summary.print(problems)
    if received:
        print(f"interrupted; wrote {output if summary.images else 'nothing'}", file=sys.stderr)
        return 128 + received[0]
    if not summary.images:
        raise PearError("none of the inputs can be read")
    print(f"people found: {summary.people}, in images: {summary.images}; wrote {output}")
    return 1 if summary.failed else 0


def _require_no_input(options: InferOptions, inputs: Sequence[Path]) -> None:
    output, overlay = options.output, options.overlay
    if output.exists() and any(output.samefile(path) for path in inputs):
        raise PearError(f"{output} is one of the inputs; give another file as --output")
    if overlay is None or not overlay.exists():
        return
    for path in inputs:
        is_like_overlay = re.fullmatch(r"\d{5,}_.*\.png", path.name, re.DOTALL)
        if is_like_overlay and path.parent.samefile(overlay):
            raise PearError(
                f"{path} is one of the inputs and named as pictures in {overlay} will be; give "
                "another folder as --overlay"
            )


def _estimate(
    entry: NamedImage,
    image: ImageArray,
    pipeline: Pipeline,
    options: InferOptions,
    writer: PeopleWriter,
    summary: Summary,
) -> None:
    camera = _camera(image, pipeline.config, options)
    frame = Frame(image, camera, entry.stamp_s, entry.source, _boxes(options), entry.is_still)
    wants_mesh = options.vertices or options.overlay is not None
    (people,) = pipeline.step([frame], wants_mesh)
    writer.add(entry.name, camera, people)
    summary.images += 1
    summary.people += len(people)
    if not len(people):
        summary.nobody.append(entry.name)
    if options.overlay is not None:
        picture = draw_people(image, people, pipeline.body_model.faces, camera)
        path = options.overlay / f"{entry.name}.png"
        try:
            _write_picture(path, picture)
        except OSError as error:
            summary.failed.append(f"{path} cannot be written: {error.strerror or error}")


@contextmanager
def _writer(options: InferOptions) -> Iterator[PeopleWriter]:
    """A PeopleWriter whose errors say where the finished rows are."""
    writer = None
    try:
        with PeopleWriter(options.output, options.vertices) as writer:
            yield writer
    except BaseException as error:
        kept = ""
        if writer is not None and writer.images:
            kept = f"the rows of {writer.images} finished images are in {writer.folder}"
        if isinstance(error, OSError):
            text = f"{options.output} cannot be written: {error.strerror or error}"
            raise PearError(f"{text}; {kept}" if kept else text) from error
        if kept:
            print(kept, file=sys.stderr)
        raise


def _runs(names: Sequence[str]) -> list[str]:
    """Names, with those of frames of a video that follow each other on one line."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _next_frame(runs[-1][-1]) == name:
            runs[-1].append(name)
        else:
            runs.append([name])
    return [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]


def _next_frame(name: str) -> str | None:
    match = re.fullmatch(r"(.*_)(\d{6,})", name, re.DOTALL)
    return f"{match[1]}{int(match[2]) + 1:06d}" if match else None


def _boxes(options: InferOptions) -> Boxes | None:
    if not options.boxes:
        return None
    xyxy = np.array(options.boxes, np.float32)
    return Boxes(xyxy, np.ones(len(xyxy), np.float32))


def _require_writable(output: Path) -> None:
    _make_directory(output.parent)
    is_other = output.exists() and not output.is_file()
    if is_other or not os.access(output.parent, os.W_OK):
        raise PearError(f"{output} cannot be written: give another --output")


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
    is_encoded, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert is_encoded
    with replacing(path) as file:
        file.write(data.tobytes())
