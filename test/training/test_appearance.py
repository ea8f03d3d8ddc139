"""The appearance loss is least at the truth, and its gradients move a body towards it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fitted_camera import fitted
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, EhmParameters, map_tensors
from pear_ros.synthetic.actions import TRAINING
from training import data, framing
from training.appearance import AppearanceLoss, Pairs
from training.data import BACKGROUND, Batch, CropMaker
from training.labelled import mirrored

COUNT = 8  # pairs
LATER = slice(COUNT, None)  # the second frames
NAMES = ("appearance", "outline")
LEAST_RATIO = {"appearance": 1.1, "outline": 1.3}  # of the loss of wrong people to the truth's


@pytest.fixture(scope="module")
def loss(standin: BodyAssets) -> AppearanceLoss:
    return AppearanceLoss(standin)


def drawn(standin: BodyAssets, are_whole: bool, seed: int = 5) -> Batch:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("OUTFITS", "NEW_OUTFITS", "BACKGROUNDS"):
            monkeypatch.setattr(data, name, 12)  # each takes a tenth of a second to draw
        if are_whole:
            for name in ("HALF", "BUST", "SIDE", "TOP", "OCCLUDED"):
                monkeypatch.setattr(framing, name, 0.0)
            monkeypatch.setattr(framing, "WHOLE", 1.0)
            monkeypatch.setattr(data, "SECOND_PERSON", 0.0)
        return CropMaker(standin, TRAINING, seed=seed, in_pairs=True).batch(2 * COUNT)


def pairs_of(batch: Batch) -> Pairs:
    assert batch.known is not None
    is_person = (batch.parts != BACKGROUND).any(-1)
    return Pairs(batch.crops, batch.cameras, batch.known, batch.masks, is_person)


@pytest.fixture(scope="module")
def batch(standin: BodyAssets) -> Batch:
    return drawn(standin, are_whole=False)


@pytest.fixture(scope="module")
def pairs(batch: Batch) -> Pairs:
    return pairs_of(batch)


@pytest.fixture(scope="module")
def whole(standin: BodyAssets) -> Batch:
    """Whole people, whom nothing hides."""
    return drawn(standin, are_whole=True)


@pytest.fixture(scope="module")
def truth(batch: Batch, model: BodyModel) -> EhmParameters:
    return fitted(batch, model, through_true_camera=True)


@pytest.fixture(scope="module")
def true_whole(whole: Batch, model: BodyModel) -> EhmParameters:
    return fitted(whole, model, through_true_camera=True)


def rearranged(pairs: Pairs, rows: Callable[[Tensor], Tensor]) -> Pairs:
    """The pairs with `rows` of all arrays."""
    assert pairs.masks is not None
    return Pairs(
        rows(pairs.crops),
        map_tensors(pairs.cameras, rows),
        rows(pairs.known),
        rows(pairs.masks),
        rows(pairs.is_near),
    )


@torch.no_grad()
def values(loss: AppearanceLoss, people: EhmParameters, pairs: Pairs) -> dict[str, float]:
    return {name: float(value) for name, value in loss(people, pairs).items()}


def moved(people: EhmParameters, *by_m: float, rows: slice = slice(None)) -> EhmParameters:
    camera_t = people.camera_t.clone()
    camera_t[rows] += torch.tensor(by_m)
    return dataclasses.replace(people, camera_t=camera_t)


def bent(
    people: EhmParameters, joints: list[int], turn: Tensor, rows: slice = slice(None)
) -> EhmParameters:
    """Turns joints by axis angles (3,) or (rows, joints, 3), rad."""
    pose = people.body_pose.clone()
    before = [joint - 1 for joint in joints]
    pose[rows, before] = pose[rows, before] @ matrix_from_axis_angle(turn)
    return dataclasses.replace(people, body_pose=pose)


ARMS = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("shoulder", "elbow")]


def wrong_people(truth: EhmParameters) -> dict[str, EhmParameters]:
    """People who are wrong in both frames, or in the second."""
    others = {
        name: getattr(truth, name).roll(1, 0)
        for name in ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
    }
    return {
        "right": moved(truth, 0.12, 0, 0),
        "left": moved(truth, -0.12, 0, 0),
        "up": moved(truth, 0, 0.15, 0),
        "down": moved(truth, 0, -0.15, 0),
        "right later": moved(truth, 0.12, 0, 0, rows=LATER),
        "up later": moved(truth, 0, 0.15, 0, rows=LATER),
        "sides swapped": dataclasses.replace(mirrored(truth), camera_t=truth.camera_t),
        "others' poses": dataclasses.replace(truth, **others),
    }


def test_the_truth_has_the_least_loss(
    loss: AppearanceLoss, pairs: Pairs, truth: EhmParameters
) -> None:
    right = values(loss, truth, pairs)
    for name, people in wrong_people(truth).items():
        wrong = values(loss, people, pairs)
        for kind in NAMES:
            assert wrong[kind] > LEAST_RATIO[kind] * right[kind], (name, kind)


def test_wrong_arms_have_a_larger_loss(
    loss: AppearanceLoss, whole: Batch, true_whole: EhmParameters
) -> None:
    """Arms are a small part of a person, and often in front of the trunk."""
    right = values(loss, true_whole, pairs_of(whole))
    wrong = [
        values(loss, bent(true_whole, ARMS, torch.tensor((0, 0, angle)), LATER), pairs_of(whole))
        for angle in (0.8, -0.8)
    ]
    # Measured: 1.05 and 1.28; 1.09 and 1.27 of others.
    for kind, least in {"appearance": 1.02, "outline": 1.15}.items():
        assert np.mean([w[kind] for w in wrong]) > least * right[kind], kind


def test_frames_of_other_people_have_a_larger_loss(
    loss: AppearanceLoss, pairs: Pairs, truth: EhmParameters
) -> None:
    """The colours are those of the other frame, so they tell whether it shows the same person."""
    order = torch.cat((torch.arange(COUNT), COUNT + torch.arange(COUNT).roll(1)))
    mixed_pairs = rearranged(pairs, lambda x: x[order])
    mixed = map_tensors(truth, lambda x: x[order])
    right, wrong = values(loss, truth, pairs), values(loss, mixed, mixed_pairs)
    assert wrong["appearance"] > 2 * right["appearance"]
    assert wrong["outline"] == pytest.approx(right["outline"], rel=1e-4)


def test_each_frame_is_the_target_of_the_other(
    loss: AppearanceLoss, pairs: Pairs, truth: EhmParameters
) -> None:
    def swapped(value: Tensor) -> Tensor:
        return value.roll(COUNT, 0)

    other = rearranged(pairs, swapped)
    before, after = values(loss, truth, pairs), values(loss, map_tensors(truth, swapped), other)
    assert after == pytest.approx(before, rel=1e-4)


def test_without_masks_there_is_no_outline(
    loss: AppearanceLoss, pairs: Pairs, truth: EhmParameters
) -> None:
    unmasked = dataclasses.replace(pairs, masks=None)
    right = values(loss, truth, unmasked)
    assert set(right) == {"appearance"}
    for name, people in wrong_people(truth).items():
        assert values(loss, people, unmasked)["appearance"] > 1.1 * right["appearance"], name


# --- What has no effect ---------------------------------------------------------------------------


@pytest.mark.parametrize("has_masks", [True, False], ids=["masks", "no masks"])
def test_unknown_pixels_have_no_effect(
    loss: AppearanceLoss, pairs: Pairs, truth: EhmParameters, has_masks: bool
) -> None:
    """Neither their colour nor whether they show the person."""
    assert pairs.masks is not None
    assert (~pairs.known).float().mean() > 0.05
    noise = torch.randint_like(pairs.crops, 256)
    crops = torch.where(pairs.known[..., None], pairs.crops, noise)
    masks = torch.where(pairs.known, pairs.masks, ~pairs.masks)
    other = dataclasses.replace(pairs, crops=crops, masks=masks if has_masks else None)
    pairs = pairs if has_masks else dataclasses.replace(pairs, masks=None)
    assert values(loss, truth, other) == pytest.approx(values(loss, truth, pairs), abs=1e-6)
    known = dataclasses.replace(other, known=torch.ones_like(pairs.known))
    assert values(loss, truth, known)["appearance"] > 1.1 * values(loss, truth, pairs)["appearance"]


def test_points_that_the_source_does_not_show_have_no_effect(
    loss: AppearanceLoss, whole: Batch, true_whole: EhmParameters
) -> None:
    """The first frames show the upper half only, so the second are compared there only."""
    truth = true_whole
    pairs = dataclasses.replace(pairs_of(whole), masks=None)
    hips = whole.joints_uv[:, [JOINT["left_hip"], JOINT["right_hip"]], 1].amax(1)  # half crops
    row, below = torch.arange(256), (128 * (1 + hips)).long() + 20
    shows_legs = row[:, None] >= below[:, None, None]  # (2 N, 256, 1)
    known = pairs.known.clone()
    known[:COUNT] &= ~shows_legs[:COUNT]
    upper = dataclasses.replace(pairs, known=known)
    noise = torch.randint_like(pairs.crops, 256)
    is_leg = shows_legs[..., None] & (torch.arange(2 * COUNT) >= COUNT)[:, None, None, None]

    def change(pairs: Pairs) -> float:
        """Of the loss, if the legs of the second frames have other colours."""
        other = dataclasses.replace(pairs, crops=torch.where(is_leg, noise, pairs.crops))
        return values(loss, truth, other)["appearance"] - values(loss, truth, pairs)["appearance"]

    assert abs(change(upper)) < 0.15 * change(pairs)  # measured: 0.11, by the blur at the hips
    nothing = pairs.known.clone()
    nothing[:COUNT] = False
    unseen = dataclasses.replace(pairs, known=nothing)
    p = map_tensors(truth, lambda x: x.clone().requires_grad_())
    losses = loss(p, unseen)
    assert losses["appearance"] == 0  # no source shows a colour, no target is known
    losses["appearance"].backward()
    assert p.camera_t.grad is not None
    assert not p.camera_t.grad.any()


def test_the_background_of_the_source_has_no_effect(
    loss: AppearanceLoss, pairs: Pairs, truth: EhmParameters
) -> None:
    """If masks are known: a body that is beside the person would carry it to the other frame."""
    assert pairs.masks is not None
    masks = pairs.masks.clone()
    masks[:COUNT] = False  # the first frames give no colours, so the second are not compared
    pairs = dataclasses.replace(pairs, masks=masks)
    noise = torch.where(masks[..., None], pairs.crops, torch.randint_like(pairs.crops, 256))
    other = dataclasses.replace(pairs, crops=torch.cat((pairs.crops[:COUNT], noise[LATER])))
    people = moved(truth, 0.05, 0, 0)
    before, after = (values(loss, people, p)["appearance"] for p in (pairs, other))
    assert after == pytest.approx(before, abs=1e-6)
    unmasked = (dataclasses.replace(p, masks=None) for p in (pairs, other))
    before, after = (values(loss, people, p)["appearance"] for p in unmasked)
    assert abs(after - before) > 0.02 * before


# --- Gradients ------------------------------------------------------------------------------------


@torch.no_grad()
def errors_px(batch: Batch, model: BodyModel, people: EhmParameters) -> Tensor:
    """(2 N, 55) distances of the joints from their places in the crops."""
    joints = model(people).joints
    uv = batch.cameras.project(batch.cameras.placed(joints, joints, people.camera_t))
    return (uv - 128 * (batch.joints_uv + 1)).norm(dim=-1)


def corrected(
    loss: AppearanceLoss,
    pairs: Pairs,
    start: EhmParameters,
    kind: str,
    joints: list[int],
    step: float,
    rows: slice = LATER,
) -> EhmParameters:
    """A few steps down the slope, which turn `joints` or, without them, move bodies sideways.

    Steps have the same length, m or rad, for everybody, whatever the contrast of their clothes.
    """
    count = len(start.camera_t[rows])
    change = torch.zeros(count, max(len(joints), 1), 3)

    def now(change: Tensor) -> EhmParameters:
        if joints:
            return bent(start, joints, change, rows)
        camera_t = start.camera_t.clone()
        camera_t[rows] = camera_t[rows] + change[:, 0] * torch.tensor((1.0, 1, 0))
        return dataclasses.replace(start, camera_t=camera_t)

    speed = torch.zeros_like(change)
    for _ in range(8):
        change.requires_grad_()
        (slope,) = torch.autograd.grad(loss(now(change), pairs)[kind], change)
        length = slope.flatten(1).norm(dim=1).clamp(min=1e-9)[:, None, None]
        speed = 0.5 * speed - step * slope / length
        change = change.detach() + speed
    return now(change)


SHIFTS_M = ((0.05, 0, 0), (-0.05, 0, 0), (0, 0.05, 0), (0, -0.05, 0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMES)
def test_gradients_move_a_body_to_the_person(
    loss: AppearanceLoss, whole: Batch, model: BodyModel, true_whole: EhmParameters, kind: str
) -> None:
    """In the second frame; the first is right."""
    pairs = pairs_of(whole)
    for by_m in SHIFTS_M:
        start = moved(true_whole, *by_m, rows=LATER)
        end = corrected(loss, pairs, start, kind, [], step=0.004)
        before, after = (errors_px(whole, model, p)[LATER].mean(1) for p in (start, end))
        assert (after < 0.6 * before).all(), by_m
        assert after.mean() < 0.3 * before.mean(), by_m


@pytest.mark.slow
@pytest.mark.parametrize("has_masks", [True, False], ids=["masks", "no masks"])
def test_colours_do_not_keep_bodies_beside_the_person(
    loss: AppearanceLoss,
    whole: Batch,
    model: BodyModel,
    true_whole: EhmParameters,
    has_masks: bool,
) -> None:
    """If both frames are wrong alike, the source gives the background's colours."""
    pairs = pairs_of(whole)
    pairs = pairs if has_masks else dataclasses.replace(pairs, masks=None)
    for by_m in SHIFTS_M:
        start = moved(true_whole, *by_m)
        end = corrected(loss, pairs, start, "appearance", [], step=0.002, rows=slice(None))
        before, after = (errors_px(whole, model, p).mean() for p in (start, end))
        # Measured: 0.6 to 0.76; 1.0 to 1.4 if the cover has no gradient.
        assert after < 0.85 * before, by_m


