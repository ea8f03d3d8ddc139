"""The times at which a camera's images are due."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Schedule:
    """One image is due per period; overdue images are skipped."""

    rate_hz: float
    start_s: float  # on a monotonic clock
    number: int = 0  # of the next image
    left_out: int = 0  # how many images were skipped

    @property
    def time_s(self) -> float:
        """Time of the next image since the start."""
        return self.number / self.rate_hz

    @property
    def due_s(self) -> float:
        """Time of the next image on the monotonic clock."""
        return self.start_s + self.time_s

    def advance(self, now_s: float) -> int:
        """Moves on to the next image that is not overdue; returns how many were skipped."""
        self.number += 1
        missed = max(math.ceil((now_s - self.start_s) * self.rate_hz) - self.number, 0)
        self.number += missed
        self.left_out += missed
        return missed
