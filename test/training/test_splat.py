"""Splats look like the mesh they stand for, and their gradients lead a body to its picture."""

from __future__ import annotations

import dataclasses
from dataclasses import fields

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import crop_camera_translation, project_to_crop, random_parameters
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, Camera, EhmParameters, map_tensors
from pear_ros.rendering.renderer import Rendering, render
from pear_ros.synthetic.shapes import ShapeSampler
from pear_ros.system.installed import shared_file
from training.pixel_loss import SAMPLES, PixelLoss, Target
from training.splat import (
    HEAD,
    LEFT_HAND,
    PARTS,
    Projected,
    not_hidden,
    project_points,
    splat,
    spread_points,
)
from training.true_camera import TrueCameras

COUNT = 4
CROP_CAMERA = Camera(24 * 128, 24 * 128, 128, 128)
"""Sees the crop: `render` with it and bodies moved by `crop_camera_translation` draws one."""
PX_PER_M_AT_1_M = CROP_CAMERA.fx
VIEWS = ("body", "left_hand", "right_hand", "head")


@pytest.fixture(scope="module")
def standin() -> BodyAssets:
    return load_assets(shared_file("standin/body.npz"))


@pytest.fixture(scope="module")
def model(standin: BodyAssets) -> BodyModel:
    return BodyModel(standin)


@pytest.fixture(scope="module")
def loss(standin: BodyAssets) -> PixelLoss:
    return PixelLoss(standin)


@pytest.fixture(scope="module")
def face_colors(standin: BodyAssets) -> NDArray[np.float32]:
    """Smooth, as of painted clothes."""
    middle = standin.body_template[standin.body_faces].mean(1)
    waves = np.random.default_rng(3).normal(0, 12, (3, 3))
    return (0.5 + 0.5 * np.sin(middle @ waves)).astype(np.float32)


@pytest.fixture(scope="module")
def people(standin: BodyAssets, model: BodyModel) -> EhmParameters:
    """Upright people who face the camera more or less, each filling the crop."""
    random = np.random.default_rng(8)
    shapes = ShapeSampler(standin).sample(COUNT, random)
    body = random.normal(0, 0.15, (COUNT, 21, 3))
    body[:, JOINT["left_shoulder"] - 1, 2] -= random.uniform(0.2, 1, COUNT)
    body[:, JOINT["right_shoulder"] - 1, 2] += random.uniform(0.2, 1, COUNT)
    yaw = Rotation.from_euler("y", random.uniform(-0.6, 0.6, (COUNT, 1)))
    facing = Rotation.from_euler("x", 180, degrees=True) * yaw
    zeros = {
        f.name: torch.zeros_like(getattr(random_parameters(COUNT), f.name))
        for f in fields(EhmParameters)
    }
    values = {
        "global_orient": torch.from_numpy(facing.as_matrix()[:, None]),
        "body_pose": matrix_from_axis_angle(torch.from_numpy(body)),
        **{
            f"{side}_hand_pose": matrix_from_axis_angle(
                torch.from_numpy(random.normal(0, 0.2, (COUNT, 15, 3)))
            )
            for side in ("left", "right")
        },
        **{f.name: torch.from_numpy(getattr(shapes, f.name)) for f in fields(shapes)},
    }
    p = EhmParameters(**zeros | {name: value.float() for name, value in values.items()})
    vertices = model(p, mesh=True).vertices
    assert vertices is not None
    low, high = vertices.amin(1), vertices.amax(1)
    side_m = 1.25 * (high - low)[:, :2].amax(1)
    centre = (low + high) / 2
    camera_t = torch.stack((centre[:, 0], centre[:, 1], 24 * side_m / 2), 1)
    return dataclasses.replace(p, camera_t=camera_t)


def crop_cameras(count: int) -> TrueCameras:
    """As if the crops were pictures of their own cameras: people are placed exactly."""
    squares = torch.tensor((0.0, 0, 256, 256)).repeat(count, 1)
    return TrueCameras(squares, intrinsics_of([CROP_CAMERA] * count))


