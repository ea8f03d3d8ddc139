"""`pear-ros evaluate`: its metrics for people with known errors, and its reports."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from samples import DATA, ROOT
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.cli.main import main
from pear_ros.evaluation.accuracy import (
    FRAMES,
    SEED,
    Judge,
    counted,
    detections,
    held_out_shots,
    pose_errors,
    posed,
    standing,
)
from pear_ros.evaluation.given_boxes import rows_of
from pear_ros.evaluation.report import METRICS, markdown, summary
from pear_ros.people import Boxes, People
from pear_ros.synthetic.scene import Cast, Shot
from pear_ros.system.files import hash_files
from pear_ros.system.installed import shared_file
from scripts import tables

BODY = shared_file("standin/body.npz")


@pytest.fixture(scope="module")
def assets() -> BodyAssets:
    return load_assets(BODY)


@pytest.fixture(scope="module")
def cast(assets: BodyAssets) -> Cast:
    return Cast(assets)


@pytest.fixture(scope="module")
def shot(cast: Cast) -> Shot:
    return list(held_out_shots(cast, 9, seed=1))[8]  # the third scene has three people


def rotated(people: People, cast: Cast, angle_deg: float) -> People:
    """Turns everyone about the camera's vertical axis; positions stay."""
    turn = Rotation.from_euler("y", angle_deg, degrees=True).as_matrix().astype(np.float32)
    orient = torch.from_numpy(turn) @ people.parameters.global_orient
    parameters = dataclasses.replace(people.parameters, global_orient=orient)
    return posed(people, parameters, cast.body_model)


def test_the_truth_has_no_error(assets: BodyAssets, shot: Shot) -> None:
    values = Judge(assets)(shot.people, shot.people, shot.camera)
    assert set(values) == {metric.name for metric in METRICS}
    for name, value in values.items():
        assert len(value) == len(shot.people) == 3
        expected = 1 if name.startswith("iou") else 0
        np.testing.assert_allclose(value[np.isfinite(value)], expected, atol=1e-3, err_msg=name)


def test_known_errors_are_measured(assets: BodyAssets, cast: Cast, shot: Shot) -> None:
    judge = Judge(assets)
    off = np.array((0.03, 0, 0.04), np.float32)
    moved = dataclasses.replace(shot.people, translation=shot.people.translation + off)
    values = judge(shot.people, moved, shot.camera)
    for name in ("position_cm", "head_cm", "hands_cm"):
        np.testing.assert_allclose(values[name], 5, atol=1e-3)
    np.testing.assert_allclose(values["depth_cm"], 4, atol=1e-3)
    for name in ("mpjpe", "pa_mpjpe", "pve", "head_deg"):
        np.testing.assert_allclose(values[name], 0, atol=1e-3)
    assert (values["iou_body"] < 0.97).all()
    assert (values["joints_px"] > 0.3).all()

    values = judge(shot.people, rotated(shot.people, cast, 12), shot.camera)
    for name in ("head_deg", "body_deg"):
        np.testing.assert_allclose(values[name], 12, atol=1e-3)
    for name in ("pa_mpjpe", "hands_pa", "position_cm"):
        np.testing.assert_allclose(values[name], 0, atol=1e-3)
    assert (values["mpjpe"] > 10).all()


def test_pixel_errors_are_in_pixels_of_the_crop(assets: BodyAssets, shot: Shot) -> None:
    """A shift by a tenth of the crop's side is a shift by 25.6 px of 256."""
    people = shot.people
    depth_m = people.joints[:, :, 2] + people.translation[:, 2:]
    shift_px = people.crop_xywh[:, 2] / 10
    joints = people.joints.copy()
    joints[:, :, 0] += shift_px[:, None] * depth_m / shot.camera.fx
    moved = dataclasses.replace(people, joints=joints)
    values = Judge(assets)(people, moved, shot.camera)
    np.testing.assert_allclose(values["joints_px"], 25.6, rtol=1e-4)


# Box in an image of 640x480 px, fraction of the person that is visible, whether the person counts.
COUNTED = {
    "inside and visible": ((100, 80, 300, 480), 1.0, True),
    "half visible": ((100, 80, 300, 480), 0.5, True),
    "mostly occluded": ((100, 80, 300, 480), 0.49, False),
    "occluded": ((100, 80, 300, 480), 0.0, False),
    "70 % inside": ((-60, 80, 140, 480), 1.0, True),
    "69 % inside": ((-62, 80, 138, 480), 1.0, False),
    "cut at the bottom": ((100, 200, 300, 600), 1.0, True),
    "cut at the corner, 64 % inside": ((480, 160, 680, 560), 1.0, False),
    "larger than the image, 48 % inside": ((-160, -120, 640, 680), 1.0, False),
    "70 % inside and mostly occluded": ((-60, 80, 140, 480), 0.3, False),
}


