"""The network against the published outputs, in other batches and precisions."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from samples import DATA, golden

from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import EhmParameters

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


def test_features_agree_with_the_published(
    network: PearNetwork, published: dict[str, np.ndarray]
) -> None:
    tokens = network.backbone(network.normalise(torch.from_numpy(published["images"])))
    expected = published["features"]  # (4, C, 16, 12)
    features = tokens.numpy().transpose(0, 2, 1).reshape(expected.shape)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_outputs_agree_with_the_published(
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


def test_only_the_middle_columns_are_used(
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


def test_the_network_needs_no_gradients(network: PearNetwork, parameters: EhmParameters) -> None:
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(getattr(parameters, name).requires_grad for name in NAMES)
