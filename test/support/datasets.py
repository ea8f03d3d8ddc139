"""Small folders in the layouts of 3DPW and EHF, with files of the real names and formats."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.sparse
from make_assets import SMPLX_PARENTS
from numpy.typing import NDArray
from pickles import Chumpy, Python2Pickle, write
from scipy.spatial.transform import Rotation

Array = NDArray[Any]

SMPL_PARENTS = np.array([*SMPLX_PARENTS[:22], 20, 21])  # SMPL's hands are single joints


def write_picture(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), image)


# --- PLY -----------------------------------------------------------------------------------------


def ply(vertices: Array, form: str = "binary_little_endian") -> bytes:
    """Vertices (V, 3) with a colour each, and a face."""
    header = (
        f"ply\nformat {form} 1.0\ncomment made by a test\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode()
    if form == "ascii":
        lines = [f"{x!r} {y!r} {z!r} 7" for x, y, z in vertices.astype(float).tolist()]
        return header + "\n".join([*lines, "3 0 1 2", ""]).encode()
    order = "<" if form == "binary_little_endian" else ">"
    rows = b"".join(struct.pack(f"{order}3fB", *row, 7) for row in vertices.tolist())
    return header + rows + struct.pack(f"{order}B3i", 3, 0, 1, 2)


# --- SMPL and the regressors ---------------------------------------------------------------------


def smpl_arrays(template: Array, seed: int = 0) -> dict[str, Array]:
    """SMPL with this template (V, 3); shapes, weights and joints are random."""
    random = np.random.default_rng(seed)
    count = len(template)
    weights = random.random((count, 24)) * (random.random((count, 24)) < 0.2)
    weights[:, 0] += 0.01
    regressor = random.random((24, count)) * (random.random((24, count)) < 0.4)
    regressor[:, 0] += 0.01
    return {
        "v_template": template.astype(np.float64),
        "shapedirs": random.standard_normal((count, 3, 10)) * 0.01,
        "posedirs": random.standard_normal((count, 3, 207)) * 0.01,
        "weights": weights / weights.sum(1, keepdims=True),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "kintree_table": np.stack((SMPL_PARENTS % 2**32, np.arange(24))).astype(np.uint32),
    }


def write_smpl(path: Path, arrays: dict[str, Array]) -> None:
    """Writes a model as Python 2 and chumpy did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        **arrays,
        "shapedirs": Chumpy(arrays["shapedirs"]),
        "J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]),
        "bs_type": "lrotmin",
    }
    write(path, Python2Pickle().dump(content))


def h36m_regressor(vertices: int) -> Array:
    """(17, V): joint i is vertex i, but joint 0, the pelvis, is the mean of vertices 17 and 18."""
    regressor = np.eye(17, vertices)
    regressor[0, 0] = 0
    regressor[0, 17:19] = 0.5
    return regressor


# --- 3DPW ----------------------------------------------------------------------------------------


def write_sequence(
    folder: Path,
    name: str,
    models: list[dict[str, Array]],
    letters: str,
    turn: Rotation,
    keypoints: Array,
    valid: Array,
    **changes: Any,
) -> None:
    """Writes a sequence of T images of 640x480 px whose people stand in the pose of the templates.

    Args:
        folder: Of the dataset.
        name: Of the sequence.
        models: SMPL of each of P people.
        letters: The gender of each person.
        turn: From the world to the camera; in the camera's axes people have the template's.
        keypoints: (P, T, 3, 18) x, y, px, and score.
        valid: (P, T).
        changes: Replace entries of the file; None removes one.
    """
    people, count = valid.shape
    pose = np.zeros((count, 72))
    pose[:, :3] = turn.inv().as_rotvec()
    place = np.array((0.3, -0.2, 4.0))
    joints = []
    for model in models:
        rest = model["J_regressor"] @ model["v_template"]
        in_world = turn.inv().apply(rest - rest[0]) + rest[0] + place
        joints.append(np.tile(in_world.ravel(), (count, 1)))
    camera = np.tile(np.eye(4), (count, 1, 1))
    camera[:, :3, :3] = turn.as_matrix()
    content: dict[str, Any] = {
        "sequence": name,
        "genders": [np.bytes_(gender) for gender in letters],
        "poses": [pose] * people,
        "betas": [np.zeros(10)] * people,
        "trans": [np.tile(place, (count, 1))] * people,
        "jointPositions": joints,
        "poses2d": list(keypoints),
        "campose_valid": list(valid.astype(np.uint8)),
        "cam_poses": camera,
        "cam_intrinsics": np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]),
        "texture_maps": [np.zeros((2, 2, 3), np.uint8)] * people,
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    path = folder / "sequenceFiles/test" / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Python2Pickle().dump(content))
    for image in range(count):
        picture = folder / "imageFiles" / name / f"image_{image:05d}.jpg"
        write_picture(picture, 640, 480, seed=image)


# --- EHF -----------------------------------------------------------------------------------------


def write_ehf(folder: Path, vertices: Array, numbers: tuple[str, ...] = ("01", "02")) -> None:
    """Writes images of 1600x1200 px and the same mesh (V, 3), in the mesh's own frame, for each."""
    for number in numbers:
        write_picture(folder / f"{number}_img.jpg", 1600, 1200, int(number))
        (folder / f"{number}_align.ply").write_bytes(ply(vertices))


def write_hand_vertex_ids(path: Path, left: Array, right: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Python2Pickle().dump({"left_hand": left, "right_hand": right}))


def write_j14_regressor(path: Path, vertices: int) -> None:
    """Joint i is vertex i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Python2Pickle().dump(np.eye(14, vertices)))
