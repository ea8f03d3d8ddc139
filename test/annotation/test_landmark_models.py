"""Regions of images, and MediaPipe's models on a rendered person where they are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from annotated_people import known_people

from pear_ros.annotation import landmark_models
from pear_ros.annotation.experts import MediaPipeExperts
from pear_ros.annotation.landmark_models import Found, LandmarkModels, Region, hand_regions
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.landmarks import BODY, LANDMARK
from pear_ros.errors import SettingError

CORNERS = np.array(((0, 0), (1, 0), (1, 1), (0, 1)), float)


@pytest.mark.parametrize("angle", [0.0, 0.3, -2.0, np.pi])
def test_what_is_cut_is_where_to_image_says(angle: float) -> None:
    """A bright dot of the image is found in the cut at the place that maps back to it."""
    image = np.zeros((80, 120, 3), np.uint8)
    image[30:33, 70:73] = 255  # centre at (71, 31)
    region = Region(np.array((65.0, 36.0)), 48.0, angle)
    cut = region.cut(image, 96)[..., 0]
    ys, xs = np.mgrid[:96, :96] + 0.5
    dot = np.array(((cut * xs).sum(), (cut * ys).sum())) / cut.sum() / 96
    np.testing.assert_allclose(region.to_image(dot), (71, 31), atol=0.1)


def test_outside_of_the_image_is_black() -> None:
    image = np.full((10, 10, 3), 255, np.uint8)
    cut = Region(np.array((0.0, 0.0)), 20.0).cut(image, 20)
    assert not cut[:9].any()
    assert not cut[:, :9].any()
    assert cut[11:19, 11:19].min() == 1


@pytest.mark.parametrize("up", [(0, -3), (2, -2), (-1, 0), (0.5, 4)])
def test_upright_regions(up: tuple[float, float]) -> None:
    region = Region.upright(np.array((50.0, 60.0)), 10, np.array(up, float))
    top = region.to_image(np.array(((0.5, 0.0),)))[0]
    np.testing.assert_allclose(top, (50, 60) + 5 * np.array(up) / np.hypot(*up), atol=1e-9)
    sides = np.diff(region.to_image(CORNERS), axis=0)
    np.testing.assert_allclose(np.hypot(*sides.T), 10)


@pytest.mark.parametrize("side", ["left", "right"])
def test_hands_are_looked_for_beyond_the_wrist(side: str) -> None:
    points = np.zeros((33, 2))
    wrist, pinky, index = (16, 18, 20) if side == "right" else (15, 17, 19)
    points[wrist - 2], points[wrist] = (100, 100), (100, 160)  # the arm hangs
    points[pinky], points[index] = (95, 175), (105, 175)
    close, wide = hand_regions(Found(points, np.ones(33), 1.0, Region(np.zeros(2), 1.0)), side)
    assert np.linalg.norm(close.centre - (100, 175)) < 5
    assert 40 < close.side < 80 < wide.side
    assert abs(abs(close.angle) - np.pi) < 0.3  # the fingers point down


def test_points_move_to_the_peaks_of_their_heat_maps() -> None:
    heat = np.full((64, 64, 3), -20.0)
    heat[20:22, 30:32, 0] = 20
    heat[40, 40, 2] = -1  # weaker than LEAST_HEAT
    unit = np.array(((32, 22), (10, 10), (40, 41))) / 64
    refined = landmark_models._refined(unit, landmark_models._sigmoid(heat))
    np.testing.assert_allclose(refined[0] * 64, (30.5, 20.5), atol=1e-3)
    np.testing.assert_array_equal(refined[1:], unit[1:])


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ((), "LiteRT, which runs MediaPipe's models, is not installed"),
        (("ai_edge_litert",), "MediaPipe, whose models are used, is not installed"),
        (("ai_edge_litert", "mediapipe"), "has no pose_landmark/pose_landmark_full.tflite"),
    ],
)
def test_what_is_not_installed(
    installed: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from mediapipe 0.10.15 on, which downloads its models."""
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: spec if name in installed else None
    )
    with pytest.raises(SettingError, match=message) as caught:
        LandmarkModels.load()
    assert "pip install --no-deps mediapipe==0.10.14" in str(caught.value)


@pytest.mark.slow
def test_mediapipe_on_rendered_people(standin: BodyAssets) -> None:
    """The body's points are found within a few percent of the box, on the right sides."""
    try:
        experts = MediaPipeExperts.load()
    except SettingError as error:
        pytest.skip(str(error))
    people = known_people(standin, 6, seed=3, headings_deg=20)
    size = (people.boxes[:, 2:] - people.boxes[:, :2]).max(1)
    errors, sure = [], []
    for row in range(6):
        image = people.image(row, standin.body_faces)
        (found,) = experts(image, people.boxes[row : row + 1], "")
        off = found[:, :2] - people.keypoints[row, :, :2]
        errors.append(np.linalg.norm(off, axis=1) / size[row])
        sure.append(found[:, 2] > 0.5)
    is_limb = np.zeros(133, bool)
    is_limb[BODY] = True
    is_limb[: LANDMARK["left_shoulder"]] = False
    limbs = np.array(sure) & is_limb
    assert limbs.sum() > 40
    assert np.median(np.array(errors)[limbs]) < 0.025
    assert np.quantile(np.array(errors)[limbs], 0.9) < 0.08
