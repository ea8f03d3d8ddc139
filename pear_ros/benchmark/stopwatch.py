"""Measures times of stages and peak memory."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from pear_ros.benchmark.report import Times


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has finished all its work; does nothing for a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Times the stages of each step; if a stage occurs several times in a step, its times add up.

    It is an OnStage: calling it with a stage's name ends the previous stage and starts this one.
    Calls outside `run` are ignored.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps: list[dict[str, float]] = []
        self._stage = ""
        self._started_s = 0.0
        self._is_running = False

    def __call__(self, stage: str) -> None:
        if not self._is_running:
            return
        synchronize(self._device)
        now_s = time.perf_counter()
        if self._stage:
            self._steps[-1][self._stage] += now_s - self._started_s
        self._stage, self._started_s = stage, now_s

    def run(self, step: Callable[[], object]) -> None:
        """Runs a step and times its stages."""
        self._steps.append(defaultdict(float))
        self._is_running = True
        try:
            step()
            self("")
        finally:
            self._is_running = False
            self._stage = ""

    def take(self) -> dict[str, Times]:
        """Returns the times by stage, over the steps since the last call."""
        steps, self._steps = self._steps, []
        return {name: Times.of([step[name] for step in steps]) for name in steps[0]}


class Memory:
    """Measures memory, MiB: on a CPU the process's resident memory, on a GPU what torch reserves.

    On a GPU reserved memory is measured because the memory of CUDA graphs does not count as
    allocated, although nothing else can use it. Peaks on a GPU are relative to the creation of this
    object.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.start_mib = self.now_mib()

    def now_mib(self) -> float:
        """Returns the memory in use now."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            return torch.cuda.memory_reserved(self._device) / 2**20
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def peak_mib(self, work: Callable[[], object]) -> float:
        """Runs `work` and returns the peak."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            work()
            return torch.cuda.max_memory_reserved(self._device) / 2**20 - self.start_mib
        with suppress(OSError):  # if Linux refuses, the peak is that of the whole process so far
            Path("/proc/self/clear_refs").write_text("5")
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
