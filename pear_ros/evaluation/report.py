"""Results of an evaluation: metrics, their summary, a table, a picture and the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.config import Config
from pear_ros.errors import PearError
from pear_ros.people import Camera, ImageArray, IntArray, People
from pear_ros.pipeline import Pipeline
from pear_ros.rendering.overlay import draw_people
from pear_ros.system.files import hash_files, write_whole

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


def dataset_markdown(report: Mapping[str, Any], metrics: Sequence[Metric]) -> str:
    """Returns a report on a dataset as text and a table of those `metrics` that it has."""
    lines = [
        f"{report['dataset']}: {report['images']} images, {report['people']} people, "
        f"{report['missed']} of them left out by the pipeline;",
        f"{report['network']}.",
        "",
        "| metric | unit | mean | median | 95 % |",
        "|---|---|---|---|---|",
    ]
    for metric in metrics:
        if metric.name in report["metrics"]:
            values = report["metrics"][metric.name]
            cells = (shown(metric, values[key]) for key in ("mean", "median", "p95"))
            lines.append(f"| {metric.label} | {metric.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(metric: Metric, value: float) -> str:
    """Returns the value with one digit after the point, three if the metric has no unit."""
    return f"{value:.{1 if metric.unit else 3}f}"


def percent(value: float | None, factor: float = 1, digits: int = 1) -> str:
    """Returns `factor * value` as "12.3 %"; "-" if there is no value."""
    return "-" if value is None else f"{factor * value:.{digits}f} %"


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


def network_facts(pipeline: Pipeline, config: Config) -> dict[str, str]:
    """What a report says of the network: its description and the checkpoint's hash."""
    return {
        "network": pipeline.description,
        "checkpoint_sha256": hash_files(Path(config.network.checkpoint)),
    }


def make_folder(folder: Path) -> None:
    """Makes a folder for results, before the work begins.

    Raises:
        PearError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PearError(f"{error}; give another --output") from error


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a report as JSON, and prints its path.

    Raises:
        PearError: If it cannot be written.
    """
    write_result(path, json.dumps(report, indent=1).encode())
    print(f"\nwrote {path}")


def write_result(path: Path, data: Any) -> None:
    """Writes a file of results.

    Raises:
        PearError: If it cannot be written.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise PearError(f"{error}; give another --output") from error
