"""The command `pear-ros`: arguments, exit codes, printed text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from samples import DATA, ROOT

from pear_ros.assets.body_assets import load_assets
from pear_ros.cli.main import main
from pear_ros.system.installed import shared_file

# The tiny network has random weights: it turns joints in impossible ways.
OPTIONS = ["--device", "cpu", "--min-plausibility", "0"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def infer(
    front_checkpoint: Path, small_assets_path: Path, tmp_path: Path
) -> Callable[..., tuple[int, Path]]:
    """Runs `pear-ros infer` with a tiny network; returns the exit code and the output's path."""

    def run(*arguments: str | Path) -> tuple[int, Path]:
        output = tmp_path / "people.npz"
        files = ["--checkpoint", front_checkpoint, "--assets", small_assets_path]
        files += ["--network-config", DATA / "network_tiny.json", "--output", output]
        return main(["infer", *map(str, arguments), *map(str, files), *OPTIONS]), output

    return run


def read(output: Path) -> dict[str, np.ndarray]:
    with np.load(output, allow_pickle=False) as file:
        return dict(file)


# --- infer ---------------------------------------------------------------------------------------


def test_infer(
    infer: Callable, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = infer(
        image,
        "--boxes=10,5,40,70",
        "--boxes=-5,5,90,60.5",
        "--intrinsics=80,90,40,30",
        "--overlay",
        tmp_path / "pictures",
        "--no-vertices",
        "--dtype=float32",
        "--min-score=1.0",
    )
    assert code == 0
    arrays = read(output)
    assert arrays["boxes_xyxy"].tolist() == [[10, 5, 40, 70], [-5, 5, 90, 60.5]]
    assert arrays["is_metric"].all()
    assert "vertices" not in arrays
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["00000_picture.png"]
    assert capsys.readouterr().out == f"people found: 2, in images: 1; wrote {output}\n"


def test_infer_the_whole_image(
    infer: Callable, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = infer(image, "--detector", "full_frame")
    assert code == 0
    assert "the whole image is one person" in capsys.readouterr().err
    arrays = read(output)
    assert arrays["boxes_xyxy"].tolist() == [[0, 0, 96, 72]]
    assert arrays["vertices"].shape == (1, 150, 3)
    assert not arrays["is_metric"].any()


def test_infer_by_default(infer: Callable, image: Path) -> None:
    """With NanoDet, which sees nobody in noise."""
    code, output = infer(image)
    assert code == 0
    assert len(read(output)["id"]) == 0


def test_boxes_replace_the_detector(infer: Callable, image: Path) -> None:
    code, output = infer(image, "--detector", "nanodet", "--boxes=10,5,40,70")
    assert code == 0
    assert len(read(output)["id"]) == 1


def test_infer_with_an_unreadable_image(infer: Callable, image: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    code, output = infer(image, tmp_path / "broken.png")
    assert code == 1
    assert len(read(output)["image_names"]) == 1


def test_infer_names_its_options(
    infer: Callable, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever a message comes from: a file that cannot be read, or a problem of the pipeline."""
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((200, 100, 3), np.uint8))
    boxes = ["--boxes=10,5,40,70", "--boxes=20,5,50,70", "--boxes=500,5,600,70"]
    limits = ["--max-pixels=10000", "--max-people=1"]
    assert infer(image, tmp_path / "large.png", *boxes, *limits)[0] == 1
    said = capsys.readouterr().err
    assert "large.png: an image of 100x200 px has more pixels than --max-pixels, 10000" in said
    assert "raise --max-people, 1" in said
    assert "ignored a box that is outside the 96x72 image" in said


def test_infer_uses_the_demo_network_by_default(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "people.npz"
    arguments = ["infer", str(image), "--output", str(output), "--device", "cpu"]
    assert main([*arguments, "--detector", "full_frame"]) == 0
    assert "people found: 1, in images: 1" in capsys.readouterr().out
    standin = load_assets(shared_file("standin/body.npz"))
    assert read(output)["vertices"].shape == (1, *standin.body_template.shape)


ERRORS = {
    "missing input": (["nothing.png"], "nothing.png does not exist"),
    "missing checkpoint": (["picture.png", "--checkpoint=c.pt"], "no checkpoint at c.pt"),
    "missing assets": (["picture.png", "--assets=a.npz"], "a.npz: does not exist"),
    "missing sizes": (["picture.png", "--network-config=c.json"], "c.json is not a network"),
    "sizes alone": (["picture.png", "--checkpoint="], "give --checkpoint as well"),
    "no assets": (["picture.png", "--assets="], "--checkpoint needs --assets"),
    "field of view": (
        ["picture.png", "--fov-deg=500"],
        "pear-ros: --fov-deg: 500.0 is not within",
    ),
    "score": (
        ["picture.png", "--min-score=2"],
        "pear-ros: --min-score: 2.0 is not within 0.0 ... 1.0",
    ),
    "device": (["picture.png", "--device=tpu9"], "device 'tpu9' cannot be used"),
}


@pytest.mark.parametrize(("arguments", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_are_one_line(
    image: Path,
    front_checkpoint: Path,
    small_assets_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(image.parent)
    files = [f"--checkpoint={front_checkpoint}", f"--assets={small_assets_path}"]
    files += [f"--network-config={DATA / 'network_tiny.json'}"]
    assert main(["infer", *files, *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pear-ros: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


FILES = ["--checkpoint=c", "--assets=a"]
BAD_USAGE = {
    "no command": [],
    "unknown command": ["guess"],
    "no input": ["infer", *FILES],
    "precision": ["infer", "x.png", *FILES, "--dtype=half"],
    "three numbers": ["infer", "x.png", *FILES, "--boxes=1,2,3"],
    "five numbers": ["infer", "x.png", *FILES, "--boxes=1,2,3,4,5"],
    "not numbers": ["infer", "x.png", *FILES, "--intrinsics=a,b,c,d"],
    "unknown detector": ["infer", "x.png", *FILES, "--detector=yolo"],
    "detections from ROS": ["infer", "x.png", *FILES, "--detector=topic"],
    "no action": ["assets"],
    "no output": ["assets", "convert", "dir"],
    "a negative seed": ["evaluate", "--seed", "-1"],
}


@pytest.mark.parametrize("arguments", BAD_USAGE.values(), ids=BAD_USAGE)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: pear-ros" in capsys.readouterr().err


def test_sizes_without_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """They would be ignored, or describe another network."""
    assert main(["evaluate", f"--network-config={DATA / 'network_tiny.json'}"]) == 1
    message = "--network-config describes a checkpoint: give --checkpoint as well"
    assert capsys.readouterr().err == f"pear-ros: {message}\n"


# --- assets --------------------------------------------------------------------------------------


def test_assets(
    small_assets_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    downloads = small_assets_path.parent
    assert main(["assets", "check", str(downloads)]) == 0
    assert "All 6 files are there" in capsys.readouterr().out
    assert main(["assets", "convert", str(downloads), str(tmp_path / "a.npz")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.npz'}\n"
    assert load_assets(tmp_path / "a.npz").body_template.shape == (150, 3)


def test_incomplete_assets(
    small_assets_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(small_assets_path.parent / "l_eyelid.npy", tmp_path)
    assert main(["assets", "check", str(tmp_path)]) == 1
    assert "MISSING  generic_model.pkl" in capsys.readouterr().out
    assert main(["assets", "convert", str(tmp_path), str(tmp_path / "a.npz")]) == 1
    assert "MISSING  generic_model.pkl" in capsys.readouterr().err
    assert not (tmp_path / "a.npz").exists()


# --- node ----------------------------------------------------------------------------------------


def test_node_arguments_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    node = types.ModuleType("pear_ros.ros.node")
    received: list[list[str]] = []
    node.main = lambda arguments: received.append(arguments) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pear_ros.ros.node", node)
    arguments = ["--ros-args", "-p", "camera.names:=[a, b]", "--help"]
    assert main(["node", *arguments]) == 7
    assert received == [arguments]


def test_node_without_ros(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pear_ros.ros.node", None)
    assert main(["node"]) == 1
    assert "the node needs ROS 2" in capsys.readouterr().err


# --- As a process --------------------------------------------------------------------------------


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pear_ros.cli", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, text=True, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **options
    )


COMMANDS = ("infer", "node", "export", "build", "assets", "evaluate", "bench")


def test_help_names_the_commands_without_importing_torch() -> None:
    done = process("--help", stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert all(f"    {name} " in done.stdout for name in COMMANDS)
    command = "import sys, pear_ros.cli.main; print('torch' in sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", command], cwd=ROOT, text=True)
    assert imported == "False\n"


def test_a_closed_pipe_is_no_traceback(small_assets_path: Path) -> None:
    """For example `pear-ros assets check DIR | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = process("assets", "check", str(small_assets_path.parent), stdout=writing)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""
