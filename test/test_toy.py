"""The toy body is a sound model of a person, and the toy network answers with one that stands."""

from __future__ import annotations

import dataclasses
import filecmp
from pathlib import Path

import numpy as np
import pytest
import torch

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.errors import SettingError
from pear_ros.network.network import NetworkConfig, PearNetwork, load_network
from pear_ros.people import JOINT, JOINT_NAMES, EhmParameters
from pear_ros.synthetic.mannequin import (
    EYE_RADIUS,
    MOUTH_Y,
    SOLE_Y,
    Mannequin,
    build_mannequin,
    regressor,
    signed_volume,
)
from pear_ros.synthetic.toy_files import ToyFiles, toy_network, write_toy

NUM_CROPS = 12
SMPLX_PARENTS = [
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15, 20, 25,
    26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38, 21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49,
    50, 21, 52, 53,
]  # fmt: skip


@pytest.fixture(scope="module")
def mannequin() -> Mannequin:
    return build_mannequin()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ToyFiles:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def toy_assets(files: ToyFiles) -> BodyAssets:
    return load_assets(files.assets)


@pytest.fixture(scope="module")
def toy_model(toy_assets: BodyAssets) -> BodyModel:
    return BodyModel(toy_assets)


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    """(N, 256, 256, 3) black, white, noise, and stripes of two colours."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (NUM_CROPS, 256, 256, 3), np.uint8)
    images[0], images[1] = 0, 255
    for width, image in enumerate(images[4:], 8):
        stripes = np.arange(256) // width % 2
        image[:] = random.integers(0, 256, (2, 3), np.uint8)[stripes]
    return torch.from_numpy(images)


@pytest.fixture(scope="module")
def seen(files: ToyFiles, crops: torch.Tensor) -> EhmParameters:
    config = NetworkConfig.from_json(files.network_config)
    with torch.inference_mode():
        return load_network(files.checkpoint, config)(crops)


@pytest.fixture(scope="module")
def bodies(toy_model: BodyModel, seen: EhmParameters) -> Bodies:
    with torch.inference_mode():
        return toy_model(seen, mesh=True)


def at_rest(count: int) -> EhmParameters:
    turns = {"global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15}
    sizes = {
        "betas": 200, "expression": 50, "flame_eye_pose": 6, "flame_global_pose": 3,
        "flame_jaw_pose": 3, "flame_eyelids": 2, "flame_betas": 300, "flame_expression": 50,
    }  # fmt: skip
    return EhmParameters(
        **{name: torch.eye(3).expand(count, n, 3, 3) for name, n in turns.items()},
        **{name: torch.zeros(count, n) for name, n in sizes.items()},
        hand_scale=torch.ones(count, 3),
        head_scale=torch.ones(count, 3),
        camera_t=torch.ones(count, 3),
    )


def posed(model: BodyModel, **changes: torch.Tensor) -> np.ndarray:
    """(V, 3) m: the person at rest, but for `changes` of one row."""
    vertices = model(dataclasses.replace(at_rest(1), **changes), mesh=True).vertices
    assert vertices is not None
    return vertices[0].numpy()


def part_of(mannequin: Mannequin, *names: str) -> np.ndarray:
    """(V,) whether a vertex belongs to one of the parts."""
    return np.isin(mannequin.part, [mannequin.names.index(name) for name in names])


def column(size: int, **values: float) -> torch.Tensor:
    """(1, size) zeros, but for `_3=1.0` and the like."""
    row = torch.zeros(1, size)
    for name, value in values.items():
        row[0, int(name[1:])] = value
    return row


# --- The mannequin -------------------------------------------------------------------------------


def test_parents_are_those_of_smplx(mannequin: Mannequin) -> None:
    assert mannequin.parents.tolist() == SMPLX_PARENTS


def test_the_regressor_gives_the_skeleton(mannequin: Mannequin) -> None:
    m = mannequin
    rows = regressor(m.vertices, m.weights, m.joints, m.parents)
    np.testing.assert_allclose(rows @ m.vertices, m.joints, atol=1e-12)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-12)
    assert (rows != 0).sum(1).max() < 0.05 * len(m.vertices)
    assert np.abs(rows).max() < 0.25  # no joint hangs on a few vertices


def test_the_regressor_moves_a_joint_with_the_vertices_around_it(mannequin: Mannequin) -> None:
    m = mannequin
    rows = regressor(m.vertices, m.weights, m.joints, m.parents)
    away = np.linalg.norm(m.vertices[None] - m.joints[:, None], axis=2)  # (55, V)
    assert np.where(rows != 0, away, 0).max() < 0.2


def test_every_part_is_closed_and_faces_outward(mannequin: Mannequin) -> None:
    m = mannequin
    for number, name in enumerate(m.names):
        faces = m.faces[m.part[m.faces[:, 0]] == number]
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        assert len(np.unique(edges, axis=0)) == len(edges), name
        assert {*map(tuple, edges)} == {*map(tuple, edges[:, ::-1])}, name
        centre = m.vertices[m.part == number].mean(0)
        assert signed_volume(m.vertices - centre, faces) > 1e-7, name


def test_no_vertex_is_unused_and_no_triangle_crosses_parts(mannequin: Mannequin) -> None:
    m = mannequin
    assert np.unique(m.faces).tolist() == list(range(len(m.vertices)))
    assert (m.part[m.faces] == m.part[m.faces[:, :1]]).all()


def test_left_and_right_are_mirror_images(mannequin: Mannequin) -> None:
    m = mannequin
    partner = [
        JOINT[
            name.replace("left_", "right_") if "left_" in name else name.replace("right_", "left_")
        ]
        for name in JOINT_NAMES
    ]
    flip = np.array([-1, 1, 1])
    np.testing.assert_allclose(m.joints[partner], m.joints * flip, atol=1e-12)

    def rows(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
        table = np.round(np.concatenate([vertices, weights], 1), 6) + 0.0
        return table[np.lexsort(table.T)]

    mirror = rows(m.vertices * flip, m.weights[:, partner])
    np.testing.assert_allclose(mirror, rows(m.vertices, m.weights), atol=2e-6)


def test_weights_sum_to_one_and_are_smooth_along_a_limb(mannequin: Mannequin) -> None:
    m = mannequin
    np.testing.assert_allclose(m.weights.sum(1), 1, atol=1e-12)
    assert m.weights.min() >= 0
    elbow = m.weights[part_of(m, "left_arm"), JOINT["left_elbow"]]
    assert ((elbow > 0.05) & (elbow < 0.95)).any()
    assert (m.weights[part_of(m, "left_eye"), JOINT["left_eye"]] == 1).all()


def test_proportions(mannequin: Mannequin) -> None:
    m = mannequin
    lower, upper = m.vertices.min(0), m.vertices.max(0)
    np.testing.assert_allclose(upper[1] - lower[1], 1.7, atol=0.005)
    np.testing.assert_allclose(upper[0] - lower[0], 1.7, atol=0.1)  # arm span, about the height
    np.testing.assert_allclose(lower[1], SOLE_Y)
    nose, toes = (m.vertices[part_of(m, name), 2].max() for name in ("nose", "left_foot"))
    assert nose == m.vertices[m.head, 2].max()
    assert toes == upper[2]
    assert m.joints[JOINT["left_thumb1"], 2] > m.joints[JOINT["left_pinky1"], 2]  # palms down


def test_joints_lie_inside_the_body(mannequin: Mannequin) -> None:
    """The solid angle under which a joint sees the mesh is that of the parts around it."""
    m = mannequin
    for name, joint in zip(JOINT_NAMES, m.joints, strict=True):
        a, b, c = np.moveaxis(m.vertices[m.faces] - joint, 1, 0)
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        triple = np.einsum("fi,fi->f", a, np.cross(b, c))
        ab, bc, ca = (np.einsum("fi,fi->f", x, y) for x, y in ((a, b), (b, c), (c, a)))
        angle = 2 * np.arctan2(triple, la * lb * lc + ab * lc + bc * la + ca * lb).sum()
        assert angle / (4 * np.pi) > 0.9, name


# --- The files -----------------------------------------------------------------------------------


def test_a_seed_gives_the_same_files(files: ToyFiles, tmp_path: Path) -> None:
    again, other = write_toy(tmp_path / "again"), write_toy(tmp_path / "other", seed=1)
    folder = files.assets.parent
    names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    match, mismatch, errors = filecmp.cmpfiles(folder, again.assets.parent, names, shallow=False)
    assert (len(match), mismatch, errors) == (len(names), [], [])
    assert not filecmp.cmp(files.checkpoint, other.checkpoint, shallow=False)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=str(tmp_path)):
        write_toy(tmp_path / "file" / "toy")


def test_counts_are_not_those_of_smplx(toy_assets: BodyAssets) -> None:
    assert len(toy_assets.body_template) not in (0, 10475)
    assert len(toy_assets.body_faces) not in (0, 20908)
    assert len(toy_assets.head_template) not in (0, 5023)


def test_the_head_is_the_body_s_around_another_origin(toy_assets: BodyAssets) -> None:
    a = toy_assets
    shift = a.body_template[a.head_vertex_ids] - a.head_template
    np.testing.assert_allclose(shift, shift[:1].repeat(len(shift), 0), atol=1e-6)
    assert np.linalg.norm(shift[0]) > 0.1
    joints = a.head_joint_regressor @ a.head_template + shift[0]
    places = [JOINT[name] for name in ("neck", "head", "jaw", "left_eye", "right_eye")]
    body_joints = a.body_joint_regressor @ a.body_template
    np.testing.assert_allclose(joints, body_joints[places], atol=1e-6)
    centre = a.head_template.mean(0)
    assert signed_volume(a.head_template - centre, a.head_faces) > 0.003
    np.testing.assert_array_equal(a.head_expressiondirs, a.body_expressiondirs[a.head_vertex_ids])


def test_only_the_lower_rim_of_the_head_stays_the_body_s(toy_assets: BodyAssets) -> None:
    height = toy_assets.body_template[toy_assets.head_vertex_ids, 1]
    is_pasted = toy_assets.head_is_pasted
    assert 0 < (~is_pasted).sum() < 0.2 * len(height)
    assert height[~is_pasted].max() < height[is_pasted].min()


def test_at_rest_the_model_is_the_mannequin(mannequin: Mannequin, toy_model: BodyModel) -> None:
    np.testing.assert_allclose(posed(toy_model), mannequin.vertices, atol=2e-6)
    joints = toy_model(at_rest(1)).joints[0]
    np.testing.assert_allclose(joints, mannequin.joints, atol=2e-6)


# --- What the parameters mean --------------------------------------------------------------------


def test_taller(toy_model: BodyModel) -> None:
    rest, tall = posed(toy_model), posed(toy_model, betas=column(200, _0=2.0))
    assert np.ptp(tall[:, 1]) > np.ptp(rest[:, 1]) + 0.05


def test_stouter(mannequin: Mannequin, toy_model: BodyModel) -> None:
    torso = part_of(mannequin, "torso")
    rest, stout = posed(toy_model), posed(toy_model, betas=column(200, _1=2.0))
    assert np.ptp(stout[torso, 0]) > 1.2 * np.ptp(rest[torso, 0])


def test_the_jaw_opens_the_mouth(mannequin: Mannequin, toy_model: BodyModel) -> None:
    moved = posed(toy_model, flame_jaw_pose=column(3, _0=0.3)) - posed(toy_model)
    lower, upper = part_of(mannequin, "lower_lip"), part_of(mannequin, "upper_lip")
    middle = np.abs(mannequin.vertices[:, 0]) < 0.01
    assert moved[lower & middle, 1].mean() < -0.015
    assert moved[lower & middle, 1].max() < -0.005
    assert np.abs(moved[upper & middle]).max() < 0.004
    assert np.abs(moved[part_of(mannequin, "nose", "left_eye", "torso")]).max() < 1e-6


def test_smile_and_brows(mannequin: Mannequin, toy_model: BodyModel) -> None:
    moved = posed(toy_model, flame_expression=column(50, _0=1.0)) - posed(toy_model)
    corner = part_of(mannequin, "upper_lip") & (mannequin.vertices[:, 0] > 0.02)
    assert moved[corner, 0].min() > 0.003
    assert moved[corner, 1].min() > 0.005
    moved = posed(toy_model, flame_expression=column(50, _1=1.0)) - posed(toy_model)
    assert moved[part_of(mannequin, "left_brow", "right_brow"), 1].min() > 0.001
    assert np.abs(moved[mannequin.vertices[:, 1] < MOUTH_Y]).max() < 5e-4


@pytest.mark.parametrize(("index", "side"), [(0, "left"), (1, "right")])
def test_a_closed_eyelid_hides_the_eye(
    mannequin: Mannequin, toy_model: BodyModel, index: int, side: str
) -> None:
    centre = mannequin.joints[JOINT[f"{side}_eye"]]
    lid = part_of(mannequin, f"{side}_eyelid")
    eyelids = torch.zeros(1, 2)
    eyelids[0, index] = 1
    closed = posed(toy_model, flame_eyelids=eyelids)
    assert np.linalg.norm(closed[lid] - centre, axis=1).min() > EYE_RADIUS
    middle = (closed[lid].min(0) + closed[lid].max(0)) / 2
    np.testing.assert_allclose(middle, centre, atol=1e-5)
    np.testing.assert_allclose(closed[~lid], mannequin.vertices[~lid], atol=2e-6)
    assert np.linalg.norm(mannequin.vertices[lid] - centre, axis=1).min() < EYE_RADIUS


# --- The network ---------------------------------------------------------------------------------


def test_the_person_stands_upright_and_faces_the_camera(
    mannequin: Mannequin, bodies: Bodies
) -> None:
    assert bodies.vertices is not None
    x, y, _ = bodies.joints.unbind(-1)  # optical axes: right, down, away
    for above, below in (("head", "neck"), ("neck", "pelvis"), ("pelvis", "left_knee")):
        assert (y[:, JOINT[above]] < y[:, JOINT[below]]).all()
    feet = [JOINT["left_foot"], JOINT["right_foot"]]
    assert (y[:, feet].amin(1) > y[:, JOINT["pelvis"]] + 0.7).all()
    assert (x[:, JOINT["left_wrist"]] > x[:, JOINT["right_wrist"]] + 0.5).all()
    arms = [JOINT["left_wrist"], JOINT["right_wrist"]]
    assert (y[:, arms] > y[:, [JOINT["neck"]]]).all()  # hanging, no T
    depth = bodies.vertices[..., 2].numpy()
    nose, skull = part_of(mannequin, "nose"), part_of(mannequin, "skull")
    assert (depth[:, nose].max(1) < depth[:, skull].mean(1)).all()


def test_the_person_fills_the_crop(seen: EhmParameters, bodies: Bodies) -> None:
    assert bodies.vertices is not None
    tx, ty, tz = seen.camera_t[:, None].unbind(-1)  # each (N, 1)
    x, y, z = bodies.vertices.unbind(-1)
    assert (tz > 20).all()
    u = 24 * (x - tx) / (z + tz)  # half crops
    v = 24 * (y - ty) / (z + tz)
    assert u.abs().max() < 0.75  # the columns that the backbone sees
    assert v.abs().max() < 1
    height = v.amax(1) - v.amin(1)
    np.testing.assert_allclose(height, 2 / 1.25, rtol=0.06)
    np.testing.assert_allclose(v.amax(1) + v.amin(1), 0, atol=0.08)


def test_rotations_vary_a_little_with_the_picture(seen: EhmParameters) -> None:
    pose = seen.body_pose
    spread = pose.std(0)  # (21, 3, 3)
    assert 0.003 < spread.mean() < 0.1
    np.testing.assert_allclose(seen.head_scale, 1, atol=1e-5)
    assert seen.flame_jaw_pose.abs().max() < 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_seed_gives_a_person_who_stands(
    mannequin: Mannequin, toy_model: BodyModel, crops: torch.Tensor, seed: int
) -> None:
    network: PearNetwork = toy_network(mannequin, seed)
    with torch.inference_mode():
        y = toy_model(network(crops)).joints[..., 1]
    assert (y[:, JOINT["head"]] < y[:, JOINT["pelvis"]] - 0.4).all()
    assert (y[:, JOINT["left_ankle"]] > y[:, JOINT["pelvis"]] + 0.6).all()
