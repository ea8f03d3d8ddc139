"""Fills the tables of docs/evaluation.md, placement.md and reliability.md from the reports beside.

Run `python -m scripts.tables` after `make evaluate`, `make fuzz` or `make soak`, or after
`pear-ros evaluate --placement --output docs/evaluation`. It replaces the text between
`<!-- NAME -->` and `<!-- end -->` by the table NAME.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pear_ros.evaluation.cut_people import cut_markdown
from pear_ros.evaluation.placement_report import placement_markdown
from pear_ros.evaluation.report import METRICS, markdown, shown

ROOT = Path(__file__).parents[1]
PAGES = ("docs/evaluation.md", "docs/placement.md", "docs/reliability.md")
REPORTS = ROOT / "docs/evaluation"
RELIABILITY = ROOT / "docs/reliability"
AIMS = {"mpjpe": 60, "pa_mpjpe": 40, "hands_pa": 15, "pve": 70, "head_deg": 8, "joints_px": 4}

Report = Mapping[str, Any]


def filled(page: str) -> str:
    """Returns a page's text with the current tables."""
    stage1 = json.loads((REPORTS / "stage1.json").read_text())
    stage2 = json.loads((REPORTS / "evaluation.json").read_text())
    tables = {
        "evaluation": markdown(stage2),
        "cut": cut_markdown(stage2),
        "aims": aims(stage2),
        "stages": stages(stage1, stage2),
        "placement": placement_markdown(json.loads((REPORTS / "placement.json").read_text())),
        "fuzz": fuzz(json.loads((RELIABILITY / "fuzz.json").read_text())),
        "soak": soak(json.loads((RELIABILITY / "soak.json").read_text())),
    }

    def table(match: re.Match[str]) -> str:
        begin, name, end = match[1], match[2], match[3]
        return f"{begin}\n{tables[name]}\n{end}"

    block = re.compile(r"(<!-- (\w+) -->)\n.*?(<!-- end -->)", re.DOTALL)
    return block.sub(table, (ROOT / page).read_text())


def aims(report: Report) -> str:
    """Compares the measured values with the targets."""
    lines = ["| metric | unit | measured | target | reached |", "|---|---|---|---|---|"]
    for metric in METRICS:
        if metric.name in AIMS:
            value, aim = report["metrics"][metric.name][metric.statistic], AIMS[metric.name]
            reached = "yes" if value <= aim else "no"
            lines.append(
                f"| {metric.label}, {metric.statistic} | {metric.unit} | {shown(metric, value)} | "
                f"{aim} | {reached} |"
            )
    return "\n".join(lines)


def stages(stage1: Report, stage2: Report) -> str:
    """Compares the training stages 1 and 2."""
    lines = ["| metric | unit | stage 1 | stage 2 | improvement |", "|---|---|---|---|---|"]
    for metric in METRICS:
        before, after = (r["metrics"][metric.name][metric.statistic] for r in (stage1, stage2))
        gain = after / before - 1 if metric.name.startswith("iou_") else 1 - after / before
        lines.append(
            f"| {metric.label}, {metric.statistic} | {metric.unit} | {shown(metric, before)} | "
            f"{shown(metric, after)} | {100 * gain:+.0f} % |"
        )
    return "\n".join(lines)


def fuzz(report: Report) -> str:
    """The inputs of each kind, and what became of them."""
    lines = [
        "| kind | inputs | refused | accepted | errors | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for kind, run in report.items():
        numbers = (run[name] for name in ("inputs", "refused", "accepted", "errors", "seconds"))
        lines.append(f"| `{kind}` | {' | '.join(f'{number:,.0f}' for number in numbers)} |")
    return "\n".join(lines)


def soak(report: Report) -> str:
    """The figures of one run of the node."""
    counters, mb = report["counters"], report["anonymous_mb"]
    names = ("received", "answered", "dropped", "unwatched")
    images = {name: counters.get(f"images_{name}", 0) for name in names}
    rows = {
        "minutes, images per second": f"{report['minutes']:g}, {report['rate_hz']:g}",
        "ids": f"{report['ids']:,}",
        "anonymous memory at the start, settled, at the end": " MB, ".join(
            f"{value:.1f}" for value in mb
        )
        + " MB",
        "its growth after the first sixth of the time": (
            f"{report['growth_mb_per_hour']:.1f} MB per hour"
        ),
        "file descriptors, first and last quarter": " and ".join(map(str, report["files"])),
        "threads, first and last quarter": " and ".join(map(str, report["threads"])),
        "images received": f"{images['received']:,}",
        "answered + dropped + unwatched": " + ".join(f"{images[n]:,}" for n in names[1:]),
    }
    lines = ["| what | seen |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())])


def main() -> None:
    for page in PAGES:
        (ROOT / page).write_text(filled(page))


if __name__ == "__main__":
    main()