def draw(model: BodyModel, people: EhmParameters) -> list[Rendering]:
    """Each person alone in a crop, by triangles."""
    vertices = model(people, mesh=True).vertices
    assert vertices is not None
    placed = vertices.numpy() + crop_camera_translation(people.camera_t.numpy())[:, None]
    black, white = np.zeros((256, 256, 3), np.uint8), np.ones((1, 1, 3), np.float32)
    return [render(black, mesh[None], model.faces, white, CROP_CAMERA) for mesh in placed]


@pytest.fixture(scope="module")
def crops(model: BodyModel, people: EhmParameters) -> list[Rendering]:
    return draw(model, people)


@pytest.fixture(scope="module")
def target(loss: PixelLoss, crops: list[Rendering], face_colors: NDArray[np.float32]) -> Target:
    return Target.stack([loss.make_target(c.people, c.faces, face_colors) for c in crops])


def values_of(loss: PixelLoss, people: EhmParameters, target: Target) -> dict[str, float]:
    with torch.no_grad():
        return {
            name: float(value)
            for name, value in loss(people, target, crop_cameras(len(people.camera_t))).items()
        }


def shifted(people: EhmParameters, right_px: float, down_px: float) -> EhmParameters:
    """In the crop."""
    m_per_px = people.camera_t[:, 2:] / PX_PER_M_AT_1_M
    shift = m_per_px * torch.tensor([right_px, down_px, 0])
    return dataclasses.replace(people, camera_t=people.camera_t - shift)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


# --- Points and parts ----------------------------------------------------------------------------


