"""Errors on pictures of real people that were marked by hand: `pear-ros evaluate --real DIR`.

With the marked boxes the network alone is judged, with a detector both. Errors are in percent of
the longer side of the marked box. Read them with two facts in mind: marks are good to a few percent
themselves, and SMPL-X's hips lie deeper and lower in the body than where COCO marks a hip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from pear_ros.config import Config
from pear_ros.errors import PearError
from pear_ros.evaluation.marks import (
    GROUPS,
    POINTS,
    Array,
    MarkedPerson,
    MarkedPicture,
    estimated_points,
    is_mirrored,
    matched,
    read_marks,
    share_inside,
)
from pear_ros.evaluation.metrics import image_errors
from pear_ros.evaluation.report import make_folder, network_facts, percent, write_report
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.geometry.camera import assumed_camera
from pear_ros.images.encoded import read_picture
from pear_ros.people import Boxes, Camera, Frame, ImageArray, People
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.rendering.overlay import draw_people

KINDS = ("whole", "cut", "generated")
"""Of people: in a real picture whole, or with more than two limb joints unknown; or made by a
model."""
ALL = "limbs and eyes"  # the groups but fingertips, together
LEAST_IGNORED = 0.5  # of a found box, in a box to ignore: then it is not false
MARK, ESTIMATE, LINE = (0, 255, 0), (255, 0, 255), (255, 255, 255)  # RGB
FOUND, MISSED, FALSE = (0, 255, 255), (255, 0, 0), (255, 128, 0)


@dataclass
class KindErrors:
    """Errors of the people of one kind."""

    people: int = 0
    found: int = 0
    mirrored: int = 0
    ious: list[float] = field(default_factory=list)  # of marked and found boxes
    # By group of points: distances over the longer side of the box; points of people not found.
    shares: dict[str, list[float]] = field(default_factory=lambda: {g: [] for g in GROUPS})
    missed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0))

    def add(self, person: MarkedPerson, points: Array | None, iou: float) -> None:
        """Adds a person; `points` (15, 2) px are None if the person was not found."""
        self.people += 1
        if points is not None:
            self.found += 1
            self.mirrored += is_mirrored(person, points)
            self.ious.append(iou)
        for i in np.flatnonzero(person.is_marked):
            group = POINTS[i][1]
            if points is None:
                self.missed[group] += 1
            else:
                away_px = np.linalg.norm(points[i] - person.points[i])
                self.shares[group].append(float(away_px) / person.size_px)

    def summary(self) -> dict[str, Any]:
        """The numbers for the report."""
        groups: dict[str, tuple[str, ...]] = {group: (group,) for group in GROUPS}
        groups[ALL] = tuple(group for group in GROUPS if group != "fingertips")
        joints = {
            name: image_errors(
                [share for g in members for share in self.shares[g]],
                sum(self.missed[g] for g in members),
            )
            for name, members in groups.items()
        }
        return {
            "people": self.people,
            "found": self.found,
            "mirrored": self.mirrored,
            "mean_iou": float(np.mean(self.ious)) if self.ious else None,
            "joints": {
                name: values for name, values in joints.items() if values["pck_all"] is not None
            },
        }


class Score:
    """Collects the errors of all pictures."""

    def __init__(self) -> None:
        self._kinds = {kind: KindErrors() for kind in KINDS}
        self._false = {True: 0, False: 0}  # found boxes of nobody, by whether the picture is real
        self._pictures = 0

    def add(self, marks: MarkedPicture, people: People, camera: Camera) -> dict[int, int]:
        """Adds a picture; returns the rows of `people` by index of the marked person."""
        pairs = matched(marks.xyxy, people.boxes.xyxy)
        points = estimated_points(people, camera)  # (N, 15, 2)
        ious = box_iou_batch(marks.xyxy, people.boxes.xyxy)
        for i, person in enumerate(marks.people):
            row = pairs.get(i)
            kind = "generated" if not marks.is_real else "whole" if person.is_whole else "cut"
            if row is None:
                self._kinds[kind].add(person, None, 0.0)
            else:
                self._kinds[kind].add(person, points[row], float(ious[i, row]))
        self._false[marks.is_real] += len(_false_rows(marks, people, pairs))
        self._pictures += 1
        return pairs

    def report(self) -> dict[str, Any]:
        """The numbers for the report: `pictures`, `boxes` by origin, `people` by kind."""
        kinds = {kind: errors for kind, errors in self._kinds.items() if errors.people}
        return {
            "pictures": self._pictures,
            "boxes": {
                "real": self._boxes(("whole", "cut"), self._false[True]),
                "generated": self._boxes(("generated",), self._false[False]),
            },
            "people": {kind: errors.summary() for kind, errors in kinds.items()},
        }

    def _boxes(self, kinds: tuple[str, ...], false: int) -> dict[str, Any]:
        errors = [self._kinds[kind] for kind in kinds]
        marked, found = sum(e.people for e in errors), sum(e.found for e in errors)
        ious = [iou for e in errors for iou in e.ious]
        return {
            "marked": marked,
            "found": found,
            "false": false,
            "recall": found / marked if marked else None,
            "precision": found / (found + false) if found + false else None,
            "mean_iou": float(np.mean(ious)) if ious else None,
        }


def _false_rows(marks: MarkedPicture, people: People, pairs: Mapping[int, int]) -> list[int]:
    """The rows of people who are nobody: not marked, and not where they are to be ignored."""
    ignored = share_inside(people.boxes.xyxy, marks.ignore) >= LEAST_IGNORED
    return [i for i in range(len(people)) if i not in pairs.values() and not ignored[i]]


def evaluate_real(
    folder: Path, config: Config, detector: str | None, output: Path | None, overlays: Path | None
) -> int:
    """Evaluates on marked pictures and prints tables; writes real.json to the folder `output`.

    Args:
        folder: Has images/ and truth.json.
        config: Settings; those of the detector count if `detector` is given.
        detector: A name of config.DETECTORS; None takes the marked boxes.
        output: Folder of the report.
        overlays: Folder for pictures with meshes, marks and boxes.

    Returns:
        0.

    Raises:
        PearError: If the marks or a picture cannot be read, the weights or the body model cannot be
            used, or a folder cannot be written.
    """
    pictures = read_marks(folder / "truth.json")
    for path in (output, overlays):
        if path is not None:
            make_folder(path)
    most = max(len(picture.people) for picture in pictures)
    if detector is None:
        most_people = max(most, config.detection.max_people)
        given = {"detection.detector": "topic", "detection.max_people": most_people}
        config = config.replaced(given)
    problems = Problems(lambda message: tqdm.write(message))
    pipeline = load_pipeline(config, problems)
    score = Score()
    for marks in tqdm(pictures, unit="picture", disable=None):
        image = read_picture(folder / "images" / marks.name)
        if image is None:
            raise PearError(f"{folder / 'images' / marks.name}: is missing or not a picture")
        camera = assumed_camera(image.shape[1], image.shape[0], config.camera.assumed_fov_deg)
        people = _estimate(pipeline, image, camera, marks, overlays is not None)
        pairs = score.add(marks, people, camera)
        if overlays is not None:
            drawn = draw_marks(image, marks, people, pairs, camera, pipeline)
            _write_picture(overlays / f"{Path(marks.name).stem}.jpg", drawn)
    report = {
        "dataset": "real pictures",
        "detector": detector or "none, the marked boxes",
        **network_facts(pipeline, config),
        **score.report(),
    }
    print(real_markdown(report))
    for kind, count in problems.counts().items():
        print(f"{kind}: {count}")
    if output is not None:
        write_report(output / "real.json", report)
    return 0


def _estimate(
    pipeline: Pipeline, image: ImageArray, camera: Camera, marks: MarkedPicture, mesh: bool
) -> People:
    boxes = Boxes(marks.xyxy, np.ones(len(marks.people), np.float32))
    (people,) = pipeline.step([Frame(image, camera, 0.0, "picture", boxes, is_still=True)], mesh)
    return people


def real_markdown(report: Mapping[str, Any]) -> str:
    """Returns the tables of a report of `evaluate_real`."""
    lines = [
        f"{report['pictures']} pictures; detector: {report['detector']};",
        f"{report['network']}.",
        "",
        "| boxes | marked | found | recall | false | precision | mean IoU |",
        "|---|---|---|---|---|---|---|",
    ]
    for origin, boxes in report["boxes"].items():
        if boxes["marked"] or boxes["false"]:
            recall, precision = (percent(boxes[k], 100, 0) for k in ("recall", "precision"))
            lines.append(
                f"| {origin} | {boxes['marked']} | {boxes['found']} | {recall} | {boxes['false']} "
                f"| {precision} | {_two_digits(boxes['mean_iou'])} |"
            )
    for kind, people in report["people"].items():
        lines += [
            "",
            f"{kind}: {people['found']} of {people['people']} people found, "
            f"{people['mirrored']} of them mirrored, mean IoU {_two_digits(people['mean_iou'])}; "
            "errors in percent of the box's longer side",
            "",
            "| joint | marks | median | 90 % | PCK@0.1 | PCK@0.1, missed people too |",
            "|---|---|---|---|---|---|",
        ]
        for name, values in people["joints"].items():
            label = f"**{name}**" if name == ALL else name
            errors = (percent(values[k]) for k in ("median_percent", "p90_percent"))
            shares = (percent(values[k], 100, 0) for k in ("pck", "pck_all"))
            lines.append(f"| {label} | {values['points']} | {' | '.join((*errors, *shares))} |")
    return "\n".join(lines)


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# --- Overlays ------------------------------------------------------------------------------------


def draw_marks(
    image: ImageArray,
    marks: MarkedPicture,
    people: People,
    pairs: Mapping[int, int],
    camera: Camera,
    pipeline: Pipeline,
) -> ImageArray:
    """Draws the meshes over a copy of the image, then marks, estimates and boxes.

    Marks are green, their estimates magenta, with a white line between them. Boxes of marked people
    are cyan, or red if nobody was found there; found boxes of nobody are orange.
    """
    drawn = draw_people(image, people, pipeline.body_model.faces, camera, opacity=0.6)
    thickness = max(1, round(max(image.shape[:2]) / 400))
    points = estimated_points(people, camera)
    for i, person in enumerate(marks.people):
        row = pairs.get(i)
        _rectangle(drawn, person.xyxy, MISSED if row is None else FOUND, thickness)
        for k in np.flatnonzero(person.is_marked):
            mark = _pixel(person.points[k])
            if row is not None:
                estimate = _pixel(points[row, k])
                cv2.line(drawn, mark, estimate, LINE, thickness, cv2.LINE_AA)
                cv2.circle(drawn, estimate, 2 * thickness, ESTIMATE, -1)
            cv2.circle(drawn, mark, 2 * thickness, MARK, -1)
    for row in _false_rows(marks, people, pairs):
        _rectangle(drawn, people.boxes.xyxy[row], FALSE, thickness)
    return drawn


def _pixel(point: Array) -> tuple[int, int]:
    x, y = np.nan_to_num(point).clip(-9999, 9999).round().astype(int)
    return int(x), int(y)


def _rectangle(image: ImageArray, xyxy: Any, color: tuple[int, int, int], thickness: int) -> None:
    cv2.rectangle(image, _pixel(xyxy[:2]), _pixel(xyxy[2:]), color, thickness)


def _write_picture(path: Path, image: ImageArray) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise PearError(f"{path}: cannot be written")
