"""The trainer: runs that resume, errors, log files; the mean of networks."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import torch
from labelled_people import changed, pictures_of, rendered_labels, write_folder
from tiny_network import TINY

from pear_ros.annotation.pseudo_labels import read_labels
from pear_ros.assets.body_assets import load_assets
from pear_ros.body.landmarks import Landmarks
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.synthetic.scene import Cast
from pear_ros.system.installed import shared_file
from training import data, loading, mean, train
from training.losses import LABELLED_WEIGHTS, STAGE_2_WEIGHTS, WEIGHTS
from training.objective import APPEARANCE_WEIGHTS
from training.student import SMALL, Student, initialise

BODY = shared_file("standin/body.npz")
STAGE_2 = ["--stage", "2", "--start", "model.pt"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a trainer of a tiny network that writes to tmp_path/out."""
    monkeypatch.setattr(train, "SMALL", TINY)
    for name in ("MOTIONS", "OUTFITS", "NEW_OUTFITS", "BACKGROUNDS"):
        monkeypatch.setattr(data, name, 4)  # 48 outfits and backgrounds take seconds to draw
    return [
        "--assets", str(BODY), "--output", str(tmp_path / "out"), "--batch-size", "4",
        "--workers", "0", "--device", "cpu",
    ]  # fmt: skip


def stored(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2], ids="stage {}".format)
def test_training_resumes_where_it_stopped(
    stage: int, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure", MagicMock())  # thirty plots take ten seconds
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    losses = []
    update = train.Training.update

    def record(training: train.Training, loss: torch.Tensor) -> None:
        losses.append(loss.item())
        update(training, loss)

    monkeypatch.setattr(train.Training, "update", record)
    folder = tmp_path / "out"
    begin = Student(TINY).network
    train.write_model(begin, tmp_path)
    tiny += ["--stage", str(stage), "--warmup", "0", "--cooldown", "0"]
    start = ["--start", str(tmp_path / "model.pt")] if stage == 2 else []

    assert train.main([*tiny, *start, "--steps", "3"]) == 0
    before = stored(folder)
    model = load_network(folder / "model.pt", NetworkConfig.from_json(folder / "network.json"))
    # No steps are left, so the trainer stores what it has read. --start is not needed any more.
    (tmp_path / "model.pt").unlink()
    assert train.main([*tiny, "--steps", "3"]) == 0
    assert all(optimizer["state"] for optimizer in before["optimizers"])
    torch.testing.assert_close(stored(folder), before, rtol=0, atol=0)
    again = load_network(folder / "model.pt", model.config)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)

    if stage == 2:  # the backbone is frozen, the head is not
        after = before["student"]
        changed = {
            name
            for name, weight in begin.state_dict().items()
            if not torch.equal(weight.half().float(), after[f"network.{name}"])
        }
        assert not any(name.startswith("backbone.") for name in changed)
        assert {"head.cam_decoder.weight", "head.smplx_poses_decoder.weight"} <= changed

    assert train.main([*tiny, "--steps", "4", "--weight-decay", "0.5", "--lr", "1e-5"]) == 0
    adam = stored(folder)["optimizers"][1]["param_groups"]
    assert [group["weight_decay"] for group in adam] == [0.5, 0]
    assert [group["full_lr"] for group in adam] == [1e-5, 1e-5]
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert "lr_share" in rows[0]
    assert ("body_parts" in rows[0]) == (stage == 2)
    # A row is the mean over the steps since the last row or since the run resumed.
    assert float(rows[0]["loss"]) == pytest.approx(np.mean(losses[:2]), rel=1e-4)
    assert float(rows[1]["loss"]) == pytest.approx(losses[3], rel=1e-4)
    runs = json.loads((folder / "options.json").read_text())
    assert [(run["after_step"], run["steps"]) for run in runs] == [(0, "3"), (3, "3"), (3, "4")]

    # The mean of the weights continues, but starts again with another number of tokens.
    assert stored(folder)["averaged"] == 4
    assert train.main([*tiny, "--steps", "5", "--tokens", "72"]) == 0
    assert stored(folder)["averaged"] == 1


