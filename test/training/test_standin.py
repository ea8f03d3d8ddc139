"""The stand-in body has the axes, joints, skin, face and shapes of a person."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.people import JOINT, JOINT_NAMES, EhmParameters
from pear_ros.synthetic.shapes import ShapeSampler, seam
from pear_ros.system.installed import shared_file
from training.standin.make_body import smplx_parents

PATH = shared_file("standin/body.npz")
MAX_BYTES = 8 << 20
LEFT = [name for name in JOINT_NAMES if name.startswith("left_")]
EYES = [JOINT["left_eye"], JOINT["right_eye"]]


@pytest.fixture(scope="module")
def rest(model: BodyModel) -> Bodies:
    return model(at_rest(), mesh=True)


@pytest.fixture(scope="module")
def place(rest: Bodies) -> dict[str, NDArray[np.float32]]:
    return dict(zip(JOINT_NAMES, rest.joints[0].numpy(), strict=True))


def at_rest(count: int = 1, **values: object) -> EhmParameters:
    """People at rest except for the given values, whose last axis may be shorter."""
    parameters = random_parameters(count)
    fields = {}
    for spec in dataclasses.fields(parameters):
        like = getattr(parameters, spec.name)
        fields[spec.name] = torch.zeros_like(like)
        if like.shape[-1] == like.shape[-2] == 3:
            fields[spec.name] = torch.eye(3).expand_as(like).clone()
    fields["head_scale"] = torch.ones(count, 3)
    for name, value in values.items():
        given = torch.as_tensor(np.asarray(value, np.float32))
        fields[name][..., : given.shape[-1]] = given
    return EhmParameters(**fields)


def vertices(model: BodyModel, **values: object) -> NDArray[np.float32]:
    mesh = model(at_rest(**values), mesh=True).vertices
    assert mesh is not None
    return mesh[0].numpy()


def signed_volume(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> float:
    """m^3; positive where the triangles are anticlockwise as seen from outside."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def test_it_is_small_and_has_a_licence() -> None:
    assert PATH.stat().st_size < MAX_BYTES
    assert "CC0" in PATH.with_name("LICENSE.md").read_text()


def test_it_has_the_joints_of_smplx(standin: BodyAssets) -> None:
    np.testing.assert_array_equal(standin.body_parents, smplx_parents())
    np.testing.assert_array_equal(standin.head_parents, [-1, 0, 1, 1, 1])
    for rows in (standin.body_joint_regressor, standin.head_joint_regressor):
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
        assert (rows != 0).sum(1).max() <= 150


def test_every_vertex_is_skinned_and_used(standin: BodyAssets) -> None:
    for part in ("body", "head"):
        weights = getattr(standin, f"{part}_weights")
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        assert weights.min() >= 0
        assert (weights.max(0) > 0.4).all(), "a joint moves nothing"
        count = len(getattr(standin, f"{part}_template"))
        np.testing.assert_array_equal(
            np.unique(getattr(standin, f"{part}_faces")), np.arange(count)
        )


def test_triangles_face_outward(standin: BodyAssets) -> None:
    assert 0.04 < signed_volume(standin.body_template, standin.body_faces) < 0.12  # m^3
    place = np.full(len(standin.body_template), -1)
    place[standin.head_vertex_ids] = np.arange(len(standin.head_vertex_ids))
    faces = place[standin.body_faces]
    np.testing.assert_array_equal(faces[(faces >= 0).all(1)], standin.head_faces)


def test_it_stands_in_a_t_pose(place: dict[str, NDArray[np.float32]], rest: Bodies) -> None:
    assert rest.vertices is not None
    mesh = rest.vertices[0].numpy()
    assert np.linalg.norm(place["pelvis"]) < 0.005
    assert 1.5 < np.ptp(mesh[:, 1]) < 1.85
    up = ["left_ankle", "left_knee", "pelvis", "spine1", "spine2", "spine3", "neck", "head"]
    assert (np.diff([place[name][1] for name in up]) > 0.03).all()
    arm = ["left_shoulder", "left_elbow", "left_wrist", "left_middle1"]
    bones = np.diff([place[name] for name in arm], axis=0)
    ways = bones / np.linalg.norm(bones, axis=1, keepdims=True)
    assert (ways[:, 0] > 0.999).all()
    # Palms are down, so thumb and index finger are in front; toes are in front of the heels.
    assert place["left_thumb3"][2] > place["left_index1"][2] > place["left_pinky1"][2] + 0.04
    assert place["left_foot"][2] > place["left_ankle"][2] + 0.08
    # The eyes are in front.
    assert place["left_eye"][2] > place["head"][2] + 0.05


