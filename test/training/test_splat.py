"""Splats look like the mesh that they represent."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from crop_people import (
    COUNT,
    VIEWS,
    crop_cameras,
    overlap,
)
from samples import project_to_crop

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.people import EhmParameters
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

# --- Points and parts ----------------------------------------------------------------------------


def test_points_represent_the_whole_surface(standin: BodyAssets) -> None:
    points = spread_points(standin, 1000)
    a, b, c = np.moveaxis(standin.body_template[standin.body_faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    np.testing.assert_allclose(points.area_m2.sum(), area, rtol=1e-4)
    assert 1000 <= len(points.ids) <= 1000 + len(PARTS)
    assert len(np.unique(points.ids)) == len(points.ids) == sum(points.counts)
    assert min(points.counts) > 0


def test_parts_are_where_their_names_say(standin: BodyAssets) -> None:
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


# --- Drawing -------------------------------------------------------------------------------------


def test_points_are_projected_as_by_the_crop_camera(
    model: BodyModel, people: EhmParameters
) -> None:
    joints = model(people).joints
    cameras = crop_cameras(COUNT)
    uv = project_points(cameras.placed(joints, joints, people.camera_t), cameras).uv.numpy()
    expected = project_to_crop(joints.numpy(), people.camera_t.numpy(), 256)
    np.testing.assert_allclose(
        uv - 0.5, expected, atol=0.01
    )  # splats count from the pixel's corner


def test_points_behind_others_or_facing_away_are_hidden() -> None:
    uv = torch.tensor([[[100.0, 100], [101, 100], [101, 101], [140, 100], [100, 180]]])
    depth = torch.tensor([[10, 10.5, 10.01, 10.5, 10]])
    before = torch.ones(1, 5, dtype=torch.bool)
    facing = torch.tensor([[1.0, 1, 1, 1, -1]])
    projected = Projected(uv, depth, torch.full((1, 5), 300.0), before)
    found = not_hidden(projected, facing, cell_px=4, slack_m=0.03)
    assert found.tolist() == [[True, False, True, True, False]]
    # A point outside the crop hides nothing in the crop's last cell.
    beyond = Projected(
        torch.tensor([[[400.0, 400], [255, 255]]]),
        torch.tensor([[9.0, 10]]),
        torch.full((1, 2), 300.0),
        before[:, :2],
    )
    assert not_hidden(beyond, facing[:, :2], cell_px=4, slack_m=0.03).all()
    behind_camera = dataclasses.replace(projected, is_in_front=~before)
    assert not not_hidden(behind_camera, facing, cell_px=4, slack_m=0.03).any()


def test_a_splat_has_the_given_mass_and_position() -> None:
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
