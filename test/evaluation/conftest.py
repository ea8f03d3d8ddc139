"""Fixtures of the tests of evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from constant_network import Constant
from samples import DATA

from pear_ros.body.body_model import BodyModel
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network_config import NetworkConfig


@pytest.fixture(scope="session")
def constant(
    tmp_path_factory: pytest.TempPathFactory,
    front_checkpoint: Path,
    small_assets_path: Path,
    small_body_model: BodyModel,
    network_config: NetworkConfig,
) -> Constant:
    tree = torch.load(front_checkpoint, weights_only=True)
    for name, values in tree["head"].items():
        if name.endswith("_decoder.weight"):
            tree["head"][name] = torch.zeros_like(values)
    path = tmp_path_factory.mktemp("constant") / "network.pt"
    torch.save(tree, path)
    network = load_network(path, network_config)
    with torch.inference_mode():
        parameters = network(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
        bodies = small_body_model(parameters, mesh=True)
    assert bodies.vertices is not None
    options = ["--checkpoint", str(path), "--network-config", str(DATA / "network_tiny.json")]
    options += ["--assets", str(small_assets_path), "--device", "cpu", "--dtype", "float32"]
    return Constant(options, bodies.joints[0].numpy(), bodies.vertices[0].numpy())