def test_left_and_right_mirror_each_other(place: dict[str, NDArray[np.float32]]) -> None:
    for name in LEFT:
        mirrored = place[name.replace("left", "right")] * [-1, 1, 1]
        np.testing.assert_allclose(place[name], mirrored, atol=0.001, err_msg=name)
        assert place[name][0] > 0.02


@pytest.mark.parametrize(
    ("begin", "end", "low_m", "high_m"),
    [
        ("left_hip", "left_knee", 0.35, 0.5),
        ("left_knee", "left_ankle", 0.32, 0.48),
        ("left_shoulder", "left_elbow", 0.2, 0.34),
        ("left_elbow", "left_wrist", 0.2, 0.3),
        ("left_wrist", "left_middle1", 0.07, 0.12),
        ("left_index1", "left_index2", 0.02, 0.05),
        ("left_thumb2", "left_thumb3", 0.02, 0.05),
        ("left_eye", "right_eye", 0.055, 0.07),
        ("left_hip", "right_hip", 0.12, 0.26),
        ("left_shoulder", "right_shoulder", 0.28, 0.42),
    ],
)
def test_bones_have_human_lengths(
    place: dict[str, NDArray[np.float32]], begin: str, end: str, low_m: float, high_m: float
) -> None:
    assert low_m < np.linalg.norm(place[end] - place[begin]) < high_m


@pytest.mark.parametrize("finger", ["index", "middle", "pinky", "ring", "thumb"])
def test_finger_joints_are_inside_their_fingers(
    standin: BodyAssets, rest: Bodies, place: dict[str, NDArray[np.float32]], finger: str
) -> None:
    assert rest.vertices is not None
    mesh = rest.vertices[0].numpy()
    for i in (2, 3):
        name = f"left_{finger}{i}"
        chain = [JOINT[name], standin.body_parents[JOINT[name]]]
        skin = mesh[standin.body_weights[:, chain].sum(1) > 0.5]
        offsets = skin - place[name]
        near = offsets[np.linalg.norm(offsets, axis=1) < 0.02]
        assert len(near) > 10
        # There is skin on all sides: no half-space beside the joint is empty.
        ways = Rotation.random(50, np.random.default_rng(0)).apply([1, 0, 0])
        assert ((near @ ways.T).max(0) > 0.002).all(), name


def test_the_jaw_opens_downwards(standin: BodyAssets, model: BodyModel) -> None:
    moved = vertices(model, flame_jaw_pose=[0.3, 0, 0]) - vertices(model)
    jaw = np.zeros(len(moved))
    jaw[standin.head_vertex_ids] = standin.head_weights[:, 2]
    assert moved[jaw > 0.9, 1].mean() < -0.01
    # Only the face moves, and the mesh does not tear at the end of the head.
    assert np.abs(moved[jaw == 0]).max() < 0.001
    edges = standin.body_faces[:, [0, 1]]
    assert np.linalg.norm(moved[edges[:, 0]] - moved[edges[:, 1]], axis=1).max() < 0.02


@pytest.mark.parametrize(("side", "eye"), [("left", 0), ("right", 1)])
def test_eyes_turn_about_their_centres(
    standin: BodyAssets, model: BodyModel, side: str, eye: int
) -> None:
    ball = standin.body_weights[:, JOINT[f"{side}_eye"]] == 1
    assert (standin.body_weights[~ball, JOINT[f"{side}_eye"]] == 0).all()
    before = vertices(model)
    pupil = np.flatnonzero(ball)[before[ball, 2].argmax()]
    for axis, way in ((0, [0, -1, 0]), (1, [1, 0, 0])):  # down, to the person's left
        pose = np.zeros(6)
        pose[3 * eye + axis] = 0.3
        moved = vertices(model, flame_eye_pose=pose) - before
        assert np.linalg.norm(moved[ball].mean(0)) < 0.0005
        assert moved[pupil] @ way > 0.003
        assert np.abs(moved[~ball]).max() < 0.001


@pytest.mark.parametrize(("side", "lid"), [("left", 0), ("right", 1)])
def test_eyelids_close(standin: BodyAssets, model: BodyModel, side: str, lid: int) -> None:
    eyelids = np.eye(2)[lid]
    middle = standin.body_template[standin.body_weights[:, JOINT[f"{side}_eye"]] == 1].mean(0)
    before, after = vertices(model), vertices(model, flame_eyelids=eyelids)
    is_moved = np.linalg.norm(after - before, axis=1) > 0.0005
    assert np.linalg.norm(before[is_moved] - middle, axis=1).max() < 0.04
    assert (after - before)[is_moved, 1].min() < -0.006
    # Seen from the front, the open eye shows and the closed one does not.
    assert _shows(before, standin, middle)
    assert not _shows(after, standin, middle)


