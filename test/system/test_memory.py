"""Errors that mean that memory is short, and errors that do not."""

from __future__ import annotations

import pytest
import torch

from pear_ros.system.memory import memory_is_short, one_line

SHORT = {
    "Python": MemoryError(),
    "numpy": MemoryError("Unable to allocate 74.5 GiB for an array with shape (10000000000,)"),
    "torch, CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "torch, file": RuntimeError("unable to mmap 2500000000 bytes from file <c.pt>: Cannot (12)"),
    "torch, CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    "the system": OSError(12, "Cannot allocate memory"),
    "the linker": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    "C++": RuntimeError("std::bad_alloc"),
}
OTHERS = {
    "no space": OSError(28, "No space left on device"),
    "no package": ModuleNotFoundError("No module named 'rclpy'"),
    "a value": ValueError("not enough memory was given as an argument"),
    "torch": RuntimeError("PytorchStreamReader failed reading zip archive"),
}


@pytest.mark.parametrize("error", SHORT.values(), ids=SHORT)
def test_memory_is_short(error: Exception) -> None:
    assert memory_is_short(error)


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS)
def test_memory_is_not_short(error: Exception) -> None:
    assert not memory_is_short(error)


def test_the_cause_counts() -> None:
    """A library may raise an error of its own, from the one that says what happened."""
    outer = ImportError("numpy could not be imported")
    outer.__cause__ = ImportError("libopenblas.so: failed to map segment from shared object")
    assert memory_is_short(outer)


def test_a_suppressed_error_does_not_count() -> None:
    """As Python's parser raises MemoryError for nested text."""

    def read() -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError("the text is damaged") from None

    with pytest.raises(ValueError, match="damaged") as caught:
        read()
    assert not memory_is_short(caught.value)


def test_a_circle_of_causes_ends() -> None:
    first, second = ImportError("first"), ImportError("second")
    first.__cause__, second.__cause__ = second, first
    assert not memory_is_short(first)


def test_one_line() -> None:
    assert one_line(RuntimeError("first\nsecond")) == "first"
    assert one_line(MemoryError()) == "MemoryError"
