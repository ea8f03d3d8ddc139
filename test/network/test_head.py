"""The head of the network."""

from __future__ import annotations

import torch

from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.head import HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig


def test_folding_does_not_change_the_output() -> None:
    torch.manual_seed(1)
    head = PearNetwork(
        NetworkConfig(
            BackboneConfig(embed_dim=24, depth=1, num_heads=2),
            HeadConfig(context_dim=24, dim=32, depth=3, heads=2, dim_head=16, mlp_dim=32),
        )
    ).head.eval()
    head.init_body_pose.normal_()
    tokens = torch.randn(3, 192, 24)
    with torch.no_grad():
        before = head(tokens)
        head.fold()
        after = head(tokens)
    assert not any("to_qkv" in name or "_decoder" in name for name in head.state_dict())
    torch.testing.assert_close(vars(after), vars(before), rtol=1e-5, atol=1e-5)