def test_points_stand_for_the_whole_surface(standin: BodyAssets) -> None:
    points = spread_points(standin, 1000)
    a, b, c = np.moveaxis(standin.body_template[standin.body_faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    np.testing.assert_allclose(points.area_m2.sum(), area, rtol=1e-4)
    assert 1000 <= len(points.ids) <= 1000 + len(PARTS)
    assert len(np.unique(points.ids)) == len(points.ids) == sum(points.counts)
    assert min(points.counts) > 0


def test_parts_lie_where_they_are_named(standin: BodyAssets) -> None:
    points = spread_points(standin, 1000)
    stops = np.cumsum(points.counts)
    place = {
        name: standin.body_template[points.ids[stop - count : stop]].mean(0)
        for name, count, stop in zip(PARTS, points.counts, stops, strict=True)
    }
    for name in PARTS[LEFT_HAND]:
        assert place[name][0] > 0.5, name
        mirrored = place[name] * (-1, 1, 1)
        assert np.linalg.norm(place[name.replace("left", "right")] - mirrored) < 0.02, name
    assert place["face"][2] > place["head"][2] + 0.03
    assert place["torso"][1] < place["neck"][1] < place["jaw"][1] < place["head"][1]
    assert PARTS[HEAD] == ("head", "jaw", "left_eye", "right_eye", "face")


def test_other_bodies_have_other_counts(small_assets: BodyAssets) -> None:
    p = random_parameters(2)
    p = map_tensors(p, lambda x: x.clone().requires_grad_())
    loss = PixelLoss(small_assets, num_points=60)
    nobody = np.full((256, 256), -1, np.int32)
    colors = np.ones((len(small_assets.body_faces), 3), np.float32)
    target = loss.make_target(nobody, nobody, colors)
    total = torch.stack([*loss(p, Target.stack([target, target]), crop_cameras(2)).values()]).sum()
    total.backward()
    assert p.camera_t.grad is not None
    assert p.camera_t.grad.isfinite().all()


# --- Drawing -------------------------------------------------------------------------------------


def test_points_are_projected_as_elsewhere(model: BodyModel, people: EhmParameters) -> None:
    joints = model(people).joints
    cameras = crop_cameras(COUNT)
    uv = project_points(cameras.placed(joints, joints, people.camera_t), cameras).uv.numpy()
    expected = project_to_crop(joints.numpy(), people.camera_t.numpy(), 256)
    np.testing.assert_allclose(uv - 0.5, expected, atol=0.01)  # our 0 is the pixel's corner


def test_what_lies_behind_or_faces_away_is_hidden() -> None:
    uv = torch.tensor([[[100.0, 100], [101, 100], [101, 101], [140, 100], [100, 180]]])
    depth = torch.tensor([[10, 10.5, 10.01, 10.5, 10]])
    before = torch.ones(1, 5, dtype=torch.bool)
    facing = torch.tensor([[1.0, 1, 1, 1, -1]])
    projected = Projected(uv, depth, torch.full((1, 5), 300.0), before)
    found = not_hidden(projected, facing, cell_px=4, slack_m=0.03)
    assert found.tolist() == [[True, False, True, True, False]]
    # What lies beyond the corner hides nothing in the crop's last cell.
    beyond = Projected(
        torch.tensor([[[400.0, 400], [255, 255]]]),
        torch.tensor([[9.0, 10]]),
        torch.full((1, 2), 300.0),
        before[:, :2],
    )
    assert not_hidden(beyond, facing[:, :2], cell_px=4, slack_m=0.03).all()
    behind_camera = dataclasses.replace(projected, is_before=~before)
    assert not not_hidden(behind_camera, facing, cell_px=4, slack_m=0.03).any()


def test_a_splat_has_its_mass_and_place() -> None:
    position = torch.tensor([[[10.5, 7.5], [20, 3]]])
    mass = torch.tensor([[2.0, 0.5]])
    colors = torch.tensor([[[1.0, 0], [0, 3]]])
    parts, colored = splat(position, torch.full((1, 2), 1.2), mass, (1, 1), colors, (16, 32))
    torch.testing.assert_close(parts.sum((2, 3)), mass, rtol=0.02, atol=0)
    torch.testing.assert_close(colored.sum((2, 3)), torch.tensor([[2.0, 1.5]]), rtol=0.02, atol=0)
    assert divmod(int(parts[0, 0].argmax()), 32) == (7, 10)


def test_splats_look_like_the_mesh(loss: PixelLoss, people: EhmParameters, target: Target) -> None:
    with torch.no_grad():
        pictures = loss.draw(people, target, crop_cameras(COUNT))
    # Measured over 32 people: body 0.86, hands 0.77, head 0.91.
    for view, least in zip(VIEWS, (0.82, 0.7, 0.7, 0.85), strict=True):
        parts, _ = pictures[view]
        true = target.views[view].parts / SAMPLES**2
        covered, is_covered = parts.sum(1) > 0.5, true.sum(1) > 0.5
        assert overlap(covered.numpy(), is_covered.numpy()) > least, view
        agree = (parts.argmax(1) == true.argmax(1))[covered & is_covered]
        assert agree.float().mean() > 0.75, view


def test_targets_are_the_crop_made_small(target: Target, crops: list[Rendering]) -> None:
    body = target.views["body"]
    for row, crop in enumerate(crops):
        fine = (crop.people == 0)[:, 32:-32].reshape(64, SAMPLES, 48, SAMPLES)
        np.testing.assert_array_equal(body.parts[row].sum(0), fine.sum((1, 3)))
    assert (body.known == SAMPLES**2).all()
    for view in VIEWS[1:]:  # the close-up is filled by what it shows
        rows = target.views[view].parts.sum(1).bool().any(2).sum(1)
        columns = target.views[view].parts.sum(1).bool().any(1).sum(1)
        height = target.views[view].parts.shape[2]
        assert (torch.maximum(rows, columns) >= height / 1.5 - 2).all()


# --- Loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(3, 0), (-3, 0), (0, 3), (0, -3)], ids=str)
def test_the_truth_is_where_the_loss_is_least(
    loss: PixelLoss, people: EhmParameters, target: Target, shift: tuple[float, float]
) -> None:
    at_truth = values_of(loss, people, target)
    beside = values_of(loss, shifted(people, *shift), target)
    for view in ("body", "head"):  # a hand counts less the farther it is
        assert beside[f"{view}_parts"] > 1.1 * at_truth[f"{view}_parts"]
    for size in (0.97, 1.03):
        tz = people.camera_t * torch.tensor([1, 1, size])
        resized = values_of(loss, dataclasses.replace(people, camera_t=tz), target)
        assert resized["body_parts"] > 1.1 * at_truth["body_parts"]


def test_a_mirrored_person_is_told(loss: PixelLoss, people: EhmParameters, target: Target) -> None:
    about = matrix_from_axis_angle(torch.tensor([0, torch.pi, 0]))
    turned = dataclasses.replace(people, global_orient=people.global_orient @ about)
    at_truth, from_behind = (values_of(loss, p, target) for p in (people, turned))
    for name in ("body_parts", "body_colors", "body_normals"):
        assert from_behind[name] > 2 * at_truth[name], name


def test_what_others_hide_is_not_compared(
    loss: PixelLoss, people: EhmParameters, crops: list[Rendering], face_colors: NDArray[np.float32]
) -> None:
    hidden = np.ones((256, 256), np.int32)
    nothing = loss.make_target(hidden, crops[0].faces, face_colors)
    one = map_tensors(people, lambda x: x[:1])
    assert not any(values_of(loss, one, nothing).values())
    # The right half of the crop is hidden: a left arm that moves there costs nothing.
    half = crops[0].people.copy()
    half[:, 112:] = 1
    target = loss.make_target(half, crops[0].faces, face_colors)
    pose = one.body_pose.clone()
    pose[:, JOINT["left_elbow"] - 1] @= matrix_from_axis_angle(torch.tensor([0, 0, -1.2]))
    moved = dataclasses.replace(one, body_pose=pose)
    seen = loss.make_target(crops[0].people, crops[0].faces, face_colors)
    before, after = (values_of(loss, p, target)["body_parts"] for p in (one, moved))
    assert abs(after - before) < 0.01
    before, after = (values_of(loss, p, seen)["body_parts"] for p in (one, moved))
    assert after - before > 0.05


def test_every_parameter_that_moves_the_body_gets_a_gradient(
    loss: PixelLoss, people: EhmParameters, target: Target
) -> None:
    p = map_tensors(shifted(people, 2, 1), lambda x: x.clone().requires_grad_())
    torch.stack([*loss(p, target, crop_cameras(COUNT)).values()]).sum().backward()
    moving = [p for p in fields(EhmParameters) if p.name not in ("hand_scale", "flame_global_pose")]
    for field in moving:
        gradient = getattr(p, field.name).grad
        assert gradient.isfinite().all(), field.name
        assert gradient.any(), field.name


@pytest.mark.parametrize("empty", [False, True], ids=["person", "nobody"])
@pytest.mark.parametrize(
    "camera_t",
    [(0, 0, 0), (0, 0, 1e-6), (0, 0, -5), (0, 0, 2.4e10), (0, 0, -2.4e10), (9, 9, 25), (0, 0, 0.5)],
    ids=str,
)
def test_gradients_are_finite(
    loss: PixelLoss,
    people: EhmParameters,
    target: Target,
    face_colors: NDArray[np.float32],
    camera_t: tuple[float, float, float],
    empty: bool,
) -> None:
    if empty:
        nobody = np.full((256, 256), -1, np.int32)
        target = Target.stack([loss.make_target(nobody, nobody, face_colors)] * COUNT)
    p = dataclasses.replace(people, camera_t=torch.tensor(camera_t).float().repeat(COUNT, 1))
    p = map_tensors(p, lambda x: x.clone().requires_grad_())
    total = torch.stack([*loss(p, target, crop_cameras(COUNT)).values()]).sum()
    assert total.isfinite()
    assert total < 100
    total.backward()
    for field in fields(EhmParameters):
        gradient = getattr(p, field.name).grad
        assert gradient is None or gradient.isfinite().all(), field.name


# --- Gradients lead to the truth -----------------------------------------------------------------

WRONG_DEG = {
    "left_shoulder": 15, "right_elbow": 15, "left_wrist": 20, "right_wrist": 20, "head": 15,
    "left_knee": 10,
}  # fmt: skip
FINGERS_WRONG_DEG = 8


def with_turns(people: EhmParameters, turns: Tensor, camera: Tensor) -> EhmParameters:
    """Turned by (N, 52, 3) rad of root, body, hands; moved by (N, 3) px, px, log of depth."""
    extra = matrix_from_axis_angle(turns)
    root, body, left, right = extra.split((1, 21, 15, 15), 1)
    moved_m = camera[:, :2] * people.camera_t[:, 2:] / PX_PER_M_AT_1_M
    camera_t = torch.cat(
        (people.camera_t[:, :2] - moved_m, people.camera_t[:, 2:] * camera[:, 2:].exp()), 1
    )
    return dataclasses.replace(
        people,
        global_orient=people.global_orient @ root,
        body_pose=people.body_pose @ body,
        left_hand_pose=people.left_hand_pose @ left,
        right_hand_pose=people.right_hand_pose @ right,
        camera_t=camera_t,
    )


def test_wrong_bodies_find_back(
    loss: PixelLoss, model: BodyModel, people: EhmParameters, target: Target
) -> None:
    random = np.random.default_rng(7)

    def axes(*shape: int) -> Tensor:
        drawn = torch.from_numpy(random.standard_normal((*shape, 3))).float()
        return torch.deg2rad(drawn / drawn.norm(dim=-1, keepdim=True))

    wrong = torch.zeros(COUNT, 52, 3)
    for name, degrees in WRONG_DEG.items():
        wrong[:, JOINT[name]] = degrees * axes(COUNT)
    wrong[:, 22:] = FINGERS_WRONG_DEG * axes(COUNT, 30)
    start = with_turns(people, wrong, torch.tensor([5.0, -3, 0]).repeat(COUNT, 1))

    turns = torch.zeros(COUNT, 52, 3, requires_grad=True)
    camera = torch.zeros(COUNT, 3, requires_grad=True)  # px, px, log of depth
    groups = [{"params": [turns], "lr": 0.01}, {"params": [camera], "lr": 0.1}]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    scale = torch.tensor([1, 1, 0.03])
    for _ in range(100):
        losses = loss(with_turns(start, turns, camera * scale), target, crop_cameras(COUNT))
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimizer.step()
        schedule.step()

    def errors(p: EhmParameters) -> dict[str, float]:
        found, true = model(p).joints, model(people).joints
        uv, true_uv = (
            project_to_crop(joints.numpy(), q.camera_t.numpy(), 256)
            for joints, q in ((found, p), (true, people))
        )
        masks = [np.stack([crop.people == 0 for crop in draw(model, q)]) for q in (p, people)]
        fingers = [joints[:, 25:40] - joints[:, [20]] for joints in (found, true)]
        return {
            "joints_px": float(np.linalg.norm(uv - true_uv, axis=-1).mean()),
            "fingers_mm": 1e3 * float((fingers[0] - fingers[1]).norm(dim=-1).mean()),
            "overlap": overlap(*masks),
        }

    with torch.no_grad():
        before, after = errors(start), errors(with_turns(start, turns, camera * scale))
    # Measured: 7.3 px, 36 mm and 0.60 before, 1.1 px, 11 mm and 0.89 after.
    assert before["joints_px"] > 5
    assert before["overlap"] < 0.7
    assert after["joints_px"] < 0.25 * before["joints_px"]
    assert after["fingers_mm"] < 0.5 * before["fingers_mm"]
    assert after["overlap"] > 0.84
