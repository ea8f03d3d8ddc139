"""PEAR's head: one query token attends to the backbone's tokens; linear decoders map it to EHM.

The module names are the keys of the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.geometry.rotation import matrix_from_6d
from pear_ros.people import EhmParameters

# Output sizes of the linear decoders that are used.
DECODED = {
    "smplx_poses": 6 * 52,
    "smplx_scale": 6,
    "smplx_shape": 200,
    "smplx_expression": 50,
    "flame_poses": 14,
    "flame_shape": 300,
    "flame_expression": 50,
    "cam": 3,
}
# The pose decoder's 52 rotations, of 6 values each.
GLOBAL_ORIENT = slice(0, 1)
BODY_POSE = slice(1, 22)
LEFT_HAND_POSE = slice(22, 37)
RIGHT_HAND_POSE = slice(37, 52)
# Outputs of the pose decoder to which the checkpoint's initial pose is added: all but the hands.
INITIAL_POSE = slice(0, 6 * 22)
# Outputs of the scale decoder.
HAND_SCALE = slice(0, 3)
HEAD_SCALE = slice(3, 6)
# Outputs of the FLAME pose decoder.
EYE_POSE = slice(0, 6)
FLAME_GLOBAL_POSE = slice(6, 9)
JAW_POSE = slice(9, 12)
EYELIDS = slice(12, 14)

INITIAL_SCALE = 1.5  # initial value of the camera's scale; that of tx and ty is 0


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the head; the defaults are the published ones."""

    context_dim: int = 1280
    dim: int = 1024
    depth: int = 6
    heads: int = 8
    dim_head: int = 64
    mlp_dim: int = 1024


class PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.fn = fn

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return x + self.fn(self.norm(x), *context)


