"""The body model against the published numbers, a reference in float64, and smplx."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference_body import reference
from samples import golden, golden_parameters, random_parameters
from scipy.spatial.transform import Rotation
from waits import Waits

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import Bodies, BodyModel, FlameHead
from pear_ros.geometry.crop_camera import camera_from_crop, rotated
from pear_ros.geometry.rotation import matrix_from_6d
from pear_ros.people import EhmParameters, map_tensors
from pear_ros.placement.reprojection import place_in_camera

TOLERANCE_M = 1e-5


def assert_close(found: torch.Tensor, expected: NDArray[np.floating]) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=TOLERANCE_M)


# --- Numbers -------------------------------------------------------------------------------------


def test_bodies_agree_with_the_published(body_model: BodyModel) -> None:
    published = golden("ehm")
    bodies = body_model(golden_parameters(), mesh=True)
    assert bodies.vertices is not None
    assert_close(bodies.vertices, published["vertices"])
    assert_close(bodies.joints, published["joints"])
    assert_close(body_model(golden_parameters()).joints, published["joints"])


def test_heads_agree_with_the_published(body_model: BodyModel, assets: BodyAssets) -> None:
    p = golden_parameters()
    pose = body_model.pose_head(body_model.shape(p.betas, p.flame_betas), p)
    head = FlameHead(assets, np.arange(len(assets.head_template)), torch.device("cpu"))
    vertices = head.posed(head.template.shaped(p.flame_betas), pose)
    assert_close(vertices, golden("ehm")["head_vertices"])


@pytest.mark.parametrize("size", ["real", "small"])
def test_bodies_agree_with_the_reference(request: pytest.FixtureRequest, size: str) -> None:
    prefix = "" if size == "real" else "small_"
    model: BodyModel = request.getfixturevalue(f"{prefix}body_model")
    assets: BodyAssets = request.getfixturevalue(f"{prefix}assets")
    count = 1 if size == "real" else 8
    parameters = random_parameters(count, seed=5)
    bodies, joints_only = model(parameters, mesh=True), model(parameters)
    assert bodies.vertices is not None
    assert bodies.vertices.shape == (count, len(assets.body_template), 3)
    for row in range(count):
        expected = reference(assets, parameters, row)
        assert_close(bodies.vertices[row], expected.vertices)
        for found in (bodies, joints_only):
            assert_close(found.joints[row], expected.joints)
            assert_close(found.rotations[row], expected.rotations)


@pytest.mark.slow
def test_bodies_without_flame_agree_with_smplx(
    assets: BodyAssets, assets_path: Path, tmp_path: Path
) -> None:
    smplx = pytest.importorskip("smplx", reason="non-commercial licence: `make venv SMPLX=1`")
    with np.load(assets_path.parent / "SMPLX_NEUTRAL_2020.npz") as file:
        content = dict(file)
    unused = {
        "lmk_faces_idx": np.zeros(51, np.int64), "lmk_bary_coords": np.zeros((51, 3)),
        "hands_componentsl": np.zeros((45, 45)), "hands_componentsr": np.zeros((45, 45)),
        "hands_meanl": np.zeros(45), "hands_meanr": np.zeros(45),
    }  # fmt: skip
    path = tmp_path / "smplx.npz"
    np.savez(path, **content, **unused)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = smplx.SMPLXLayer(
            str(path),
            use_pca=False,
            flat_hand_mean=True,
            num_betas=200,
            num_expression_coeffs=50,
        )
    p = random_parameters(2, seed=6)
    with torch.no_grad():
        expected = theirs(
            betas=p.betas,
            expression=p.expression,
            global_orient=p.global_orient,
            body_pose=p.body_pose,
            left_hand_pose=p.left_hand_pose,
            right_hand_pose=p.right_hand_pose,
        )
    headless = dataclasses.replace(assets, head_is_pasted=np.zeros_like(assets.head_is_pasted))
    model = BodyModel(headless)
    bodies = model(p, mesh=True)
    assert bodies.vertices is not None
    assert_close(bodies.vertices, expected.vertices.numpy())
    assert_close(bodies.joints, expected.joints[:, :55].numpy())
    np.testing.assert_array_equal(model.faces, content["f"])


# --- Batches and shapes --------------------------------------------------------------------------


def assert_same(a: Bodies, b: Bodies) -> None:
    for f in fields(Bodies):
        left, right = getattr(a, f.name), getattr(b, f.name)
        assert (left is None) == (right is None), f.name
        if left is not None:
            torch.testing.assert_close(left, right, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
@pytest.mark.parametrize("count", [0, 1, 3], ids="{} people".format)
def test_batches(small_body_model: BodyModel, count: int, mesh: bool) -> None:
    parameters = random_parameters(3)
    batch = map_tensors(parameters, lambda tensor: tensor[:count])
    bodies = small_body_model(batch, mesh=mesh)
    assert bodies.joints.shape == (count, 55, 3)
    assert bodies.rotations.shape == (count, 55, 3, 3)
    assert (bodies.vertices is None) != mesh
    if bodies.vertices is not None:
        assert bodies.vertices.shape == (count, 150, 3)
    of_three = small_body_model(parameters, mesh=mesh)
    assert_same(bodies, map_tensors(of_three, lambda tensor: tensor[:count]))


def test_a_shape_can_be_made_before(small_body_model: BodyModel) -> None:
    p = random_parameters(2)
    shape = small_body_model.shape(p.betas, p.flame_betas, mesh=True)
    expected = small_body_model(p, mesh=True)
    assert_same(small_body_model(p, shape, mesh=True), expected)
    joints_only = small_body_model(p, shape)
    assert joints_only.vertices is None
    torch.testing.assert_close(joints_only.joints, expected.joints)
    # Given a shape, the betas are not used.
    others = dataclasses.replace(p, betas=p.betas + 1, flame_betas=p.flame_betas + 1)
    assert_same(small_body_model(others, shape, mesh=True), expected)


UNUSED = {"hand_scale", "flame_global_pose", "camera_t"}


@pytest.mark.parametrize("name", [f.name for f in fields(EhmParameters)])
def test_each_parameter_moves_the_body_or_is_unused(small_body_model: BodyModel, name: str) -> None:
    p = random_parameters(1)
    changed = dataclasses.replace(p, **{name: getattr(p, name).flip(-1) * 1.01})
    before, after = small_body_model(p, mesh=True), small_body_model(changed, mesh=True)
    assert before.vertices is not None
    assert after.vertices is not None
    assert torch.equal(before.vertices, after.vertices) == (name in UNUSED)


def test_the_global_orientation_turns_about_the_pelvis(small_body_model: BodyModel) -> None:
    p = random_parameters(1)
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -1, 2]).as_matrix()).float()
    turned = dataclasses.replace(p, global_orient=turn @ p.global_orient)
    before, after = small_body_model(p), small_body_model(turned)
    pelvis = before.joints[:, :1]
    expected = (before.joints - pelvis) @ turn.T + pelvis
    torch.testing.assert_close(after.joints, expected, rtol=0, atol=TOLERANCE_M)
    torch.testing.assert_close(after.rotations, turn @ before.rotations, rtol=0, atol=1e-5)


def test_bones_and_counts(small_body_model: BodyModel, small_assets: BodyAssets) -> None:
    assert small_body_model.num_vertices == 150
    assert small_body_model.faces.shape == (70, 3)
    bones = [(small_assets.body_parents[joint], joint) for joint in range(1, 55)]
    assert small_body_model.bones.tolist() == [list(bone) for bone in bones]


@pytest.mark.parametrize("count", [0, 1, 40], ids="{} vertices".format)
def test_a_mesh_of_some_vertices_is_part_of_the_whole(
    small_body_model: BodyModel, small_assets: BodyAssets, count: int
) -> None:
    ids = np.random.default_rng(3).permutation(small_body_model.num_vertices)[:count]
    model = BodyModel(small_assets, vertex_ids=ids)
    parameters = random_parameters(2)
    whole, part = small_body_model(parameters, mesh=True), model(parameters, mesh=True)
    assert whole.vertices is not None
    assert_same(part, dataclasses.replace(whole, vertices=whole.vertices[:, ids]))
    assert model.num_vertices == count
    expected = [face for face in small_assets.body_faces.tolist() if {*face} <= {*ids.tolist()}]
    assert ids[model.faces].tolist() == expected


@pytest.mark.parametrize("ids", [None, np.arange(0, 150, 7)], ids=["all", "some"])
def test_gradients_do_not_change_the_bodies(
    small_assets: BodyAssets, ids: NDArray[np.int64] | None
) -> None:
    model = BodyModel(small_assets, vertex_ids=ids)
    parameters = random_parameters(2)
    learning = map_tensors(parameters, lambda tensor: tensor.clone().requires_grad_())
    expected = model(learning, mesh=True)
    assert expected.vertices is not None
    found = model(parameters, mesh=True)
    assert_same(found, map_tensors(expected, torch.Tensor.detach))
    expected.vertices.square().sum().backward()
    for f in fields(EhmParameters):
        gradient = getattr(learning, f.name).grad
        assert (gradient is None) == (f.name in UNUSED), f.name
        assert gradient is None or (gradient.isfinite().all() and gradient.any()), f.name


def test_a_gradient_agrees_with_differences(small_body_model: BodyModel) -> None:
    parameters = random_parameters(1)
    expression = parameters.expression.clone().requires_grad_()

    def height(expression: torch.Tensor) -> torch.Tensor:
        changed = dataclasses.replace(parameters, expression=expression)
        vertices = small_body_model(changed, mesh=True).vertices
        assert vertices is not None
        return vertices[..., 1].double().mean()

    (gradient,) = torch.autograd.grad(height(expression), expression)
    step = torch.zeros_like(expression)
    step[0, 3] = 1.0
    with torch.no_grad():
        slope = (height(expression + step) - height(expression - step)) / 2
    torch.testing.assert_close(gradient[0, 3].double(), slope, rtol=0, atol=1e-6)


def test_a_call_neither_copies_nor_waits(small_body_model: BodyModel) -> None:
    """A CUDA graph can do neither. With gradients, as GPUs use the same path as gradients do."""
    p = map_tensors(random_parameters(2), torch.Tensor.requires_grad_)
    with Waits() as waits:
        torch.zeros(3)[[0, 2]]  # an index from the host, which it must find
    assert waits.found
    squares = torch.tensor([[700.0, 100.0, 400.0, 400.0]] * 2)
    intrinsics = torch.tensor([[800.0, 800.0, 640.0, 360.0]] * 2)
    with Waits() as waits:
        p = rotated(p, camera_from_crop(squares, intrinsics))
        shape = small_body_model.shape(p.betas, p.flame_betas, mesh=True)
        bodies = small_body_model(p, shape, mesh=True)
        place_in_camera(bodies.joints, p.camera_t, squares, intrinsics)
        matrix_from_6d(p.flame_eye_pose)
    assert waits.found == []
