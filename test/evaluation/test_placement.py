"""The evaluation of placement gives known answers for people who are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pear_ros.cli.main import main
from pear_ros.config import PlacementSettings
from pear_ros.evaluation import placement
from pear_ros.evaluation.calibration import (
    Samples,
    coverage,
    factor,
    factors_by_axis,
    joined,
    settings_to_use,
)
from pear_ros.evaluation.ideal_network import fitted, placed_ideally
from pear_ros.evaluation.placement_judge import (
    Judged,
    position_cm,
    samples_of,
    sliding_cm_s,
    spread_in_world,
    velocity_errors,
)
from pear_ros.evaluation.placement_report import NOT_MEASURED, placement_markdown, row
from pear_ros.evaluation.placement_scenes import IN_PLACE, WALK, Images, View, scene, seen_by
from pear_ros.geometry.camera import project
from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.people import JOINT, People, unknown_motion
from pear_ros.synthetic.actors import Cast, Route
from pear_ros.synthetic.held_out import STANDING
from pear_ros.synthetic.optics import LENSES
from pear_ros.synthetic.scene import Shot

VIEW = View("equidistant", 90.0)


def seen(
    shots: list[Shot], estimate: Callable[[Shot], People] = lambda shot: shot.people
) -> Judged:
    return Judged([estimate(shot) for shot in shots], shots)


@pytest.fixture(scope="module")
def driving(cast: Cast) -> list[Shot]:
    """A standing person, seen from a base that drives."""
    made = scene(cast, VIEW, (1,), STANDING, "circle")
    return list(Images(made, 10, 5.0, motion=True).shots())


def moved_by(shot: Shot, offset_m: tuple[float, float, float]) -> People:
    offset = np.array([offset_m], np.float32)
    return replace(shot.people, translation=shot.people.translation + offset)


# --- Errors --------------------------------------------------------------------------------------


def test_perfect_people_have_no_errors(driving: list[Shot]) -> None:
    judged = seen(driving)
    np.testing.assert_array_equal(position_cm(judged), np.zeros(10))
    np.testing.assert_array_equal(velocity_errors(judged), np.zeros(7))  # from 0.5 s on
    off_cm, off_deg = spread_in_world(judged)
    assert off_cm.max() < 0.5  # the pose varies a little
    assert off_deg.max() < 0.5
    assert sliding_cm_s(judged).max() < 1


@pytest.mark.parametrize(
    "offset_m", [(0.1, 0, 0), (0, 0, -0.1), (0.06, 0, 0.08)], ids=["sideways", "nearer", "both"]
)
def test_people_who_are_moved_by_10_cm(
    driving: list[Shot], offset_m: tuple[float, float, float]
) -> None:
    judged = seen(driving, lambda shot: moved_by(shot, offset_m))
    np.testing.assert_allclose(position_cm(judged), 10, atol=1e-3)


def test_who_moves_with_the_camera_spreads_in_the_world(driving: list[Shot]) -> None:
    first = driving[0].people
    off_cm, off_deg = spread_in_world(seen(driving, lambda shot: first))
    assert off_cm.max() > 30
    assert off_deg.max() > 2


def test_images_without_the_person_are_left_out(driving: list[Shot]) -> None:
    judged = Judged([None, *(shot.people for shot in driving[1:])], driving)
    assert len(position_cm(judged)) == 9
    nobody = Judged([None] * 10, driving)
    assert [len(values) for values in (*spread_in_world(nobody), sliding_cm_s(nobody))] == [0] * 3
    assert len(samples_of(nobody)) == 0


def test_errors_of_velocities(cast: Cast) -> None:
    made = scene(cast, VIEW, (2,), WALK, route=Route(-0.5, 4, 90, 1.0))
    walk = list(Images(made, 9, 10.0, motion=True).shots())
    speed = np.linalg.norm([shot.people.velocity[0] for shot in walk], axis=1)
    assert np.median(speed) == pytest.approx(1.0, abs=0.1)
    standing = seen(walk, lambda s: replace(s.people, velocity=np.zeros((1, 3), np.float32)))
    assert np.median(velocity_errors(standing)) == pytest.approx(1.0, abs=0.1)
    unknown = seen(walk, lambda s: replace(s.people, velocity=unknown_motion(1)["velocity"]))
    assert np.isnan(velocity_errors(unknown)).all()


def test_sliding_feet(cast: Cast) -> None:
    """Estimates drift by 2 cm from image to image at 10 Hz: 20 cm/s."""
    made = scene(cast, VIEW, (3,), IN_PLACE)
    shots = list(Images(made, 10, 10.0, motion=True).shots())
    drifting = seen(shots, lambda shot: moved_by(shot, (0.2 * shot.time_s, 0, 0)))
    assert np.median(sliding_cm_s(seen(shots))) < 0.1
    assert np.median(sliding_cm_s(drifting)) == pytest.approx(20, abs=0.5)
    unknown = seen(shots, lambda s: replace(s.people, contact=unknown_motion(1)["contact"]))
    assert np.isnan(sliding_cm_s(unknown)).all()


# --- Calibration ---------------------------------------------------------------------------------


def gaussian(count: int, along: float = 1.0, across: float = 1.0, source: str = "image") -> Samples:
    """Stated: 5 cm along the ray, 1 cm across; the errors are `along` and `across` times that."""
    random = np.random.default_rng(1)
    position = random.normal((0, 0, 4), 1, (count, 3))
    ray = position / np.linalg.norm(position, axis=1, keepdims=True)
    on_ray = ray[:, :, None] * ray[:, None]
    covariance = 0.05**2 * on_ray + 0.01**2 * (np.eye(3) - on_ray)
    drawn = random.standard_normal((count, 3))
    on = (drawn * ray).sum(1, keepdims=True) * ray
    return Samples(
        0.05 * along * on + 0.01 * across * (drawn - on), position, covariance, (source,) * count
    )


def test_right_covariances_contain_90_percent() -> None:
    samples = gaussian(20000)
    assert coverage(samples) == pytest.approx(0.9, abs=0.01)
    assert factor(samples) == pytest.approx(1, abs=0.01)
    assert factors_by_axis(samples) == pytest.approx((1, 1), abs=0.02)


@pytest.mark.parametrize(("along", "across"), [(2, 2), (3, 1), (1, 0.5)])
def test_factors_correct_the_covariances(along: float, across: float) -> None:
    samples = gaussian(20000, along, across)
    found = factors_by_axis(samples)
    assert found == pytest.approx((along, across), rel=0.03)
    if along == across:
        assert factor(samples) == pytest.approx(along, rel=0.02)
        assert coverage(samples) < 0.5


def test_settings_to_use() -> None:
    settings = PlacementSettings()
    both = joined([gaussian(5000, 2, 3, "image"), gaussian(5000, 0.5, 3, "depth")])
    found = settings_to_use(both, settings)
    assert set(found) == {"lateral_sigma", "size_sigma", "depth_sigma"}
    assert found["lateral_sigma"] == pytest.approx(3 * settings.lateral_sigma, rel=0.05)
    assert found["size_sigma"] == pytest.approx(2 * settings.size_sigma, rel=0.05)
    assert found["depth_sigma"] == pytest.approx(0.5 * settings.depth_sigma, rel=0.05)


def test_people_without_a_covariance_are_not_counted() -> None:
    samples = gaussian(10)
    unknown = replace(samples, covariance=np.full((10, 3, 3), np.nan))
    assert len(joined([samples, unknown]).stated) == 10
    found = placement.calibration([unknown], PlacementSettings())
    assert {source["coverage"] for source in found["sources"].values()} == {None}
    assert found["settings"] == {}
    assert "nothing to calibrate" in placement.settings_text(found["settings"])


# --- The ideal network ---------------------------------------------------------------------------


def test_the_fit_finds_the_crop_camera() -> None:
    random = np.random.default_rng(0)
    joints = random.normal(0, (0.3, 0.8, 0.2), (55, 3))
    camera_t = np.array((0.1, -0.2, 24.0))
    projected = CROP_FOCAL * (joints[:, :2] - camera_t[:2]) / (joints[:, 2:] + camera_t[2])
    np.testing.assert_allclose(fitted(joints, projected), camera_t, atol=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_ideal_people_are_placed_where_they_are(cast: Cast, lens: str) -> None:
    view = View(lens, 60.0)
    placed = placed_ideally(scene(cast, view, (5,), STANDING).people(1.0), view.camera)
    assert placed.position_cm[0] < 2
    assert np.median(placed.reprojection_px) < 0.5


@pytest.mark.parametrize("side", [-1, 1])
def test_people_at_the_border(cast: Cast, side: float) -> None:
    centre, border = View("equidistant", 120.0), View("equidistant", 120.0, at_border=True)
    there = seen_by(border, scene(cast, centre, (5,), STANDING).people(1.0), side)
    pelvis = there.joints[0, 0] + there.translation[0]
    assert np.degrees(np.arctan2(pelvis[0], pelvis[2])) == pytest.approx(side * 48, abs=1)
    pixels = project(there.joints[0] + there.translation[0], border.camera)
    assert ((pixels > 0) & (pixels < (640, 480))).all()
    assert side * (pixels[JOINT["pelvis"], 0] - 320) > 200


# --- The report ----------------------------------------------------------------------------------


def test_what_is_not_finite_was_not_measured() -> None:
    unknown = row("part", "label", "cm", [np.nan, np.nan], aim=1)
    assert (unknown.median, unknown.count) == (None, 0)
    known = row("part", "label", "cm", [1.0, np.nan, 3.0], aim=2.5, aim_is_for="largest")
    assert (known.median, known.largest, known.count) == (2.0, 3.0, 2)
    report = {
        "frames": 1, "seed": 2, "people": 3, "missed": 4, "network": "n",
        "rows": placement.as_json([unknown, known]),
        "calibration": placement.calibration([gaussian(5000)], PlacementSettings()),
    }  # fmt: skip
    text = placement_markdown(report)
    assert f"| label | cm | **{NOT_MEASURED}** |" in text
    assert "| 2.5 (largest) | no |" in text
    assert "| image | 5000 | 1 | " in text
    assert f"| depth | 0 | 0 | {NOT_MEASURED} |" in text


@pytest.mark.slow
def test_the_command_measures_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"IDEAL_PEOPLE": 2, "WALK_IMAGES": 8, "STAND_IMAGES": 8}.items():
        monkeypatch.setattr(placement, name, value)
    monkeypatch.setattr(placement, "DRIVE_IMAGES", 8)
    options = ["evaluate", "--placement", "--frames", "1", "--output", str(tmp_path)]
    assert main(options) == 0
    report = json.loads((tmp_path / "placement.json").read_text())
    assert report["frames"] == 3 + 6 + 8 + 8 + 8
    assert report["missed"] == 0
    by_label = {found["label"]: found for found in report["rows"]}
    assert by_label["position: noisy depth"]["count"] == 3
    assert by_label["position: noisy depth"]["median"] < 30
    assert placement_markdown(report) in capsys.readouterr().out
