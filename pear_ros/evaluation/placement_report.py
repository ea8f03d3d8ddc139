"""The results of `pear-ros evaluate --placement` as numbers, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pear_ros.evaluation.calibration import SHARE

COVERAGE_AIM = 0.05  # largest difference of a coverage from SHARE
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One measured quantity; its aim is for the median, or for the largest value."""

    part: str
    label: str
    unit: str
    median: float | None
    p90: float | None
    largest: float | None
    count: int
    aim: float | None = None
    aim_is_for: str = "median"


def row(
    part: str,
    label: str,
    unit: str,
    values: ArrayLike,
    aim: float | None = None,
    aim_is_for: str = "median",
) -> Row:
    """Summarises the values; those that are not finite were not measured."""
    given = np.asarray(values, np.float64).ravel()
    finite = given[np.isfinite(given)]
    median, p90, largest = (
        float(np.quantile(finite, q)) if len(finite) else None for q in (0.5, 0.9, 1.0)
    )
    return Row(part, label, unit, median, p90, largest, len(finite), aim, aim_is_for)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [asdict(given) for given in rows]


def placement_markdown(report: Mapping[str, Any]) -> str:
    """Returns a report as tables: what was measured, and the calibration."""
    lines = [
        f"{report['frames']} images, seed {report['seed']}; {report['people']} people, "
        f"{report['missed']} of the images without a result;",
        f"{report['network']}.",
        "",
        "| what | unit | median | 90 % | largest | aim | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    part = ""
    for given in report["rows"]:
        if given["part"] != part:
            part = given["part"]
            lines.append(f"| **{part}** | | | | | | |")
        lines.append(_line(given))
    return "\n".join([*lines, "", *_calibration(report["calibration"])])


def _line(given: Mapping[str, Any]) -> str:
    names = ("median", "p90", "largest")
    cells = [NOT_MEASURED if given[name] is None else f"{given[name]:.2f}" for name in names]
    aim = reached = ""
    if given["aim"] is not None:
        which = "" if given["aim_is_for"] == "median" else f" ({given['aim_is_for']})"
        aim, value = f"{given['aim']:g}{which}", given[given["aim_is_for"]]
        reached = NOT_MEASURED if value is None else "yes" if value <= given["aim"] else "no"
    cells = [f"**{c}**" if n == given["aim_is_for"] and aim else c
             for n, c in zip(names, cells, strict=True)]  # fmt: skip
    return f"| {given['label']} | {given['unit']} | {' | '.join(cells)} | {aim} | {reached} |"


def _calibration(calibration: Mapping[str, Any]) -> list[str]:
    lines = [
        "| main source of the distance | estimates | people | inside the stated 90 % ellipsoid | "
        "factor for the standard deviations | within 85 ... 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for source, found in calibration["sources"].items():
        if found["coverage"] is None:
            lines.append(f"| {source} | 0 | 0 | {NOT_MEASURED} | | |")
            continue
        reached = "yes" if abs(found["coverage"] - SHARE) <= COVERAGE_AIM else "no"
        cells = (
            source,
            found["count"],
            found["people"],
            f"{100 * found['coverage']:.0f} %",
            f"{found['factor']:.2f}",
            reached,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines
