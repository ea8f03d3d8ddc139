"""The network while it is trained: first weights, auxiliary outputs, choice of tokens."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from pear_ros.errors import SettingError
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.head import INITIAL_POSE, HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import NUM_JOINTS, EhmParameters
from pear_ros.synthetic.controls import STANDING, rotations, vector
from pear_ros.synthetic.scene import FACING_CAMERA
from training.cpu import MatrixPatchEmbed
from training.data import BACKGROUND, PIXELS
from training.losses import TokenPredictions

SMALL = NetworkConfig(
    BackboneConfig(embed_dim=192, depth=8, num_heads=3),
    HeadConfig(context_dim=192, dim=256, depth=5, heads=4, dim_head=64, mlp_dim=512),
)


class Student(nn.Module):
    """The network with auxiliary outputs of the backbone, which are only used for training.

    The published PEAR starts from a backbone that was trained to find joints (ViTPose). This one
    starts from random weights, so its tokens also learn which token each joint is in, which part of
    the body they show, the rotation and position of that part, and which points of the body their
    pixels show.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.backbone.embed_dim
        self.network = PearNetwork(config)
        sizes = {
            "heatmaps": NUM_JOINTS,
            "parts": BACKGROUND + 1,
            "turns": 6,
            "places": 3,
            "surface": 3 * PIXELS,
        }
        self.aids = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
        initialise(self.network)

    def forward(
        self, crops: Tensor, kept: Tensor, autocast: bool
    ) -> tuple[EhmParameters, TokenPredictions]:
        """Predicts the parameters of N people and the auxiliary outputs of the tokens.

        Args:
            crops: (N, 256, 192, 3) RGB uint8.
            kept: (N, K) indices of the tokens that are used.
            autocast: Runs the backbone in bfloat16.
        """
        network = self.network
        is_trained = network.backbone.pos_embed.requires_grad
        with (
            torch.autocast(crops.device.type, torch.bfloat16, enabled=autocast),
            torch.set_grad_enabled(is_trained),
        ):
            tokens = some_tokens(network, crops, kept)
        tokens = tokens.float()
        outputs = {name: aid(tokens) for name, aid in self.aids.items()}
        return network.head(tokens), TokenPredictions(kept, **outputs)


def some_tokens(network: PearNetwork, crops: Tensor, kept: Tensor) -> Tensor:
    """Runs the backbone on the tokens `kept` (N, K) of the crops only: (N, K, C)."""
    backbone = network.backbone
    embed = backbone.patch_embed
    positions = backbone.pos_embed[0, 1:] + backbone.pos_embed[0, :1]  # (T, C)
    if isinstance(embed, MatrixPatchEmbed):
        x = embed.embed_crops(crops, kept)
    else:
        x = embed(network.normalise(crops))
        x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
    x = x + positions[kept]
    for block in backbone.blocks:
        x = block(x)
    return backbone.last_norm(x)


def choose_tokens(is_person: Tensor, count: int) -> Tensor:
    """Chooses tokens by whether they show the person (N, T): (N, count) indices in order.

    These are the tokens that do, and random ones of the background. Most of a crop is background,
    so with fewer tokens a CPU trains on more crops in the same time. The last steps of a training
    need all tokens (training/README.md).
    """
    order = (is_person + torch.rand(is_person.shape, device=is_person.device)).argsort(
        1, descending=True
    )
    return order[:, :count].sort(1).values


def initialise(network: PearNetwork) -> None:
    """Sets small random weights, which predict a person who stands facing the camera."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(network.backbone.pos_embed, std=0.02)
    nn.init.trunc_normal_(network.head.transformer.pos_embedding, std=0.02)
    standing = rotations(vector(STANDING)[None])
    body = np.concatenate((FACING_CAMERA.as_matrix()[None], standing.body_pose[0]))  # (22, 3, 3)
    hands = np.concatenate((standing.left_hand_pose[0], standing.right_hand_pose[0]))
    head = network.head
    with torch.no_grad():
        head.init_body_pose[:, INITIAL_POSE] = _six_d(body)
        head.smplx_poses_decoder.bias[INITIAL_POSE.stop :] = _six_d(hands)
        head.smplx_scale_decoder.bias.fill_(1)
        head.cam_decoder.bias[2] = 0.94 - 1.5  # a person of 1.7 m fills a crop


def _six_d(matrices: np.ndarray) -> Tensor:
    """(J, 3, 3) -> (6 J,): the first two columns of each."""
    return torch.from_numpy(matrices[..., :2].swapaxes(-1, -2).reshape(-1).astype(np.float32))


def deepened(network: PearNetwork, count: int) -> PearNetwork:
    """The network with `count` more blocks in its backbone, spread evenly, with the same output.

    Each new block is a copy of the one before, but adds zero.
    """
    if not count:
        return network
    old = network.config
    depth = old.backbone.depth
    config = dataclasses.replace(
        old, backbone=dataclasses.replace(old.backbone, depth=depth + count)
    )
    after = {int((i + 1) * depth / count) - 1 for i in range(count)}  # blocks that get a copy
    if count > depth:
        raise SettingError(f"--deepen {count} adds more blocks than the {depth} there are")
    deeper = PearNetwork(config).to(next(network.parameters()).device)
    state = {n: t for n, t in network.state_dict().items() if ".blocks." not in n}
    deeper.load_state_dict(state, strict=False)
    blocks = iter(deeper.backbone.blocks)
    for i, block in enumerate(network.backbone.blocks):
        next(blocks).load_state_dict(block.state_dict())
        if i in after:
            state = block.state_dict()
            for name in ("attn.proj", "mlp.fc2"):  # what the block adds
                for kind in ("weight", "bias"):
                    state[f"{name}.{kind}"] = torch.zeros_like(state[f"{name}.{kind}"])
            next(blocks).load_state_dict(state)
    return deeper
