"""The numbers of `pear-ros bench`, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STAGES = ("crop", "upload", "network", "body", "download", "placement", "publish")


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
    network_share: float  # of the step's median that the network takes


@dataclass(frozen=True)
class Row:
    people: int
    pear_ros: Measurement
    baseline: Measurement
    speed_up: float  # median of the baseline over pear_ros's


@dataclass(frozen=True)
class Run:
    """One network at every number of people."""

    backend: str  # torch or tensorrt
    dtype: str  # of the backbone
    network: str  # its description
    rows: list[Row]
    problems: dict[str, int]  # counted by the pipeline


def markdown(run: Run) -> str:
    """A table of the steps and one of their stages."""
    lines = [
        "| people | implementation | p50 ms | p95 ms | p99 ms | people/s | network's share "
        "| memory MiB | speed-up |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in run.rows:
        for name, found, ratio in _measurements(row):
            latency = found.latency_ms
            numbers = (latency.p50, latency.p95, latency.p99, found.people_per_s)
            cells = [
                *map(_digits, numbers),
                f"{found.network_share:.1%}",
                f"{found.memory_mib:.0f}",
            ]
            cells.append(_digits(ratio))
            lines.append(f"| {row.people} | {name} | {' | '.join(cells)} |")
    counts = [str(row.people) for row in run.rows]
    lines += [
        "",
        "Stages, ms: p50 (p95, p99), by people.",
        "",
        f"| stage | implementation | {' | '.join(counts)} |",
        "|---|---|" + "---|" * len(counts),
    ]
    for stage in STAGES:
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
    """Three digits, without an exponent."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"
