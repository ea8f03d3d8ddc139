"""Counts what goes wrong and tells each kind once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Problems:
    """A counter per kind of problem; the first of a kind and subject is told, with what to do.

    Safe to use from several threads.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    def count(self, kind: str, message: str, subject: str = "", times: int = 1) -> None:
        """Adds to the counter `kind`; tells `message` if it is the first of `subject`."""
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + times
            is_new = (kind, subject) not in self._told
            self._told.add((kind, subject))
        if is_new:
            self._tell(f"{message} (told once; counted as {kind})")

    def counts(self) -> dict[str, int]:
        """A copy of the counters."""
        with self._lock:
            return dict(self._counts)

    def forget_told(self) -> None:
        """Tells each kind again the next time it happens; the counters go on."""
        with self._lock:
            self._told.clear()
