"""CUDA streams and graphs: work is recorded once, then replayed. Never run by us on a GPU yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class CudaStream:
    """A stream of its own; work on it is recorded once as a CUDA graph and then replayed."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    @property
    def handle(self) -> int:
        return self._stream.cuda_stream

    def record(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What replays `enqueue` on the stream that is current then."""
        with self.current():
            enqueue()  # once outside of the graph: TensorRT does then what a new shape deferred
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            enqueue()
        return graph.replay

    def wait(self) -> None:
        """Until all that was enqueued is done."""
        self._stream.synchronize()

    @contextmanager
    def current(self) -> Iterator[None]:
        """The stream is torch's current one: after all work before, before all work after."""
        outer = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outer)
        with torch.cuda.stream(self._stream):
            yield
        outer.wait_stream(self._stream)
