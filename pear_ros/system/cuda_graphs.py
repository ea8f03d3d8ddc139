"""CUDA streams and graphs: work is captured once, then replayed. Not tested on a GPU yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

BATCHES = (1, 2, 4, 8, 16, 32)  # numbers of people that are captured; others are padded

T = TypeVar("T")


@dataclass
class Recorded(Generic[T]):
    """Captured work, which is replayed on the current stream."""

    replay: Callable[[], None]
    result: T  # of the last replay; every replay writes to the same tensors


class CudaStream:
    """A separate CUDA stream that captures work as CUDA graphs. Only one may run at a time."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def handle(self) -> int:
        """The CUDA handle of the stream."""
        return self._stream.cuda_stream

    def record(self, work: Callable[[], T]) -> Recorded[T]:
        """Runs `work` once, then captures it as a CUDA graph.

        Raises:
            RuntimeError: If CUDA cannot capture `work`.
            Exception: What `work` raises.
        """
        with torch.cuda.device(self._stream.device), torch.inference_mode():
            with self.current():
                work()  # the initialisation of libraries at their first call cannot be captured
            self.wait()
            outer = torch.cuda.current_stream()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    result = work()
            except Exception as error:
                # After a failed capture, torch leaves the stream and the pool (in some versions
                # the memory as well) in use. The error that it raises at the end of the capture
                # has the reason as its context.
                torch.cuda.set_stream(outer)
                self.forget()
                cause = error.__context__
                raise cause if isinstance(cause, RuntimeError) else error from None
        return Recorded(graph.replay, result)

    def forget(self) -> None:
        """Starts a new memory pool; the caller must drop all earlier graphs.

        Graphs share a pool of memory, because only one runs at a time. The old pool is freed with
        the last of its graphs.
        """
        self._pool = torch.cuda.graph_pool_handle()

    def wait(self) -> None:
        """Waits until all enqueued work is done."""
        self._stream.synchronize()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the stream torch's current one, synchronised with the outer stream on both ends.

        Work in the block starts after all earlier work of the outer stream, and all later work of
        the outer stream starts after it.
        """
        outer = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.device(self._stream.device), torch.cuda.stream(self._stream):
                yield
        finally:
            outer.wait_stream(self._stream)
