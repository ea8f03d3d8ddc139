"""Which device and precision the network gets."""

from __future__ import annotations

from pathlib import Path

import torch

from pear_ros.errors import SettingError


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises SettingError for an unusable one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
        if (chosen := torch.device(device)).type in ("cpu", "cuda"):
            return chosen
        raise RuntimeError("it is neither the CPU nor CUDA")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"device {device!r} cannot be used here: {reason}; use auto or cpu"
        ) from error


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto`: float16 on CUDA; on a CPU bfloat16 where it computes with them, else float32.

    Raises SettingError for an unknown name.
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
    """True where oneDNN multiplies bfloat16 matrices in hardware: elsewhere they are slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def forbid_reduced_precision() -> None:
    """float32 is meant where it stands, and sums of float16 are summed up in float32.

    For the whole process, as torch has it; some containers of NVIDIA's allow TF32 from the start.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
