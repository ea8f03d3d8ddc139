"""`pear-ros bench`: its report, and that the reference computes the same as our code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES
from samples import DATA, ROOT, golden, golden_parameters, random_parameters

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.benchmark import measure, stopwatch
from pear_ros.benchmark.baseline import (
    ReferenceBodyModel,
    ReferenceNetwork,
    ReferencePipeline,
    normalised,
    warped_crop,
)
from pear_ros.benchmark.options import BenchOptions
from pear_ros.benchmark.report import STAGES, Measurement, Row, Run, Times, markdown
from pear_ros.benchmark.stopwatch import Stopwatch
from pear_ros.benchmark.workload import Workload
from pear_ros.body.body_model import BodyModel
from pear_ros.cli.arguments import config_from
from pear_ros.cli.main import main, make_parser
from pear_ros.config import Config
from pear_ros.images.crop import cut_crops, squares_of
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import Frame, People
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.system.hardware import hardware

SAME_JOINTS_M = 1e-4
CPU = torch.device("cpu")


# --- The published way ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_reference_body_agrees_with_the_published(assets: BodyAssets) -> None:
    published = golden("ehm")
    vertices, joints = ReferenceBodyModel(assets, CPU)(golden_parameters())
    np.testing.assert_allclose(joints, published["joints"], atol=1e-5)
    np.testing.assert_allclose(vertices, published["vertices"], atol=1e-5)


def test_the_reference_body_agrees_with_ours(
    small_assets: BodyAssets, small_body_model: BodyModel
) -> None:
    parameters = random_parameters(5)
    vertices, joints = ReferenceBodyModel(small_assets, CPU)(parameters)
    ours = small_body_model(parameters, mesh=True)
    np.testing.assert_allclose(joints, ours.joints, atol=SAME_JOINTS_M)
    np.testing.assert_allclose(vertices, ours.vertices, atol=SAME_JOINTS_M)


@torch.inference_mode()
def test_the_reference_network_agrees_with_ours(
    network: PearNetwork, network_config: NetworkConfig
) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    stored = load_network(DATA / "network_tiny.pt", network_config, fold=False).state_dict()
    found = ReferenceNetwork(stored, network_config)(normalised(crop))
    ours = network(torch.from_numpy(crop)[None])
    for name, expected in vars(ours).items():
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-4, err_msg=name)


def test_the_reference_crop_agrees_with_ours() -> None:
    """Except for OpenCV's rounding."""
    frame = Workload(3, (320, 240)).frame()
    assert frame.boxes is not None
    squares = squares_of([frame], [frame.boxes])
    for image, xywh in zip(cut_crops([frame], squares), squares.xywh, strict=True):
        off = np.abs(warped_crop(frame.image, xywh).astype(int) - image)
        assert off.mean() < 0.5


def test_the_reference_step_agrees_with_ours(
    front_checkpoint: Path, small_assets_path: Path, small_assets: BodyAssets
) -> None:
    """The same people at the same positions, so that the same work is compared."""
    sizes = DATA / "network_tiny.json"
    config = Config.of(
        {
            "network.checkpoint": str(front_checkpoint),
            "network.config": str(sizes),
            "body.assets": str(small_assets_path),
            "network.device": "cpu",
            "network.dtype": "float32",
            "detection.detector": "topic",
            **measure.AS_ESTIMATED,
        }
    )
    pipeline = load_pipeline(config, Problems(print))
    network = load_network(front_checkpoint, NetworkConfig.from_json(sizes), fold=False)
    baseline = ReferencePipeline(network.state_dict(), network.config, small_assets, CPU)
    workload = Workload(3, (320, 240))
    for _ in range(3):  # people who are followed are not smoothed
        frame = workload.frame()
        (ours,) = pipeline.step([frame], mesh=True)
        theirs = baseline.step(frame)
        assert len(ours) == len(theirs) == 3
        for i, person in enumerate(theirs):  # crops differ by OpenCV's rounding
            np.testing.assert_allclose(person.joints, ours.joints[i], atol=0.02)
            np.testing.assert_allclose(
                person.translation, ours.translation[i], rtol=0.02, atol=0.05
            )


# --- Committed measurements ---------------------------------------------------------------------

DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", ["pear", "demo"])
def test_tables_in_the_docs_agree_with_the_reports(name: str) -> None:
    """The tables that `pear-ros bench` printed are made again from the JSON file that it wrote."""
    report = json.loads((DOCS / f"performance/{name}.json").read_text())
    page = (DOCS / "performance.md").read_text()
    for run in report["runs"]:
        rows = [
            Row(
                row["people"],
                measurement_of(row["pear_ros"]),
                measurement_of(row["baseline"]),
                row["speed_up"],
            )
            for row in run["rows"]
        ]
        table = markdown(Run(**run | {"rows": rows}))
        assert table in page


