"""`pear-ros evaluate`: what it says of answers whose errors are known."""

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
    rows_of,
    standing,
)
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
    return list(held_out_shots(cast, 9, seed=1))[8]  # of the third scene: three people


def rotated(people: People, cast: Cast, angle_deg: float) -> People:
    """Everybody turned about the camera's vertical axis, on the spot."""
    turn = Rotation.from_euler("y", angle_deg, degrees=True).as_matrix().astype(np.float32)
    orient = torch.from_numpy(turn) @ people.parameters.global_orient
    parameters = dataclasses.replace(people.parameters, global_orient=orient)
    return posed(people, parameters, cast.body_model)


def test_the_truth_is_without_error(assets: BodyAssets, shot: Shot) -> None:
    values = Judge(assets)(shot.people, shot.people, shot.camera)
    assert set(values) == {metric.name for metric in METRICS}
    for name, value in values.items():
        assert len(value) == len(shot.people) == 3
        expected = 1 if name.startswith("iou") else 0
        np.testing.assert_allclose(value[np.isfinite(value)], expected, atol=1e-3, err_msg=name)


def test_known_errors_are_told(assets: BodyAssets, cast: Cast, shot: Shot) -> None:
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


def test_pixels_are_of_the_crop(assets: BodyAssets, shot: Shot) -> None:
    """A shift by a tenth of the crop's side is a shift by 25.6 px of 256."""
    people = shot.people
    depth_m = people.joints[:, :, 2] + people.translation[:, 2:]
    shift_px = people.crop_xywh[:, 2] / 10
    joints = people.joints.copy()
    joints[:, :, 0] += shift_px[:, None] * depth_m / shot.camera.fx
    moved = dataclasses.replace(people, joints=joints)
    values = Judge(assets)(people, moved, shot.camera)
    np.testing.assert_allclose(values["joints_px"], 25.6, rtol=1e-4)


def test_people_are_counted_where_they_can_be_seen(shot: Shot) -> None:
    assert counted(shot).all() or (shot.visible < 0.5).any()
    gone = dataclasses.replace(shot, visible=np.zeros(3, np.float32))
    assert not counted(gone).any()
    outside = shot.people.boxes.xyxy + np.array((600, 0, 600, 0), np.float32)
    boxes = Boxes(outside, shot.people.boxes.scores)
    away = dataclasses.replace(shot, people=dataclasses.replace(shot.people, boxes=boxes))
    assert not counted(away).all()


def test_answers_are_found_by_their_boxes(shot: Shot) -> None:
    boxes = detections(shot, np.random.default_rng(0))
    order = np.array([2, 0])
    found = dataclasses.replace(shot.people, boxes=boxes).rows(order)
    np.testing.assert_array_equal(rows_of(found, boxes), [1, -1, 0])
    nobody = found.rows(np.zeros(0, np.int64))
    np.testing.assert_array_equal(rows_of(nobody, boxes), [-1, -1, -1])


def test_what_a_table_says() -> None:
    errors = [{m.name: np.array([value]) for m in METRICS} for value in (1.0, 2.0, 6.0, np.nan)]
    report = {
        "frames": 7, "seed": 3, "people": 4, "missed": 1, "network": "tiny",
        "metrics": summary(errors), "standing": summary([{"mpjpe": np.array([5.0, 6.0])}]),
    }  # fmt: skip
    assert summary(errors)["mpjpe"] == {"mean": 3, "median": 2, "p95": pytest.approx(5.6)}
    table = markdown(report)
    assert "| MPJPE, 22 body joints from the pelvis | mm | **3.0** | 2.0 | 5.6 | 5.5 |" in table
    assert "| head orientation | deg | 3.0 | **2.0** | 5.6 |  |" in table
    assert "4 people, 1 of them left out" in table


def test_a_metric_that_nobody_has_is_no_number() -> None:
    assert np.isnan(summary([{"iou_hands": np.array([np.nan])}])["iou_hands"]["mean"])


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_numbers_in_the_docs_are_the_reports(page: str) -> None:
    assert (ROOT / page).read_text() == tables.filled(page), "run: python -m scripts.tables"


def test_the_reports_are_of_the_demo_network() -> None:
    report = json.loads((ROOT / "docs/evaluation/evaluation.json").read_text())
    assert report["frames"] == FRAMES
    assert report["seed"] == SEED
    assert report["checkpoint_sha256"] == hash_files(shared_file("demo/model.pt"))


def test_one_who_stands_where_the_truth_is(shot: Shot, cast: Cast) -> None:
    found = standing(shot.people, cast.body_model)
    errors = pose_errors(shot.people, found)
    assert errors["body_deg"].max() < 1e-3
    assert errors["mpjpe"].min() > 5
    again = pose_errors(found, standing(found, cast.body_model))
    assert all(values.max() < 1e-2 for values in again.values())


def test_the_folder_is_tried_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["evaluate", "--frames", "1000", "--output", str(tmp_path / "file")]) == 1
    assert "give another --output" in capsys.readouterr().err


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], front_checkpoint: Path
) -> None:
    """With a network that knows nothing; twice the same."""
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
    assert "MPJPE" in capsys.readouterr().out
