"""Marked pictures: marks with known distances from the estimates, and what is wrong with marks."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from constant_network import Constant
from datasets import write_picture
from numpy.typing import NDArray
from real_people import REAL

from pear_ros.cli.main import main
from pear_ros.config import Config
from pear_ros.evaluation.marks import (
    GROUPS,
    POINTS,
    MarkedPerson,
    MarkedPicture,
    estimated_points,
    is_mirrored,
    matched,
    read_marks,
    share_inside,
)
from pear_ros.evaluation.real_pictures import KINDS, Score
from pear_ros.geometry.camera import assumed_camera
from pear_ros.images.encoded import read_picture
from pear_ros.offline.people_file import PeopleWriter
from pear_ros.people import (
    JOINT,
    Boxes,
    Camera,
    Frame,
    People,
    neutral_parameters,
    seen_now,
)
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems
from pear_ros.system.installed import shared_file

Array = NDArray[Any]

CAMERA = Camera(500.0, 500.0, 320.0, 240.0)
BOXES = np.array([(0, 0, 100, 200), (300, 100, 400, 300)], np.float32)  # the longer side is 200 px


def people_at(points: Array, xyxy: Array = BOXES) -> People:
    """People whose 55 joints are seen at `points` (N, 55, 2) px, 2 m in front of the camera."""
    count = len(points)
    centre = np.array((CAMERA.cx, CAMERA.cy))
    joints = np.concatenate(((points - centre) * 2 / CAMERA.fx, np.zeros((count, 55, 1))), 2)
    return People(
        ids=tuple(f"p{i}" for i in range(count)),
        boxes=Boxes(xyxy[:count].astype(np.float32), np.ones(count, np.float32)),
        crop_xywh=np.zeros((count, 4), np.float32),
        parameters=neutral_parameters(count),
        translation=np.tile(np.array((0, 0, 2), np.float32), (count, 1)),
        joints=joints.astype(np.float32),
        rotations=np.zeros((count, 55, 3, 3), np.float32),
        vertices=None,
        is_metric=False,
        **seen_now(count),
    )


def joints_px(seed: int = 0) -> Array:
    """(2, 55, 2) px, within the boxes."""
    random = np.random.default_rng(seed)
    return random.uniform(BOXES[:, None, :2], BOXES[:, None, 2:], (2, 55, 2))


def marked(points: Array, keep: slice = slice(None), **changes: Any) -> MarkedPicture:
    """A picture whose marks are at `points` (P, 15, 2), those of `keep` only."""
    kept = np.full_like(points, np.nan)
    kept[:, keep] = points[:, keep]
    people = tuple(MarkedPerson(box, person) for box, person in zip(BOXES, kept, strict=False))
    values: dict[str, Any] = {"name": "a.jpg", "people": people, "ignore": np.zeros((0, 4))}
    return MarkedPicture(**(values | {"is_real": True} | changes))


# --- Known errors --------------------------------------------------------------------------------


def test_the_points_are_joints_and_what_lies_between() -> None:
    pixels = joints_px()
    points = estimated_points(people_at(pixels), CAMERA)
    names = [name for name, _ in POINTS]
    for name in ("left_shoulder", "right_wrist", "left_hip", "right_ankle"):
        expected = pixels[:, JOINT[name]]
        np.testing.assert_allclose(points[:, names.index(name)], expected, atol=1e-3)
    eyes = (pixels[:, JOINT["left_eye"]] + pixels[:, JOINT["right_eye"]]) / 2
    np.testing.assert_allclose(points[:, names.index("eyes")], eyes, atol=1e-3)
    last, before = (pixels[:, JOINT[f"right_middle{i}"]] for i in (3, 2))
    np.testing.assert_allclose(
        points[:, names.index("right_tip")], last + 0.9 * (last - before), atol=1e-3
    )
    assert names[:4] == ["left_shoulder", "right_shoulder", "left_elbow", "right_elbow"]
    assert GROUPS == (
        "eyes", "shoulders", "elbows", "wrists", "hips", "knees", "ankles", "fingertips",
    )  # fmt: skip


def test_errors_are_shares_of_the_longer_side() -> None:
    """One person's marks are 10 px off, 5 %, the other's 40 px, 20 %."""
    people = people_at(joints_px())
    off = np.array((10.0, 40.0))[:, None, None] * np.array((0.6, 0.8))
    score = Score()
    assert score.add(marked(estimated_points(people, CAMERA) + off), people, CAMERA) == {0: 0, 1: 1}
    report = score.report()
    whole = report["people"]["whole"]
    assert list(report["people"]) == ["whole"]
    assert (whole["people"], whole["found"], whole["mirrored"]) == (2, 2, 0)
    assert whole["mean_iou"] == pytest.approx(1)
    for group, values in whole["joints"].items():
        assert values["median_percent"] == pytest.approx(12.5, abs=0.01), group
        assert values["p90_percent"] >= 18
        assert values["pck"] == values["pck_all"] == 0.5
    counts = {group: values["points"] for group, values in whole["joints"].items()}
    assert counts == {**dict.fromkeys(GROUPS, 4), "eyes": 2, "limbs and eyes": 26}


def test_people_who_are_not_found_and_found_boxes_of_nobody() -> None:
    people = people_at(joints_px())
    points = estimated_points(people, CAMERA)
    elsewhere = BOXES + np.array([(0, 0, 0, 0), (150, 0, 150, 0)])
    found = people_at(joints_px(), elsewhere)
    score = Score()
    assert score.add(marked(points), found, CAMERA) == {0: 0}
    report = score.report()
    assert report["boxes"]["real"] == {
        "marked": 2, "found": 1, "false": 1, "recall": 0.5, "precision": 0.5, "mean_iou": 1.0,
    }  # fmt: skip
    hips = report["people"]["whole"]["joints"]["hips"]
    assert (hips["points"], hips["pck"], hips["pck_all"]) == (2, 1, 0.5)
    score = Score()
    score.add(marked(points, ignore=elsewhere[1:].astype(np.float32)), found, CAMERA)
    assert score.report()["boxes"]["real"]["false"] == 0


@pytest.mark.parametrize(
    ("keep", "changes", "kind"),
    [
        (slice(None), {}, "whole"),
        (slice(0, 10), {}, "whole"),  # both ankles are unknown
        (slice(0, 9), {}, "cut"),
        (slice(None), {"is_real": False}, "generated"),
    ],
    ids=["all", "10 limbs", "9 limbs", "generated"],
)
def test_kinds_of_people(keep: slice, changes: dict[str, Any], kind: str) -> None:
    people = people_at(joints_px())
    score = Score()
    score.add(marked(estimated_points(people, CAMERA), keep, **changes), people, CAMERA)
    report = score.report()
    assert list(report["people"]) == [kind]
    assert kind in KINDS
    origin = "generated" if kind == "generated" else "real"
    assert report["boxes"][origin]["marked"] == 2


def test_mirrored_people() -> None:
    points = estimated_points(people_at(joints_px()), CAMERA)[0]
    swapped = points.copy()
    swapped[:12] = points[:12].reshape(6, 2, 2)[:, ::-1].reshape(12, 2)
    person = MarkedPerson(BOXES[0], points)
    assert not is_mirrored(person, points)
    assert is_mirrored(person, swapped)
    few = np.where(np.arange(15)[:, None] < 3, points, np.nan)
    assert not is_mirrored(MarkedPerson(BOXES[0], few), swapped)


def test_boxes_are_matched_best_first() -> None:
    near, nearer = BOXES + 20, BOXES + 5
    assert matched(BOXES, np.concatenate((near, nearer))) == {0: 2, 1: 3}
    assert matched(BOXES[:0], near) == {}
    assert matched(BOXES, near[:0]) == {}
    assert matched(BOXES, BOXES + 90) == {}


def test_the_share_of_a_box_in_regions() -> None:
    regions = np.array([(50, 0, 100, 200), (0, 0, 25, 200)], np.float32)
    np.testing.assert_allclose(share_inside(BOXES, regions), [0.5, 0])
    np.testing.assert_array_equal(share_inside(BOXES, regions[:0]), [0, 0])


# --- Folders -------------------------------------------------------------------------------------


def entry() -> dict[str, Any]:
    """Of truth.json: a picture of 320x240 px with one person."""
    keypoints = [[100 + 3 * i, 40 + 10 * i, 2] for i in range(17)]
    keypoints[16] = [0, 0, 0]
    hands = {"left": {"wrist": [120, 140], "middle_tip": [125, 150]}}
    person = {"box": [90, 30, 180, 220], "keypoints": keypoints, "hands": hands}
    return {"size": [320, 240], "real": True, "ignore": [], "people": [person]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_marks(tmp_path, {"a.png": entry(), "empty.png": {**entry(), "people": []}})
    for seed, name in enumerate(("a.png", "empty.png")):
        write_picture(tmp_path / "images" / name, 320, 240, seed)
    return tmp_path


def write_marks(folder: Path, images: Any) -> None:
    (folder / "truth.json").write_text(json.dumps({"keypoint_names": [], "images": images}))


def test_marks_are_read(folder: Path) -> None:
    first, empty = read_marks(folder / "truth.json")
    (person,) = first.people
    assert first.name == "a.png"
    assert first.is_real
    assert empty.xyxy.shape == empty.ignore.shape == (0, 4)
    assert person.xyxy.tolist() == [90, 30, 180, 220]
    assert person.size_px == 190
    marks = dict(zip([name for name, _ in POINTS], person.points.tolist(), strict=True))
    assert marks["left_shoulder"] == [115, 90]
    assert marks["eyes"] == [104.5, 55]
    assert marks["left_tip"] == [125, 150]
    assert np.isnan(marks["right_ankle"]).all()
    assert np.isnan(marks["right_tip"]).all()
    assert person.is_marked.sum() == 13


@pytest.mark.parametrize("detector", [None, "full_frame"])
def test_a_folder_is_evaluated(detector: str | None, folder: Path, constant: Constant) -> None:
    options = ["--output", str(folder / "out"), "--overlays", str(folder / "overlays")]
    options += ["--detector", detector] if detector else []
    assert main(["evaluate", "--real", str(folder), *constant.options, *options]) == 0
    report = json.loads((folder / "out/real.json").read_text())
    boxes = report["boxes"]["real"]
    expected = (1, 1, 0) if detector is None else (1, 0, 2)  # the whole image is no match
    assert (boxes["marked"], boxes["found"], boxes["false"]) == expected
    assert report["people"]["whole"]["people"] == 1
    assert report["pictures"] == 2
    for name in ("a", "empty"):
        picture = read_picture(folder / "images" / f"{name}.png")
        drawn = cv2.imread(str(folder / "overlays" / f"{name}.jpg"))
        assert picture is not None
        assert drawn.shape == picture.shape == (240, 320, 3)


def without(key: str) -> dict[str, Any]:
    changed = entry()
    del changed["people"][0][key]
    return {"a.png": changed}


def with_person(**changes: Any) -> dict[str, Any]:
    changed = entry()
    changed["people"][0] |= changes
    return {"a.png": changed}


WRONG_MARKS = {
    "no images": ({}, "has no object `images`"),
    "a list": ([entry()], "has no object `images`"),
    "an entry that is text": ({"a.png": "x"}, "the entry of a.png is not as docs/how_to/"),
    "a path": ({"../a.png": entry()}, "is not the name of a file"),
    "no box": (without("box"), "'box' is missing"),
    "no keypoints": (without("keypoints"), "'keypoints' is missing"),
    "16 keypoints": (with_person(keypoints=[[1, 2, 2]] * 16), "keypoints is not 17 x 3 numbers"),
    "an inverted box": (with_person(box=[90, 30, 80, 220]), "left, top, right, bottom"),
    "text for a number": (with_person(box=["a", 30, 80, 220]), "could not convert"),
    "a number that is not finite": (with_person(box=[float("nan"), 1, 2, 3]), "not 4 numbers"),
    "a tip without a place": (with_person(hands={"left": {"middle_tip": [1]}}), "middle_tip"),
}


@pytest.mark.parametrize("case", WRONG_MARKS)
def test_wrong_marks(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, expected = WRONG_MARKS[case]
    write_marks(folder, images)
    assert main(["evaluate", "--real", str(folder)]) == 1
    message = capsys.readouterr().err
    assert expected in message
    assert "truth.json" in message


def test_missing_and_damaged_files(
    folder: Path, constant: Constant, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--real", str(folder), *constant.options]
    (folder / "images/empty.png").unlink()
    assert main(command) == 1
    assert "empty.png: is missing or not a picture" in capsys.readouterr().err
    (folder / "truth.json").write_text("{")
    assert main(command) == 1
    assert "is not JSON" in capsys.readouterr().err
    (folder / "truth.json").unlink()
    assert main(command) == 1
    assert "the folder needs images/ and truth.json" in capsys.readouterr().err


# --- Real people ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_numbers_are_those_of_the_other_program(tmp_path: Path) -> None:
    """The pictures' own program, which shares no code with this one, on the same estimates."""
    if not (REAL / "truth.json").is_file():
        pytest.skip(f"{REAL} is missing: pictures of real people are not in the repository")
    config = Config.of(
        {
            "network.checkpoint": str(shared_file("demo/model.pt")),
            "body.assets": str(shared_file("standin/body.npz")),
            "network.device": "cpu",
        }
    )
    pipeline = load_pipeline(config, Problems(print))
    score = Score()
    with PeopleWriter(tmp_path / "people.npz", vertices=False) as writer:
        for i, marks in enumerate(read_marks(REAL / "truth.json")):
            image = read_picture(REAL / "images" / marks.name)
            assert image is not None
            camera = assumed_camera(image.shape[1], image.shape[0], 60)
            (people,) = pipeline.step([Frame(image, camera, 0.0, is_still=True)])
            score.add(marks, people, camera)
            writer.add(f"{i:05d}_{Path(marks.name).stem}", camera, people)
        writer.finish(tmp_path / "people.npz")
    printed = printed_by_the_other(tmp_path / "people.npz")
    report = score.report()
    boxes = report["boxes"]["real"]
    assert printed["real"][:2] == [str(boxes["marked"]), str(boxes["found"])]
    assert printed["real"][3] == str(boxes["false"])
    assert printed["real"][5] == f"{boxes['mean_iou']:.2f}"
    for kind in ("whole", "cut"):
        people = report["people"][kind]
        counts = f"{people['found']} of {people['people']} people matched, {people['mirrored']}"
        assert printed[kind] == [counts]
        for group, values in people["joints"].items():
            expected = [
                f"{values['points']}",
                f"{values['median_percent']:.1f}",
                f"{values['p90_percent']:.1f}",
                f"{100 * values['pck']:.0f} %",
                f"{100 * values['pck_all']:.0f} %",
            ]
            assert printed[f"{kind} {group}"] == expected, group


def printed_by_the_other(path: Path) -> dict[str, list[str]]:
    """The cells that score.py prints, by row; those of joints after the kind of people."""
    spec = importlib.util.spec_from_file_location("score", REAL / "score.py")
    assert spec is not None
    assert spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        score.score(REAL, path, None)
    rows, prefix = {}, ""
    for line in text.getvalue().splitlines():
        kind = re.match(r"(whole|cut): (\d+ of \d+ people matched, \d+)", line)
        if kind:
            rows[kind[1]], prefix = [kind[2]], f"{kind[1]} "
        elif line.startswith("| "):
            first, *cells = (cell.strip() for cell in line[1:-1].split("|"))
            rows[prefix + first.strip("*")] = cells
    return rows
