"""Finds the depth image that was taken together with an image."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

Depth = TypeVar("Depth")
MOST_KEPT = 32  # depth images; the oldest are dropped first
# Images no longer wait after so many in a row without depth, over so long. A depth camera that is
# slower than the camera leaves out some images, but not for so long.
MOST_MISSED, MISSING_S = 5, 1.0
RESTART_NS = 1_000_000_000  # stamps that jump back by more start anew


@dataclass(frozen=True)
class _Missed:
    """An image that was released without depth."""

    stamp_ns: int
    arrived_s: float


class DepthMatcher(Generic[Depth]):
    """Matches the depth images of one camera by their stamps.

    An image waits at most `timeout_s` for a depth image whose stamp is within `tolerance_s`, and
    for the next one if that should be nearer. As a depth camera that is off must not delay every
    image, images no longer wait after MOST_MISSED in a row without depth, over MISSING_S. They wait
    again as soon as a depth image comes for which waiting would have been worth it: within
    `timeout_s` after an image that it belongs to.
    """

    def __init__(self, tolerance_s: float, timeout_s: float) -> None:
        self._tolerance_ns = round(tolerance_s * 1e9)
        self._timeout_s = timeout_s
        self._depths: OrderedDict[int, Depth] = OrderedDict()  # by stamp
        self._newest_ns: int | None = None  # the stamp of the newest depth image
        self._intervals_ns: deque[int] = deque(maxlen=5)  # between the last ones
        self._taken: int | None = None  # the stamp of the depth image that was taken last
        self._missed: deque[_Missed] = deque()  # whose depth would still be in time
        self._missed_in_a_row = 0
        self._missed_since_s = 0.0

    def put(self, stamp_ns: int, depth: Depth, now_s: float) -> None:
        """Adds a depth image that arrived at `now_s`."""
        newest_ns = self._newest_ns
        if newest_ns is None or stamp_ns < newest_ns - RESTART_NS:
            self.clear()
            self._newest_ns = stamp_ns
        elif stamp_ns > newest_ns:
            self._intervals_ns.append(stamp_ns - newest_ns)
            self._newest_ns = stamp_ns
        self._depths[stamp_ns] = depth
        if len(self._depths) > MOST_KEPT:
            self._depths.popitem(last=False)
        if any(
            abs(image.stamp_ns - stamp_ns) <= self._tolerance_ns
            and now_s - image.arrived_s <= self._timeout_s
            for image in self._missed
        ):
            self._missed_in_a_row = 0

    def has_given_up(self, now_s: float) -> bool:
        """Whether images no longer wait."""
        return self._missed_in_a_row >= MOST_MISSED and now_s - self._missed_since_s >= MISSING_S

    def is_awaited(self, stamp_ns: int, arrived_s: float, now_s: float) -> bool:
        """Whether the image with this stamp should wait: its depth is not there but may come."""
        found = self._find(stamp_ns)
        if found is not None and not self._next_is_nearer(stamp_ns, found):
            return False
        return now_s - arrived_s < self._timeout_s and not self.has_given_up(now_s)

    def take(self, stamp_ns: int, arrived_s: float) -> Depth | None:
        """The depth of an image that is released now; None if there is none.

        Depth images that are too old for later images are dropped.
        """
        depth = None
        found = self._find(stamp_ns)
        if found is None:
            self._miss(_Missed(stamp_ns, arrived_s))
        else:
            depth = self._depths[found]
            self._taken = found
            self._missed_in_a_row = 0
        for known in list(self._depths):
            if known < stamp_ns - self._tolerance_ns:
                del self._depths[known]
        return depth

    def clear(self) -> None:
        """Drops the depth images."""
        self._depths.clear()
        self._intervals_ns.clear()
        self._newest_ns = None

    def gap_s(self, stamp_ns: int) -> float | None:
        """How far the nearest depth image is away; None if there is none but that taken last."""
        gaps = (abs(known - stamp_ns) * 1e-9 for known in self._depths if known != self._taken)
        return min(gaps, default=None)

    def _find(self, stamp_ns: int) -> int | None:
        """The nearest stamp within the tolerance."""
        nearest = min(self._depths, key=lambda known: abs(known - stamp_ns), default=None)
        if nearest is None or abs(nearest - stamp_ns) > self._tolerance_ns:
            return None
        return nearest

    def _next_is_nearer(self, stamp_ns: int, found: int) -> bool:
        """Whether the depth image after `found` has not arrived, and should be nearer."""
        if found != self._newest_ns or not self._intervals_ns:
            return False
        return 2 * (stamp_ns - found) > median(self._intervals_ns)

    def _miss(self, image: _Missed) -> None:
        if self._missed_in_a_row == 0:
            self._missed_since_s = image.arrived_s
        self._missed_in_a_row += 1
        self._missed.append(image)
        while self._missed[0].arrived_s < image.arrived_s - self._timeout_s:
            self._missed.popleft()
