"""Toy files to try an installation with: PEAR's weights and the body models may not be shipped.

The toy network recognises nothing. Its weights are random, and small where they reach the
decoders, so that whatever a crop shows it answers with the same standing person, varied a little.
The toy body is the mannequin of `toy_body`. Layouts are those of the real files, sizes are not.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from pear_ros.assets import downloads
from pear_ros.errors import SettingError
from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.head import EYELIDS, INITIAL_SCALE, HeadConfig
from pear_ros.network.network import NetworkConfig, PearNetwork
from pear_ros.people import JOINT, JOINT_NAMES
from pear_ros.synthetic.mannequin import Array, Ints, Mannequin, Vector, build_mannequin, regressor

CONFIG = NetworkConfig(
    BackboneConfig(embed_dim=64, depth=2, num_heads=4),
    HeadConfig(context_dim=64, dim=64, depth=2, heads=4, dim_head=16, mlp_dim=128),
)
CROP_MARGIN = 1.25  # crop's side by the person's height
# How much an output varies with the picture, roughly, in the output's unit.
VARIATION = {
    "smplx_poses": 0.04,  # of entries of rotation matrices
    "smplx_shape": 0.3,
    "smplx_expression": 0.3,
    "flame_poses": 0.03,  # rad
    "flame_shape": 0.3,
    "flame_expression": 0.5,
    "cam": 0.005,  # m along x and y
}
# How the toy person stands: degrees about the person's x (left), y (up), z (forward).
STANCE_DEG: dict[str, Vector] = {
    "pelvis": (180, 0, 0),  # from y up, z forward to optical axes, facing the camera
    "left_shoulder": (0, 0, -62),
    "right_shoulder": (0, 0, 62),
    "left_elbow": (0, -20, 0),
    "right_elbow": (0, 20, 0),
}
FINGERS_BENT_DEG = 18
EYELIDS_CLOSED = 0.2

FLAME_JOINTS = ("neck", "head", "jaw", "left_eye", "right_eye")
"""SMPL-X's joints at the places of FLAME's global, neck, jaw, left eye, right eye."""
FLAME_PARENTS = np.array([-1, 0, 1, 1, 1])
FLAME_ORIGIN = np.array([0, 0.6, 0.03])  # m, in the body's axes: FLAME's own lies in the head
NECK_MASK_Y, BOUNDARY_MASK_Y = 0.5, 0.45  # m, tops of FLAME's masks in the body's axes
SHAPE_COLUMNS = 400
FIRST_EXPRESSION = 300


@dataclass(frozen=True)
class ToyFiles:
    checkpoint: Path
    network_config: Path
    assets_directory: Path  # as a user downloads the body models
    assets: Path  # the same, converted


def write_toy(directory: Path, seed: int = 0) -> ToyFiles:
    """Write a toy network and a toy body; the same seed writes the same files.

    Raises SettingError when `directory` cannot be written.
    """
    files = ToyFiles(
        checkpoint=directory / "pear_model.pt",
        network_config=directory / "network.json",
        assets_directory=directory / "body_models",
        assets=directory / "body.npz",
    )
    mannequin = build_mannequin()
    try:
        files.assets_directory.mkdir(parents=True, exist_ok=True)
        write_body(files.assets_directory, mannequin)
        write_head(files.assets_directory, mannequin, np.random.default_rng(seed))
        files.network_config.write_text(CONFIG.to_json() + "\n")
        network = toy_network(mannequin, seed)
        parts = {"backbone": network.backbone, "head": network.head}
        with files.checkpoint.open("wb") as file:
            torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    except OSError as error:
        raise SettingError(f"{directory}: cannot be written: {error.strerror or error}") from error
    downloads.convert_assets(files.assets_directory, files.assets)
    return files


# --- Body ----------------------------------------------------------------------------------------


def write_body(directory: Path, m: Mannequin) -> None:
    """The mannequin in SMPL-X's layout."""
    rows = regressor(m.vertices, m.weights, m.joints, m.parents)  # (55, V)
    shapedirs = _shapedirs(m.shape, m.expression)
    model = _model(m.vertices, m.faces, shapedirs, rows, m.weights, m.parents)
    np.savez_compressed(directory / downloads.BODY.name, allow_pickle=False, **model)


def write_head(directory: Path, m: Mannequin, random: np.random.Generator) -> None:
    """The mannequin's head in FLAME's layout: vertices in an order and around an origin of its own.

    FLAME's global and neck joint lie where SMPL-X has its neck and head.
    """
    ids = random.permutation(m.head)  # (H,) the body's vertex of each of the head's
    place = np.full(len(m.vertices), -1)
    place[ids] = np.arange(len(ids))
    faces = place[m.faces]
    joints = [JOINT[name] for name in FLAME_JOINTS]
    weights = m.weights[ids][:, joints]
    weights[:, 0] += 1 - weights.sum(1)  # what the body's other joints hold of the neck's end
    vertices = m.vertices[ids] - FLAME_ORIGIN
    model: dict[str, object] = dict(
        _model(
            vertices,
            faces[(faces >= 0).all(1)],
            _shapedirs(m.head_shape[ids], m.expression[ids]),
            regressor(vertices, weights, m.joints[joints] - FLAME_ORIGIN, FLAME_PARENTS),
            weights,
            FLAME_PARENTS,
        )
    )
    model["J_regressor"] = scipy.sparse.csc_matrix(model["J_regressor"])
    height, depth = m.vertices[ids, 1], m.vertices[ids, 2]
    masks = {
        "neck": height < NECK_MASK_Y,
        "boundary": height < BOUNDARY_MASK_Y,
        "face": (height > m.joints[JOINT["head"], 1]) & (depth > m.joints[JOINT["left_eye"], 2]),
    }
    _write_pickle(directory / downloads.HEAD.name, model)
    _write_pickle(
        directory / downloads.MASKS.name,
        {name: np.flatnonzero(mask) for name, mask in masks.items()},
    )
    np.save(directory / downloads.VERTEX_IDS.name, ids)
    for file, eyelid in zip(
        (downloads.LEFT_EYELID, downloads.RIGHT_EYELID), m.eyelids, strict=True
    ):
        np.save(directory / file.name, eyelid[ids])


