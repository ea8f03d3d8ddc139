"""The node with a network that computes nothing, to time everything else."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from pear_ros.config import Config
from pear_ros.network.network import Network
from pear_ros.people import EhmParameters, map_tensors
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.ros.node import main


class ConstantNetwork:
    """Returns for every crop the parameters that `network` estimates from a black one."""

    can_be_recorded = True
    description = "constant"

    def __init__(self, network: Network) -> None:
        self.device = network.device
        black = torch.zeros(1, 256, 256, 3, dtype=torch.uint8, device=network.device)
        with torch.inference_mode():
            self._parameters = network(black)

    def __call__(self, crops: Tensor) -> EhmParameters:
        return map_tensors(self._parameters, lambda rows: rows.expand(len(crops), *rows.shape[1:]))


def load_without_network(config: Config, problems: Problems) -> Pipeline:
    return load_pipeline(config, problems, replace_network=ConstantNetwork)


if __name__ == "__main__":
    sys.exit(main(load=load_without_network))
