"""The points that keypoint detectors mark, on the stand-in body and on a body of few vertices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from samples import random_parameters
from toy_person import toy_person

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import (
    BODY,
    FACE,
    FEET,
    LANDMARK,
    LANDMARK_NAMES,
    LEFT_HAND,
    MIRRORED,
    RIGHT_HAND,
    Landmarks,
)
from pear_ros.people import JOINT, FloatArray, neutral_parameters


def at_rest(assets: BodyAssets) -> tuple[Landmarks, FloatArray]:
    landmarks = Landmarks.of(assets)
    bodies = BodyModel(assets, vertex_ids=landmarks.vertex_ids)(neutral_parameters(1), mesh=True)
    assert bodies.vertices is not None
    return landmarks, landmarks(bodies.joints, bodies.vertices)[0].numpy()


# --- Names ---------------------------------------------------------------------------------------


def test_the_names_are_in_cocos_order() -> None:
    assert len(set(LANDMARK_NAMES)) == 133
    assert LANDMARK_NAMES[BODY][:7] == (
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
        *("left_shoulder", "right_shoulder"),
    )
    assert LANDMARK_NAMES[BODY][-1] == "right_ankle"
    assert LANDMARK_NAMES[FEET][2:4] == ("left_heel", "right_big_toe")
    assert LANDMARK_NAMES[FACE][:2] == ("face0", "face1")
    assert LANDMARK_NAMES[LEFT_HAND][4:6] == ("left_thumb4", "left_index1")
    assert LANDMARK_NAMES[RIGHT_HAND][-1] == "right_pinky4"


def test_mirrored_twice_is_the_same() -> None:
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(133))
    same = [name for i, name in enumerate(LANDMARK_NAMES) if MIRRORED[i] == i]
    assert same == ["nose", *(f"face{i}" for i in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66))]


def test_mirrored_points_lie_on_the_other_side(standin: BodyAssets) -> None:
    """The stand-in body is symmetric."""
    landmarks, points = at_rest(standin)
    assert landmarks.available[MIRRORED].tolist() == landmarks.available.tolist()
    flipped = points[MIRRORED] * (-1, 1, 1)
    np.testing.assert_allclose(points, flipped, atol=6e-3)


# --- Places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["standin", "toy"])
def test_points_are_where_their_names_say(body: str, standin: BodyAssets) -> None:
    landmarks, points = at_rest(standin if body == "standin" else toy_person())

    def at(name: str) -> FloatArray:
        assert landmarks.available[LANDMARK[name]], name
        return points[LANDMARK[name]]

    x, y, z = 0, 1, 2  # left, up, forward
    assert at("nose")[z] > at("left_eye")[z] > at("left_ear")[z]
    assert at("left_eye")[y] > at("nose")[y] > at("face48")[y] > at("face8")[y]
    assert at("face8")[y] > at("left_shoulder")[y]
    assert at("left_ear")[x] > at("left_eye")[x] > abs(at("nose")[x])
    assert at("face54")[x] > 0 > at("face48")[x]
    assert at("face45")[x] > at("left_eye")[x] > at("face42")[x] > 0
    for side, sign in (("left", 1), ("right", -1)):
        toe, small, heel = (at(f"{side}_{n}") for n in ("big_toe", "small_toe", "heel"))
        assert toe[z] > at(f"{side}_ankle")[z] > heel[z]
        assert sign * small[x] > sign * toe[x]
        assert max(toe[y], small[y], heel[y]) < at(f"{side}_ankle")[y]
        assert sign * at(f"{side}_hip")[x] > 0.05
        for finger in ("index", "middle", "ring", "pinky"):
            along = [sign * at(f"{side}_{finger}{i}")[x] for i in (1, 2, 3, 4)]
            assert along == sorted(along)
            assert 0.005 < along[3] - along[2] < 0.05


@pytest.mark.parametrize(
    ("body", "across", "up"),
    [("standin", (-0.03, 0.0), (0.0, 0.04)), ("toy", (0.01, 0.04), (0.03, 0.08))],
)
def test_hips_are_where_detectors_mark_them(
    body: str, across: tuple[float, float], up: tuple[float, float], standin: BodyAssets
) -> None:
    """SMPL-X's hips, and the toy's, are lower and nearer to each other; the stand-in's are not."""
    assets = standin if body == "standin" else toy_person()
    _, points = at_rest(assets)
    joints = BodyModel(assets)(neutral_parameters(1)).joints[0].numpy()
    hip = points[LANDMARK["left_hip"]] - joints[JOINT["left_hip"]]
    assert across[0] <= hip[0] <= across[1]
    assert up[0] <= hip[1] <= up[1]


def test_a_body_without_a_head_has_no_face(standin: BodyAssets) -> None:
    """What cannot be found is not available; its points are zeros, not NaN."""
    weights = np.zeros_like(standin.body_weights)
    weights[:, JOINT["pelvis"]] = 1
    landmarks, points = at_rest(dataclasses.replace(standin, body_weights=weights))
    assert not landmarks.available[FACE].any()
    assert not landmarks.available[LANDMARK["nose"]]
    assert not landmarks.available[LANDMARK["left_thumb4"]]
    assert landmarks.available[LANDMARK["left_wrist"]]
    assert (points[~landmarks.available] == 0).all()


# --- Posed ---------------------------------------------------------------------------------------


def test_points_move_with_the_body_and_have_gradients(standin: BodyAssets) -> None:
    landmarks = Landmarks.of(standin)
    model = BodyModel(standin, vertex_ids=landmarks.vertex_ids)
    parameters = random_parameters(3)
    pose = parameters.left_hand_pose.clone().requires_grad_()
    bodies = model(dataclasses.replace(parameters, left_hand_pose=pose), mesh=True)
    assert bodies.vertices is not None
    points = landmarks(bodies.joints, bodies.vertices)
    assert points.shape == (3, 133, 3)
    assert points.isfinite().all()
    joints = (("left_wrist", "left_wrist"), ("right_index2", "right_index2"))
    for name, joint in joints:
        assert torch.equal(points[:, LANDMARK[name]], bodies.joints[:, JOINT[joint]])
    (gradient,) = torch.autograd.grad(points[:, LANDMARK["left_index4"]].sum(), pose)
    moved = gradient.flatten(2).abs().sum((0, 2)) > 1e-6  # (15,) joints of the hand
    assert moved.nonzero().flatten().tolist() == [0, 1, 2]  # the index finger's
