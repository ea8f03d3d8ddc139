"""The backbone's layers as a CPU trains them fastest: the same sums, another order.

Measured with bfloat16 and batches of 32 on two cores: a step of the backbone in 0.30 s instead of
0.42 s. On CUDA the published forms are the fast ones.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pear_ros.vit import Attention, PatchEmbed


class MatrixPatchEmbed(PatchEmbed):
    """Patches do not overlap, so their convolution is one matrix product."""

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W)
        size, padding = self.proj.kernel_size[0], int(self.proj.padding[0])
        _, _, height, width = image.shape
        moved = F.pad(image, (padding, 0, padding, 0))[..., :height, :width]
        patches = moved.unflatten(3, (-1, size)).unflatten(2, (-1, size))
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, T, 3 P P)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # (B, T, C)


class MatrixAttention(Attention):
    """Attention spelled out: for 192 tokens the whole table of scores is small."""

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D)
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (B, heads, T, T)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def for_cpu(backbone: nn.Module) -> None:
    """Changes how a backbone computes; its weights and its answers stay."""
    for module in backbone.modules():
        if isinstance(module, PatchEmbed):
            module.__class__ = MatrixPatchEmbed
        elif isinstance(module, Attention):
            module.__class__ = MatrixAttention