class SelfAttention(nn.Module):
    """Self-attention of a single token.

    The softmax over a single score is 1, so the result is the projected value.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim))

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, dim)
        to_v = self.to_qkv.weight.chunk(3)[2]  # (inner, dim)
        return self.to_out(F.linear(x, to_v))

    def folded(self) -> nn.Linear:
        """The value and output projections as one linear map (dim, dim)."""
        to_out = self.to_out[0]
        assert isinstance(to_out, nn.Linear)
        linear = nn.utils.skip_init(nn.Linear, *to_out.weight.shape[:1] * 2)
        to_v = self.to_qkv.weight.chunk(3)[2].double()  # (inner, dim)
        linear.weight = nn.Parameter((to_out.weight.double() @ to_v).float())
        linear.bias = to_out.bias
        return linear


class CrossAttention(nn.Module):
    """Cross-attention from the query token to the backbone's tokens.

    There is one query token, so the query is projected into the token space instead of computing
    keys and values for every token: q . (K x) = (K^T q) . x, and the weighted mean of V x is V
    times the weighted mean of x.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads = config.heads
        self.scale = config.dim_head**-0.5
        self.to_kv = nn.Linear(config.context_dim, 2 * inner, bias=False)
        self.to_q = nn.Linear(config.dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:  # (B, 1, dim), (B, T, context_dim)
        to_k, to_v = self.to_kv.weight.unflatten(0, (2, self.heads, -1))  # (heads, D, context_dim)
        q = self.to_q(x)[:, 0].unflatten(-1, (self.heads, -1))  # (B, heads, D)
        if self.scale != 1:
            q = q * self.scale
        query = (q.transpose(0, 1) @ to_k).transpose(0, 1)  # (B, heads, context_dim)
        attention = (query @ context.mT).softmax(-1)  # (B, heads, T)
        pooled = attention @ context  # (B, heads, context_dim)
        value = (pooled.transpose(0, 1) @ to_v.mT).transpose(0, 1)  # (B, heads, D)
        return self.to_out(value.flatten(1)[:, None])  # (B, 1, dim)

    def fold(self) -> None:
        """Merges the scale of the scores into the query projection."""
        self.to_q.weight.mul_(self.scale)
        self.scale = 1.0


class FeedForward(nn.Module):
    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        # The identity replaces the dropout of training, so that the layers keep their indices.
        self.net = nn.Sequential(
            nn.Linear(config.dim, config.mlp_dim),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(config.mlp_dim, config.dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Layers(nn.Module):
    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                PreNorm(config.dim, fn)
                for fn in (SelfAttention(config), CrossAttention(config), FeedForward(config))
            )
            for _ in range(config.depth)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        layer: Any  # a ModuleList of three modules
        for layer in self.layers:
            self_attention, cross_attention, feed_forward = layer
            x = self_attention(x)
            x = cross_attention(x, context)
            x = feed_forward(x)
        return x


class QueryTransformer(nn.Module):
    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.to_token_embedding = nn.Linear(1, config.dim)
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.transformer = Layers(config)

    def forward(self, context: Tensor) -> Tensor:  # (B, T, context_dim)
        # The query token is the embedding of a zero, which is the bias.
        token = self.to_token_embedding.bias + self.pos_embedding  # (1, 1, dim)
        token = token.expand(
            context.shape[0], -1, -1
        )  # (B, 1, dim); len() would make B a constant in an export
        return self.transformer(token, context)[:, 0]  # (B, dim)


class ParameterHead(nn.Module):
    """The backbone's tokens (B, T, context_dim) -> parameters of B people."""

    # The published layout has five such buffers; inference uses only the pose.
    init_body_pose: Tensor  # (1, 318), 6D

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.transformer = QueryTransformer(config)
        self.smplx_poses_decoder = nn.Linear(config.dim, 6 * 52)
        self.smplx_scale_decoder = nn.Linear(config.dim, 6)
        self.smplx_shape_decoder = nn.Linear(config.dim, 200)
        self.smplx_expression_decoder = nn.Linear(config.dim, 50)
        self.smplx_joint_decoder = nn.Linear(config.dim, 165)  # in the published layout, not used
        self.flame_poses_decoder = nn.Linear(config.dim, 14)
        self.flame_shape_decoder = nn.Linear(config.dim, 300)
        self.flame_expression_decoder = nn.Linear(config.dim, 50)
        self.cam_decoder = nn.Linear(config.dim, 3)
        self.decoders: nn.Linear | None = None  # after fold(): all used decoders in one map
        for name, size in (
            ("body_pose", 318), ("betas", 10), ("betas_kid", 11), ("cam", 3), ("expression", 10),
        ):  # fmt: skip
            self.register_buffer(f"init_{name}", torch.zeros(1, size))

    @torch.no_grad()
    def fold(self) -> None:
        """Merges linear maps for inference. Names and sizes of the parameters change.

        The two maps of a self-attention become one, the scale of a cross-attention goes into its
        query projection, and the decoders become one map that has the initial pose in its bias.
        """
        layer: Any  # a ModuleList of three modules
        for layer in self.transformer.transformer.layers:
            layer[0].fn = layer[0].fn.folded()
            layer[1].fn.fold()
        decoders = [getattr(self, f"{name}_decoder") for name in DECODED]
        decoders[0].bias.copy_(with_initial_pose(decoders[0].bias[None], self.init_body_pose)[0])
        joined = nn.utils.skip_init(nn.Linear, decoders[0].in_features, sum(DECODED.values()))
        joined.weight = nn.Parameter(torch.cat([decoder.weight for decoder in decoders]))
        joined.bias = nn.Parameter(torch.cat([decoder.bias for decoder in decoders]))
        self.decoders = joined
        for name in (*DECODED, "smplx_joint"):
            delattr(self, f"{name}_decoder")

    def forward(self, context: Tensor) -> EhmParameters:  # (B, T, context_dim)
        token = self.transformer(context)  # (B, dim)
        if self.decoders is not None:
            values = self.decoders(token).split(list(DECODED.values()), 1)
            return read_out(dict(zip(DECODED, values, strict=True)))
        decoded = {name: getattr(self, f"{name}_decoder")(token) for name in DECODED}
        decoded["smplx_poses"] = with_initial_pose(decoded["smplx_poses"], self.init_body_pose)
        return read_out(decoded)


def with_initial_pose(poses: Tensor, init_body_pose: Tensor) -> Tensor:
    """Adds the initial pose (1, 318) to the pose decoder's output (B, 312), all in 6D."""
    offset = F.pad(init_body_pose[:, INITIAL_POSE], (0, poses.shape[1] - INITIAL_POSE.stop))
    return poses + offset


def read_out(decoded: Mapping[str, Tensor]) -> EhmParameters:
    """Converts the decoders' outputs (B, ...), initial pose included, to EHM parameters."""
    rotations = matrix_from_6d(decoded["smplx_poses"].unflatten(-1, (52, 6)))  # (B, 52, 3, 3)
    scales = decoded["smplx_scale"]  # (B, 6)
    flame_poses = decoded["flame_poses"]  # (B, 14)

    tx_ty, scale = decoded["cam"].split((2, 1), 1)  # (B, 2), (B, 1)
    tz = CROP_FOCAL / (scale + INITIAL_SCALE + 1e-9)  # (B, 1)

    return EhmParameters(
        global_orient=rotations[:, GLOBAL_ORIENT],
        body_pose=rotations[:, BODY_POSE],
        left_hand_pose=rotations[:, LEFT_HAND_POSE],
        right_hand_pose=rotations[:, RIGHT_HAND_POSE],
        betas=decoded["smplx_shape"],
        expression=decoded["smplx_expression"],
        hand_scale=scales[:, HAND_SCALE],
        head_scale=scales[:, HEAD_SCALE],
        flame_eye_pose=flame_poses[:, EYE_POSE],
        flame_global_pose=flame_poses[:, FLAME_GLOBAL_POSE],
        flame_jaw_pose=flame_poses[:, JAW_POSE],
        flame_eyelids=flame_poses[:, EYELIDS],
        flame_betas=decoded["flame_shape"],
        flame_expression=decoded["flame_expression"],
        camera_t=torch.cat((tx_ty, tz), dim=-1),
    )
