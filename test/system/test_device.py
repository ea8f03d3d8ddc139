"""Choosing device and precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from samples import DATA

from pear_ros.errors import SettingError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network_config import NetworkConfig
from pear_ros.system.device import choose_device, choose_dtype, forbid_reduced_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


# --- Device --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")], ids=["CUDA", "no CUDA"]
)
def test_auto_device(monkeypatch: pytest.MonkeyPatch, has_cuda: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device("auto") == torch.device(expected)


def test_named_device() -> None:
    assert choose_device("cpu") == torch.device("cpu")


# `meta` is a device of torch, but its tensors have no values.
@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:4096", "cuda:-2", "CPU", "cpu:x", "meta"], ids=repr
)
def test_unusable_device(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name!r} cannot be used here"):
        choose_device(name)


# --- Precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "device", "flags", "expected"),
    [
        pytest.param("auto", CUDA, "", torch.float16, id="auto on CUDA"),
        pytest.param(
            "auto", CPU, "fpu avx512_bf16 sse", torch.bfloat16, id="auto with AVX-512 bfloat16"
        ),
        pytest.param("auto", CPU, "fpu amx_bf16", torch.bfloat16, id="auto with AMX"),
        pytest.param("auto", CPU, "fp asimd bf16", torch.bfloat16, id="auto on ARM with bfloat16"),
        pytest.param("auto", CPU, "fpu avx512f bf16x", torch.float32, id="auto without bfloat16"),
        pytest.param("auto", CPU, None, torch.float32, id="auto without cpuinfo"),
        pytest.param("float32", CUDA, "", torch.float32, id="float32"),
        pytest.param("float16", CPU, "", torch.float16, id="float16"),
        pytest.param("bfloat16", CPU, "", torch.bfloat16, id="bfloat16"),
    ],
)
def test_dtype(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    device: torch.device,
    flags: str | None,
    expected: torch.dtype,
) -> None:
    def read_text(path: Path) -> str:
        assert path == Path("/proc/cpuinfo")
        if flags is None:
            raise FileNotFoundError(path)
        return f"processor : 0\nflags : {flags}\n"

    monkeypatch.setattr(Path, "read_text", read_text)
    assert choose_dtype(name, device) is expected


@pytest.mark.parametrize("name", ["", "half", "int8", "Float32"], ids=repr)
def test_unknown_dtype(name: str) -> None:
    with pytest.raises(SettingError, match="is none of auto, float32, float16, bfloat16"):
        choose_dtype(name, CPU)


@pytest.fixture
def _allowed() -> Iterator[None]:
    """Allows reduced precision, and restores the settings after the test."""
    flags = [
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
        (torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    ]
    before = [getattr(owner, name) for owner, name in flags]
    for owner, name in flags:
        setattr(owner, name, True)
    yield
    for (owner, name), value in zip(flags, before, strict=True):
        setattr(owner, name, value)


@pytest.mark.usefixtures("_allowed")
def test_reduced_precision_is_forbidden() -> None:
    forbid_reduced_precision()
    assert_forbidden()


@pytest.mark.usefixtures("_allowed")
def test_loading_a_network_forbids_reduced_precision() -> None:
    load_network(DATA / "network_tiny.pt", NetworkConfig.from_json(DATA / "network_tiny.json"))
    assert_forbidden()


def assert_forbidden() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
