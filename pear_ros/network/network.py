"""PEAR's network: crops -> EHM parameters."""

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
    """The interface that PearNetwork and the engines that replace it have in common."""

    @property
    def device(self) -> torch.device: ...

    @property
    def description(self) -> str: ...

    @property
    def can_be_recorded(self) -> bool: ...  # whether a CUDA graph can capture a call

    def __call__(self, crops: Tensor) -> EhmParameters: ...  # crops (N, 256, 256, 3) RGB uint8


class PearNetwork(nn.Module):
    """Backbone in the chosen dtype, head in float32.

    The head is a small part of the arithmetic, and its outputs are orthonormalised and divided by.
    """

    can_be_recorded = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.head = ParameterHead(config.head)

    def forward(self, crops: Tensor) -> EhmParameters:
        """Estimates the parameters of N people.

        Args:
            crops: (N, 256, 256, 3) RGB uint8, or (N, 256, 192, 3): only the columns that the
                backbone reads.
        """
        image = self.normalise(crops).to(self.backbone.pos_embed.dtype)  # (N, 3, 256, 192)
        tokens = self.backbone(image)  # (N, 192, 1280)
        parameters: EhmParameters = self.head(tokens.float())
        return parameters

    @property
    def device(self) -> torch.device:
        return self.backbone.pos_embed.device

    @property
    def precision(self) -> str:
        """The backbone's dtype: float32, float16 or bfloat16."""
        return str(self.backbone.pos_embed.dtype).removeprefix("torch.")

    @property
    def description(self) -> str:
        """Number of weights, precision and device, as text for users."""
        millions = sum(p.numel() for p in self.parameters()) / 1e6
        return f"{millions:.1f} million weights, backbone in {self.precision} on {self.device}"

    def normalise(self, crops: Tensor) -> Tensor:
        """(N, S, S or W, 3) RGB uint8 -> (N, 3, S, W) float32, normalised.

        Of S columns it keeps the W in the middle, which are those that the backbone reads.
        """
        margin = (crops.shape[2] - self.config.backbone.img_size[1]) // 2
        image = crops.float()  # the first operation: TensorRT can only cast uint8
        image = image[:, :, margin : crops.shape[2] - margin]
        # Numbers, not tensors: a tensor would be copied to the device, which is not allowed while
        # a CUDA graph is captured.
        channels = zip(image.unbind(-1), IMAGE_MEAN, IMAGE_STD, strict=True)
        return torch.stack([(c - 255 * mean) / (255 * std) for c, mean, std in channels], 1)
