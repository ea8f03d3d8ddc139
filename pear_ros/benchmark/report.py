"""The results of `pear-ros bench` and their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STAGES = (
    *("detect", "crop", "upload", "network", "body", "download", "placement", "track", "pose"),
    "publish",
)


@dataclass(frozen=True)
class Times:
    """Percentiles, ms."""

    p50: float
    p95: float
    p99: float

    @staticmethod
    def of(times_s: Sequence[float]) -> Times:
        return Times(*(1e3 * np.percentile(times_s, (50, 95, 99))).tolist())

    def __str__(self) -> str:
        return f"{_digits(self.p50)} ({_digits(self.p95)}, {_digits(self.p99)})"


@dataclass(frozen=True)
class Measurement:
    """One implementation of a step: pear_ros or the baseline."""

    latency_ms: Times
    people_per_s: float
    memory_mib: float  # peak, weights included; see stopwatch.Memory
    stages_ms: dict[str, Times]  # those of STAGES that were measured
    network_share: float  # median of the network over median of the step


@dataclass(frozen=True)
class Row:
    people: int
    pear_ros: Measurement
    baseline: Measurement
    speed_up: float  # median of the baseline over that of pear_ros


@dataclass(frozen=True)
class Run:
    """The results of one network for all batch sizes."""

    backend: str  # torch, openvino or tensorrt
    dtype: str  # of the backbone
    network: str  # its description
    rows: list[Row]
    problems: dict[str, int]  # the pipeline's problem counters


def markdown(run: Run) -> str:
    """Returns a table of the steps and one of their stages."""
    lines = [
        "| people | implementation | p50 ms | p95 ms | p99 ms | people/s | network's share "
        "| memory MiB | speed-up |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in run.rows:
        for name, measured, ratio in _measurements(row):
            latency = measured.latency_ms
            numbers = (latency.p50, latency.p95, latency.p99, measured.people_per_s)
            cells = [
                *map(_digits, numbers),
                f"{measured.network_share:.1%}",
                f"{measured.memory_mib:.0f}",
            ]
            cells.append(_digits(ratio))
            lines.append(f"| {row.people} | {name} | {' | '.join(cells)} |")
    counts = [str(row.people) for row in run.rows]
    lines += [
        "",
        "Stages, ms: p50 (p95, p99), by number of people.",
        "",
        f"| stage | implementation | {' | '.join(counts)} |",
        "|---|---|" + "---|" * len(counts),
    ]
    measured_stages = {stage for row in run.rows for stage in row.pear_ros.stages_ms}
    for stage in (stage for stage in STAGES if stage in measured_stages):
        for name in ("pear_ros", "baseline"):
            times = [getattr(row, name).stages_ms.get(stage) for row in run.rows]
            cells = ["not measured" if t is None else str(t) for t in times]
            lines.append(f"| {stage} | {name} | {' | '.join(cells)} |")
    lines += [f"\n{kind}: {count}" for kind, count in run.problems.items()]
    return "\n".join(lines)


def _measurements(row: Row) -> Iterator[tuple[str, Measurement, float]]:
    yield "pear_ros", row.pear_ros, row.speed_up
    yield "baseline", row.baseline, 1.0


def _digits(number: float) -> str:
    """Three significant digits for 1 to 999, no exponent."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"
