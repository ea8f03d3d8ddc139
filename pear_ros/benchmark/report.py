"""What `pear-ros bench` says: its numbers, the machine they are of, and tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

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
class Way:
    """One way of doing a step's work."""

    latency_ms: Times
    people_per_s: float
    memory_mib: float  # peak, weights included; see bench.Memory
    stages_ms: dict[str, Times]  # those of STAGES that were measured
    network_share: float  # of the step's median the network's


@dataclass(frozen=True)
class Row:
    people: int
    pear_ros: Way
    published: Way
    times_as_fast: float  # the medians' ratio


@dataclass(frozen=True)
class Run:
    """One network at every number of people."""

    backend: str  # torch or tensorrt
    dtype: str  # of the backbone
    network: str  # what it is, for people
    rows: list[Row]
    problems: dict[str, int]  # counted by the pipeline, people left out say


def hardware(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "torch_interop_threads": torch.get_num_interop_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "tensorrt": _version("tensorrt"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
        "pear_ros": _version("pear-ros"),
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    """None where it is not installed, or not by pip, which alone keeps a record."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def markdown(run: Run) -> str:
    """A table of the steps and one of their stages."""
    lines = [
        "| people | way | p50 ms | p95 ms | p99 ms | people/s | in the network | memory MiB "
        "| times as fast |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in run.rows:
        for name, way, ratio in _ways(row):
            latency = way.latency_ms
            numbers = (latency.p50, latency.p95, latency.p99, way.people_per_s)
            cells = [*map(_digits, numbers), f"{way.network_share:.1%}", f"{way.memory_mib:.0f}"]
            cells.append(_digits(ratio))
            lines.append(f"| {row.people} | {name} | {' | '.join(cells)} |")
    counts = [str(row.people) for row in run.rows]
    lines += [
        "",
        "Stages, ms: p50 (p95, p99), by people.",
        "",
        f"| stage | way | {' | '.join(counts)} |",
        "|---|---|" + "---|" * len(counts),
    ]
    for stage in STAGES:
        for name in ("pear_ros", "published"):
            times = [getattr(row, name).stages_ms.get(stage) for row in run.rows]
            cells = ["not measured" if t is None else str(t) for t in times]
            lines.append(f"| {stage} | {name} | {' | '.join(cells)} |")
    lines += [f"\n{kind}: {count}" for kind, count in run.problems.items()]
    return "\n".join(lines)


def _ways(row: Row) -> Iterator[tuple[str, Way, float]]:
    yield "pear_ros", row.pear_ros, row.times_as_fast
    yield "published", row.published, 1.0


def _digits(number: float) -> str:
    """Three digits, without an exponent."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"
