"""PEAR's backbone: a plain vision transformer with ViTPose's layout, without a class token.

The module names are the keys of the published checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the backbone; the defaults are the published ViT-H."""

    img_size: tuple[int, int] = (256, 192)  # height, width, px
    patch_size: int = 16  # px
    embed_dim: int = 1280
    depth: int = 32
    num_heads: int = 16
    mlp_ratio: int = 4
    qkv_bias: bool = True


class LayerNorm(nn.LayerNorm):
    """Layer normalisation that computes in float32 even if tokens and weights have 16 bits.

    torch's own kernels for 16-bit tensors do this internally. An exported graph needs explicit
    casts.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class PatchEmbed(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.proj = nn.Conv2d(3, config.embed_dim, kernel_size=size, stride=size, padding=2)

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W)
        return self.proj(image).flatten(2).transpose(1, 2)  # (B, T, C), patches row by row


class Attention(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, heads, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D)
        out = F.scaled_dot_product_attention(q, k, v)  # (B, heads, T, D)
        return self.proj(out.transpose(1, 2).flatten(2))  # (B, T, C)


class Mlp(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.mlp_ratio * config.embed_dim)
        self.fc2 = nn.Linear(config.mlp_ratio * config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = Attention(config)
        self.norm2 = LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Backbone(nn.Module):
    """Normalised images (B, 3, H, W) -> tokens (B, T, C); (256, 192) and 192 tokens in PEAR."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        height, width = (side // config.patch_size for side in config.img_size)
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + height * width, config.embed_dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.last_norm = LayerNorm(config.embed_dim, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W), normalised
        # There is no class token, but its position embedding is added to every token.
        x = self.patch_embed(image) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x)  # (B, T, C)
