"""The plausibility of an estimate: people who fit score 1, each contradiction lowers the score."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from samples import random_parameters, replaced
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.estimation.plausibility import (
    ENOUGH_INSIDE,
    EXCESS_SCALE_DEG,
    LIMITS_DEG,
    RESIDUAL_SCALE,
    plausibility,
    seen_by_crop,
    turns_deg,
)
from pear_ros.geometry.crop_camera import CROP_FOCAL, camera_from_crop
from pear_ros.people import JOINT, JOINT_NAMES, NUM_BODY_JOINTS, EhmParameters
from pear_ros.placement.reprojection import place_in_camera

FOCAL_PX, SIDE_PX, TZ = 600.0, 256.0, 16.0
DEPTH_M = FOCAL_PX * TZ / (SIDE_PX / 2 * CROP_FOCAL)
CENTRE_M = torch.tensor([0.1, -0.2])  # tx, ty
HALF_M = TZ / CROP_FOCAL  # half a crop at the person's distance


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Arguments of `plausibility`, of people as flat as paper.

    All cameras agree on where flat people are seen. The crop is in the middle of the image.
    """

    parameters: EhmParameters
    joints: Tensor  # (N, 55, 3) m
    translation: Tensor  # (N, 3) m

    def score(self) -> Tensor:
        count = len(self.joints)
        return plausibility(
            self.parameters,
            self.joints,
            self.translation,
            CropCameras(
                torch.tensor([[320 - SIDE_PX / 2, 240 - SIDE_PX / 2, SIDE_PX, SIDE_PX]] * count),
                torch.tensor([[FOCAL_PX, FOCAL_PX, 320, 240]] * count),
            ),
        )

    def with_joints(self, rows: range, seen: tuple[float, float]) -> Estimate:
        """Moves joints to where the crop shows `seen`, half crops from its centre."""
        joints = self.joints.clone()
        joints[:, rows, :2] = CENTRE_M + HALF_M * torch.tensor(seen)
        return dataclasses.replace(self, joints=joints)

    def turned(self, joint: str, angle_deg: float) -> Estimate:
        """Turns one joint of the body."""
        axis = torch.nn.functional.normalize(torch.tensor([1.0, 2, 3]), dim=0)
        turn = Rotation.from_rotvec(axis.numpy() * angle_deg, degrees=True).as_matrix()
        body_pose = self.parameters.body_pose.clone()
        body_pose[:, JOINT[joint] - 1] = torch.from_numpy(turn).float()
        parameters = dataclasses.replace(self.parameters, body_pose=body_pose)
        return dataclasses.replace(self, parameters=parameters)


@pytest.fixture
def good() -> Estimate:
    """Two people whom nothing speaks against."""
    parameters = dataclasses.replace(
        random_parameters(2),
        body_pose=torch.eye(3).repeat(2, 21, 1, 1),
        camera_t=torch.tensor([*CENTRE_M, TZ]).repeat(2, 1),
    )
    seen = torch.rand(2, 55, 2, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    joints = torch.cat((CENTRE_M + HALF_M * seen, torch.zeros(2, 55, 1)), 2)
    translation = torch.tensor([*-CENTRE_M, DEPTH_M]).repeat(2, 1)
    return Estimate(parameters, joints, translation)


def test_good_estimates(good: Estimate) -> None:
    torch.testing.assert_close(good.score(), torch.ones(2))


def test_nobody(good: Estimate) -> None:
    cameras = CropCameras(torch.zeros(0, 4), torch.zeros(0, 4))
    nobody = plausibility(random_parameters(0), torch.zeros(0, 55, 3), torch.zeros(0, 3), cameras)
    assert nobody.shape == (0,)


def test_scores_are_within_0_and_1() -> None:
    """Whatever the values are."""
    random = torch.Generator().manual_seed(0)
    many = 200
    scale = 10 ** torch.linspace(-3, 3, many)[:, None]
    joints = torch.randn(many, 55, 3, generator=random) * scale[..., None]
    translation = torch.randn(many, 3, generator=random) * scale
    crops = torch.rand(many, 4, generator=random) * 500
    score = plausibility(
        random_parameters(many),
        joints,
        translation,
        CropCameras(
            torch.cat((crops[:, :3], crops[:, 2:3]), 1),
            torch.tensor([[FOCAL_PX, FOCAL_PX, 320, 240]] * many),
        ),
    )
    assert ((score >= 0) & (score <= 1)).all()


# --- Joints in the crop ---------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [(3.0, 0.0), (-0.5, -2.0)], ids=["beside", "above"])
@pytest.mark.parametrize(
    ("inside", "expected"),
    [(0, 0), (1, 0.2), (4, 0.8), (5, 1), (6, 1), (24, 1)],
    ids="{} joints".format,
)
def test_share_of_joints_in_the_crop(
    good: Estimate, inside: int, expected: float, outside: tuple[float, float]
) -> None:
    """Head and shoulders are enough, as of people who are cut by the image's edge."""
    assert ENOUGH_INSIDE * NUM_BODY_JOINTS == 5
    cut = good.with_joints(range(inside, NUM_BODY_JOINTS), outside)
    torch.testing.assert_close(cut.score(), torch.full((2,), float(expected)))


def test_finger_joints_do_not_matter(good: Estimate) -> None:
    """An arm's end is often outside of the crop, and fingers are many."""
    cut = good.with_joints(range(NUM_BODY_JOINTS, 55), (5.0, 5.0))
    torch.testing.assert_close(cut.score(), torch.ones(2))


# --- Two cameras ----------------------------------------------------------------------------------


@pytest.mark.parametrize("of_side", [0.02, RESIDUAL_SCALE, 0.3])
@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, -1.0), (-0.6, 0.8)])
def test_a_place_elsewhere_than_in_the_crop(
    good: Estimate, of_side: float, direction: tuple[float, float]
) -> None:
    """Pixels are measured as a share of the crop's side."""
    moved = good.translation.clone()
    moved[1, :2] += torch.tensor(direction) * of_side * SIDE_PX * DEPTH_M / FOCAL_PX
    score = dataclasses.replace(good, translation=moved).score()
    expected = math.exp(-((of_side / RESIDUAL_SCALE) ** 2))
    torch.testing.assert_close(score, torch.tensor([1, expected]), rtol=1e-4, atol=1e-5)


