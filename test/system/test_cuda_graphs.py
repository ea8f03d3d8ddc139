"""Recordings of CUDA graphs. They need a GPU."""

from __future__ import annotations

import pytest
import torch
from devices import NO_CUDA

from pear_ros.system.cuda_graphs import CudaStream


@NO_CUDA
def test_the_stream_works_after_a_failed_recording() -> None:
    stream = CudaStream(torch.device("cuda"))
    ones = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="when stream is capturing"):
        stream.record(lambda: ones.sum().item())  # the host waits for the device
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    recorded = stream.record(lambda: ones + 1)
    with stream.current():
        recorded.replay()
    stream.wait()
    assert recorded.result.tolist() == [2, 2, 2]