@pytest.mark.slow
@pytest.mark.parametrize("has_masks", [True, False], ids=["masks", "no masks"])
def test_a_body_that_is_too_large_or_too_small_is_corrected(
    loss: AppearanceLoss, whole: Batch, true_whole: EhmParameters, has_masks: bool
) -> None:
    pairs = pairs_of(whole)
    pairs = pairs if has_masks else dataclasses.replace(pairs, masks=None)

    def slope(farther: float) -> float:
        """Of the loss by the logarithm of the distance, with second frames that are farther."""
        camera_t = true_whole.camera_t.clone()
        camera_t[LATER, 2] *= 1 + farther
        log = torch.zeros(COUNT, requires_grad=True)
        moved_t = torch.cat((camera_t[LATER, :2], camera_t[LATER, 2:] * log.exp()[:, None]), 1)
        people = dataclasses.replace(true_whole, camera_t=torch.cat((camera_t[:COUNT], moved_t)))
        return float(torch.autograd.grad(loss(people, pairs)["appearance"], log)[0].sum())

    assert slope(-0.06) < -0.1
    assert slope(0.06) > 0  # the blurred silhouette makes bodies too small, by 5 % here


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMES)
def test_gradients_turn_arms_to_the_person(
    loss: AppearanceLoss, standin: BodyAssets, model: BodyModel, kind: str
) -> None:
    """Three draws of eight people: of one, the ratios are 0.74 to 0.93, and 0.62 to 0.74."""
    elbows = [JOINT["left_elbow"], JOINT["right_elbow"]]
    wrists = [JOINT["left_wrist"], JOINT["right_wrist"]]
    before = after = 0.0
    for seed in (4, 5, 6):
        whole = drawn(standin, are_whole=True, seed=seed)
        true_whole = fitted(whole, model, through_true_camera=True)
        for angle in (0.4, -0.4):
            start = bent(true_whole, elbows, torch.tensor((0, 0, angle)), LATER)
            end = corrected(loss, pairs_of(whole), start, kind, elbows, step=0.02)
            before += float(errors_px(whole, model, start)[LATER, wrists].mean())
            after += float(errors_px(whole, model, end)[LATER, wrists].mean())
    # Colours do not tell an arm in front of a trunk of the same colour.
    assert after < (0.9 if kind == "appearance" else 0.75) * before
