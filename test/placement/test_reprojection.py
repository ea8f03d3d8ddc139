"""The placement in torch and in C: exact cases, properties, agreement of both.

test_ideal_network.py measures its errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from samples import crop_camera_translation, project_to_crop
from scipy.optimize import least_squares
from torch import Tensor

from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import camera_from_crop
from pear_ros.people import NUM_BODY_JOINTS, Camera, FloatArray
from pear_ros.placement import reprojection as placement
from pear_ros.placement.reprojection import place_in_camera

NAN, INF = float("nan"), float("inf")
SQUARE = (100.0, 50.0, 400.0, 400.0)  # xywh, px; its centre is (300, 250)


def random_people(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, 40, 3) m within half a metre, crop cameras (N, 3), squares (N, 4) px."""
    random = np.random.default_rng(8)
    points = random.uniform(-0.5, 0.5, (count, 40, 3))
    camera_t = random.uniform((-0.5, -0.5, 8), (0.5, 0.5, 30), (count, 3))
    side = random.uniform(100, 600, (count, 1))
    corner = random.uniform(-100, 900, (count, 2))
    squares = np.concatenate((corner, side, side), 1)
    points, camera_t, squares = (torch.from_numpy(a).float() for a in (points, camera_t, squares))
    return points, camera_t, squares


def in_image(points: FloatArray, camera_t: FloatArray, square: FloatArray) -> FloatArray:
    """Where the crop's camera sees the points, in px of the image."""
    return project_to_crop(points[None], camera_t[None], float(square[2]))[0] + square[:2]


