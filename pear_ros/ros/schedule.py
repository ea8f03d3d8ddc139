"""When the next image of a camera is due."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Schedule:
    """When images are due: one each period; those that are overdue are left out."""

    rate_hz: float
    start_s: float  # of a monotonic clock
    number: int = 0
    left_out: int = 0

    @property
    def time_s(self) -> float:
        """Of the image that is due next, since the start."""
        return self.number / self.rate_hz

    @property
    def due_s(self) -> float:
        return self.start_s + self.time_s

    def advance(self, now_s: float) -> int:
        """To the next image that is not overdue; how many were."""
        self.number += 1
        missed = max(math.ceil((now_s - self.start_s) * self.rate_hz) - self.number, 0)
        self.number += missed
        self.left_out += missed
        return missed
