"""Results of an evaluation: metrics, their summary, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.people import Camera, ImageArray, IntArray, People
from pear_ros.rendering.overlay import draw_people

Errors = dict[str, NDArray[Any]]
"""Maps a metric's name to its values for N people, (N,) or (N, K)."""


@dataclass(frozen=True)
class Metric:
    """A metric; `statistic` is the number to report for all people."""

    name: str
    unit: str
    statistic: str  # mean or median
    label: str


METRICS = (
    Metric("mpjpe", "mm", "mean", "MPJPE, 22 body joints, pelvis-aligned"),
    Metric("pa_mpjpe", "mm", "mean", "PA-MPJPE"),
    Metric("hands_pa", "mm", "mean", "hands, 16 joints each, Procrustes-aligned"),
    Metric("pve", "mm", "mean", "PVE, all vertices, pelvis-aligned"),
    Metric("head_deg", "deg", "median", "head orientation"),
    Metric("body_deg", "deg", "median", "pelvis orientation"),
    Metric("joints_px", "px in a 256 px crop", "median", "projected joints, all 55"),
    Metric("position_cm", "cm", "median", "pelvis position"),
    Metric("depth_cm", "cm", "median", "pelvis depth"),
    Metric("head_cm", "cm", "median", "TF frame of the head, position"),
    Metric("hands_cm", "cm", "median", "TF frames of the hands, position"),
    Metric("iou_body", "", "mean", "silhouette IoU of the body"),
    Metric("iou_hands", "", "mean", "silhouette IoU of the hands"),
    Metric("iou_face", "", "mean", "silhouette IoU of the head"),
)


def summary(errors: Sequence[Errors]) -> dict[str, dict[str, float]]:
    """Returns mean, median and 95th percentile of every metric over all people.

    Values that are not finite are ignored; the result is NaN if there are no others.
    """
    table = {}
    for name in errors[0]:
        values = np.concatenate([part[name].ravel() for part in errors])
        values = values[np.isfinite(values)] if np.isfinite(values).any() else np.array([np.nan])
        table[name] = {
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
        }
    return table


def markdown(report: Mapping[str, Any]) -> str:
    """Returns a report as text and a table; each metric's reported statistic is bold."""
    lines = [
        f"{report['frames']} frames, seed {report['seed']}; {report['people']} people, "
        f"{report['missed']} of them left out by the pipeline;",
        f"{report['network']}.",
        "",
        "| metric | unit | mean | median | 95 % | standing baseline |",
        "|---|---|---|---|---|---|",
    ]
    for metric in METRICS:
        values, baseline = (report[part].get(metric.name) for part in ("metrics", "standing"))
        cells = [
            f"**{shown(metric, values[key])}**"
            if key == metric.statistic
            else shown(metric, values[key])
            for key in ("mean", "median", "p95")
        ]
        cells.append(shown(metric, baseline[metric.statistic]) if baseline else "")
        lines.append(f"| {metric.label} | {metric.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(metric: Metric, value: float) -> str:
    """Returns the value with one digit after the point, three if the metric has no unit."""
    return f"{value:.{1 if metric.unit else 3}f}"


def draw_worst(worst: Sequence[tuple[ImageArray, Camera, People]], faces: IntArray) -> ImageArray:
    """Returns a picture with pairs of image and overlay, two pairs per row."""
    half = 0.5
    tiles = []
    for image, camera, people in worst:
        drawn = draw_people(image, people, faces, camera)
        pair = cv2.resize(np.hstack((image, drawn)), None, fx=half, fy=half)
        tiles.append(pair)
    while len(tiles) % 2:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    return np.asarray(np.vstack(rows), np.uint8)