@pytest.fixture(params=["torch", "C"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`place_in_camera` in torch, as on GPUs and with gradients, or in C."""
    if request.param == "torch":

        def without_lenses(*inputs: Tensor | None) -> Tensor:
            assert inputs[4:] == (None,)
            return placement._place(*inputs[:4])

        monkeypatch.setattr(placement, "_place_on_cpu", without_lenses)
    return request.param


def placed_in(camera: Camera, joints: Tensor, camera_t: Tensor, squares: Tensor) -> Tensor:
    """Places joints (N, J, 3) in the crop cameras' axes, everyone in the same camera."""
    intrinsics = intrinsics_of([camera] * len(joints))
    return place_in_camera(in_camera(camera, joints, squares), camera_t, squares, intrinsics)


def in_camera(camera: Camera, joints: Tensor, squares: Tensor) -> Tensor:
    """Joints (N, J, 3) rotated about the first one, from the crops' axes to the camera's."""
    rotation = camera_from_crop(squares, intrinsics_of([camera] * len(joints)))
    return (joints - joints[:, :1]) @ rotation.mT + joints[:, :1]


def test_placement_in_the_crop_camera_is_exact(implementation: str) -> None:
    joints, camera_t, squares = random_people(20)
    focal, centre = 12 * squares[:, 2:], squares[:, :2] + squares[:, 2:] / 2
    found = place_in_camera(joints, camera_t, squares, torch.cat((focal, centre), 1))
    expected = crop_camera_translation(camera_t.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_flat_people_on_the_axis_are_placed_exactly(implementation: str) -> None:
    """For any focal length."""
    joints, camera_t, squares = random_people(20)
    joints[..., 2] = 0
    focal = torch.tensor((600.0, 600)).repeat(20, 1)
    centre = squares[:, :2] + squares[:, 2:] / 2
    found = place_in_camera(joints, camera_t, squares, torch.cat((focal, centre), 1))
    tx, ty, tz = camera_t.T
    expected = torch.stack((-tx, -ty, 600 * tz / (12 * squares[:, 2])), 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "camera",
    [Camera(900, 900, 640, 360), Camera(600, 700, 300, 500)],
    ids=["square pixels", "rectangular pixels"],
)
def test_no_other_translation_has_a_smaller_error(implementation: str, camera: Camera) -> None:
    """Scipy minimises the same pixel errors."""
    joints, camera_t, squares = random_people(12)
    joints *= 0.5
    camera_t[:, :2] *= 0.5
    camera_t[:, 2] += 20  # all joints are in the crop
    found = placed_in(camera, joints, camera_t, squares)
    for turned_joints, p, t, square, translation in zip(
        in_camera(camera, joints, squares).numpy(),
        joints.numpy(),
        camera_t.numpy(),
        squares.numpy(),
        found.numpy(),
        strict=True,
    ):
        seen = in_image(p, t, square)
        half_crops = (seen - square[:2]) / square[2:] * 2 - 1
        assert np.abs(half_crops).max() < 1
        weight = np.ones((len(p), 1))
        weight[NUM_BODY_JOINTS:] = 15**-0.5  # the 15 joints of a hand count as one

        def error(
            x: np.ndarray,
            points: FloatArray = turned_joints,
            seen: Any = seen,
            weight: Any = weight,
        ) -> Any:
            reprojected = project((points + x).astype(np.float64), camera)
            return (weight * (reprojected - seen)).ravel()

        best = least_squares(error, translation + 0.2, method="lm", xtol=1e-12, ftol=1e-12)
        np.testing.assert_allclose(translation, best.x, rtol=1e-4, atol=1e-4)


def test_joints_outside_the_crop_are_ignored(implementation: str) -> None:
    joints, camera_t, squares = random_people(5)
    joints = 0.2 * joints[:, :20]
    camera_t[:] = torch.tensor((0.0, 0, 12))
    camera = Camera(900, 900, 640, 360)
    before = placed_in(camera, joints, camera_t, squares)
    beyond = torch.cat((joints, joints[:, :5] + torch.tensor((0, 2.0, 0.4))), 1)
    torch.testing.assert_close(placed_in(camera, beyond, camera_t, squares), before)


def test_every_joint_is_in_front_of_the_camera(implementation: str) -> None:
    joints, camera_t, squares = random_people(200)
    camera_t[:, 2] = 10 ** torch.linspace(-6, 1, 200)
    camera = Camera(100, 100, 640, 360)
    placed = placed_in(camera, joints, camera_t, squares)
    found = in_camera(camera, joints, squares) + placed[:, None]
    assert placed.isfinite().all(1).sum() > 150
    nearest_m = found[placed.isfinite().all(1)][..., 2].min()
    assert nearest_m == pytest.approx(0.1, abs=1e-3)  # some people are at the limit


def test_people_do_not_affect_each_other(implementation: str) -> None:
    joints, camera_t, squares = random_people(16)
    intrinsics = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) * 500 + 300
    people = (joints, camera_t, squares, intrinsics)
    found = place_in_camera(*people)
    alone = torch.cat([place_in_camera(*(rows[i : i + 1] for rows in people)) for i in range(16)])
    torch.testing.assert_close(found, alone, rtol=1e-6, atol=1e-6)
    assert found.dtype == torch.float32


GOOD = {"joint": (0.1, 0.2, 0.3), "camera_t": (0.1, 0.2, 5), "square": SQUARE, "fx": (600,)}
UNPLACEABLE = {
    "behind": {"camera_t": (0, 0, -5)},
    "at the camera": {"camera_t": (0, 0, 0)},
    "tz nan": {"camera_t": (0, 0, NAN)},
    "tz infinite": {"camera_t": (0, 0, INF)},
    "tz minus infinite": {"camera_t": (0, 0, -INF)},
    "tx nan": {"camera_t": (NAN, 0, 5)},
    "ty infinite": {"camera_t": (0, INF, 5)},
    "tx huge": {"camera_t": (3e38, 0, 5)},
    "empty square": {"square": (100, 50, 0, 0)},
    "nan square": {"square": (NAN, 50, 400, 400)},
    "infinite square": {"square": (0, 0, INF, INF)},
    "a joint nan": {"joint": (0, 0, NAN)},
    "a joint infinite": {"joint": (0, -INF, 0)},
    "a joint infinitely behind": {"joint": (0, 0, -INF)},
    "no focal length": {"fx": (0,)},
    "focal length nan": {"fx": (NAN,)},
}


@pytest.mark.parametrize("changes", UNPLACEABLE.values(), ids=UNPLACEABLE)
def test_unplaceable_rows_are_nan(
    implementation: str, changes: dict[str, tuple[float, ...]]
) -> None:
    joints = random_people(1)[0].repeat(3, 1, 1)
    bad = GOOD | changes
    joints[1, 3] = torch.tensor(bad["joint"])
    camera_t = torch.tensor([GOOD["camera_t"], bad["camera_t"], GOOD["camera_t"]])
    squares = torch.tensor([SQUARE, bad["square"], SQUARE])
    intrinsics = torch.tensor([[600, 600, 320.0, 240]]).repeat(3, 1)
    intrinsics[1, 0] = bad["fx"][0]
    found = place_in_camera(joints, camera_t, squares, intrinsics)
    assert found[1].isnan().all()
    expected = place_in_camera(joints[:1], camera_t[:1], squares[:1], intrinsics[:1])
    torch.testing.assert_close(found[[0, 2]], expected.repeat(2, 1))
    assert expected.isfinite().all()


def test_garbage_does_not_raise(implementation: str) -> None:
    values = torch.tensor((0, -0.0, 1, -1, 1e-30, 1e38, -1e38, NAN, INF, -INF))
    random = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return values[torch.randint(len(values), shape, generator=random)]

    found = place_in_camera(drawn(500, 5, 3), drawn(500, 3), drawn(500, 4), drawn(500, 4))
    assert (found.isfinite().all(1) | found.isnan().all(1)).all()


def test_no_operation_reads_a_value() -> None:
    """Tensors on `meta` have no values, so an operation that needs one raises an error."""
    people = [rows.to("meta") for rows in (*random_people(4), torch.zeros(4, 4))]
    assert place_in_camera(*people).shape == (4, 3)


def test_people_whose_joints_are_one_point_are_nan(implementation: str) -> None:
    found = placed_in(Camera(600, 600, 320, 240), torch.zeros(1, 55, 3), *random_people(1)[1:])
    assert found.isnan().all()


def test_nobody(implementation: str) -> None:
    none = placed_in(
        Camera(1, 1, 0, 0), torch.zeros(0, 55, 3), torch.zeros(0, 3), torch.zeros(0, 4)
    )
    assert none.shape == (0, 3)


# --- Agreement of torch and C --------------------------------------------------------------------


def drawn_people(count: int, num_joints: int) -> list[Tensor]:
    """Inputs of `place_in_camera`, float64."""
    random = np.random.default_rng(5)
    joints = torch.from_numpy(random.normal(0, 0.4, (count, num_joints, 3)))
    _, camera_t, squares = random_people(count)
    intrinsics = random.uniform((300, 300, 0, 0), (1500, 1500, 900, 900), (count, 4))
    return [rows.double() for rows in (joints, camera_t, squares, torch.from_numpy(intrinsics))]


def assert_both_agree(people: list[Tensor], tolerance: float = 1e-6) -> None:
    found, expected = placement._place_on_cpu(*people), placement._place(*people)
    assert expected.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_joints", [2, 8, 40, 55, 256], ids="{} joints".format)
def test_both_agree(num_joints: int) -> None:
    assert_both_agree(drawn_people(300, num_joints))


def test_both_agree_for_rectangular_crops() -> None:
    people = drawn_people(300, 55)
    people[2][:, 3] *= torch.from_numpy(np.random.default_rng(6).uniform(0.7, 1.5, 300))
    assert_both_agree(people)


def test_both_agree_if_steps_are_reversed() -> None:
    people = drawn_people(300, 55)
    people[1][:, 2] /= 4  # near people: 5 of 1,200 steps go back by more than the step before
    assert_both_agree(people, 1e-5)


def test_too_far_for_float32_is_nan(implementation: str) -> None:
    joints, camera_t = 1e37 * random_people(1)[0], torch.tensor([[0, 0, 1e38]])
    square = torch.tensor([[300.0, 200, 100, 100]])
    for focal, is_good in ((600.0, True), (6000.0, False)):
        intrinsics = torch.tensor([[focal, focal, 320, 240]])
        found = place_in_camera(joints, camera_t, square, intrinsics)
        assert (found.isfinite() if is_good else found.isnan()).all()


def test_c_forgets_the_people_of_earlier_calls() -> None:
    many = drawn_people(1, 256)
    few = [many[0][:, :2].clone(), *many[1:]]
    expected = placement._place(*few)
    many[0][:, 2:] = torch.nan
    placement._place_on_cpu(*many)
    torch.testing.assert_close(placement._place_on_cpu(*few), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_c_accepts_any_strides(dtype: torch.dtype) -> None:
    people = [rows.to(dtype) for rows in (*random_people(6), torch.rand(6, 4) * 500 + 300)]
    apart = [rows.transpose(0, -1).contiguous().transpose(0, -1) for rows in people]
    assert not any(rows.is_contiguous() for rows in apart)
    assert torch.equal(place_in_camera(*apart), place_in_camera(*people))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_the_default_dtype_changes_nothing(dtype: torch.dtype) -> None:
    people = [*random_people(2), torch.tensor([[600.0, 600, 320, 240]]).repeat(2, 1)]
    right = place_in_camera(*people)
    torch.set_default_dtype(dtype)
    try:
        found = place_in_camera(*people)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, right)


def test_gradients_agree_with_differences() -> None:
    """In torch; the C code has no gradients."""
    joints, camera_t, squares = (rows.double() for rows in random_people(2))
    intrinsics = torch.tensor([[700.0, 720, 320, 240]]).double().repeat(2, 1)
    camera_t.requires_grad_()
    found = place_in_camera(joints, camera_t, squares, intrinsics)
    (gradient,) = torch.autograd.grad(found[:, 2].sum(), camera_t)
    off = torch.zeros_like(camera_t)
    off[:, 2] = 0.5
    with torch.no_grad():
        ends = [place_in_camera(joints, camera_t + s * off, squares, intrinsics) for s in (-1, 1)]
    difference = (ends[1] - ends[0])[:, 2]
    torch.testing.assert_close(gradient[:, 2].float(), difference, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("part", range(4), ids=["joints", "camera_t", "squares", "intrinsics"])
def test_c_refuses_other_sizes(part: int) -> None:
    people = [*random_people(3), torch.ones(3, 4)]
    people[part] = people[part][..., :-1]
    with pytest.raises(ValueError, match="expected"):
        place_in_camera(*people)
    with pytest.raises(ValueError, match="expected"):
        place_in_camera(torch.zeros(3, 257, 3), *people[1:])
