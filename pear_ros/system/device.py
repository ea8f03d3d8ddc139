"""Chooses the device and the precision of the network."""

from __future__ import annotations

from pathlib import Path

import torch

from pear_ros.errors import SettingError
from pear_ros.system.memory import one_line


def choose_device(device: str) -> torch.device:
    """The device of a name. `auto` is CUDA if it is available, else the CPU.

    Raises:
        SettingError: If the device cannot be used on this machine or is neither CPU nor CUDA.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
        if (chosen := torch.device(device)).type in ("cpu", "cuda"):
            return chosen
        raise RuntimeError("it is neither the CPU nor CUDA")
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"device {device!r} cannot be used here: {one_line(error)}; use auto or cpu"
        ) from error


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype of a name. `auto` is float16 on CUDA and, on a CPU, bfloat16 or float32.

    It is bfloat16 on CPUs with instructions that multiply bfloat16.

    Raises:
        SettingError: If the name is unknown.
    """
    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype in names:
        return names[dtype]
    if dtype != "auto":
        raise SettingError(f"dtype {dtype!r} is none of auto, {', '.join(names)}")
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware; without, they are slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def forbid_reduced_precision() -> None:
    """Makes torch compute float32 without TF32, and sum up 16-bit products in float32.

    The settings apply to the whole process. Some NVIDIA containers allow TF32 by default.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
