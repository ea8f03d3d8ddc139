"""Clothes and hair of training crops: they stand off the body, and cover what they should."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, Camera, FloatArray
from pear_ros.rendering.renderer import render, vertex_normals
from pear_ros.synthetic.controls import STANDING, vector
from pear_ros.synthetic.scene import FACING_CAMERA, Cast, parameters_of
from training.outfits import PAINTED, SKIRT, Outfit, Outfits, Skirt

COUNT = 120
CAMERA = Camera(500, 500, 160, 160)
SITTING = {f"{side}_{name}": 90.0 for side in ("left", "right") for name in ("hip_flex", "knee")}
APART = {"left_hip_side": 20.0, "right_hip_side": 20.0}


@pytest.fixture(scope="module")
def wardrobe(standin: BodyAssets) -> Outfits:
    return Outfits(standin)


@pytest.fixture(scope="module")
def cast(standin: BodyAssets) -> Cast:
    return Cast(standin)


@pytest.fixture(scope="module")
def outfits(wardrobe: Outfits) -> list[Outfit]:
    random = np.random.default_rng(5)
    return [wardrobe.draw(random, []) for _ in range(COUNT)]


def posed(cast: Cast, yaw_deg: float = 0, **controls: float) -> tuple[FloatArray, FloatArray]:
    """Vertices (V, 3) m and joints (55, 3) m of a person in front of CAMERA."""
    facing = Rotation.from_euler("y", yaw_deg, degrees=True) * FACING_CAMERA
    parameters = parameters_of(
        facing.as_matrix()[None],
        vector({**STANDING, **controls})[None],
        np.zeros((1, 50)),
        cast.shapes(1, np.random.default_rng(0)),
    )
    with torch.no_grad():
        body = cast.body_model(parameters, mesh=True)
    assert body.vertices is not None
    joints, vertices = body.joints[0].numpy(), body.vertices[0].numpy()
    place = np.array((0, 0, 3.2), np.float32) - joints[0]
    return vertices + place, joints + place


def in_skirt(wardrobe: Outfits, hem: float) -> Outfit:
    """A skirt whose hem is a share of the way from the knees (0) to the hips (1)."""
    knee, hip = wardrobe._at["left_knee"][1], wardrobe._at["left_hip"][1]
    count = len(wardrobe._rest)
    colors, offsets = np.full((count, 3), 0.8, np.float32), np.zeros(count, np.float32)
    return Outfit(colors, offsets, Skirt(knee + hem * (hip - knee), flare_m=0.05))


def shown(cast: Cast, vertices: FloatArray) -> NDArray[np.bool_]:
    """(320, 320) pixels that show the person."""
    black, white = np.zeros((320, 320, 3), np.uint8), np.ones((1, 1, 3), np.float32)
    return np.asarray(render(black, vertices[None], cast.faces, white, CAMERA).people == 0)


def test_clothes_stand_off_the_body_along_its_normals(
    cast: Cast, outfits: list[Outfit], wardrobe: Outfits
) -> None:
    vertices, joints = posed(cast)
    before = vertices.copy(), joints.copy()
    normals = vertex_normals(vertices[None], cast.faces)[0]
    farthest_m = []
    for outfit in outfits:
        if outfit.skirt is not None:
            continue
        moved = wardrobe.put_on(outfit, vertices, joints) - vertices
        outward = (moved * normals).sum(1)
        assert outward.min() >= -1e-6
        np.testing.assert_allclose(moved, outward[:, None] * normals, atol=1e-6)
        farthest_m.append(outward.max())
    assert 0.015 < np.median(farthest_m) < 0.08
    assert max(farthest_m) < 0.25
    np.testing.assert_array_equal(vertices, before[0])
    np.testing.assert_array_equal(joints, before[1])


def test_some_clothes_are_only_painted(
    cast: Cast, outfits: list[Outfit], wardrobe: Outfits
) -> None:
    vertices, joints = posed(cast)
    painted = [outfit for outfit in outfits if not outfit.offsets.any()]
    assert 0.4 * PAINTED < len(painted) / COUNT < 2 * PAINTED
    for outfit in painted:
        np.testing.assert_array_equal(wardrobe.put_on(outfit, vertices, joints), vertices)
    skirts = sum(outfit.skirt is not None for outfit in outfits)
    assert 0.3 * SKIRT < skirts / COUNT < 2 * SKIRT


def test_hands_and_eyes_stay_bare(outfits: list[Outfit], wardrobe: Outfits) -> None:
    """What a network should recognise keeps its shape."""
    offsets = np.stack([outfit.offsets for outfit in outfits])  # (COUNT, V)
    hands = wardrobe._moved_by(*(f"{side}_index3" for side in ("left", "right")))
    assert (offsets[:, hands] == 0).all()
    assert (offsets[:, wardrobe._is_eye] == 0).all()


def test_colors_are_colors(outfits: list[Outfit]) -> None:
    colors = np.stack([outfit.colors for outfit in outfits])  # (COUNT, V, 3)
    assert colors.dtype == np.float32
    assert colors.min() >= 0
    assert colors.max() <= 1
    assert np.ptp(colors, 1).max(1).min() > 0.2  # nobody is of one colour
    assert colors.mean((1, 2)).std() > 0.05  # people differ


def test_the_same_seed_gives_the_same_outfits(wardrobe: Outfits, outfits: list[Outfit]) -> None:
    random = np.random.default_rng(5)
    for outfit in outfits[:20]:
        again = wardrobe.draw(random, [])
        np.testing.assert_array_equal(again.colors, outfit.colors)
        np.testing.assert_array_equal(again.offsets, outfit.offsets)
        assert again.skirt == outfit.skirt
    assert not np.array_equal(outfits[0].colors, outfits[1].colors)


def test_patterns_are_taken_from_pictures(wardrobe: Outfits) -> None:
    """No garment is without red, but for those that show this picture."""
    picture = np.random.default_rng(0).integers(40, 256, (50, 70, 3), np.uint8)
    picture[..., 0] = 0

    def patterned(pictures: list[NDArray[np.uint8]]) -> list[FloatArray]:
        """Colours of vertices that have no red, of people with many of these."""
        random = np.random.default_rng(6)
        people = [wardrobe.draw(random, pictures).colors for _ in range(60)]
        found = [colors[(colors[:, 0] == 0) & (colors[:, 1] > 0)] for colors in people]
        return [colors for colors in found if len(colors) > 100]

    garments = patterned([picture])
    assert 10 < len(garments) < 50
    assert np.mean([len(np.unique(colors.round(2), axis=0)) for colors in garments]) > 100
    assert not patterned([])


@pytest.mark.parametrize("controls", [{}, APART], ids=["standing", "legs apart"])
@pytest.mark.parametrize("yaw_deg", [0, 180], ids=["front", "back"])
def test_a_skirt_hides_the_gap_between_the_legs(
    cast: Cast, wardrobe: Outfits, controls: dict[str, float], yaw_deg: float
) -> None:
    vertices, joints = posed(cast, yaw_deg, **controls)
    worn = wardrobe.put_on(in_skirt(wardrobe, -0.2), vertices, joints)
    legs = [
        project(joints[[JOINT[f"{side}_{name}"] for name in ("hip", "knee")]], CAMERA)
        for side in ("left", "right")
    ]
    share = np.array([[0.5], [0.95]])  # of the way to the knees
    corners = [leg[:1] + share * (leg[1:] - leg[:1]) for leg in legs]  # (2, 2) px each
    between = np.zeros((320, 320), np.uint8)
    outline = np.concatenate((corners[0], corners[1][::-1])).round().astype(np.int32)
    cv2.fillConvexPoly(between, outline, 1)

    def filled(mesh: FloatArray) -> float:
        return float(shown(cast, mesh)[between > 0].mean())

    assert filled(vertices) < 0.9
    assert filled(worn) == 1
    # The skirt's outside is what is seen: it is nearer than the legs.
    before, after = (
        render(
            np.zeros((320, 320, 3), np.uint8),
            m[None],
            cast.faces,
            np.ones((1, 1, 3), np.float32),
            CAMERA,
        )
        for m in (vertices, worn)
    )
    both = (between > 0) & (before.people == 0)
    assert (after.depth_m < before.depth_m + 0.01)[both].mean() > 0.95


@pytest.mark.parametrize("hem", [0.2, -0.6], ids=["above the knees", "below the knees"])
def test_a_skirt_follows_the_legs_of_a_sitting_person(
    cast: Cast, wardrobe: Outfits, hem: float
) -> None:
    """It lies around thighs and shins, and nothing of it sticks out beyond the knees."""
    vertices, joints = posed(cast, 90, **SITTING)
    outfit = in_skirt(wardrobe, hem)
    worn = wardrobe.put_on(outfit, vertices, joints)
    moved = np.linalg.norm(worn - vertices, axis=1) > 1e-6
    assert moved.sum() > 300
    hips, knees, ankles = (
        joints[[JOINT[f"{side}_{name}"] for side in ("left", "right")]].mean(0)
        for name in ("hip", "knee", "ankle")
    )

    def distance_m(points: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
        along = end - start
        share = ((points - start) @ along / (along @ along)).clip(0, 1)
        return np.asarray(np.linalg.norm(points - start - share[:, None] * along, axis=1))

    near = np.minimum(distance_m(worn, hips, knees), distance_m(worn, knees, ankles))[moved]
    assert near.max() < 0.35
    assert np.median(near) < 0.25
    forward = (knees - hips) / np.linalg.norm(knees - hips)
    assert ((worn - knees) @ forward)[moved].max() < 0.2
    down = (ankles - knees) / np.linalg.norm(ankles - knees)
    lowest = ((worn - knees) @ down)[moved].max()
    assert (lowest > 0.2) == (hem < 0)  # of the way down the shins
    assert (~moved)[wardrobe._feet].all()


def test_a_skirt_turns_with_the_person(cast: Cast, wardrobe: Outfits) -> None:
    outfit = in_skirt(wardrobe, -0.4)
    worn = [wardrobe.put_on(outfit, *posed(cast, yaw)) for yaw in (0, 50)]
    turn = Rotation.from_euler("y", 50, degrees=True).as_matrix()
    centre = np.array((0, 0, 3.2))
    np.testing.assert_allclose((worn[0] - centre) @ turn.T + centre, worn[1], atol=1e-4)
