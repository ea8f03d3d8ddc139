"""Legs are bent so that feet come to other places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import random_parameters

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.legs import FEET, HIPS, with_moved_feet
from pear_ros.people import JOINT


@pytest.fixture(scope="module")
def body(standin: BodyAssets) -> BodyModel:
    return BodyModel(standin)


@pytest.mark.parametrize("seed", range(5))
def test_feet_get_there(body: BodyModel, seed: int) -> None:
    """For offsets across the legs; everything above the hips stays, lengths stay."""
    people = 4
    parameters = random_parameters(people)
    before = body(parameters)
    random = torch.Generator().manual_seed(seed)
    offsets = 0.03 * torch.randn(people, 2, 3, generator=random)
    legs = before.joints[:, FEET] - before.joints[:, HIPS]
    along = legs / legs.norm(dim=-1, keepdim=True)
    offsets -= (offsets * along).sum(-1, keepdim=True) * along
    after = body(with_moved_feet(parameters, before, offsets))
    moved = after.joints - before.joints
    # On an arc: the way along the leg is of second order.
    np.testing.assert_allclose(moved[:, FEET], offsets, atol=0.006)
    below = {
        JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("knee", "ankle", "foot")
    }
    others = [j for j in range(55) if j not in below]
    np.testing.assert_allclose(moved[:, others], 0, atol=1e-5)
    lengths = [(b.joints[:, FEET] - b.joints[:, HIPS]).norm(dim=-1) for b in (before, after)]
    np.testing.assert_allclose(*lengths, atol=1e-5)


def test_without_offsets_nothing_changes(body: BodyModel) -> None:
    parameters = random_parameters(3)
    same = with_moved_feet(parameters, body(parameters), torch.zeros(3, 2, 3))
    torch.testing.assert_close(same.body_pose, parameters.body_pose, rtol=0, atol=1e-6)
    nobody = random_parameters(0)
    assert len(with_moved_feet(nobody, body(nobody), torch.zeros(0, 2, 3)).body_pose) == 0
