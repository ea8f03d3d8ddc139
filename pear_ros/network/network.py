"""PEAR's network: crops in, EHM parameters out."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from pear_ros.network.backbone import Backbone
from pear_ros.network.head import ParameterHead
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import EhmParameters

IMAGE_MEAN = (0.485, 0.456, 0.406)  # RGB of ImageNet
IMAGE_STD = (0.229, 0.224, 0.225)


class Network(Protocol):
    """Crops in, parameters out: PearNetwork, or an engine in its place."""

    @property
    def device(self) -> torch.device: ...

    @property
    def description(self) -> str: ...

    @property
    def can_be_recorded(self) -> bool: ...  # its call may become a part of a CUDA graph

    def __call__(self, crops: Tensor) -> EhmParameters: ...  # (N, 256, 256, 3) RGB, uint8


class PearNetwork(nn.Module):
    """Backbone in the chosen dtype, head in float32: it is little work and feeds divisions."""

    can_be_recorded = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.head = ParameterHead(config.head)

    def forward(self, crops: Tensor) -> EhmParameters:
        """Of crops (N, 256, 256, 3) RGB uint8, or (N, 256, 192, 3): the columns it sees alone."""
        image = self.normalise(crops).to(self.backbone.pos_embed.dtype)  # (N, 3, 256, 192)
        tokens = self.backbone(image)  # (N, 192, 1280)
        parameters: EhmParameters = self.head(tokens.float())
        return parameters

    @property
    def device(self) -> torch.device:
        return self.backbone.pos_embed.device

    @property
    def precision(self) -> str:
        """Of the backbone: float32, float16 or bfloat16."""
        return str(self.backbone.pos_embed.dtype).removeprefix("torch.")

    @property
    def description(self) -> str:
        """Its size and where it runs, for people."""
        millions = sum(p.numel() for p in self.parameters()) / 1e6
        return f"{millions:.1f} million weights, backbone in {self.precision} on {self.device}"

    def normalise(self, crops: Tensor) -> Tensor:
        """(N, S, S or W, 3) RGB uint8 -> (N, 3, S, W) float32, the W columns in the middle.

        They are what the backbone sees.
        """
        margin = (crops.shape[2] - self.config.backbone.img_size[1]) // 2
        image = crops.float()  # first of all: TensorRT does nothing else with uint8
        image = image[:, :, margin : crops.shape[2] - margin]
        # Numbers, not tensors: those would have to be copied to the device, which a CUDA graph
        # cannot do.
        channels = zip(image.unbind(-1), IMAGE_MEAN, IMAGE_STD, strict=True)
        return torch.stack([(c - 255 * mean) / (255 * std) for c, mean, std in channels], 1)