def test_people_are_counted_if_they_are_visible_and_inside(shot: Shot) -> None:
    assert shot.image.shape == (480, 640, 3)
    xyxy, visible, expected = zip(*COUNTED.values(), strict=True)
    boxes = Boxes(np.array(xyxy, np.float32), np.ones(len(xyxy), np.float32))
    people = shot.people.rows(np.zeros(len(xyxy), np.int64))
    crowd = dataclasses.replace(
        shot,
        people=dataclasses.replace(people, boxes=boxes),
        visible=np.array(visible, np.float32),
    )
    assert dict(zip(COUNTED, counted(crowd).tolist(), strict=True)) == dict(
        zip(COUNTED, expected, strict=True)
    )


def test_boxes_are_off_by_3_percent(shot: Shot) -> None:
    """As README and docs/evaluation.md say: of the longer side, standard deviation of each edge."""
    random = np.random.default_rng(0)
    truth = np.clip(shot.people.boxes.xyxy, 0, (640, 480, 640, 480))
    longer = (truth[:, 2:] - truth[:, :2]).max(1)[:, None]
    off = np.stack([(detections(shot, random).xyxy - truth) / longer for _ in range(1000)])
    np.testing.assert_allclose(off.std(0), 0.03, rtol=0.1)
    np.testing.assert_allclose(off.mean(0), 0, atol=0.004)


def test_people_are_matched_by_their_boxes(shot: Shot) -> None:
    boxes = detections(shot, np.random.default_rng(0))
    order = np.array([2, 0])
    found = dataclasses.replace(shot.people, boxes=boxes).rows(order)
    np.testing.assert_array_equal(rows_of(found, boxes), [1, -1, 0])
    nobody = found.rows(np.zeros(0, np.int64))
    np.testing.assert_array_equal(rows_of(nobody, boxes), [-1, -1, -1])


def test_the_table_of_a_report() -> None:
    errors = [{m.name: np.array([value]) for m in METRICS} for value in (1.0, 2.0, 6.0, np.nan)]
    report = {
        "frames": 7, "seed": 3, "people": 4, "missed": 1, "network": "tiny",
        "metrics": summary(errors), "standing": summary([{"mpjpe": np.array([5.0, 6.0])}]),
    }  # fmt: skip
    assert summary(errors)["mpjpe"] == {"mean": 3, "median": 2, "p95": pytest.approx(5.6)}
    table = markdown(report)
    assert "| MPJPE, 22 body joints, pelvis-aligned | mm | **3.0** | 2.0 | 5.6 | 5.5 |" in table
    assert "| head orientation | deg | 3.0 | **2.0** | 5.6 |  |" in table
    assert "4 people, 1 of them left out" in table


def test_a_metric_without_values_is_nan() -> None:
    assert np.isnan(summary([{"iou_hands": np.array([np.nan])}])["iou_hands"]["mean"])


@pytest.mark.parametrize("page", tables.PAGES)
def test_numbers_in_the_docs_agree_with_the_reports(page: str) -> None:
    assert (ROOT / page).read_text() == tables.filled(page), "run: python -m scripts.tables"


def test_the_report_is_of_the_demo_network() -> None:
    report = json.loads((ROOT / "docs/evaluation/evaluation.json").read_text())
    assert report["frames"] == FRAMES
    assert report["seed"] == SEED
    assert report["checkpoint_sha256"] == hash_files(shared_file("demo/model.pt"))


def test_the_baseline_has_the_true_position_and_orientation(shot: Shot, cast: Cast) -> None:
    baseline = standing(shot.people, cast.body_model)
    errors = pose_errors(shot.people, baseline)
    assert errors["body_deg"].max() < 1e-3
    assert errors["mpjpe"].min() > 5
    again = pose_errors(baseline, standing(baseline, cast.body_model))
    assert all(values.max() < 1e-2 for values in again.values())


def test_an_output_folder_that_cannot_be_made_is_an_early_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["evaluate", "--frames", "1000", "--output", str(tmp_path / "file")]) == 1
    assert "give another --output" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluating_twice_gives_the_same_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], front_checkpoint: Path
) -> None:
    """With an untrained network."""
    reports = []
    for folder in ("first", "second"):
        code = main([
            "evaluate", "--checkpoint", str(front_checkpoint),
            "--network-config", str(DATA / "network_tiny.json"), "--frames", "9",
            "--device", "cpu", "--output", str(tmp_path / folder),
        ])  # fmt: skip
        assert code == 0
        reports.append(json.loads((tmp_path / folder / "evaluation.json").read_text()))
        picture = cv2.imread(str(tmp_path / folder / "worst.jpg"))
        assert picture.shape == (5 * 240, 4 * 320, 3)
    assert reports[0] == reports[1]
    assert reports[0]["frames"] == 9
    assert 12 <= reports[0]["people"] <= 15
    assert reports[0]["metrics"]["mpjpe"]["mean"] > 50
    assert list(reports[0]["cut"]) == ["hips", "chest"]
    for cut in reports[0]["cut"].values():
        assert 0 < cut["people"] <= reports[0]["people"]
        assert cut["median_percent"] > 10
    printed = capsys.readouterr().out
    assert "MPJPE" in printed
    assert "| the chest |" in printed
