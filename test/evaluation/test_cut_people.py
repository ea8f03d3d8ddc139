"""People cut at the hips and at the chest: what is cut, and errors that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.evaluation.accuracy import counted_people, held_out_shots
from pear_ros.evaluation.cut_people import CUTS, cut_errors, cut_markdown, cut_view
from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, Frame, People
from pear_ros.synthetic.scene import Cast, Shot
from pear_ros.system.installed import shared_file

People_ = Sequence[tuple[Shot, int]]


@pytest.fixture(scope="module")
def people() -> list[tuple[Shot, int]]:
    cast = Cast(load_assets(shared_file("standin/body.npz")))
    return list(counted_people(held_out_shots(cast, 8, seed=1)))


def pixels(shot: Shot, row: int) -> NDArray[np.float32]:
    """(55, 2) px of the true joints."""
    return project(shot.people.joints[row] + shot.people.translation[row], shot.camera)


class FakePipeline:
    """Says of each box the truth, moved to the right by a share of the box's longer side."""

    def __init__(self, people: People_, share: float, without: int | None = None) -> None:
        self._truth = [(shot.people.rows(np.array([row])), shot.camera) for shot, row in people]
        self._share = share
        self._without = without  # this person is left out
        self._calls = 0

    def step(self, frames: Sequence[Frame], mesh: bool) -> list[People]:
        answers = []
        for frame in frames:
            person = self._calls // len(CUTS)
            self._calls += 1
            truth, camera = self._truth[person]
            assert frame.boxes is not None
            size_px = (frame.boxes.xyxy[0, 2:] - frame.boxes.xyxy[0, :2]).max()
            depth_m = truth.joints[:, :, 2] + truth.translation[:, 2:]
            joints = truth.joints.copy()
            joints[:, :, 0] += self._share * size_px * depth_m / camera.fx
            people = dataclasses.replace(truth, boxes=frame.boxes, joints=joints)
            answers.append(people.rows(np.arange(int(person != self._without))))
        return answers


@pytest.mark.parametrize("cut", CUTS)
def test_the_image_ends_at_the_joints(cut: str, people: People_) -> None:
    for shot, row in people:
        view = cut_view(shot, row, cut)
        assert view is not None
        joints = pixels(shot, row)
        row_px = joints[[JOINT[name] for name in CUTS[cut]], 1].mean()
        height, width, _ = view.image.shape
        assert width == shot.image.shape[1]
        assert height == min(round(float(row_px)), shot.image.shape[0])
        np.testing.assert_array_equal(view.image, shot.image[:height])
        left, top, right, bottom = view.xyxy[0]
        whole = shot.people.boxes.xyxy[row]
        assert 0 <= left < right <= width
        assert whole[1] - 1e-3 <= top < bottom <= height
        assert bottom > height - 5  # the body goes on below the image
        assert whole[0] - 1e-3 <= left
        assert right <= whole[2] + 1e-3


def test_joints_count_if_the_cut_image_has_them(people: People_) -> None:
    for shot, row in people:
        hips, chest = (cut_view(shot, row, cut) for cut in ("hips", "chest"))
        assert hips is not None
        assert chest is not None
        inside = hips.truth.inside
        np.testing.assert_allclose(hips.truth.joints, pixels(shot, row)[:25], atol=1e-3)
        assert inside[JOINT["spine3"]]
        assert not inside[[JOINT["left_knee"], JOINT["right_ankle"]]].any()
        assert not chest.truth.inside[[JOINT["spine1"], JOINT["pelvis"]]].any()
        assert chest.truth.inside[JOINT["neck"]]
        assert (inside | ~chest.truth.inside).all()
        assert chest.truth.size_px < hips.truth.size_px


def test_people_who_are_not_upright_are_left_out(people: People_) -> None:
    shot, row = people[0]
    upside_down = shot.people.joints * (1, -1, 1)
    fallen = dataclasses.replace(
        shot, people=dataclasses.replace(shot.people, joints=upside_down.astype(np.float32))
    )
    assert all(cut_view(fallen, row, cut) is None for cut in CUTS)


def test_people_of_few_pixels_are_left_out(people: People_) -> None:
    shot, row = people[0]
    far = dataclasses.replace(
        shot.people, translation=shot.people.translation + np.array((0, 0, 60))
    )
    assert cut_view(dataclasses.replace(shot, people=far), row, "chest") is None


@pytest.mark.parametrize(("share", "pck"), [(0.0, 1), (0.05, 1), (0.2, 0)], ids="{}".format)
def test_known_errors(share: float, pck: float, people: People_) -> None:
    errors = cut_errors(FakePipeline(people, share), people)  # type: ignore[arg-type]
    assert list(errors) == ["hips", "chest"]
    for values in errors.values():
        assert (values["people"], values["missed"]) == (len(people), 0)
        assert values["median_percent"] == pytest.approx(100 * share, abs=1e-2)
        assert values["p90_percent"] == pytest.approx(100 * share, abs=1e-2)
        assert values["pck"] == values["pck_all"] == pck


def test_missed_people_count_as_wrong(people: People_) -> None:
    errors = cut_errors(FakePipeline(people, 0.05, without=1), people)["hips"]  # type: ignore[arg-type]
    assert (errors["people"], errors["missed"]) == (len(people), 1)
    assert errors["pck"] == 1
    view = cut_view(*people[1], "hips")
    assert view is not None
    lost = view.truth.inside.sum()
    assert errors["pck_all"] == pytest.approx(errors["points"] / (errors["points"] + lost))


def test_joints_outside_of_the_cut_image_do_not_count(people: People_) -> None:
    errors = cut_errors(FakePipeline(people, 0.0), people)  # type: ignore[arg-type]
    for cut, values in errors.items():
        inside = [cut_view(*person, cut).truth.inside for person in people]  # type: ignore[union-attr]
        assert values["points"] == np.sum(inside) < np.size(inside)


def test_no_more_people_than_asked_for(people: People_) -> None:
    def endless() -> object:
        yield from people[:3]
        pytest.fail("read on")

    errors = cut_errors(FakePipeline(people, 0.0), endless(), count=2)  # type: ignore[arg-type]
    assert errors["hips"]["people"] == errors["chest"]["people"] == 2


def test_the_table() -> None:
    values = {
        "people": 3, "missed": 1, "points": 40, "median_percent": 21.53, "p90_percent": 41.0,
        "pck": 0.3, "pck_all": 0.2,
    }  # fmt: skip
    nobody = {**values, "points": 0, "median_percent": None, "p90_percent": None, "pck_all": 0.0}
    table = cut_markdown({"cut": {"hips": values, "chest": nobody}})
    assert "| the hips | 3 | 40 | 21.5 % | 41.0 % | 20 % |" in table
    assert "| the chest | 3 | 0 | - | - | 0 % |" in table
