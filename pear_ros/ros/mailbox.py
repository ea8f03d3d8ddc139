"""One slot per camera between the thread that receives images and the one that works on them."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """The newest item of each camera wins; what it replaces is counted as dropped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: dict[str, Item] = {}
        self._dropped: dict[str, int] = {}  # since they were last taken
        self._total_dropped = 0
        self._is_closed = False

    def put(self, camera: str, item: Item) -> None:
        with self._condition:
            if camera in self._items:
                self._count(camera, 1)
            self._items[camera] = item
            self._condition.notify()

    def drop(self, camera: str, times: int = 1) -> None:
        """Counts items that never get an answer for another reason."""
        with self._condition:
            self._count(camera, times)

    def _count(self, camera: str, times: int) -> None:
        self._dropped[camera] = self._dropped.get(camera, 0) + times
        self._total_dropped += times

    def take(self) -> dict[str, Item] | None:
        """All items there are, by camera; waits for one; None once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._items or self._is_closed)
            if self._is_closed:
                return None
            items, self._items = self._items, {}
            return items

    def take_dropped(self, camera: str) -> int:
        """How many were dropped since the last call."""
        with self._condition:
            return self._dropped.pop(camera, 0)

    @property
    def total_dropped(self) -> int:
        """How many were ever dropped."""
        with self._condition:
            return self._total_dropped

    def open(self) -> None:
        """Takes up work after a close."""
        with self._condition:
            self._is_closed = False

    def close(self) -> None:
        """Ends the waiting of `take`; what was not taken is dropped."""
        with self._condition:
            self._is_closed = True
            for camera in self._items:
                self._count(camera, 1)
            self._items = {}
            self._condition.notify_all()
