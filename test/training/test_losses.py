"""Losses of what the crop does not show, and of labels that are estimates."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import LANDMARK, Landmarks
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, EhmParameters
from training.data import Batch
from training.labelled import LabelledBatch
from training.losses import (
    LABELLED_WEIGHTS,
    OUTSIDE,
    joint_weights,
    labelled,
    stage_1,
    to_crop,
    total,
)
from training.true_camera import TrueCameras

COUNT = 4  # of the fixture `people`
TURN = matrix_from_axis_angle(torch.tensor((0.3, 0.2, -0.4)))


@pytest.fixture(scope="module")
def landmarks(standin: BodyAssets) -> Landmarks:
    return Landmarks.of(standin)


@pytest.fixture(scope="module")
def landmark_model(standin: BodyAssets, landmarks: Landmarks) -> BodyModel:
    return BodyModel(standin, vertex_ids=landmarks.vertex_ids)


@pytest.fixture(scope="module")
def real(landmark_model: BodyModel, landmarks: Landmarks, people: EhmParameters) -> LabelledBatch:
    """The people of crops without perspective, fully known."""
    bodies = landmark_model(people, mesh=True)
    assert bodies.vertices is not None
    points = landmarks(bodies.joints, bodies.vertices)
    return LabelledBatch(
        crops=torch.zeros(COUNT, 256, 192, 3, dtype=torch.uint8),
        is_near=torch.ones(COUNT, 192, dtype=torch.bool),
        landmarks_uv=to_crop(points, people.camera_t),
        landmark_confidence=torch.ones(COUNT, 133),
        parameters=people,
        joints=bodies.joints - bodies.joints[:, :1],
        joint_confidence=torch.ones(COUNT, 55),
        body_confidence=torch.ones(COUNT),
        hand_confidence=torch.ones(COUNT, 2),
        face_confidence=torch.ones(COUNT),
    )


def erring(people: EhmParameters, field: str, rows: slice = slice(None)) -> EhmParameters:
    """The people with an error in one of their parameters."""
    value = getattr(people, field).clone()
    value[rows] = value[rows] @ TURN if value.shape[-2:] == (3, 3) else value[rows] + 0.2
    return dataclasses.replace(people, **{field: value})


def test_joints_outside_of_the_crop_have_little_weight() -> None:
    inside = [(0, 0), (0.74, 0.99), (-0.74, -0.99), (0.7, -0.5)]
    outside = [(0.9, 0), (-0.9, 0), (0, 1.2), (0, -1.2), (3, 3)]
    weights = joint_weights(torch.tensor([inside + outside], dtype=torch.float32))
    assert weights.tolist() == [[1.0] * 4 + [pytest.approx(OUTSIDE)] * 5]
    assert 0 < OUTSIDE < 0.5


def rendered(people: EhmParameters, model: BodyModel) -> Batch:
    """A batch without pictures."""
    joints = model(people).joints
    nothing = torch.zeros(0)
    return Batch(
        nothing, people, joints - joints[:, :1], to_crop(joints, people.camera_t), nothing,
        nothing, TrueCameras(nothing, nothing),
    )  # fmt: skip


def test_errors_of_joints_outside_of_the_crop_matter_less(
    landmark_model: BodyModel, people: EhmParameters
) -> None:
    """The same wrong leg, in the crop and below its edge."""
    pose = people.body_pose.clone()
    for name in ("left_hip", "left_knee"):
        pose[:, JOINT[name] - 1] = pose[:, JOINT[name] - 1] @ TURN
    wrong = dataclasses.replace(people, body_pose=pose)
    leg = [JOINT[f"left_{name}"] for name in ("hip", "knee", "ankle", "foot")]
    inside = rendered(people, landmark_model)
    moved = inside.joints_uv.clone()
    moved[:, leg, 1] += 1.5
    outside = dataclasses.replace(inside, joints_uv=moved)
    near, far = (stage_1(wrong, batch, landmark_model, None) for batch in (inside, outside))
    for name in ("body_pose", "joints_3d"):
        # The sum of the weights is smaller by four joints of 21 or 25.
        assert OUTSIDE * near[name] < far[name] < 1.4 * OUTSIDE * near[name], name
    assert far["vertices"] < 0.5 * near["vertices"]
    assert far["orientation"] == near["orientation"] == 0


def test_labelled_people_have_no_loss_at_the_truth(
    landmark_model: BodyModel, landmarks: Landmarks, real: LabelledBatch
) -> None:
    losses = labelled(real.parameters, real, landmark_model, landmarks)
    assert set(losses) == set(LABELLED_WEIGHTS)
    for name, loss in losses.items():
        assert loss < 1e-6, name
    assert total(losses, LABELLED_WEIGHTS) < 1e-5


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("global_orient", {"real_orientation", "real_joints_3d", "real_landmarks"}),
        ("body_pose", {"real_body_pose", "real_joints_3d", "real_landmarks"}),
        ("left_hand_pose", {"real_hands", "real_hand_landmarks"}),
        ("right_hand_pose", {"real_hands", "real_hand_landmarks"}),
        ("flame_jaw_pose", {"real_face"}),
        ("flame_expression", {"real_face"}),
        ("flame_eyelids", {"real_face"}),
        ("camera_t", {"real_landmarks", "real_hand_landmarks"}),
        ("betas", {"real_joints_3d", "real_landmarks"}),
    ],
)
def test_each_error_of_labelled_people_increases_its_losses(
    landmark_model: BodyModel,
    landmarks: Landmarks,
    real: LabelledBatch,
    field: str,
    names: set[str],
) -> None:
    predicted = erring(real.parameters, field)
    losses = labelled(predicted, real, landmark_model, landmarks)
    for name in names:
        assert losses[name] > 1e-3, name
    parameters = {"real_orientation", "real_body_pose", "real_hands", "real_face"}
    for name in parameters - names:
        assert losses[name] < 1e-6, name


def wrong_everywhere(people: EhmParameters, rows: slice) -> EhmParameters:
    for field in ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose",
                  "flame_jaw_pose", "flame_expression", "flame_eyelids", "camera_t"):  # fmt: skip
        people = erring(people, field, rows)
    return people


def with_confidence(batch: LabelledBatch, name: str, rows: slice, value: float) -> LabelledBatch:
    confidence: Tensor = getattr(batch, name).clone()
    confidence[rows] = value
    values: dict[str, Any] = {name: confidence}
    return dataclasses.replace(batch, **values)


@pytest.mark.parametrize(
    ("confidence", "names"),
    [
        ("landmark_confidence", {"real_landmarks", "real_hand_landmarks"}),
        ("body_confidence", {"real_joints_3d", "real_orientation", "real_body_pose"}),
        ("joint_confidence", {"real_joints_3d", "real_body_pose"}),
        ("hand_confidence", {"real_hands"}),
        ("face_confidence", {"real_face"}),
    ],
)
def test_what_is_not_known_has_no_effect(
    landmark_model: BodyModel,
    landmarks: Landmarks,
    real: LabelledBatch,
    confidence: str,
    names: set[str],
) -> None:
    """Wrong about one person, of whom something is not known; right about the others."""
    first = slice(0, 1)
    wrong = wrong_everywhere(real.parameters, first)
    known = labelled(wrong, real, landmark_model, landmarks)
    half, none = (
        labelled(wrong, with_confidence(real, confidence, first, value), landmark_model, landmarks)
        for value in (0.5, 0)
    )
    for name in LABELLED_WEIGHTS:
        if name in names:
            assert none[name] < 1e-6, name
            assert 0.4 * known[name] < half[name] < 0.8 * known[name], name
        else:
            assert torch.equal(none[name], known[name]), name


def test_nothing_is_learned_where_nothing_is_known(
    landmark_model: BodyModel, landmarks: Landmarks, real: LabelledBatch
) -> None:
    unknown = real
    for field in dataclasses.fields(real):
        if field.name.endswith("confidence"):
            unknown = with_confidence(unknown, field.name, slice(None), 0)
    predicted = wrong_everywhere(real.parameters, slice(None))
    pose = predicted.body_pose.clone().requires_grad_()
    predicted = dataclasses.replace(predicted, body_pose=pose)
    loss = total(labelled(predicted, unknown, landmark_model, landmarks), LABELLED_WEIGHTS)
    loss.backward()
    assert loss == 0
    assert pose.grad is not None
    assert not pose.grad.any()


def test_landmarks_that_the_body_does_not_have_are_ignored(
    landmark_model: BodyModel, landmarks: Landmarks, real: LabelledBatch
) -> None:
    assert not landmarks.available.all()
    wrong = erring(real.parameters, "camera_t")
    moved = real.landmarks_uv.clone()
    moved[:, ~torch.from_numpy(landmarks.available)] = 0.7
    other = dataclasses.replace(real, landmarks_uv=moved)
    before, after = (labelled(wrong, b, landmark_model, landmarks) for b in (real, other))
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    moved[:, LANDMARK["left_wrist"]] = 0.7
    after = labelled(
        wrong, dataclasses.replace(real, landmarks_uv=moved), landmark_model, landmarks
    )
    assert after["real_landmarks"] != before["real_landmarks"]
