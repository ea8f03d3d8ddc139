"""The baseline: a reference implementation of the published code, one person at a time.

Attention materialises its score matrix, the head's self-attention is computed, the body model is
the dense linear blend skinning of SMPL-X and FLAME, and the host waits for each person's result.
It computes the same as `network/` and `body/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.estimation.estimator import OnStage, ignore_stages
from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.geometry.crop_camera import CROP_SIZE, camera_from_crop, rotated
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.network.head import DECODED, read_out, with_initial_pose
from pear_ros.network.network import IMAGE_MEAN, IMAGE_STD
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import EhmParameters, FloatArray, Frame, ImageArray, map_tensors
from pear_ros.placement.reprojection import place_in_camera

SHAPES = 300  # shape coefficients of SMPL-X; PEAR's 200 are padded with zeros
BODY_EYES, HEAD_EYES = slice(23, 25), slice(3, 5)  # eye joints of SMPL-X and of FLAME


@dataclass(frozen=True)
class ReferencePerson:
    """The estimate of one person, on the CPU."""

    parameters: EhmParameters  # N = 1, global_orient in the camera's axes
    joints: FloatArray  # (55, 3) m
    vertices: FloatArray  # (V, 3) m
    translation: FloatArray  # (3,) m, from body to optical frame; NaN: not placeable


class ReferencePipeline:
    """Crop, network, body model and placement, one person after another, in float32."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        config: NetworkConfig,
        assets: BodyAssets,
        device: torch.device,
        on_stage: OnStage = ignore_stages,
    ) -> None:
        self._on_stage = on_stage
        self._network = ReferenceNetwork(state, config)
        self._body_model = ReferenceBodyModel(assets, device)
        self._device = device

    @torch.inference_mode()
    def step(self, frame: Frame) -> list[ReferencePerson]:
        """Estimates the people in `frame.boxes`, which must be set."""
        assert frame.boxes is not None
        height, width = frame.image.shape[:2]
        intrinsics = intrinsics_of([frame.camera])  # (1, 4) px
        people = []
        for xyxy in frame.boxes.xyxy:
            self._on_stage("crop")
            square = square_boxes(xyxy[None], width, height)  # (1, 4) px
            crop = normalised(warped_crop(frame.image, square[0]))
            self._on_stage("upload")
            crop = crop.to(self._device)
            self._on_stage("network")
            parameters = self._network(crop)
            self._on_stage("body")
            xywh = torch.from_numpy(square)
            parameters = rotated(parameters, camera_from_crop(xywh, intrinsics).to(self._device))
            vertices, joints = self._body_model(parameters)
            self._on_stage("download")
            parameters = map_tensors(parameters, Tensor.cpu)
            vertices, joints = vertices.cpu(), joints.cpu()
            self._on_stage("placement")
            translation = place_in_camera(joints, parameters.camera_t, xywh, intrinsics)
            people.append(
                ReferencePerson(
                    parameters, joints[0].numpy(), vertices[0].numpy(), translation[0].numpy()
                )
            )
        return people


# --- Crop ----------------------------------------------------------------------------------------


def warped_crop(image: ImageArray, xywh: FloatArray) -> ImageArray:
    """Cuts the square `xywh`, px, out of an image (H, W, 3).

    Returns (256, 256, 3), interpolated bilinearly, black outside the image.
    """
    x, y, side, _ = xywh.tolist()
    zoom = CROP_SIZE / side
    affine = np.array([(zoom, 0, -zoom * x), (0, zoom, -zoom * y)])
    crop = cv2.warpAffine(image, affine, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)


def normalised(crop: ImageArray) -> Tensor:
    """Normalises the colours: (256, 256, 3) RGB -> (1, 3, 256, 256), on the CPU."""
    mean, std = (np.array(x, np.float32) for x in (IMAGE_MEAN, IMAGE_STD))
    image = (crop.astype(np.float32) / 255 - mean) / std
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


# --- Network -------------------------------------------------------------------------------------


