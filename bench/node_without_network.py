"""The node with a network that computes nothing, to time everything around it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

import pear_ros.pipeline
from pear_ros.network.network import NetworkConfig, PearNetwork, load_network
from pear_ros.people import EhmParameters, map_tensors
from pear_ros.ros.node import main


class ConstantNetwork(PearNetwork):
    """Gives every crop the parameters that the real weights gave a black one."""

    answer: EhmParameters

    def forward(self, crops: torch.Tensor) -> EhmParameters:
        return map_tensors(self.answer, lambda rows: rows.expand(len(crops), *rows.shape[1:]))


def load_constant(checkpoint: Path, config: NetworkConfig | None, *where: Any) -> ConstantNetwork:
    network: Any = load_network(checkpoint, config, *where)
    with torch.inference_mode():
        answer = network(torch.zeros(1, 256, 256, 3, dtype=torch.uint8, device=network.device))
    network.__class__ = ConstantNetwork
    network.answer = answer
    constant: ConstantNetwork = network
    return constant


if __name__ == "__main__":
    vars(pear_ros.pipeline)["load_network"] = load_constant
    sys.exit(main())
