"""CUDA streams and graphs: work is recorded once, then replayed. Never run by us on a GPU yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

BATCHES = (1, 2, 4, 8, 16, 32)  # people; work is recorded for these numbers, others are padded

T = TypeVar("T")


@dataclass
class Recorded(Generic[T]):
    """Work that can be replayed on the stream that is current then."""

    replay: Callable[[], None]
    result: T  # of the last replay: the same tensors each time


class CudaStream:
    """A stream of its own; work on it is recorded as CUDA graphs, of which one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def handle(self) -> int:
        return self._stream.cuda_stream

    def record(self, work: Callable[[], T]) -> Recorded[T]:
        """Runs it once, and records it. Raises what `work` does, RuntimeError where CUDA cannot."""
        with torch.cuda.device(self._stream.device), torch.inference_mode():
            with self.current():
                work()  # what libraries do at their first call cannot be recorded
            self.wait()
            outer = torch.cuda.current_stream()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    result = work()
            except Exception as error:
                # torch leaves the stream and the pool of a broken recording in use (some versions
                # its memory, too), and the reason in the context of the error that it raises when
                # the recording ends.
                torch.cuda.set_stream(outer)
                self.forget()
                cause = error.__context__
                raise cause if isinstance(cause, RuntimeError) else error from None
        return Recorded(graph.replay, result)

    def forget(self) -> None:
        """Those that follow share no memory with the recordings before, which are to be dropped.

        Recordings share a pool of memory, as they run one after the other; it goes with them.
        """
        self._pool = torch.cuda.graph_pool_handle()

    def wait(self) -> None:
        """Until all that was enqueued is done."""
        self._stream.synchronize()

    @contextmanager
    def current(self) -> Iterator[None]:
        """The stream is torch's current one: after all work before, before all work after."""
        outer = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.device(self._stream.device), torch.cuda.stream(self._stream):
                yield
        finally:
            outer.wait_stream(self._stream)