def _shows(mesh: NDArray[np.float32], standin: BodyAssets, middle: NDArray[np.float32]) -> bool:
    """True if rays from the front, near the middle of the eye, hit an eyeball first."""
    triangles = mesh[standin.body_faces]  # (F, 3, 3)
    is_ball = (standin.body_weights[:, EYES] == 1).any(1)[standin.body_faces].all(1)
    near = np.abs(triangles[..., :2].mean(1) - middle[:2]).max(1) < 0.03
    triangles, is_ball = triangles[near], is_ball[near]
    for dy in np.linspace(-0.004, 0.004, 9):
        a, b, c = (triangles[:, i, :2] - middle[:2] - [0, dy] for i in range(3))
        u, v, w = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((b, c), (c, a), (a, b)))
        area = u + v + w
        hit = (area > 0) & (np.minimum(np.minimum(u, v), w) >= 0)
        shares = np.stack([u, v, w], 1)[hit] / area[hit, None]
        depth = (shares * triangles[hit][..., 2]).sum(1)
        if len(depth) and is_ball[hit][depth.argmax()]:
            return True
    return False


def test_expressions_move_only_the_face(standin: BodyAssets, model: BodyModel) -> None:
    used = np.flatnonzero(standin.head_expressiondirs.any((0, 1)))
    assert len(used) >= 20
    columns = standin.body_expressiondirs[standin.head_vertex_ids]
    np.testing.assert_array_equal(columns, standin.head_expressiondirs)
    size = np.linalg.norm(standin.body_expressiondirs[..., used], axis=1).max(0)  # m
    assert (size > 0.0005).all()
    assert (size < 0.01).all()
    smile = 2 * np.eye(50)[0]
    moved = vertices(model, flame_expression=smile, expression=smile) - vertices(model)
    neck = standin.body_template[:, 1] < standin.body_template[standin.head_vertex_ids, 1].min()
    assert np.abs(moved[neck]).max() < 1e-6
    assert moved[:, 1].max() > 0.003  # the corners of the mouth go up


def test_heads_fit_their_bodies(standin: BodyAssets, model: BodyModel) -> None:
    sampler = ShapeSampler(standin)
    shapes = sampler.sample(100, np.random.default_rng(0))
    gaps = sampler.seam_gaps(shapes)
    assert gaps.mean() < 0.001
    assert gaps.max() < 0.006
    assert (np.abs(shapes.head_scale - 1) < 0.4).all()
    # They are the gaps of the body model.
    one = {name: getattr(shapes, name)[:1] for name in ("betas", "flame_betas", "head_scale")}
    body = standin.body_template + standin.body_shapedirs @ one["betas"][0].astype(np.float32)
    at_seam = standin.head_vertex_ids[seam(standin)]
    offsets = vertices(model, **one)[at_seam] - body[at_seam]
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), gaps[0], atol=1e-5)


def test_sampled_shapes_are_human(standin: BodyAssets, model: BodyModel) -> None:
    assert standin.body_shapedirs.any((0, 1)).sum() == 20
    shapes = ShapeSampler(standin).sample(100, np.random.default_rng(0))
    bodies = model(at_rest(100, **dataclasses.asdict(shapes)), mesh=True)
    assert bodies.vertices is not None
    heights = np.ptp(bodies.vertices[..., 1].numpy(), axis=1)
    assert 0.08 < heights.std() < 0.25
    assert heights.min() > 1
    assert heights.max() < 2.3
    assert bodies.joints[:, 0].abs().max() < 0.03  # the pelvis stays at zero
    arms = bodies.joints[:, [JOINT["left_elbow"], JOINT["left_wrist"]]]
    arms = (arms - bodies.joints[:, [JOINT["left_shoulder"]]]).numpy()
    assert np.abs(arms[..., 1:]).max() < 0.03  # every shape is in a T-pose


def test_an_elbow_bends_forward_and_a_knee_backward(
    standin: BodyAssets, model: BodyModel, rest: Bodies
) -> None:
    assert rest.vertices is not None
    for name, turn, part, way in (
        ("left_elbow", (0, -90, 0), "left_wrist", [0, 0, 1]),
        ("left_knee", (90, 0, 0), "left_ankle", [0, 0, -1]),
    ):
        pose = torch.eye(3).repeat(1, 21, 1, 1)
        pose[0, JOINT[name] - 1] = torch.from_numpy(
            Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
        )
        bent = model(at_rest(body_pose=pose), mesh=True)
        moved = (bent.joints - rest.joints)[0, JOINT[part]].numpy()
        assert moved @ way > 0.15
        # Skinning loses a little volume at a joint.
        assert bent.vertices is not None
        before = signed_volume(rest.vertices[0].numpy(), standin.body_faces)
        assert signed_volume(bent.vertices[0].numpy(), standin.body_faces) > 0.97 * before
