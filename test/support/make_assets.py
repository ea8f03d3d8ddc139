"""Synthetic body-model files with the names, keys, types and default sizes of the real ones.

The geometry is random numbers, not a body, and nothing here comes from SMPL-X or FLAME. A seed
gives the same bytes on every machine: test data were computed from `write(dir, 3)`.

    python test/support/make_assets.py DIR SEED
"""

from __future__ import annotations

import argparse
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

SMPLX_PARENTS = [
    *[-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19],  # body
    *[15, 15, 15],  # jaw, left eye, right eye
    *[20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38],  # left hand
    *[21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53],  # right hand
]
FLAME_PARENTS = [-1, 0, 1, 1, 1]  # global, neck, jaw, left eye, right eye


@dataclass(frozen=True)
class Sizes:
    """Numbers of vertices and faces; the defaults are those of the real files."""

    body_vertices: int = 10475
    body_faces: int = 20908
    head_vertices: int = 5023
    head_faces: int = 9976


def model(
    random: np.random.RandomState, vertices: int, faces: int, parents: list[int], columns: int
) -> dict[str, Any]:
    """The arrays of a model, with the keys of the published files. The order of draws is fixed."""
    joints = len(parents)
    template = (random.rand(vertices, 3) - 0.5) * np.array([1.6, 1.8, 0.4])

    regressor = np.zeros((joints, vertices))  # each joint is a mean of 24 vertices
    for joint in range(joints):
        ids = random.choice(vertices, 24, replace=False)
        share = random.rand(24)
        regressor[joint, ids] = share / share.sum()

    weights = np.zeros((vertices, joints))  # each vertex follows up to four joints
    chosen = random.randint(0, joints, (vertices, 4))
    share = random.rand(vertices, 4)
    for k in range(4):
        weights[np.arange(vertices), chosen[:, k]] += share[:, k]
    weights /= weights.sum(1, keepdims=True)

    parent_row = np.array(parents, dtype=np.int64) % 2**32  # the root's -1 becomes 2**32 - 1
    return {
        "v_template": template,
        "f": random.randint(0, vertices, (faces, 3)).astype(np.uint32),
        "shapedirs": (random.standard_normal((vertices, 3, columns)) * 0.01).astype(np.float32),
        "posedirs": (random.standard_normal((vertices, 3, 9 * (joints - 1))) * 0.002).astype(
            np.float32
        ),
        "J_regressor": regressor,
        "kintree_table": np.stack([parent_row, np.arange(joints)]).astype(np.uint32),
        "weights": weights,
    }


def write(out: str | os.PathLike[str], seed: int, sizes: Sizes = Sizes()) -> None:
    """Writes the six files into the directory `out`, which is created if necessary."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(seed)
    head_count = sizes.head_vertices

    body = model(random, sizes.body_vertices, sizes.body_faces, SMPLX_PARENTS, 400)
    np.savez(folder / "SMPLX_NEUTRAL_2020.npz", **body)

    head = model(random, head_count, sizes.head_faces, FLAME_PARENTS, 400)
    head["v_template"] *= 0.15
    head["J_regressor"] = scipy.sparse.csc_matrix(head["J_regressor"])
    with open(folder / "generic_model.pkl", "wb") as file:
        pickle.dump(head, file, protocol=2)

    ids = random.choice(sizes.body_vertices, head_count, replace=False).astype(np.int64)
    np.save(folder / "SMPL-X__FLAME_vertex_ids.npy", ids)
    np.save(folder / "l_eyelid.npy", random.standard_normal((head_count, 3)) * 0.001)
    np.save(folder / "r_eyelid.npy", random.standard_normal((head_count, 3)) * 0.001)

    # The neck and its boundary overlap, as they do in FLAME's masks.
    shuffled = random.permutation(head_count)
    neck_end, face_start, face_end = (head_count * n // 5023 for n in (400, 600, 2000))
    boundary_start = head_count * 300 // 5023
    masks = {
        "neck": np.sort(shuffled[:neck_end]),
        "boundary": np.sort(shuffled[boundary_start:face_start]),
        "face": np.sort(shuffled[face_start:face_end]),
    }
    with open(folder / "FLAME_masks.pkl", "wb") as file:
        pickle.dump(masks, file, protocol=2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    write(arguments.directory, arguments.seed)