def _model(
    vertices: Array,  # (V, 3)
    faces: Ints,  # (F, 3)
    shapedirs: NDArray[np.float32],  # (V, 3, 400)
    joint_regressor: Array,  # (J, V)
    weights: Array,  # (V, J)
    parents: Ints,  # (J,)
) -> dict[str, NDArray[np.generic]]:
    """What SMPL-X and FLAME have in common, without any pose blend shapes."""
    joints = np.arange(len(parents))
    return {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "shapedirs": shapedirs,
        "posedirs": np.zeros((len(vertices), 3, 9 * (len(parents) - 1)), np.float32),
        "J_regressor": joint_regressor,
        "kintree_table": np.stack([parents % 2**32, joints]).astype(np.uint32),
        "weights": weights,
    }


def _shapedirs(shape: Array, expression: Array) -> NDArray[np.float32]:
    """(V, 3, 400): the first columns of shape and of expression; the rest moves nothing."""
    columns = np.zeros((*shape.shape[:2], SHAPE_COLUMNS), np.float32)
    columns[..., : shape.shape[-1]] = shape
    columns[..., FIRST_EXPRESSION : FIRST_EXPRESSION + expression.shape[-1]] = expression
    return columns


def _write_pickle(path: Path, content: Mapping[str, object]) -> None:
    with path.open("wb") as file:
        pickle.dump(dict(content), file, protocol=2)


# --- Network -------------------------------------------------------------------------------------


def toy_network(mannequin: Mannequin, seed: int) -> PearNetwork:
    """Random weights, whose mean answer to random crops is the mannequin in STANCE_DEG.

    It recognises nothing: what a crop shows moves the outputs by about VARIATION, at random.
    """
    network = PearNetwork(CONFIG).eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    for name, weights in network.state_dict().items():
        weights.copy_(_random_weights(name, weights.shape, random))
    head = network.head
    head.init_body_pose.copy_(_rotations_6d(STANCE_DEG, JOINT_NAMES[:53]).view(1, -1))

    blots = torch.rand(16, 3, 8, 8, generator=random)
    crops = F.interpolate(blots, (256, 256), mode="bilinear").movedim(1, 3) * 255
    tokens = head.transformer(network.backbone(network.normalise(crops)))  # (16, dim)
    answers = _answers(mannequin)
    for name, decoder in head.named_children():
        if isinstance(decoder, nn.Linear):
            output = name.removesuffix("_decoder")
            decoder.weight *= VARIATION.get(output, 0)
            decoder.bias.copy_(answers.get(output, decoder.bias) - decoder.weight @ tokens.mean(0))
    return network


def _random_weights(name: str, shape: torch.Size, random: torch.Generator) -> Tensor:
    if name.endswith("norm.weight") or ".norm1.w" in name or ".norm2.w" in name:
        return torch.ones(shape)
    if len(shape) == 1 or "init_" in name:
        return torch.zeros(shape)
    return torch.randn(shape, generator=random) / shape[1:].numel() ** 0.5


def _answers(mannequin: Mannequin) -> dict[str, Tensor]:
    """What the decoders answer on average, where it is not zero."""
    top, bottom = mannequin.vertices[:, 1].max(), mannequin.vertices[:, 1].min()
    tz = CROP_FOCAL * CROP_MARGIN * (top - bottom) / 2
    # The middle of its height lies in the crop's middle; y points down in the optical axes.
    camera = np.array([0, -(top + bottom) / 2, CROP_FOCAL / tz - INITIAL_SCALE])

    body, hands = JOINT_NAMES[:22], JOINT_NAMES[25:]
    bent: dict[str, Vector] = {
        name: (0, 0, -FINGERS_BENT_DEG if name.startswith("left") else FINGERS_BENT_DEG)
        for name in hands
        if "thumb" not in name
    }
    poses = torch.cat([torch.zeros(len(body), 6), _rotations_6d(bent, hands)])
    scales, flame_poses = torch.ones(6), torch.zeros(14)
    flame_poses[EYELIDS] = EYELIDS_CLOSED
    return {
        "smplx_poses": poses.flatten(),
        "smplx_scale": scales,
        "flame_poses": flame_poses,
        "cam": torch.from_numpy(camera).float(),
    }


def _rotations_6d(turns_deg: Mapping[str, Vector], names: Sequence[str]) -> Tensor:
    """(N, 6): the first two columns of each joint's rotation, identity where none is named."""
    angles = [turns_deg.get(name, (0, 0, 0)) for name in names]
    matrices = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()  # (N, 3, 3)
    return torch.from_numpy(matrices[..., :2]).transpose(1, 2).flatten(1).float()
