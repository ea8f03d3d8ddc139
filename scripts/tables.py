"""Fills the tables of README.md and docs/evaluation.md from the reports beside the latter.

`python -m scripts.tables`, after `make evaluate`. Text between `<!-- NAME -->` and `<!-- end -->`
is replaced by the table of that name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pear_ros.evaluation.report import METRICS, markdown, shown

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/evaluation.md")
REPORTS = ROOT / "docs/evaluation"
AIMS = {"mpjpe": 60, "pa_mpjpe": 40, "hands_pa": 15, "pve": 70, "head_deg": 8, "joints_px": 4}

Report = Mapping[str, Any]


def filled(page: str) -> str:
    """A page's text with the reports' numbers."""
    second = json.loads((REPORTS / "evaluation.json").read_text())
    first = json.loads((REPORTS / "stage1.json").read_text())
    tables = {
        "evaluation": markdown(second),
        "aims": aims(second),
        "stages": stages(first, second),
    }

    def table(match: re.Match[str]) -> str:
        begin, name, end = match[1], match[2], match[3]
        return f"{begin}\n{tables[name]}\n{end}"

    block = re.compile(r"(<!-- (\w+) -->)\n.*?\n(<!-- end -->)", re.DOTALL)
    return block.sub(table, (ROOT / page).read_text())


def aims(report: Report) -> str:
    """What was measured beside what it was meant to be."""
    lines = ["| what | unit | measured | aim | reached |", "|---|---|---|---|---|"]
    for metric in METRICS:
        if metric.name in AIMS:
            value, aim = report["metrics"][metric.name][metric.statistic], AIMS[metric.name]
            reached = "yes" if value <= aim else "no"
            lines.append(
                f"| {metric.label}, {metric.statistic} | {metric.unit} | {shown(metric, value)} | "
                f"{aim} | {reached} |"
            )
    return "\n".join(lines)


def stages(first: Report, second: Report) -> str:
    """Stage 2 against stage 1."""
    lines = ["| what | unit | stage 1 | stage 2 | better by |", "|---|---|---|---|---|"]
    for metric in METRICS:
        before, after = (r["metrics"][metric.name][metric.statistic] for r in (first, second))
        gain = after / before - 1 if metric.name.startswith("iou_") else 1 - after / before
        lines.append(
            f"| {metric.label}, {metric.statistic} | {metric.unit} | {shown(metric, before)} | "
            f"{shown(metric, after)} | {100 * gain:+.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    for page in PAGES:
        (ROOT / page).write_text(filled(page))


if __name__ == "__main__":
    main()
