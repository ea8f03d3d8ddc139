"""Inputs become labels: a whole run with experts that know the truth, resumed and repeated."""

from __future__ import annotations

import dataclasses
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from annotated_people import HEIGHT, WIDTH, KnownPeople
from samples import ROOT
from shell_blocks import blocks

from pear_ros.annotation import annotate as module
from pear_ros.annotation import contact_sheets, fitting
from pear_ros.annotation.annotate import annotate, summary
from pear_ros.annotation.pose_prior import PosePrior
from pear_ros.annotation.pseudo_labels import read_labels
from pear_ros.annotation.sightings import cut_picture
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.cli.main import main
from pear_ros.config import Config
from pear_ros.errors import LabelError, PearError
from pear_ros.people import FloatArray, ImageArray
from pear_ros.system.installed import shared_file


class KnowingExperts:
    """Know the keypoints by the image's name; `asked` counts images."""

    def __init__(self, by_name: dict[str, FloatArray]) -> None:
        self.by_name = by_name
        self.asked = 0

    def __call__(self, image: ImageArray, boxes_xyxy: FloatArray, name: str) -> FloatArray:
        self.asked += 1
        return self.by_name[name[6:]][None].repeat(len(boxes_xyxy), 0)


@pytest.fixture
def config(front_checkpoint: Path) -> Config:
    """The tiny network; one person per image, whose box is the whole image."""
    return Config.of(
        {
            "detection.detector": "full_frame",
            "detection.min_plausibility": 0.0,
            "network.checkpoint": str(front_checkpoint),
            "network.config": str(Path(__file__).parents[1] / "data/network_tiny.json"),
            "body.assets": str(shared_file("standin/body.npz")),
            "network.device": "cpu",
            "network.dtype": "float32",
        }
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, prior: PosePrior) -> None:
    """The fit is not tested here."""
    monkeypatch.setattr(fitting, "STEPS", 30)
    monkeypatch.setattr(fitting, "SELECTION_STEPS", 30)
    monkeypatch.setattr(PosePrior, "of_motions", staticmethod(lambda: prior))


@pytest.fixture(scope="module")
def pictures(
    people: KnownPeople, standin: BodyAssets, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of two pictures, a picture beside it, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "two").mkdir()
    for row, name in enumerate(("two/a.png", "two/b.png", "c.png")):
        image = people.image(row, standin.body_faces)
        cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def experts(people: KnownPeople) -> KnowingExperts:
    return KnowingExperts({name: people.keypoints[row] for row, name in enumerate("abc")})


Run = Callable[..., int]


@pytest.fixture
def run(config: Config, experts: KnowingExperts, tmp_path: Path) -> Run:
    def run(*inputs: Path, **changes: bool) -> int:
        return annotate(inputs, tmp_path / "out", config, lambda: experts, **changes)

    return run


