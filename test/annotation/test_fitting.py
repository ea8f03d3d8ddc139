"""The fit finds people again whose keypoints are known: clean, noisy, incomplete and wrong ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from annotated_people import KnownPeople, known_people
from scipy.spatial.transform import Rotation

from pear_ros.annotation.fitting import Fit, Fitter
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.landmarks import BODY, FACE, LANDMARK, LEFT_HAND, MIRRORED
from pear_ros.evaluation.metrics import hands_pa, pa_mpjpe
from pear_ros.people import EhmParameters, FloatArray, neutral_parameters


def errors_px(fit: Fit, people: KnownPeople) -> FloatArray:
    """(N, 17) distances of the body's projected points from the true ones."""
    difference = fit.points_px.numpy()[:, BODY] - people.keypoints[:, BODY, :2]
    return np.linalg.norm(difference, axis=-1)


def estimated(people: KnownPeople) -> EhmParameters:
    """What a network would say: every joint is off by 15 degrees and more, shapes are unknown."""
    random = np.random.default_rng(1)

    def turned(matrices: torch.Tensor) -> torch.Tensor:
        error = Rotation.from_rotvec(random.normal(0, 0.2, (matrices[..., 0, 0].numel(), 3)))
        return matrices @ torch.from_numpy(error.as_matrix()).float().view_as(matrices)

    p = people.parameters
    neutral = neutral_parameters(len(people.boxes))
    return dataclasses.replace(
        neutral, global_orient=turned(p.global_orient), body_pose=turned(p.body_pose)
    )


def noisy(people: KnownPeople) -> FloatArray:
    """Noise of 1 % of the box, a point far off, and an arm and a hand that are not seen."""
    random = np.random.default_rng(0)
    keypoints = people.keypoints.copy()
    size = (people.boxes[:, 2:] - people.boxes[:, :2]).max(1)[:, None, None]
    keypoints[..., :2] += 0.01 * size * random.standard_normal(keypoints[..., :2].shape)
    keypoints[:, LANDMARK["right_knee"], :2] += 0.5 * size[:, 0]
    for unseen in ([LANDMARK["left_elbow"]], [LANDMARK["left_wrist"]], LEFT_HAND):
        keypoints[:, unseen] = 0
    return keypoints


@pytest.fixture(scope="module")
def clean(fitter: Fitter, people: KnownPeople) -> Fit:
    return fitter(estimated(people), people.observed())


def test_keypoints_are_explained(clean: Fit, people: KnownPeople) -> None:
    assert np.median(errors_px(clean, people)) < 1.5
    assert np.quantile(errors_px(clean, people), 0.9) < 4


def test_bodies_are_found_again(fitter: Fitter, clean: Fit, people: KnownPeople) -> None:
    """One image does not show depth, so some of the start's error stays."""
    start, _ = fitter.posed(estimated(people))
    before = pa_mpjpe(start.joints.numpy(), people.joints)
    after = pa_mpjpe(clean.joints.numpy(), people.joints)
    assert np.median(before) > 0.1
    assert np.median(after) < 0.04
    assert after.max() < 0.08
    assert (after < 0.75 * before).all()
    assert np.median(hands_pa(clean.joints.numpy(), people.joints)) < 0.004


def test_noise_missing_points_and_an_outlier(fitter: Fitter, people: KnownPeople) -> None:
    fit = fitter(estimated(people), people.observed(noisy(people)))
    errors = errors_px(fit, people)
    assert np.median(errors) < 3
    # The outlier at the knee is half of the box away, the fit stays with the true knee.
    assert errors[:, LANDMARK["right_knee"]].max() < 15
    assert np.median(pa_mpjpe(fit.joints.numpy(), people.joints)) < 0.05


