"""The sizes of a network that a test can train."""

from __future__ import annotations

import dataclasses

from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.network_config import NetworkConfig
from training.student import SMALL

TINY = NetworkConfig(
    BackboneConfig(embed_dim=24, depth=1, num_heads=2),
    dataclasses.replace(SMALL.head, context_dim=24, dim=32, depth=1, mlp_dim=32),
)
