"""The network against the published outputs, its devices and precisions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import DATA, golden

from pear_ros.errors import SettingError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import EhmParameters
from pear_ros.system.device import choose_device, choose_dtype

CHECKPOINT = DATA / "network_tiny.pt"
NAMES = [f.name for f in fields(EhmParameters)]


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    stored = golden("network_tiny")
    return stored | {"camera_t": stored["camera_rt"][:, :3, 3]}


@pytest.fixture(scope="module")
def parameters(network: PearNetwork, published: dict[str, np.ndarray]) -> EhmParameters:
    return network(torch.from_numpy(published["images"]))


def outputs(parameters: EhmParameters) -> dict[str, np.ndarray]:
    return {name: getattr(parameters, name).numpy() for name in NAMES}


def assert_same_outputs(a: EhmParameters, b: EhmParameters) -> None:
    for name in NAMES:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


# --- Outputs -------------------------------------------------------------------------------------


def test_features_are_the_published(network: PearNetwork, published: dict[str, np.ndarray]) -> None:
    tokens = network.backbone(network.normalise(torch.from_numpy(published["images"])))
    expected = published["features"]  # (4, C, 16, 12)
    features = tokens.numpy().transpose(0, 2, 1).reshape(expected.shape)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_output_is_the_published(
    parameters: EhmParameters, published: dict[str, np.ndarray], name: str
) -> None:
    largest = max(np.abs(published[n]).max() for n in NAMES)
    tolerance = min(1e-4, 1e-5 * largest)
    found = getattr(parameters, name).numpy()
    np.testing.assert_allclose(found, published[name], rtol=0, atol=tolerance)


def test_no_people(network: PearNetwork, parameters: EhmParameters) -> None:
    none = network(torch.zeros(0, 256, 256, 3, dtype=torch.uint8))
    for name in NAMES:
        assert getattr(none, name).shape == (0, *getattr(parameters, name).shape[1:]), name


def test_people_do_not_depend_on_their_batch(
    network: PearNetwork, parameters: EhmParameters, published: dict[str, np.ndarray]
) -> None:
    alone = network(torch.from_numpy(published["images"][2:3]))
    for name in NAMES:  # sums of another order
        torch.testing.assert_close(
            getattr(alone, name), getattr(parameters, name)[2:3], rtol=0, atol=1e-4
        )


def test_only_the_middle_columns_are_seen(
    network: PearNetwork, published: dict[str, np.ndarray]
) -> None:
    images = torch.from_numpy(published["images"][:1])
    margins = images.clone()
    margins[:, :, :32] = 7
    margins[:, :, -32:] = 200
    assert_same_outputs(network(margins), network(images))
    margins[:, :, 32] = 255 - margins[:, :, 32]
    assert not torch.equal(network(margins).betas, network(images).betas)


def test_bfloat16_backbone_is_close_to_float32(
    network_config: NetworkConfig, parameters: EhmParameters, published: dict[str, np.ndarray]
) -> None:
    network = load_network(CHECKPOINT, network_config, dtype=torch.bfloat16)
    assert network.backbone.pos_embed.dtype == torch.bfloat16
    assert {p.dtype for p in network.head.parameters()} == {torch.float32}
    rounded = network(torch.from_numpy(published["images"]))
    for name in NAMES:
        exact, found = getattr(parameters, name), getattr(rounded, name)
        assert found.dtype == torch.float32
        # bfloat16 has 8 bits: one rounding is 2^-9 = 0.2 %. Measured on this network: 0.8 % of
        # an output's norm at most (left hand); twice that leaves room for other CPUs.
        assert (found - exact).norm() <= 0.016 * exact.norm(), name
        assert not torch.equal(found, exact), name


def test_inference_only(network: PearNetwork, parameters: EhmParameters) -> None:
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(getattr(parameters, name).requires_grad for name in NAMES)


# --- Device and precision ------------------------------------------------------------------------


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_device(monkeypatch: pytest.MonkeyPatch, has_cuda: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device("auto") == torch.device(expected)


def test_named_device() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:4096", "cuda:-2", "CPU", "cpu:x"])
def test_unusable_device(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name!r} cannot be used here"):
        choose_device(name)


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "flags", "expected"),
    [
        pytest.param("auto", CUDA, "", torch.float16, id="CUDA"),
        pytest.param("auto", CPU, "fpu avx512_bf16 sse", torch.bfloat16, id="AVX-512 bfloat16"),
        pytest.param("auto", CPU, "fpu amx_bf16", torch.bfloat16, id="AMX"),
        pytest.param("auto", CPU, "fp asimd bf16", torch.bfloat16, id="ARM"),
        pytest.param("auto", CPU, "fpu avx512f bf16x", torch.float32, id="CPU without"),
        pytest.param("auto", CPU, None, torch.float32, id="no cpuinfo"),
        pytest.param("float32", CUDA, "", torch.float32, id="float32 as told"),
        pytest.param("float16", CPU, "", torch.float16, id="float16 as told"),
        pytest.param("bfloat16", CPU, "", torch.bfloat16, id="bfloat16 as told"),
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


@pytest.mark.parametrize("name", ["", "half", "int8", "Float32"])
def test_unknown_dtype(name: str) -> None:
    with pytest.raises(SettingError, match="is none of auto, float32, float16, bfloat16"):
        choose_dtype(name, CPU)
