"""The numbers of an evaluation: which there are, over all people, as a table and a picture."""

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
"""(N,) or (N, K) by a metric's name, of N people."""


@dataclass(frozen=True)
class Metric:
    """A number of each person; `statistic` makes one of all."""

    name: str
    unit: str
    statistic: str  # mean or median
    label: str


METRICS = (
    Metric("mpjpe", "mm", "mean", "MPJPE, 22 body joints from the pelvis"),
    Metric("pa_mpjpe", "mm", "mean", "PA-MPJPE"),
    Metric("hands_pa", "mm", "mean", "hands, 16 joints each, Procrustes-aligned"),
    Metric("pve", "mm", "mean", "PVE, all vertices from the pelvis"),
    Metric("head_deg", "deg", "median", "head orientation"),
    Metric("body_deg", "deg", "median", "pelvis orientation"),
    Metric("joints_px", "px of 256", "median", "projected joints, each of 55"),
    Metric("position_cm", "cm", "median", "pelvis in the camera's frame"),
    Metric("depth_cm", "cm", "median", "its depth alone"),
    Metric("head_cm", "cm", "median", "TF frame of the head"),
    Metric("hands_cm", "cm", "median", "TF frames of the hands"),
    Metric("iou_body", "", "mean", "silhouette IoU of the body"),
    Metric("iou_hands", "", "mean", "silhouette IoU of the hands"),
    Metric("iou_face", "", "mean", "silhouette IoU of the head"),
)


def summary(errors: Sequence[Errors]) -> dict[str, dict[str, float]]:
    """Mean, median and 95th percentile of every metric, over people; NaN where there are none."""
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
    """A report in words and as a table; the one of mean and median that is reported is bold."""
    lines = [
        f"{report['frames']} frames, seed {report['seed']}; {report['people']} people, "
        f"{report['missed']} of them left out by the pipeline;",
        f"{report['network']}.",
        "",
        "| what | unit | mean | median | 95 % | if everybody stood |",
        "|---|---|---|---|---|---|",
    ]
    for metric in METRICS:
        found, still = (report[part].get(metric.name) for part in ("metrics", "standing"))
        cells = [
            f"**{shown(metric, found[key])}**"
            if key == metric.statistic
            else shown(metric, found[key])
            for key in ("mean", "median", "p95")
        ]
        cells.append(shown(metric, still[metric.statistic]) if still else "")
        lines.append(f"| {metric.label} | {metric.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(metric: Metric, value: float) -> str:
    return f"{value:.{1 if metric.unit else 3}f}"


def draw_worst(worst: Sequence[tuple[ImageArray, Camera, People]], faces: IntArray) -> ImageArray:
    """Pairs of image and answer, five rows of two pairs."""
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