def test_without_keypoints_nothing_breaks(fitter: Fitter, people: KnownPeople) -> None:
    """The pose is what the priors say, at the distance of a person who fills the box."""
    fit = fitter(people.parameters, people.observed(np.zeros_like(people.keypoints)))
    for tensor in (fit.joints, fit.translation, fit.points_px, fit.beyond_limits):
        assert tensor.isfinite().all()
    assert ((fit.translation[:, 2] > 0.5) & (fit.translation[:, 2] < 20)).all()
    assert (fit.beyond_limits < np.radians(10)).all()


def test_limbs_that_the_image_cuts_stay_outside(fitter: Fitter, people: KnownPeople) -> None:
    """Images end at the chest, so arms and legs are guessed; the experts would have seen them."""
    shoulders = people.keypoints[:, LANDMARK["left_shoulder"] :][:, :2, 1].max(1)
    hips = people.keypoints[:, LANDMARK["left_hip"] :][:, :2, 1].min(1)
    end = torch.from_numpy((shoulders + hips) / 2)  # (N,) px
    keypoints = people.keypoints.copy()
    keypoints[keypoints[..., 1] > end.numpy()[:, None]] = 0
    hands_and_arms = [*range(LANDMARK["left_elbow"], LANDMARK["left_hip"]), *range(91, 133)]
    keypoints[:, hands_and_arms] = 0
    observed = people.observed(keypoints)
    observed.boxes_xyxy[:, 3] = torch.minimum(observed.boxes_xyxy[:, 3], end)
    observed.image_size[:, 1] = end
    fit = fitter(estimated(people), observed)
    limbs = fit.points_px[:, LANDMARK["left_elbow"] : BODY.stop, 1]  # (N, 10) px
    depth = (end[:, None] - limbs) / observed.size_px[:, None]  # inside, over the box's size
    assert (depth[:, 2:] < 0.06).all()  # elbows are near the border either way


@pytest.mark.slow
def test_a_back_view_that_was_taken_for_a_front(fitter: Fitter, standin: BodyAssets) -> None:
    """The start is turned by half a turn, and nobody's face is found."""
    people = known_people(standin, 6, seed=5, headings_deg=30)
    about = torch.diag(torch.tensor((-1.0, 1.0, -1.0)))
    start = estimated(people)
    start = dataclasses.replace(start, global_orient=start.global_orient @ about)
    keypoints = people.keypoints.copy()
    keypoints[:, FACE] = 0
    fit = fitter(start, people.observed(keypoints))
    assert np.median(pa_mpjpe(fit.joints.numpy(), people.joints)) < 0.035
    turned = fit.parameters.global_orient[:, 0] @ people.parameters.global_orient[:, 0].mT
    cosine = (turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    assert (cosine > 0.9).all()


@pytest.mark.slow
def test_swapped_sides_in_a_video(fitter: Fitter, standin: BodyAssets) -> None:
    """Left and right are swapped in 3 of 12 images: these suffer, their neighbours do not."""
    people = known_people(standin, 12, seed=8, moving=True)
    swapped = people.keypoints.copy()
    swapped[4:7, BODY] = people.keypoints[4:7][:, MIRRORED[BODY]]
    swapped[4:7, LEFT_HAND.start :] = 0
    fit = fitter(estimated(people), people.observed(swapped, one_track=True))
    pa_m = pa_mpjpe(fit.joints.numpy(), people.joints)
    assert pa_m[[0, 1, 2, 8, 9, 10, 11]].max() < 0.03
    assert pa_m[[4, 5, 6]].max() < 0.1
    assert fit.parameters.betas.std(0).max() == 0  # the shape is the same in all images


def test_nobody(fitter: Fitter, people: KnownPeople) -> None:
    nobody = people.observed().rows(torch.zeros(0, dtype=torch.long))
    fit = fitter(neutral_parameters(0), nobody)
    assert fit.points_px.shape == (0, 133, 2)
    assert fit.joints.shape == (0, 55, 3)


def test_some_of_the_people_have_tracks_without_gaps(people: KnownPeople) -> None:
    some = people.observed().rows(torch.tensor([4, 1, 5]))
    assert some.track.tolist() == [1, 0, 2]
    assert torch.equal(some.keypoints[1], people.observed().keypoints[1])
