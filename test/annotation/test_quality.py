"""The gate lets good fits pass and names what is wrong with the others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from annotated_people import KnownPeople

from pear_ros.annotation.evidence import Observed
from pear_ros.annotation.fitting import Fit, Fitter
from pear_ros.annotation.quality import REASONS, judged
from pear_ros.body.landmarks import BODY, FACE, LANDMARK, LEFT_HAND, RIGHT_HAND
from pear_ros.people import JOINT


@pytest.fixture
def fit(people: KnownPeople) -> Fit:
    """A fit without any error."""
    return Fit(
        parameters=people.parameters,
        translation=torch.from_numpy(people.translation),
        joints=torch.from_numpy(people.joints),
        points_px=torch.from_numpy(people.keypoints[..., :2]).clone(),
        beyond_limits=torch.zeros(len(people.boxes), 51),
    )


@pytest.fixture
def observed(people: KnownPeople) -> Observed:
    return people.observed(people.keypoints.copy())


def test_exact_fits_are_accepted(fitter: Fitter, observed: Observed, fit: Fit) -> None:
    verdicts = judged(observed, fit, fitter.landmarks.available)
    assert verdicts.is_accepted.all()
    for confidence in (verdicts.body, verdicts.left_hand, verdicts.right_hand, verdicts.face):
        np.testing.assert_allclose(confidence, 0.95, atol=1e-5)
    np.testing.assert_allclose(verdicts.joints[:, JOINT["left_elbow"]], 0.95, atol=1e-5)


def shifted(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    """The fitted bodies are 5 % of the box beside the keypoints."""
    moved = fit.points_px + 0.05 * observed.size_px[:, None, None] * torch.tensor((1.0, 0.0))
    return dataclasses.replace(fit, points_px=moved), observed


def one_arm_off(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    points = fit.points_px.clone()
    arm = [LANDMARK[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")]
    points[:, arm] += 0.2 * observed.size_px[:, None, None]
    return dataclasses.replace(fit, points_px=points), observed


def wrong_person(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    """The detector's box is that of somebody beside."""
    boxes = observed.boxes_xyxy.clone()
    boxes[:, [0, 2]] += (boxes[:, 2:3] - boxes[:, 0:1]) + 0.2 * observed.size_px[:, None]
    return fit, dataclasses.replace(observed, boxes_xyxy=boxes)


def small_part(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    """All keypoints are crowded in the middle of the box."""
    middle = observed.boxes_xyxy.unflatten(1, (2, 2)).mean(1)[:, None]
    keypoints = observed.keypoints.clone()
    keypoints[..., :2] = middle + 0.2 * (keypoints[..., :2] - middle)
    points = middle + 0.2 * (fit.points_px - middle)
    return (
        dataclasses.replace(fit, points_px=points),
        dataclasses.replace(observed, keypoints=keypoints),
    )


def few_points(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    keypoints = observed.keypoints.clone()
    keypoints[:, BODY, 2] *= torch.arange(17) > 11  # a hip, knees and ankles
    return fit, dataclasses.replace(observed, keypoints=keypoints)


def no_shoulder(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    keypoints = observed.keypoints.clone()
    keypoints[:, [LANDMARK["left_shoulder"], LANDMARK["right_shoulder"]], 2] = 0.3
    return fit, dataclasses.replace(observed, keypoints=keypoints)


def bent(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    beyond = fit.beyond_limits.clone()
    beyond[:, 17] = np.radians(20)
    return dataclasses.replace(fit, beyond_limits=beyond), observed


def not_finite(fit: Fit, observed: Observed) -> tuple[Fit, Observed]:
    return dataclasses.replace(fit, points_px=fit.points_px * torch.nan), observed


CASES = {
    "shifted": (shifted, "large_error"),
    "one arm off": (one_arm_off, "large_error"),
    "wrong person": (wrong_person, "another_person"),
    "small part": (small_part, "another_person"),
    "few points": (few_points, "few_points"),
    "no shoulder": (no_shoulder, "few_points"),
    "bent": (bent, "impossible_pose"),
    "not finite": (not_finite, "not_finite"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_ones_are_rejected(case: str, fitter: Fitter, observed: Observed, fit: Fit) -> None:
    change, reason = CASES[case]
    bad_fit, bad_observed = change(fit, observed)
    verdicts = judged(bad_observed, bad_fit, fitter.landmarks.available)
    assert set(verdicts.rejection) == {reason}
    assert not verdicts.is_accepted.any()
    confidences = (verdicts.body, verdicts.left_hand, verdicts.right_hand, verdicts.face)
    assert not np.any(confidences)
    assert not verdicts.joints.any()


def test_every_reason_has_a_case() -> None:
    assert {reason for _, reason in CASES.values()} == set(REASONS)


@pytest.mark.parametrize(
    ("part", "own", "name"),
    [
        (LEFT_HAND, "left_wrist", "left_hand"),
        (RIGHT_HAND, "right_wrist", "right_hand"),
        (FACE, "nose", "face"),
    ],
)
@pytest.mark.parametrize("fault", ["experts disagree", "off", "unsure"])
def test_parts_are_judged_separately(
    part: slice, own: str, name: str, fault: str, fitter: Fitter, observed: Observed, fit: Fit
) -> None:
    keypoints, points = observed.keypoints, fit.points_px
    extent = np.ptp(keypoints[:, part, :2].numpy(), axis=1).max(1)
    shift = torch.from_numpy(0.5 * extent)[:, None, None] * torch.tensor((1.0, 0.0))
    if fault == "experts disagree":
        keypoints[:, part, :2] += shift
        points[:, part] += shift
    elif fault == "off":
        points[:, part] += shift
    else:
        keypoints[:, part, 2] = 0.4
    verdicts = judged(observed, fit, fitter.landmarks.available)
    confidences = {part: getattr(verdicts, part) for part in ("left_hand", "right_hand", "face")}
    assert verdicts.is_accepted.all()
    assert not confidences.pop(name).any()
    assert all((confidence > 0.9).all() for confidence in confidences.values())


def test_nobody(fitter: Fitter, observed: Observed, fit: Fit) -> None:
    nobody = torch.zeros(0, dtype=torch.long)
    empty = Fit(*(
        value[:0] if isinstance(value, torch.Tensor) else value
        for value in (fit.parameters, fit.translation, fit.joints, fit.points_px, fit.beyond_limits)
    ))  # fmt: skip
    verdicts = judged(observed.rows(nobody), empty, fitter.landmarks.available)
    assert verdicts.rejection.shape == verdicts.body.shape == (0,)
    assert verdicts.joints.shape == (0, 55)
