"""Tells a late image from stamps that start anew, as those of a bag that is played in a loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

RESTART_NS = 1_000_000_000  # no image is later than this


@dataclass(frozen=True)
class Place:
    """Where an image stands among those of its camera."""

    run: int  # its number rises when the stamps start anew
    behind_ns: int  # how much older the image is than the one before; 0: not older
    is_late: bool  # a newer image of the same run came before

    @property
    def is_restart(self) -> bool:
        """The first image of a new run."""
        return self.behind_ns > 0 and not self.is_late


class StampOrder:
    """Must see all images of a camera when they arrive: it remembers their stamps.

    A stamp that goes back starts a new run if it was there before (a loop repeats its stamps), if
    the run has nothing older (a late image has an older one before it), or if it goes back by more
    than RESTART_NS. Otherwise the image is late.
    """

    def __init__(self) -> None:
        self._run = 0
        self._first_ns = 0  # of this run
        self._recent_ns: deque[int] = deque()  # of this run, rising, within RESTART_NS

    def put(self, stamp_ns: int) -> Place:
        """Returns the place of the image that arrives with this stamp."""
        recent = self._recent_ns
        if not recent:
            self._first_ns = stamp_ns
        behind_ns = max(recent[-1] - stamp_ns, 0) if recent else 0
        if behind_ns > 0:
            repeats = stamp_ns <= self._first_ns or stamp_ns in recent
            if behind_ns <= RESTART_NS and not repeats:
                return Place(self._run, behind_ns, is_late=True)
            self._run += 1
            self._first_ns = stamp_ns
            recent.clear()
        recent.append(stamp_ns)
        while stamp_ns - recent[0] > RESTART_NS:
            recent.popleft()
        return Place(self._run, behind_ns, is_late=False)