def test_the_sizes_of_a_start_are_read_from_its_folder(tiny: list[str], tmp_path: Path) -> None:
    larger = dataclasses.replace(TINY, head=dataclasses.replace(TINY.head, depth=2))
    train.write_model(Student(larger).network, tmp_path)
    for stage in ("1", "2"):
        arguments = [*tiny, "--stage", stage, "--start", str(tmp_path / "model.pt")]
        training = train.Training(train.parse_options(arguments))
        assert training.student.network.config == larger


def test_a_start_without_a_network_json_has_the_published_sizes(tmp_path: Path) -> None:
    assert train._sizes(tmp_path / "pear_model.pt", None) == NetworkConfig()


def test_errors_are_one_line(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "network.json").write_text("{}")
    assert train.main([*tiny, "--start", str(tmp_path / "model.pt")]) == 1
    assert "network.json is not a network configuration" in capsys.readouterr().err
    train.Training(train.parse_options(tiny)).save()
    assert train.main([*tiny, "--stage", "2"]) == 1  # in the folder of stage 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "out/last.pt is not of stage 2" in line
    older = stored(tmp_path / "out")
    del older["averaged"]
    torch.save(older, tmp_path / "out" / "last.pt")
    assert train.main(tiny) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "out/last.pt is not of stage 1 of this trainer: give another folder" in line
    (tmp_path / "file").touch()
    assert train.main([*tiny, "--output", str(tmp_path / "file")]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels of three people."""
    assets = load_assets(BODY)
    cast = Cast(assets)
    known = rendered_labels(cast, Landmarks.of(assets), 3, seed=4)
    return write_folder(tmp_path_factory.mktemp("labels") / "in", known, pictures_of(cast, known))


@pytest.mark.slow
def test_it_trains_on_rendered_and_labelled_people(
    tiny: list[str], labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure", MagicMock())
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    folder = tmp_path / "out"
    tiny += ["--labels", str(labels), "--labelled", "3", "--cooldown", "0"]
    assert train.main([*tiny, "--steps", "2"]) == 0
    assert train.main([*tiny, "--steps", "3", "--tokens", "72"]) == 0  # goes on
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3]
    for row in rows:
        assert all(float(row[name]) > 0 for name in (*WEIGHTS, *LABELLED_WEIGHTS))
        parts = (WEIGHTS | LABELLED_WEIGHTS).items()
        right = sum(weight * float(row[name]) for name, weight in parts)
        assert float(row["loss"]) == pytest.approx(right, rel=1e-3)
    config = NetworkConfig.from_json(folder / "network.json")
    network = load_network(folder / "model.pt", config)
    answer = vars(network(torch.zeros(2, 256, 192, 3, dtype=torch.uint8)))
    assert all(values.isfinite().all() for values in answer.values())
    # The labels are not needed to go on.
    assert train.main([*tiny[: tiny.index("--labels")], "--steps", "4", "--cooldown", "0"]) == 0


@pytest.fixture(scope="module")
def clips(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels of a video of one person."""
    known = read_labels(labels)
    frames = changed(known, source_input=np.array(["a"] * 3), source_frame=np.array((0, 10, 20)))
    pictures = [cv2.imread(str(labels / "crops" / name))[..., ::-1] for name in known.file]
    return write_folder(tmp_path_factory.mktemp("clips") / "in", frames, pictures)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rendered", "clips", "clips and labels"])
def test_stage_2_trains_on_pairs(
    kind: str,
    tiny: list[str],
    labels: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the pixel loss: with its weight 0, no targets are made."""
    monkeypatch.setattr("matplotlib.figure.Figure", MagicMock())
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr("training.pixel_loss.TargetMaker.__call__", MagicMock(side_effect=OSError))
    begin = Student(TINY).network
    train.write_model(begin, tmp_path)
    tiny += ["--stage", "2", "--start", str(tmp_path / "model.pt"), "--pairs", "3"]
    tiny += ["--pixel-weight", "0", "--warmup", "0", "--cooldown", "0", "--steps", "2"]
    weights = STAGE_2_WEIGHTS | APPEARANCE_WEIGHTS
    if "clips" in kind:
        tiny += ["--clips", str(clips)]
        weights.pop("outline")  # masks are not known
    if "labels" in kind:
        tiny += ["--labels", str(labels), "--labelled", "2"]
        weights |= LABELLED_WEIGHTS
    assert train.main(tiny) == 0
    after = stored(tmp_path / "out")["student"]
    changed = {
        name
        for name, weight in begin.state_dict().items()
        if not torch.equal(weight.half().float(), after[f"network.{name}"])
    }
    assert changed
    assert all(name.startswith("head.") for name in changed)
    with (tmp_path / "out/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        losses = {name: float(row[name]) for name in set(row) & set(weights)}
        assert losses["appearance"] > 0
        assert not {name for name in row if name.endswith(("_parts", "_colors", "_normals"))}
        assert ("outline" in row) == (kind == "rendered")
        right = sum(weights[name] * value for name, value in losses.items())
        assert float(row["loss"]) == pytest.approx(right, rel=1e-3)


@pytest.mark.slow
def test_a_deeper_network_is_trained_and_resumed(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure", MagicMock())
    train.write_model(Student(TINY).network, tmp_path)
    deeper = [*tiny, "--start", str(tmp_path / "model.pt"), "--deepen", "1"]
    for steps in ("1", "2"):
        assert train.main([*deeper, "--steps", steps]) == 0
        config = NetworkConfig.from_json(tmp_path / "out/network.json")
        assert config.backbone.depth == TINY.backbone.depth + 1
        load_network(tmp_path / "out/model.pt", config)
    assert stored(tmp_path / "out")["step"] == 2


def test_labels_and_photos_that_cannot_be_used(
    tiny: list[str], labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, also with worker processes, and before anything is rendered."""
    train.write_model(Student(TINY).network, tmp_path)
    stage_2 = ["--stage", "2", "--start", str(tmp_path / "model.pt"), "--pairs", "2", "--clips"]
    known = read_labels(labels)
    nobody = changed(known, is_accepted=np.zeros(len(known), bool))
    blank = [np.zeros((8, 8, 3), np.uint8)] * len(known)
    rejected = write_folder(tmp_path / "rejected", nobody, blank)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.jpg").write_text("no picture")
    tiny[tiny.index("--workers") + 1] = "1"
    for arguments, message in (
        (["--labels", str(rejected)], "none of its 3 labels is accepted"),
        (["--labels", str(tmp_path / "nowhere")], "nowhere: does not exist"),
        ([*stage_2, str(labels)], "nobody is in two frames; annotate videos for --clips"),
        ([*stage_2, str(tmp_path / "nowhere")], "nowhere: does not exist"),
        (["--photos", str(tmp_path / "empty")], "empty has no pictures, see --photos"),
        (["--photos", str(tmp_path / "nowhere")], "nowhere has no pictures, see --photos"),
        (["--photos", str(tmp_path / "text")], "a.jpg is not a picture: --photos takes a folder"),
    ):
        assert train.main([*tiny, *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("train: ")
        assert message in line


def test_photos_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, color in (("b.png", (9, 0, 0)), ("a.png", (0, 0, 7))):  # BGR
        cv2.imwrite(str(tmp_path / name), np.full((5, 6, 3), color, np.uint8))
    first, second = loading.read_pictures(tmp_path)
    assert first.shape == (5, 6, 3)
    assert first[0, 0].tolist() == [7, 0, 0]  # RGB
    assert second[0, 0].tolist() == [0, 0, 9]


def test_losses_and_gradients_that_are_not_finite_change_no_weight(
    tiny: list[str], tmp_path: Path
) -> None:
    training = train.Training(train.parse_options(tiny))
    weight = training.student.network.head.cam_decoder.weight
    before = weight.detach().clone()

    def steep() -> torch.Tensor:  # a finite loss whose gradient is NaN
        return (weight - before).abs().sqrt().sum()

    lower = "at step 0: lower --muon-lr and --lr"
    with pytest.raises(FloatingPointError, match=f"the loss is nan {lower}$"):
        training.update(weight.sum() * np.nan)
    with pytest.raises(FloatingPointError, match=f"the gradient is nan {lower}$"):
        training.update(steep())
    training.save()
    with pytest.raises(FloatingPointError, match=f"{lower}, and continue from .*out/last.pt$"):
        training.update(steep())
    torch.testing.assert_close(weight.detach(), before, rtol=0, atol=0)
    assert training.step == 0


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--stage", "2"], id="stage 2 without a start"),
        pytest.param(["--tokens", "0"], id="no tokens"),
        pytest.param(["--tokens", "193"], id="more tokens than a crop has"),
        pytest.param(["--labelled", "0"], id="no labelled people"),
        pytest.param(["--deepen", "-1"], id="fewer blocks"),
        pytest.param(["--pairs", "4"], id="pairs in stage 1"),
        pytest.param(["--clips", "clips"], id="clips in stage 1"),
        pytest.param([*STAGE_2, "--pairs", "-1"], id="fewer pairs"),
        pytest.param([*STAGE_2, "--clips", "clips"], id="clips without pairs"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        train.parse_options(arguments)
    reason = capsys.readouterr().err.splitlines()[-1]  # after the usage
    assert "error: --" in reason
    assert any(option in reason for option in arguments)


def test_each_stage_has_its_folder() -> None:
    assert train.parse_options([]).output == Path("out/stage1")
    options = train.parse_options(["--stage", "2", "--start", "model.pt"])
    assert options.output == Path("out/stage2")


@pytest.mark.slow
def test_the_log_keeps_columns_of_older_rows(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [{"step": 50, "old": 2}, {"step": 100, "new": 3}]
    train.write_log([*rows, {"step": 150, "new": 0}], tmp_path)
    with (tmp_path / "log.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"step": "50", "old": "2", "new": ""},
            {"step": "100", "old": "", "new": "3"},
            {"step": "150", "old": "", "new": "0"},
        ]
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_the_mean_of_networks_is_a_network(tmp_path: Path) -> None:
    networks = [PearNetwork(SMALL) for _ in range(2)]
    for i, network in enumerate(networks):
        initialise(network)
        (tmp_path / str(i)).mkdir()
        train.write_model(network, tmp_path / str(i))
    models = [str(tmp_path / str(i) / "model.pt") for i in range(2)]
    mean.main([*models, "--output", str(tmp_path / "mean")])
    config = NetworkConfig.from_json(tmp_path / "mean/network.json")
    found = load_network(tmp_path / "mean/model.pt", config, fold=False).state_dict()
    halves = [network.half().state_dict() for network in networks]
    for name, values in found.items():
        right = ((halves[0][name].float() + halves[1][name].float()) / 2).half()
        assert torch.equal(values.half(), right), name


def test_networks_that_cannot_be_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [SMALL, NetworkConfig(BackboneConfig(embed_dim=24, depth=1, num_heads=2))]
    models = []
    for i, config in enumerate(sizes):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "network.json").write_text(config.to_json())
        models.append(str(tmp_path / str(i) / "model.pt"))
    for output, message in (("mean", "different sizes"), ("0", "must not be the folder")):
        with pytest.raises(SystemExit):
            mean.main([*models, "--output", str(tmp_path / output)])
        assert message in capsys.readouterr().err
