"""The soak test itself: it counts every image, and finds growth where there is some."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")
pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")

from harness import ENVIRONMENT, own_domain
from samples import ROOT

from pear_ros.errors import PearError
from tools.soak import Sample, Watcher, report_of

pytestmark = pytest.mark.ros


def samples(mb_per_hour: float, files: int = 10) -> list[Sample]:
    """Two hours; in the last quarter with more files."""
    times_s = range(0, 7200, 60)
    return [Sample(t, 300 + mb_per_hour * t / 3600, files if t > 5400 else 10, 8) for t in times_s]


def holds(rows: list[Sample], unwatched: int = 1) -> dict[str, bool]:
    counters = {"images_received": 9, "images_answered": 6, "images_dropped": 2}
    watcher = SimpleNamespace(ids={"p1"}, counters={**counters, "images_unwatched": unwatched})
    return dict(report_of(rows, cast(Watcher, watcher), minutes=120, rate_hz=10)["holds"])


def test_growth_of_memory_and_files_is_found() -> None:
    assert holds(samples(4))["memory"]
    assert not holds(samples(6))["memory"]
    assert holds(samples(0))["files"]
    assert not holds(samples(0, files=11))["files"]


def test_each_image_is_accounted_for() -> None:
    assert holds(samples(0))["accounting"]
    assert not holds(samples(0), unwatched=0)["accounting"]
    assert not holds(samples(0), unwatched=2)["accounting"]


def test_a_sample_is_of_this_process() -> None:
    sample = Sample.of(os.getpid(), 1.0)
    assert sample.anonymous_mb > 10
    assert sample.files >= 3
    assert sample.threads >= 1
    with pytest.raises(PearError, match="exited"):
        Sample.of(2**22 + 1, 1.0)  # above the largest pid


def test_a_short_run(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    command = [
        sys.executable, "-m", "tools.soak", "--minutes", "0.2", "--rate-hz", "5",
        "--output", str(output),
    ]  # fmt: skip
    with own_domain() as domain:
        environment = {**os.environ, **ENVIRONMENT, "ROS_DOMAIN_ID": str(domain)}
        # Its exit code tells that memory grows, which it does in the first seconds.
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
    report = json.loads(output.read_text())
    assert report["holds"]["accounting"]
    assert report["counters"]["images_answered"] > 0
    assert report["ids"] >= 2
