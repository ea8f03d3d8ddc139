"""A stream for tests on a CPU: it runs at once what CudaStream records and replays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from pear_ros.system.cuda_graphs import Recorded


class HostStream:
    """Replaces CudaStream: the CPU computes each operation as soon as it is enqueued."""

    is_current = False

    def __init__(self, device: Any) -> None:
        self.handle = 0x5EA
        self._pool = object()

    def record(self, work: Callable[[], Any]) -> Recorded[Any]:
        with self.current():
            recorded = Recorded(lambda: None, work())
        pool = self._pool

        def replay() -> None:
            assert HostStream.is_current, "the graph is replayed on another stream"
            assert pool is self._pool, "the graph is replayed after its memory was given up"
            recorded.result = work()

        recorded.replay = replay
        return recorded

    def forget(self) -> None:
        self._pool = object()

    def wait(self) -> None:
        pass

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        HostStream.is_current = True
        try:
            yield
        finally:
            HostStream.is_current = False