class ReferenceNetwork:
    """The network, eager and in float32.

    `state` maps the checkpoint's names, prefixed with `backbone.` or `head.`, to weights.
    """

    def __init__(self, state: Mapping[str, Tensor], config: NetworkConfig) -> None:
        self._state = state
        self._config = config

    def __call__(self, image: Tensor) -> EhmParameters:  # (1, 3, 256, 256), normalised
        return self._decoded(self._query(self._tokens(image)))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._state[f"{name}.weight"], self._state.get(f"{name}.bias"))

    def _norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def _tokens(self, image: Tensor) -> Tensor:  # -> (1, T, C)
        config, state = self._config.backbone, self._state
        margin = (image.shape[-1] - config.img_size[1]) // 2
        image = image[..., margin : image.shape[-1] - margin]  # (1, 3, 256, 192)
        patch = "backbone.patch_embed.proj"
        x = F.conv2d(
            image, state[f"{patch}.weight"], state[f"{patch}.bias"], config.patch_size, padding=2
        )
        x = x.flatten(2).transpose(1, 2)  # (1, T, C)
        embedding = state["backbone.pos_embed"]
        x = x + embedding[:, 1:] + embedding[:, :1]
        for i in range(config.depth):
            block = f"backbone.blocks.{i}"
            qkv = self._linear(f"{block}.attn.qkv", self._norm(f"{block}.norm1", x, 1e-6))
            x = x + self._linear(f"{block}.attn.proj", attention(qkv, config.num_heads))
            hidden = self._linear(f"{block}.mlp.fc1", self._norm(f"{block}.norm2", x, 1e-6))
            x = x + self._linear(f"{block}.mlp.fc2", F.gelu(hidden))
        return self._norm("backbone.last_norm", x, 1e-6)

    def _query(self, context: Tensor) -> Tensor:  # (1, T, C) -> (1, dim)
        config, head = self._config.head, "head.transformer"
        x = self._linear(f"{head}.to_token_embedding", context.new_zeros(1, 1, 1))
        x = x + self._state[f"{head}.pos_embedding"]  # (1, 1, dim)
        for i in range(config.depth):
            self_attention, cross_attention, feed_forward = (
                f"{head}.transformer.layers.{i}.{k}" for k in range(3)
            )
            normed = self._norm(f"{self_attention}.norm", x, 1e-5)
            qkv = self._linear(f"{self_attention}.fn.to_qkv", normed)
            x = x + self._linear(f"{self_attention}.fn.to_out.0", attention(qkv, config.heads))
            normed = self._norm(f"{cross_attention}.norm", x, 1e-5)
            q = self._linear(f"{cross_attention}.fn.to_q", normed)
            kv = self._linear(f"{cross_attention}.fn.to_kv", context)
            k, v = kv.chunk(2, -1)
            attended = attend(q, k, v, config.heads)
            x = x + self._linear(f"{cross_attention}.fn.to_out.0", attended)
            normed = self._norm(f"{feed_forward}.norm", x, 1e-5)
            hidden = self._linear(f"{feed_forward}.fn.net.0", normed)
            x = x + self._linear(f"{feed_forward}.fn.net.3", F.gelu(hidden))
        return x[:, 0]

    def _decoded(self, token: Tensor) -> EhmParameters:  # (1, dim)
        decoded = {name: self._linear(f"head.{name}_decoder", token) for name in DECODED}
        initial = self._state["head.init_body_pose"]
        decoded["smplx_poses"] = with_initial_pose(decoded["smplx_poses"], initial)
        return read_out(decoded)


def attention(qkv: Tensor, heads: int) -> Tensor:
    """Multi-head self-attention: (N, T, 3 C) -> (N, T, C)."""
    q, k, v = qkv.chunk(3, -1)
    return attend(q, k, v, heads)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention: (N, Q, C), (N, T, C), (N, T, C) -> (N, Q, C)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (N, heads, Q, T)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


# --- Body model ----------------------------------------------------------------------------------