def test_a_person_behind_the_camera(good: Estimate) -> None:
    behind = good.translation * torch.tensor([1, 1, -1])
    assert (dataclasses.replace(good, translation=behind).score() < 0.1).all()


def test_joints_outside_of_the_crop_hardly_count(good: Estimate) -> None:
    """The network has not seen them. Nearer to the camera, both cameras see another direction."""
    scores = []
    for seen in (0.9, 3.0):
        near = good.with_joints(range(15, NUM_BODY_JOINTS), (seen, 0.0))
        near.joints[:, 15:NUM_BODY_JOINTS, 2] = -0.7 * DEPTH_M
        scores.append(near.score())
    assert (scores[0] < 0.1).all()
    assert (scores[1] > 0.9).all()


def test_the_crop_is_seen_by_a_turned_camera() -> None:
    """Joints in the axes of the real camera are seen where the crop's camera saw them."""
    xywh = torch.tensor([[600, 100, SIDE_PX, SIDE_PX]])  # 34 degrees off the axis
    intrinsics = torch.tensor([[FOCAL_PX, FOCAL_PX, 320, 240]])
    in_crop = torch.randn(1, 55, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    camera_t = torch.tensor([[0.05, -0.1, TZ]])
    pelvis = in_crop[:, :1]
    turn = camera_from_crop(xywh, intrinsics)
    joints = (turn[:, None] @ (in_crop - pelvis)[..., None])[..., 0] + pelvis
    seen = seen_by_crop(joints, camera_t, turn)
    expected = CROP_FOCAL * (in_crop[..., :2] - camera_t[:, None, :2]) / (in_crop[..., 2:] + TZ)
    torch.testing.assert_close(seen, expected)

    parameters = dataclasses.replace(
        random_parameters(1), body_pose=torch.eye(3).repeat(1, 21, 1, 1), camera_t=camera_t
    )
    translation = place_in_camera(joints, camera_t, xywh, intrinsics)
    score = plausibility(parameters, joints, translation, CropCameras(xywh, intrinsics))
    assert score > 0.98
    without_turn = plausibility(parameters, in_crop, translation, CropCameras(xywh, intrinsics))
    assert without_turn < score - 0.002


# --- Turned joints --------------------------------------------------------------------------------

TURNED = JOINT_NAMES[1 : JOINT["jaw"]]


@pytest.mark.parametrize("joint", TURNED)
def test_joints_turn_up_to_their_limits(good: Estimate, joint: str) -> None:
    limit_deg = LIMITS_DEG[joint.replace("left_", "").replace("right_", "")]
    assert good.turned(joint, limit_deg - 1).score().tolist() == pytest.approx([1, 1])
    excess_deg = min(EXCESS_SCALE_DEG, 180 - limit_deg)
    expected = math.exp(-((excess_deg / EXCESS_SCALE_DEG) ** 2))
    beyond = good.turned(joint, limit_deg + excess_deg - 0.01).score()
    assert beyond.tolist() == pytest.approx([expected] * 2, rel=0.01)


def test_the_joint_that_is_turned_most_counts(good: Estimate) -> None:
    both = good.turned("neck", LIMITS_DEG["neck"] + 10).turned("head", LIMITS_DEG["head"] + 30)
    torch.testing.assert_close(both.score(), good.turned("head", LIMITS_DEG["head"] + 30).score())
    assert (both.score() < 0.2).all()


def test_angles_of_rotations() -> None:
    angles_deg = [0.0, 1.0, 90.0, 179.0]
    matrices = Rotation.from_rotvec([[0, a, 0] for a in angles_deg], degrees=True).as_matrix()
    found = turns_deg(torch.from_numpy(matrices))
    torch.testing.assert_close(found, torch.tensor(angles_deg, dtype=torch.float64))
    assert turns_deg(torch.eye(3) * 1.0001) == 0  # rounding does not give NaN


# --- Values that are NaN --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["joints", "translation", "body_pose", "camera_t"])
def test_values_that_are_nan_give_0(good: Estimate, name: str) -> None:
    """To the person who has them."""
    if name in ("joints", "translation"):
        values = getattr(good, name).clone()
        values[0, ..., 0] = torch.nan
        bad = dataclasses.replace(good, **{name: values})
    else:
        bad = dataclasses.replace(
            good, parameters=replaced(good.parameters, 0, **{name: torch.nan})
        )
    torch.testing.assert_close(bad.score(), torch.tensor([0.0, 1.0]))
