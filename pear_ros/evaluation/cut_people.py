"""People of whom the image shows the upper part only: cut at the hips, or at the chest.

Robots often stand so near that a person's legs are below the image. The images of the held-out
people are cut at a row, the box is around what is left of the person, and the network estimates the
cut image. Its errors count for the body joints inside the cut image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pear_ros.evaluation.given_boxes import Estimated, View, estimates
from pear_ros.evaluation.metrics import distances, image_errors
from pear_ros.evaluation.report import percent
from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, NUM_BODY_JOINTS, FloatArray
from pear_ros.pipeline import Pipeline
from pear_ros.synthetic.scene import Shot

PEOPLE = 300  # evaluated for each cut
CUTS: dict[str, tuple[str, ...]] = {  # name -> the joints at whose mean row the image is cut
    "hips": ("left_hip", "right_hip"),
    "chest": ("spine3",),
}
LEAST_PX = 32  # smallest longer side of a box: less of a person says nothing


@dataclass(frozen=True)
class CutPerson:
    """What is true of one person in a cut image."""

    cut: str  # a name of CUTS
    joints: FloatArray  # (25, 2) px, of the body
    inside: NDArray[np.bool_]  # (25,) whether the cut image shows the joint's place
    size_px: float  # longer side of the box


def cut_view(shot: Shot, row: int, cut: str) -> View[CutPerson] | None:
    """Cuts a shot below one of its people's joints.

    Args:
        shot: An image with its ground truth.
        row: Of the person in `shot.people`.
        cut: A name of CUTS.

    Returns:
        The upper part of the image with a box around what it shows of the person. None if the
        person is not upright (from the head down: neck, spine, hips), or the box would have a
        longer side below LEAST_PX.
    """
    people = shot.people
    assert people.vertices is not None
    joints = project(people.joints[row] + people.translation[row], shot.camera)  # (55, 2)
    upright = joints[[JOINT[name] for name in ("neck", "spine3", "pelvis")], 1]
    height, width, _ = shot.image.shape
    end = round(float(joints[[JOINT[name] for name in CUTS[cut]], 1].mean()))
    end = min(end, height)
    if (np.diff(upright) <= 0).any() or end <= 0:
        return None
    vertices = project(people.vertices[row] + people.translation[row], shot.camera)  # (V, 2)
    shown = vertices[_is_inside(vertices, width, end)]
    if not len(shown):
        return None
    xyxy = np.concatenate((shown.min(0), shown.max(0))).astype(np.float32)
    size_px = float((xyxy[2:] - xyxy[:2]).max())
    if size_px < LEAST_PX:
        return None
    body = joints[:NUM_BODY_JOINTS]
    truth = CutPerson(cut, body, _is_inside(body, width, end), size_px)
    return View(np.ascontiguousarray(shot.image[:end]), shot.camera, xyxy[None], truth)


def _is_inside(points: FloatArray, width: int, height: int) -> NDArray[np.bool_]:
    """(N, 2) px -> (N,) whether the points are in an image of that size."""
    inside = np.asarray((points >= 0) & (points < (width, height)))
    return np.asarray(inside.all(1))


def cut_errors(
    pipeline: Pipeline, people: Iterable[tuple[Shot, int]], count: int = PEOPLE
) -> dict[str, dict[str, Any]]:
    """Returns the errors of each of CUTS, for the first `count` people who can be cut both ways.

    Args:
        pipeline: Takes given boxes.
        people: Shots with the row of a person; read no further than necessary.
        count: Number of people.

    Returns:
        For each cut `people`, `missed` (those the pipeline left out) and what
        `metrics.image_errors` returns for the body joints inside the cut image.
    """
    errors = {cut: _Errors() for cut in CUTS}
    for view, found in estimates(pipeline, _views(people, count)):
        errors[view.truth.cut].add(view, found)
    return {cut: of_cut.summary() for cut, of_cut in errors.items()}


def _views(people: Iterable[tuple[Shot, int]], count: int) -> Iterator[View[CutPerson]]:
    """The first `count` people, each cut in all ways of CUTS."""
    for shot, row in people:
        if count == 0:
            return
        views = [view for cut in CUTS if (view := cut_view(shot, row, cut)) is not None]
        if len(views) == len(CUTS):
            count -= 1
            yield from views


class _Errors:
    """Collects the errors of people who are cut in the same way."""

    def __init__(self) -> None:
        self._shares: list[float] = []
        self._people = self._missed = self._missed_joints = 0

    def add(self, view: View[CutPerson], found: Estimated) -> None:
        truth, row = view.truth, int(found.rows[0])
        self._people += 1
        if row < 0:
            self._missed += 1
            self._missed_joints += int(truth.inside.sum())
            return
        placed = found.people.joints[row] + found.people.translation[row]
        joints = project(placed[:NUM_BODY_JOINTS], view.camera)
        away_px = distances(joints[None], truth.joints[None])[0]
        self._shares += (away_px[truth.inside] / truth.size_px).tolist()

    def summary(self) -> dict[str, Any]:
        return {
            "people": self._people,
            "missed": self._missed,
            **image_errors(self._shares, self._missed_joints),
        }


def cut_markdown(report: Mapping[str, Any]) -> str:
    """Returns the errors of `cut_errors` in a report, its key `cut`, as a table."""
    lines = [
        "| people cut at | people | joints | median | 90 % | PCK@0.1 |",
        "|---|---|---|---|---|---|",
    ]
    for cut, values in report["cut"].items():
        cells = (
            percent(values["median_percent"]),
            percent(values["p90_percent"]),
            percent(values["pck_all"], factor=100, digits=0),
        )
        lines.append(
            f"| the {cut} | {values['people']} | {values['points']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)