class SkinnedModel:
    """Linear blend skinning over all vertices as in SMPL-X and FLAME; float32."""

    def __init__(
        self,
        template: NDArray[np.float32],  # (V, 3)
        shapedirs: NDArray[np.float32],  # (V, 3, shapes)
        expressiondirs: NDArray[np.float32],  # (V, 3, 50)
        posedirs: NDArray[np.float32],  # (V, 3, 9 (J - 1))
        joint_regressor: NDArray[np.float32],  # (J, V)
        weights: NDArray[np.float32],  # (V, J)
        parents: NDArray[np.int64],  # (J,)
        device: torch.device,
    ) -> None:
        padded = np.zeros((*template.shape, SHAPES), np.float32)
        padded[..., : shapedirs.shape[-1]] = shapedirs
        blends = np.concatenate((padded, expressiondirs), -1)
        columns = posedirs.reshape(-1, posedirs.shape[-1]).T.copy()
        self._template = torch.as_tensor(template, device=device)
        self._blends = torch.as_tensor(blends, device=device)  # (V, 3, shapes + 50)
        self._posedirs = torch.as_tensor(columns, device=device)  # (9 (J - 1), V * 3)
        self._regressor = torch.as_tensor(joint_regressor, device=device)
        self._weights = torch.as_tensor(weights, device=device)
        self._parents = parents.tolist()

    def shaped(self, betas: Tensor, expression: Tensor) -> Tensor:
        """Vertices at rest: betas (N, at most 300), expression (N, 50) -> (N, V, 3) m."""
        betas = F.pad(betas, (0, SHAPES - betas.shape[1]))
        coefficients = torch.cat((betas, expression), 1)
        return self._template + torch.einsum("nk,vck->nvc", coefficients, self._blends)

    def joints(self, vertices: Tensor) -> Tensor:  # (N, V, 3) -> (N, J, 3)
        return torch.einsum("jv,nvc->njc", self._regressor, vertices)

    def posed(self, rest: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Poses vertices at rest (N, V, 3) m with rotations (N, J, 3, 3).

        Returns vertices (N, V, 3) m and joints (N, J, 3) m.
        """
        joints = self.joints(rest)
        identity = torch.eye(3, device=rest.device)
        feature = (rotations[:, 1:] - identity).flatten(1)
        rest = rest + (feature @ self._posedirs).unflatten(1, (-1, 3))
        world: list[Tensor] = []  # (N, 4, 4) of each joint
        for j, parent in enumerate(self._parents):
            bone = joints[:, j] - (joints[:, parent] if parent >= 0 else 0)
            local = F.pad(torch.cat((rotations[:, j], bone[..., None]), -1), (0, 0, 0, 1))
            local[:, 3, 3] = 1
            world.append(world[parent] @ local if parent >= 0 else local)
        transforms = torch.stack(world, 1)  # (N, J, 4, 4)
        moved = (transforms @ F.pad(joints, (0, 1))[..., None])[..., 0]  # (N, J, 4)
        relative = transforms - F.pad(moved[..., None], (3, 0))
        blended = (self._weights @ relative.flatten(2)).unflatten(2, (4, 4))  # (N, V, 4, 4)
        homogeneous = F.pad(rest, (0, 1), value=1)[..., None]
        return (blended @ homogeneous)[..., :3, 0], transforms[..., :3, 3]


class ReferenceBodyModel:
    """EHM as in PEAR: poses FLAME, puts its head on SMPL-X at rest, then poses the whole body."""

    def __init__(self, assets: BodyAssets, device: torch.device) -> None:
        a = assets
        self._body = SkinnedModel(
            a.body_template, a.body_shapedirs, a.body_expressiondirs, a.body_posedirs,
            a.body_joint_regressor, a.body_weights, a.body_parents, device,
        )  # fmt: skip
        self._head = SkinnedModel(
            a.head_template, a.head_shapedirs, a.head_expressiondirs, a.head_posedirs,
            a.head_joint_regressor, a.head_weights, a.head_parents, device,
        )  # fmt: skip
        self._eyelids = [torch.as_tensor(x, device=device) for x in (a.left_eyelid, a.right_eyelid)]
        pasted = np.flatnonzero(a.head_is_pasted)
        self._pasted = torch.as_tensor(pasted, device=device)
        self._pasted_ids = torch.as_tensor(a.head_vertex_ids[pasted], device=device)

    def __call__(self, parameters: EhmParameters) -> tuple[Tensor, Tensor]:
        """Returns vertices (N, V, 3) m and joints (N, 55, 3) m."""
        p = parameters
        root_and_neck = torch.zeros_like(p.flame_eye_pose)  # (N, 6), not rotated
        axis_angles = torch.cat((root_and_neck, p.flame_jaw_pose, p.flame_eye_pose), 1)  # (N, 15)
        head, head_joints = self._head.posed(
            self._head.shaped(p.flame_betas, p.flame_expression),
            matrix_from_axis_angle(axis_angles.unflatten(1, (5, 3))),
        )
        for eyelid, closed in zip(self._eyelids, p.flame_eyelids.unbind(1), strict=True):
            head = head + eyelid * closed[:, None, None]
        head = head * p.head_scale[:, None]

        rest = self._body.shaped(p.betas, p.expression)
        body_eyes = self._body.joints(rest)[:, BODY_EYES].mean(1, keepdim=True)
        head = head + body_eyes - head_joints[:, HEAD_EYES].mean(1, keepdim=True)
        rest[:, self._pasted_ids] = head[:, self._pasted]
        # SMPL-X's own jaw and eyes are not rotated.
        face = torch.eye(3, device=rest.device).expand(len(rest), 3, 3, 3)
        pose = (p.global_orient, p.body_pose, face, p.left_hand_pose, p.right_hand_pose)
        return self._body.posed(rest, torch.cat(pose, 1))
