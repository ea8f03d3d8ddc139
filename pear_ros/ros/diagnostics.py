"""What the node reports on `/diagnostics`."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode

from pear_ros.problems import Problems

LATENCIES = 100  # latest values that enter the median


class Statistics:
    """Counts images and people and keeps the processing times of the last images."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)

    def count(self, name: str, times: int = 1) -> None:
        self.counts[name] += times

    def count_answer(self, people: int, latency_s: float) -> None:
        """Counts a processed image with its people; `latency_s` is its processing time."""
        self.count("images_answered")
        self.count("people", people)
        self._latencies_s.append(latency_s)

    def median_latency_s(self) -> float | None:
        """Returns the median over the last LATENCIES images; None if there were none yet."""
        return float(np.median(self._latencies_s)) if self._latencies_s else None


class Diagnostics:
    """Publishes one status with the counters of `statistics` and `problems`."""

    def __init__(self, node: LifecycleNode, statistics: Statistics, problems: Problems) -> None:
        self._node = node
        self._statistics = statistics
        self._problems = problems
        self._problems_before = 0
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def publish(self, state: str, images_dropped: int) -> None:
        """`state` is the lifecycle state's label."""
        problems = self._problems.counts()
        total = sum(problems.values())
        name = self._node.get_fully_qualified_name()
        status = DiagnosticStatus(name=name, hardware_id="pear_ros")
        status.level, status.message = DiagnosticStatus.OK, state
        if total > self._problems_before:
            status.level = DiagnosticStatus.WARN
            status.message += "; new problems, see the counters below and the log"
        elif state == "unconfigured":
            status.level = DiagnosticStatus.WARN
        self._problems_before = total
        values: dict[str, Any] = {**self._statistics.counts, **problems}
        values["images_dropped"] = images_dropped
        if (latency_s := self._statistics.median_latency_s()) is not None:
            values["median_processing_time_ms"] = f"{1e3 * latency_s:.1f}"
        status.values = [KeyValue(key=k, value=str(v)) for k, v in sorted(values.items())]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
