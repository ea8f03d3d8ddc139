"""`make bench-node`: the search for the highest rate, and a short run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")
pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")

from devices import DEVICES
from harness import ENVIRONMENT, own_domain
from samples import ROOT

from tools.bench_node import FASTEST_HZ, Result, highest_rate, markdown

pytestmark = pytest.mark.ros


def node_of(limit_hz: float) -> Callable[[float], Result]:
    """Measures a simulated node that answers at most `limit_hz` images per second."""

    def measure(rate_hz: float) -> Result:
        answered = round(1000 * min(limit_hz / rate_hz, 1))
        return Result(1, 1, rate_hz, 1000, answered, 1.0, 1.0, 1.0, 1.0)

    return measure


@pytest.mark.parametrize("limit_hz", [1.5, 12.0, 45.0, 59.0, 200.0], ids="{} Hz".format)
def test_the_highest_rate_is_found(limit_hz: float) -> None:
    measure = node_of(limit_hz)
    found = highest_rate(measure, [measure(rate_hz) for rate_hz in (10.0, 30.0, 60.0)])
    assert found is not None
    assert found.keeps_up
    assert 0.8 * limit_hz < found.rate_hz <= limit_hz / 0.95


def test_a_node_that_keeps_up_with_no_rate() -> None:
    measure = node_of(0.1)
    assert highest_rate(measure, [measure(10.0)]) is None


def test_a_node_that_keeps_up_with_every_rate() -> None:
    found = highest_rate(node_of(1e4), [])
    assert found is not None
    assert found.rate_hz > 0.7 * FASTEST_HZ


def test_the_table_in_the_docs_agrees_with_the_report() -> None:
    results = json.loads((ROOT / "docs/performance/node.json").read_text())["results"]
    page = (ROOT / "docs/performance.md").read_text()
    assert markdown([Result(**result) for result in results]) in page


@pytest.mark.parametrize("device", DEVICES)
def test_a_short_run(files: dict[str, Any], tmp_path: Path, device: str) -> None:
    output = tmp_path / "node.json"
    with own_domain() as domain:
        environment = {**os.environ, **ENVIRONMENT, "ROS_DOMAIN_ID": str(domain)}
        command = [
            sys.executable, "-m", "tools.bench_node", "--setups", "2x1", "--rates", "4",
            "--seconds", "0.5", "--checkpoint", files["network.checkpoint"],
            "--network-config", files["network.config"], "--assets", files["body.assets"],
            "--device", device, "--output", str(output),
        ]  # fmt: skip
        printed = subprocess.check_output(command, cwd=ROOT, env=environment, text=True)
    results = json.loads(output.read_text())["results"]
    assert 0 < results[0]["sent"] <= 4  # by two cameras; a camera that is late skips images
    assert results[0]["answered"] > 0
    assert results[0]["found"] == 1
    assert 0 < results[0]["p50_ms"] <= results[0]["p99_ms"]
    assert "| 2 x 1 | " in printed
