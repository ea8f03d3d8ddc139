"""Counts problems and reports each kind once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Problems:
    """A counter per kind of problem; the first problem of each kind and subject is reported.

    Thread-safe.
    """

    def __init__(self, report: Callable[[str], object]) -> None:
        """`report` receives the messages, for example a logger's `warning`."""
        self._report = report
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._reported: set[tuple[str, str]] = set()  # (kind, subject)

    def count(
        self, kind: str, message: str | Callable[[], str], subject: str = "", times: int = 1
    ) -> None:
        """Adds `times` to the counter `kind`; reports `message` once per `subject`.

        `message` says what happened and what to do; a function is called only if it is reported.
        `subject` is a camera's name, for example.
        """
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + times
            is_new = (kind, subject) not in self._reported
            self._reported.add((kind, subject))
        if is_new:
            told = message if isinstance(message, str) else message()
            self._report(f"{told} (reported once; counted as {kind})")

    def counts(self) -> dict[str, int]:
        """Returns a copy of the counters."""
        with self._lock:
            return dict(self._counts)

    def forget_reported(self) -> None:
        """Reports each kind again the next time it happens; keeps the counters."""
        with self._lock:
            self._reported.clear()