def measurement_of(stored: dict[str, Any]) -> Measurement:
    stages = {name: Times(**times) for name, times in stored["stages_ms"].items()}
    return Measurement(
        **stored | {"latency_ms": Times(**stored["latency_ms"]), "stages_ms": stages}
    )


# --- The command ---------------------------------------------------------------------------------


@pytest.fixture
def files(front_checkpoint: Path, small_assets_path: Path) -> list[str]:
    return [
        f"--checkpoint={front_checkpoint}", f"--network-config={DATA / 'network_tiny.json'}",
        f"--assets={small_assets_path}", "--device=cpu",
    ]  # fmt: skip


def config_of(files: list[str]) -> Config:
    given = make_parser().parse_args(["bench", *files])
    return config_from(given, **{"detection.detector": "topic"})


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_report(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    output = tmp_path / "bench.json"
    arguments = ["--dtype", "float32", "bfloat16", "--batches", "1", "3", "--repeats=2", "--mesh"]
    arguments += ["--image=320x240", f"--output={output}", f"--device={device}"]
    assert main(["bench", *files, *arguments]) == 0
    printed = capsys.readouterr().out
    report = json.loads(output.read_text())

    assert set(hardware(CPU)) == set(report["hardware"])
    assert (report["hardware"]["gpu"] is None) == (device == "cpu")
    assert report["hardware"]["torch"] == torch.__version__
    assert report["image"] == [320, 240]
    assert report["mesh"] is True
    assert [run["dtype"] for run in report["runs"]] == ["float32", "bfloat16"]
    for run in report["runs"]:
        assert run["backend"] == "torch"
        assert run["problems"] == {}
        assert [row["people"] for row in run["rows"]] == [1, 3]
        for row in run["rows"]:
            stages = {name: set(row[name]["stages_ms"]) for name in ("pear_ros", "baseline")}
            assert stages["pear_ros"] | {"publish"} == set(STAGES)
            assert stages["baseline"] == set(STAGES) - {"detect", "track", "pose", "publish"}
            for name in stages:
                latency = row[name]["latency_ms"]
                assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
                assert row[name]["people_per_s"] > 0
                network_ms = row[name]["stages_ms"]["network"]["p50"]
                share = network_ms / latency["p50"]
                assert row[name]["network_share"] == pytest.approx(share)
                assert f"| {share:.1%} |" in printed
            # On a CPU, the libraries of torch alone need more than 100 MiB.
            assert row["pear_ros"]["memory_mib"] > (100 if device == "cpu" else 0)
    for stage in stages["pear_ros"]:
        assert f"| {stage} | pear_ros | " in printed
        assert f"| {stage} | baseline | " in printed
    assert "| 3 | baseline | " in printed


def test_percentiles() -> None:
    times = Times.of([i / 1000 for i in range(101)])
    assert (times.p50, times.p95, times.p99) == pytest.approx((50, 95, 99))


def test_no_step_reuses_work(files: list[str]) -> None:
    """In each step all shapes are new to the shape cache, and all people are found again."""
    config = config_of(files).replaced(measure.AS_ESTIMATED)
    pipeline = load_pipeline(config, Problems(print))
    work = Workload(4, (640, 480))
    betas = []
    for _ in range(3):
        (people,) = pipeline.step([work.frame()])
        assert people.ids == ("p0001", "p0002", "p0003", "p0004")
        betas.append(people.parameters.betas)
    for before, after in pairwise(betas):
        assert (before != after).any(1).all()


def test_each_camera_gets_later_and_later_images(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its people are followed; the images of batches and of timed stages are not mixed."""
    stamps: dict[str, list[float]] = {}
    people: dict[str, set[int]] = {}
    step = Pipeline.step

    def recorded(pipeline: Pipeline, frames: Sequence[Frame], mesh: bool = False) -> list[People]:
        (frame,) = frames
        stamps.setdefault(frame.source, []).append(frame.stamp_s)
        people.setdefault(frame.source, set()).add(len(frame.boxes or ()))
        return step(pipeline, frames, mesh)

    monkeypatch.setattr(Pipeline, "step", recorded)
    options = BenchOptions(config_of(files), None, ("float32",), (1, 2, 1), (320, 240), 2, False)
    measure.measure(options.config, options)
    assert len(stamps) == 6
    assert all(sorted(set(times)) == times for times in stamps.values())
    assert sorted(map(list, people.values())) == [[1], [1], [1], [1], [2], [2]]


@pytest.mark.slow
def test_random_weights(
    tmp_path: Path, small_assets_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are the same each time, and stored in a file that the other commands can read."""
    arguments = [
        f"--network-config={DATA / 'network_tiny.json'}", f"--assets={small_assets_path}",
        "--batches=2", "--repeats=1", "--device=cpu",
    ]  # fmt: skip
    kept = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for path in kept:
        assert main(["bench", "--random", str(path), *arguments]) == 0
    first, second = (torch.load(path, weights_only=True) for path in kept)
    for part in ("backbone", "head"):
        assert all(torch.equal(x, second[part][name]) for name, x in first[part].items())
    assert main(["bench", "--random", *arguments]) == 0
    assert "not_placeable" not in capsys.readouterr().out


def test_without_ros_messages_are_not_measured(
    monkeypatch: pytest.MonkeyPatch, small_body_model: BodyModel
) -> None:
    monkeypatch.setitem(sys.modules, "pear_ros.ros.to_messages", None)
    assert measure.message_maker(small_body_model, (640, 480)) is None


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
@pytest.mark.parametrize("device", DEVICES)
def test_stages_of_a_step(files: list[str], device: str, mesh: bool) -> None:
    config = config_of(files).replaced({"network.device": device, "network.dtype": "float32"})
    stages: list[str] = []
    pipeline = load_pipeline(config, Problems(print), on_stage=stages.append)
    work = Workload(3, (640, 480))
    pipeline.step([work.frame()], mesh)
    stages.clear()
    pipeline.step([work.frame()], mesh)
    order = ["upload", "crop"] if device == "cuda" else ["crop", "upload"]
    posing = ["pose", "download"] if device == "cuda" else ["pose"]
    estimation = [*order, "network", "body", "download", "placement", ""]
    assert stages == ["detect", *estimation, "track", *posing, ""]


def test_each_implementation_has_its_own_times(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = [[0.001, 0.002], [0.1, 0.3], [], []]

    def known_times(steps: Any, workload: Workload, *_: Any) -> list[list[float]]:
        for step in steps:
            step(workload.frame())
        return times_s

    monkeypatch.setattr(measure, "alternate", known_times)
    options = BenchOptions(config_of(files), None, ("float32",), (1,), (320, 240), 1, False)
    (row,) = measure.measure(options.config, options).rows
    assert row.pear_ros.latency_ms == Times.of(times_s[0])
    assert row.baseline.latency_ms == Times.of(times_s[1])
    assert row.speed_up == pytest.approx(0.2 / 0.0015)
    for measured, median_ms in ((row.pear_ros, 1.5), (row.baseline, 200)):
        assert measured.network_share == pytest.approx(
            measured.stages_ms["network"].p50 / median_ms
        )


@pytest.mark.parametrize(
    "people", [1, pytest.param(17, marks=pytest.mark.slow)], ids="{} people".format
)
def test_everybody_is_measured(files: list[str], people: int) -> None:
    """Also more people than detection.max_people has by default."""
    options = BenchOptions(config_of(files), None, ("float32",), (people,), (320, 240), 1, False)
    config = options.config.replaced({"detection.max_people": people})
    assert measure.measure(config, options).problems == {}
    too_few = options.config.replaced({"detection.max_people": 1})
    problems = measure.measure(too_few, options).problems
    assert problems.keys() == (set() if people == 1 else {"people_missing", "people_over_limit"})
    assert problems.get("people_missing", 1) == 1


def test_the_times_of_a_repeated_stage_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages outside of `run` are not timed."""
    ticks = iter([0, 1, 10, 13, 14, 20, 24])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(ticks))
    watch = Stopwatch(CPU)
    watch("crop")
    watch.run(lambda: [watch(stage) for stage in ("crop", "network", "crop", "network")])  # 0 to 14
    watch("network")
    watch.run(lambda: watch("crop"))  # 20 to 24
    times = watch.take()
    assert times["crop"] == Times.of([4, 4])
    assert times["network"] == Times.of([10, 0])
    assert Times.of([3, 4]).p50 == 3500


ERRORS = {
    "people": (["--batches", "1", "65"], "batches: 65 is not within 1 ... 64"),
    "precision": (["--dtype", "float32", "half"], "dtype: 'half' is not one of auto"),
    "device": (["--device=tpu9"], "device 'tpu9' cannot be used"),
    "output": (["--output=nowhere/b.json"], "nowhere/b.json cannot be written"),
    "checkpoint": (["--checkpoint=c.pt"], "no checkpoint at c.pt"),
    "assets": (["--assets=a.npz"], "a.npz: does not exist"),
    "sizes without weights": (["--network-config=c.json"], "give --checkpoint as well"),
    "random sizes": (["--random", "--network-config=c.json"], "c.json is not a network"),
    "random file": (["--random", "nowhere/r.pt"], "cannot be written to nowhere/r.pt"),
    "engine": (
        ["--engine=e.engine"],
        "nothing was measured: using torch instead of the engine e.engine: ",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pear-ros: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--image=640"], id="image without a height"),
        pytest.param(["--image=10x10"], id="small image"),
        pytest.param(["--batches", "0"], id="nobody"),
        pytest.param(["--repeats=-1"], id="negative repeats"),
        pytest.param(["--checkpoint=c", "--random"], id="checkpoint and random weights"),
    ],
)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", *arguments])
    assert "usage: pear-ros bench" in capsys.readouterr().err
