"""One slot per camera between the executor thread and the worker thread."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Keeps the newest item of each camera; a replaced item is counted as dropped. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: dict[str, Item] = {}
        self._dropped: dict[str, int] = {}  # since the last take_dropped
        self._total_dropped = 0
        self._is_closed = False

    def put(self, camera: str, item: Item) -> None:
        """Stores the camera's newest item and drops the one before, if it is still there."""
        with self._condition:
            if camera in self._items:
                self._count(camera, 1)
            self._items[camera] = item
            self._condition.notify()

    def drop(self, camera: str, times: int = 1) -> None:
        """Counts items that were dropped elsewhere."""
        with self._condition:
            self._count(camera, times)

    def _count(self, camera: str, times: int) -> None:
        self._dropped[camera] = self._dropped.get(camera, 0) + times
        self._total_dropped += times

    def take(self) -> dict[str, Item] | None:
        """Waits for an item, then returns all items by camera; None if the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._items or self._is_closed)
            if self._is_closed:
                return None
            items, self._items = self._items, {}
            return items

    def take_dropped(self, camera: str) -> int:
        """Returns how many items of this camera were dropped since the last call."""
        with self._condition:
            return self._dropped.pop(camera, 0)

    @property
    def total_dropped(self) -> int:
        """How many items were dropped since the mailbox was created."""
        with self._condition:
            return self._total_dropped

    def open(self) -> None:
        """Makes a closed mailbox usable again."""
        with self._condition:
            self._is_closed = False

    def close(self) -> None:
        """Wakes up `take`, which returns None; drops the remaining items."""
        with self._condition:
            self._is_closed = True
            for camera in self._items:
                self._count(camera, 1)
            self._items = {}
            self._condition.notify_all()