def test_pictures_become_labels(
    run: Run, pictures: Path, tmp_path: Path, people: KnownPeople,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(pictures / "two", pictures / "c.png") == 0
    labels = read_labels(tmp_path / "out")
    assert labels.source_input.tolist() == ["two", "two", "c.png"]
    assert labels.source_frame.tolist() == [0, 1, 0]
    # Pictures of a folder are not taken for a video of one person.
    assert len(set(labels.source_person[:2])) == 2
    for row, name in enumerate(labels.file):
        crop = cv2.imread(str(tmp_path / "out/crops" / name))
        assert crop.shape == (448, 448, 3)
        # The box is the image: the square is 1.25 times as large, its picture another 1.6 times.
        scale = 448 / round(1.6 * 1.25 * (WIDTH - 1))
        np.testing.assert_allclose(labels.picture_xyxy[row, 2] - labels.picture_xyxy[row, 0],
                                   WIDTH * scale, rtol=1e-5)  # fmt: skip
        np.testing.assert_allclose(labels.picture_xyxy[row, 3] - labels.picture_xyxy[row, 1],
                                   HEIGHT * scale, rtol=1e-5)  # fmt: skip
        np.testing.assert_allclose(labels.intrinsics[row, 0], people.camera.fx * scale, rtol=1e-5)
        # The keypoints and the projected joints mean the same camera.
        nose = labels.keypoints[row, 0]
        bright = crop[round(float(nose[1])), round(float(nose[0]))]
        assert bright.min() > 100  # the rendered person, before a dark wall
    printed = capsys.readouterr().out
    assert "two" in printed
    assert "accepted" in printed
    assert (tmp_path / "out/pictures").is_dir()


def test_what_is_complete_is_skipped(
    run: Run, pictures: Path, tmp_path: Path, experts: KnowingExperts,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(pictures / "c.png") == 0
    assert experts.asked == 1
    first = read_labels(tmp_path / "out")
    assert run(pictures / "c.png", pictures / "two") == 0
    assert experts.asked == 3
    assert "already annotated: 1 of 2" in capsys.readouterr().out
    both = read_labels(tmp_path / "out")
    np.testing.assert_array_equal(both.rows(np.array([0])).keypoints, first.keypoints)
    assert run(pictures / "c.png", pictures / "two") == 0
    assert experts.asked == 3
    assert run(pictures / "c.png", overwrite=True) == 0
    assert experts.asked == 4
    assert len(read_labels(tmp_path / "out")) == 1


@pytest.mark.parametrize("damage", ["part", "crop"])
def test_what_is_damaged_is_annotated_again(
    damage: str, run: Run, pictures: Path, tmp_path: Path, experts: KnowingExperts
) -> None:
    run(pictures / "c.png")
    (file,) = (tmp_path / "out" / f"{damage}s").iterdir()
    if damage == "part":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()
    assert run(pictures / "c.png") == 0
    assert experts.asked == 2
    assert len(read_labels(tmp_path / "out")) == 1


def test_an_interrupted_run_keeps_what_is_complete(
    run: Run, pictures: Path, tmp_path: Path, experts: KnowingExperts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    annotator = module.Annotator.__call__

    def interrupted(self: module.Annotator, one: module.Input, crops: Path) -> object:
        if one.file == "two":
            raise KeyboardInterrupt
        return annotator(self, one, crops)

    monkeypatch.setattr(module.Annotator, "__call__", interrupted)
    assert run(pictures / "c.png", pictures / "two") == 0
    assert read_labels(tmp_path / "out").source_input.tolist() == ["c.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_the_command_after_what_is_complete_is_written(
    pictures: Path, tmp_path: Path, config: Config, experts: KnowingExperts,
    number: signal.Signals,
) -> None:  # fmt: skip
    """Although `pear-ros` ends at once at any other time."""
    code = (
        "import pickle, signal, sys\n"
        "from pathlib import Path\n"
        "from pear_ros.system.interrupts import exit_at_signals\n"
        "exit_at_signals()\n"
        "from pear_ros.annotation import annotate as module\n"
        "from pear_ros.annotation import fitting\n"
        "fitting.STEPS = fitting.SELECTION_STEPS = 2\n"
        "def keypoints(image, boxes, name): return known[None].repeat(len(boxes), 0)\n"
        "def interrupted(self, one, crops):\n"
        f"    if one.file == 'two': signal.raise_signal({int(number)})\n"
        "    return annotate(self, one, crops)\n"
        "annotate = module.Annotator.__call__\n"
        "module.Annotator.__call__ = interrupted\n"
        # Pickled by this test, a few lines below.
        "config, known, *paths = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "sys.exit(module.annotate(paths[1:], paths[0], config, lambda: keypoints))\n"
    )
    paths = (tmp_path / "out", pictures / "c.png", pictures / "two")
    given = pickle.dumps((config, experts.by_name["c"], *paths)).hex()
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, check=False)
    assert done.returncode == 128 + number, done.stderr.decode()
    assert read_labels(tmp_path / "out").source_input.tolist() == ["c.png"]


def test_unreadable_inputs(run: Run, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pictures / "broken.png") == 1
    assert "broken: cannot be read" in capsys.readouterr().err


def test_bad_arguments(run: Run, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(PearError, match="does not exist"):
        run(tmp_path / "none.mp4")
    other = tmp_path / "c.png"
    other.write_bytes((pictures / "c.png").read_bytes())
    with pytest.raises(LabelError, match="another input has the same name"):
        run(pictures / "c.png", other)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(LabelError, match="cannot be written"):
        run(pictures / "c.png")


def test_without_keypoints_people_are_rejected_and_named(
    run: Run, pictures: Path, tmp_path: Path, experts: KnowingExperts
) -> None:
    experts.by_name = {name: np.zeros((133, 3), np.float32) for name in "abc"}
    assert run(pictures / "two") == 0
    labels = read_labels(tmp_path / "out")
    assert labels.rejection.tolist() == ["few_points", "few_points"]
    assert not labels.keypoints.any()
    assert not labels.confidence_body.any()
    assert "rejected, few_points: 2 (fewer than" in summary(labels)
    assert [path.name for path in (tmp_path / "out/pictures").iterdir()] == ["rejected_1.jpg"]


def test_long_inputs_are_fitted_in_parts(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []
    fit = fitting.Fitter.__call__

    def recorded(*arguments: Any) -> fitting.Fit:
        fits.append(fit(*arguments))
        return fits[-1]

    monkeypatch.setattr(fitting.Fitter, "__call__", recorded)
    monkeypatch.setattr(module, "MOST_AT_ONCE", 1)
    run(pictures / "two")
    labels = read_labels(tmp_path / "out")
    assert [len(one.joints) for one in fits] == [1, 1]
    for row, one in enumerate(fits):
        np.testing.assert_array_equal(labels.joints[row], one.joints[0].numpy())
        np.testing.assert_array_equal(labels.translation[row], one.translation[0].numpy())
        assert torch.equal(labels.parameters.body_pose[row], one.parameters.body_pose[0])


def test_sheets_are_limited(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheets, "COLUMNS", 1)
    monkeypatch.setattr(contact_sheets, "ROWS", 1)
    monkeypatch.setattr(contact_sheets, "MOST_SHEETS", 2)
    run(pictures / "two", pictures / "c.png")
    sheets = list((tmp_path / "out/pictures").iterdir())
    accepted = int(read_labels(tmp_path / "out").is_accepted.sum())
    assert len(sheets) == min(accepted, 2) + min(3 - accepted, 2)
    assert all(cv2.imread(str(sheet)).shape == (224, 224, 3) for sheet in sheets)


@pytest.mark.parametrize("square", [(10, 20, 40, 40), (-30, -10, 90, 90), (300, 100, 600, 600)])
def test_points_of_a_picture_are_those_of_the_image(square: tuple[int, ...]) -> None:
    """A dot is where `from_image` says, whether the picture is made smaller or not."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x, y, width, _ = square
    dot = (max(x, 0) + width // 3, max(y, 0) + width // 4)
    cv2.circle(image, dot, 6, (255, 255, 255), -1)
    picture = cut_picture(image, np.array(square, np.float32))
    grey = picture.pixels[..., 0].astype(float)
    ys, xs = np.mgrid[: len(grey), : len(grey)]
    found = np.array(((grey * xs).sum(), (grey * ys).sum())) / grey.sum()
    np.testing.assert_allclose(found, picture.from_image(np.array(dot, np.float32)), atol=0.05)
    left, top, right, bottom = picture.image_xyxy
    inside = picture.from_image(np.array((WIDTH - 0.5, HEIGHT - 0.5), np.float32))
    np.testing.assert_allclose((right, bottom), inside)
    np.testing.assert_allclose((right - left, bottom - top),
                               np.array((WIDTH, HEIGHT)) * picture.scale, rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("page", ["how_to/annotate_my_videos.md", "reference/labels_file.md"])
def test_examples_of_the_docs(
    page: str, run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pictures / "c.png")
    (tmp_path / "elsewhere/out").mkdir(parents=True)
    (tmp_path / "elsewhere/out/labels").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (example,) = blocks(ROOT / "docs" / page, "python")
    names: dict[str, Any] = {}
    exec(compile(example, page, "exec"), names)
    assert len(names["labels"]) == 1


def test_the_command(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    """Its options reach `annotate`."""
    seen = {}

    def fake(inputs: object, output: object, config: Config, load: object, overwrite: bool) -> int:
        seen.update(inputs=inputs, output=output, config=config, overwrite=overwrite)
        return 0

    monkeypatch.setattr(module, "annotate", fake)
    arguments = ["annotate", "a.mp4", "b", "out", "--overwrite", "--fov-deg", "70"]
    assert main(arguments) == 0
    assert seen["inputs"] == [Path("a.mp4"), Path("b")]
    assert seen["output"] == Path("out")
    assert seen["overwrite"]
    settings = dataclasses.replace(seen["config"].camera)
    assert settings.assumed_fov_deg == 70
    assert seen["config"].detection.min_plausibility == 0


def test_a_damaged_keypoint_file_is_one_line(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    command = ["annotate", str(pictures / "c.png"), str(tmp_path / "out"), "--keypoints", str(bad)]
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "bad.json is damaged or not JSON" in line
