"""`pear-ros bench`: what it says, and that the published way computes what ours does."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES
from fake_tensorrt import HostStream
from samples import DATA, golden, golden_parameters, random_parameters

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.benchmark import measure as bench
from pear_ros.benchmark.baseline import (
    PublishedBodyModel,
    PublishedNetwork,
    PublishedPipeline,
    normalised,
    warped_crop,
)
from pear_ros.benchmark.measure import (
    BenchOptions,
    RecordedStages,
    StepByStepStages,
    Stopwatch,
    Work,
    make_stages,
)
from pear_ros.benchmark.report import STAGES, Row, Run, Times, Way, hardware, markdown
from pear_ros.body.body_model import BodyModel
from pear_ros.cli.main import main
from pear_ros.config import Config
from pear_ros.estimation import estimator as estimate
from pear_ros.images.crop import cut_crops, squares_of
from pear_ros.network.network import NetworkConfig, PearNetwork, load_network
from pear_ros.people import Boxes
from pear_ros.pipeline import load_pipeline
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.problems import Problems
from pear_ros.system.cuda_graphs import CudaStream, Recorded

SAME_JOINTS_M = 1e-4
CPU = torch.device("cpu")


# --- The published way ---------------------------------------------------------------------------


def test_the_published_body_is_the_published(assets: BodyAssets) -> None:
    published = golden("ehm")
    vertices, joints = PublishedBodyModel(assets, CPU)(golden_parameters())
    np.testing.assert_allclose(joints, published["joints"], atol=1e-5)
    np.testing.assert_allclose(vertices, published["vertices"], atol=1e-5)


def test_the_published_body_is_ours(small_assets: BodyAssets, small_body_model: BodyModel) -> None:
    parameters = random_parameters(5)
    vertices, joints = PublishedBodyModel(small_assets, CPU)(parameters)
    ours = small_body_model(parameters, mesh=True)
    np.testing.assert_allclose(joints, ours.joints, atol=SAME_JOINTS_M)
    np.testing.assert_allclose(vertices, ours.vertices, atol=SAME_JOINTS_M)


@torch.inference_mode()
def test_the_published_network_is_ours(network: PearNetwork, network_config: NetworkConfig) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    stored = load_network(DATA / "network_tiny.pt", network_config, fold=False).state_dict()
    published = PublishedNetwork(stored, network_config)(normalised(crop))
    ours = network(torch.from_numpy(crop)[None])
    for name, expected in vars(ours).items():
        np.testing.assert_allclose(getattr(published, name), expected, atol=1e-4, err_msg=name)


def test_the_published_crop_is_ours() -> None:
    """But for what OpenCV rounds."""
    frame = Work(3, (320, 240)).frame()
    assert frame.boxes is not None
    squares = squares_of([frame], [frame.boxes])
    for image, xywh in zip(cut_crops([frame], squares), squares.xywh, strict=True):
        off = np.abs(warped_crop(frame.image, xywh).astype(int) - image)
        assert off.mean() < 0.5


def test_the_published_step_is_ours(
    front_checkpoint: Path, small_assets_path: Path, small_assets: BodyAssets
) -> None:
    """The same people at the same places, so that the same work is compared."""
    sizes = DATA / "network_tiny.json"
    config = Config(
        checkpoint=str(front_checkpoint), network_config=str(sizes), assets=str(small_assets_path),
        device="cpu", dtype="float32", detector="topic",
    )  # fmt: skip
    pipeline = load_pipeline(config, Problems(print))
    network = load_network(front_checkpoint, NetworkConfig.from_json(sizes), fold=False)
    published = PublishedPipeline(network.state_dict(), network.config, small_assets, CPU)
    frame = Work(3, (320, 240)).frame()
    (ours,) = pipeline.step([frame], mesh=True)
    theirs = published.step(frame, lambda _: nullcontext())
    assert len(ours) == len(theirs) == 3
    for i, person in enumerate(theirs):  # crops differ by OpenCV's rounding
        np.testing.assert_allclose(person.joints, ours.joints[i], atol=0.02)
        np.testing.assert_allclose(person.translation, ours.translation[i], rtol=0.02, atol=0.05)


# --- Committed measurements ---------------------------------------------------------------------

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["pear", "demo"])
def test_the_tables_in_the_docs_are_the_reports(name: str) -> None:
    """Each line of what `pear-ros bench` printed, made again of what it wrote."""
    report = json.loads((DOCS / f"performance/{name}.json").read_text())
    page = (DOCS / "performance.md").read_text()
    for run in report["runs"]:
        rows = [
            Row(
                row["people"],
                way_of(row["pear_ros"]),
                way_of(row["published"]),
                row["times_as_fast"],
            )
            for row in run["rows"]
        ]
        table = markdown(Run(**run | {"rows": rows}))
        assert table in page


def way_of(stored: dict[str, Any]) -> Way:
    stages = {name: Times(**times) for name, times in stored["stages_ms"].items()}
    return Way(**stored | {"latency_ms": Times(**stored["latency_ms"]), "stages_ms": stages})


# --- The command ---------------------------------------------------------------------------------


@pytest.fixture
def files(front_checkpoint: Path, small_assets_path: Path) -> list[str]:
    return [
        f"--checkpoint={front_checkpoint}", f"--network-config={DATA / 'network_tiny.json'}",
        f"--assets={small_assets_path}", "--device=cpu",
    ]  # fmt: skip


def config_of(files: list[str]) -> Config:
    given = {x[2:].replace("-", "_"): y for x, y in (f.split("=") for f in files)}
    return Config(**given, detector="topic")


@pytest.mark.parametrize("device", DEVICES)
def test_what_it_says(
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
            stages = {name: set(row[name]["stages_ms"]) for name in ("pear_ros", "published")}
            assert stages["pear_ros"] | {"publish"} == set(STAGES)
            assert stages["published"] == set(STAGES) - {"publish"}
            for name in stages:
                latency = row[name]["latency_ms"]
                assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
                assert row[name]["people_per_s"] > 0
                network_ms = row[name]["stages_ms"]["network"]["p50"]
                share = network_ms / latency["p50"]
                assert row[name]["network_share"] == pytest.approx(share)
                assert f"| {share:.1%} |" in printed
            # On a CPU torch's libraries alone are more.
            assert row["pear_ros"]["memory_mib"] > (100 if device == "cpu" else 0)
    for stage in STAGES:
        assert f"| {stage} | pear_ros | " in printed
        assert f"| {stage} | published | " in printed
    assert "| 3 | published | " in printed


def test_every_person_is_paid_for(files: list[str]) -> None:
    """Everybody is new to the shape cache at each step, and nobody is left out."""
    pipeline = load_pipeline(config_of(files), Problems(print))
    work = Work(4, (640, 480))
    betas = []
    for _ in range(3):
        (people,) = pipeline.step([work.frame()])
        assert people.ids == ("p1", "p2", "p3", "p4")
        betas.append(people.parameters.betas)
    for before, after in pairwise(betas):
        assert (before != after).any(1).all()


def test_random_weights(
    tmp_path: Path, small_assets_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same ones each time, in a file that the other commands read."""
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
    assert bench.message_maker(small_body_model, (640, 480)) is None


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
@pytest.mark.parametrize("device", DEVICES)
def test_recorded_stages_are_the_step_in_parts(
    files: list[str], monkeypatch: pytest.MonkeyPatch, device: str, mesh: bool
) -> None:
    """40 people are two batches."""
    options = BenchOptions(config_of(files), None, ("float32",), (2, 40), (640, 480), 1, mesh)
    config = dataclasses.replace(options.config, device=device, dtype="float32", max_people=64)
    pipeline = load_pipeline(config, Problems(print))
    network = pipeline.network
    stream = HostStream(None) if device == "cpu" else CudaStream(network.device)
    stages = RecordedStages(network, pipeline.body_model, options, stream)
    placed: list[torch.Tensor] = []
    monkeypatch.setattr(
        estimate, "place_in_camera", lambda *x: placed.append(place_in_camera(*x)) or placed[-1]
    )
    for count in options.batches:
        work, entered = Work(count, (640, 480)), []

        @contextmanager
        def stage(name: str, entered: list[str] = entered) -> Iterator[None]:
            assert not entered or entered[-1] != "("  # one after the other
            entered.append("(")
            yield
            entered[-1] = name

        frame = work.frame()
        (people,) = pipeline.step([frame], mesh)
        placed.clear()
        stages.run(frame, people, stage)
        one = ["crop", "network", "body", "download"]
        told = [] if stages._make_messages is None else ["publish"]
        assert entered == ["upload", *one * (2 if count > 32 else 1), "placement", *told]
        np.testing.assert_allclose(placed[0], people.translation, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("what", ["the first", "with meshes", "none"])
def test_stages_that_cannot_be_recorded_are_step_by_step(
    files: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Also where memory lacks for those alone that are recorded when meshes come."""
    stream = HostStream(None)
    record, recorded = stream.record, []

    def record_some(work: Callable[[], Any]) -> Recorded[Any]:
        recorded.append(work)
        if what == "the first" or (what == "with meshes" and len(recorded) == 7):
            raise RuntimeError("CUDA out of memory\nmuch more")
        return record(work)

    monkeypatch.setattr(stream, "record", record_some)
    monkeypatch.setattr(bench, "CudaStream", lambda device: stream)
    options = BenchOptions(config_of(files), None, ("float32",), (2,), (640, 480), 1, True)
    told: list[str] = []
    problems = Problems(told.append)
    pipeline = load_pipeline(options.config, problems)
    works = [Work(2, (640, 480))]
    cuda = torch.device("cuda")
    assert isinstance(make_stages(pipeline, CPU, options, works, problems), StepByStepStages)
    assert not recorded
    stages = make_stages(pipeline, cuda, options, works, problems)
    if what == "none":
        assert isinstance(stages, RecordedStages)
        assert len(recorded) == 7  # for 2 and 1 people three each, meshes
        assert not told
        return
    assert isinstance(stages, StepByStepStages)
    assert problems.counts() == {"stages_not_recorded": 1}
    assert "stages are timed step by step: CUDA out of memory (" in told[0]
    # Nor are they where the pipeline has given up.
    recorded.clear()
    problems.count("not_recorded", "no memory")
    assert isinstance(make_stages(pipeline, cuda, options, works, problems), StepByStepStages)
    assert not recorded


def test_stages_hold_shapes_as_the_pipeline_does(files: list[str]) -> None:
    config = dataclasses.replace(config_of(files), dtype="float32", shape_frames=1)
    options = BenchOptions(config, None, ("float32",), (1,), (640, 480), 1, False)
    pipeline = load_pipeline(config, Problems(print))
    network, body_model = pipeline.network, pipeline.body_model
    stages = RecordedStages(network, body_model, options, HostStream(None))
    work = Work(1, (640, 480))
    frames = work.frame(), work.frame()
    assert all(frame.boxes is not None for frame in frames)
    betas = [
        stages([frame], squares_of([frame], [frame.boxes or Boxes.empty()]), ("p1",), False)
        for frame in frames
    ]
    assert torch.equal(betas[0].parameters.betas, betas[1].parameters.betas)


def test_each_way_has_its_own_times(
    files: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times_s = [[0.001, 0.002], [0.1, 0.3], [5.0, 5.0], [7.0, 7.0]]

    def known(ways: Any, work: Work, repeats: int, device: torch.device) -> list[list[float]]:
        for way in ways:
            way(work.frame())
        return times_s

    monkeypatch.setattr(bench, "alternate", known)
    options = BenchOptions(config_of(files), None, ("float32",), (1,), (320, 240), 1, False)
    (row,) = bench.measure(options.config, options).rows
    assert row.pear_ros.latency_ms == Times.of(times_s[0])
    assert row.published.latency_ms == Times.of(times_s[1])
    assert row.times_as_fast == pytest.approx(0.2 / 0.0015)


def test_stages_that_are_entered_twice_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 1, 10, 12, 20, 24])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    watch = Stopwatch(CPU)
    for entered in (2, 1):
        stage = watch.next_step()
        for _ in range(entered):
            with stage("crop"):
                pass
    assert watch.times() == {"crop": Times.of([3, 4])}
    assert Times.of([3, 4]).p50 == 3500


# What the user has to mend is one line, without a traceback.
MENDABLE = {
    "people": (["--batches", "1", "65"], "batches: 65 is not within 1 ... 64"),
    "precision": (["--dtype", "float32", "half"], "dtype: 'half' is none of auto"),
    "device": (["--device=tpu9"], "device 'tpu9' cannot be used"),
    "output": (["--output=nowhere/b.json"], "nowhere/b.json cannot be written"),
    "checkpoint": (["--checkpoint=c.pt"], "no checkpoint at c.pt"),
    "assets": (["--assets=a.npz"], "a.npz: there is no such file"),
    "sizes without weights": (["--network-config=c.json"], "give --checkpoint, too"),
    "random sizes": (["--random", "--network-config=c.json"], "c.json is not a network"),
    "random file": (["--random", "nowhere/r.pt"], "cannot be written to nowhere/r.pt"),
    "engine": (
        ["--engine=e.engine"],
        "nothing was measured: torch computes, not the engine e.engine: ",
    ),
}


@pytest.mark.parametrize(("arguments", "told"), MENDABLE.values(), ids=MENDABLE)
def test_what_the_user_can_mend(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pear-ros: ")
    assert told in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--image=640"], ["--image=10x10"], ["--batches", "0"], ["--repeats=-1"],
        ["--checkpoint=c", "--random"],
    ],
)  # fmt: skip
def test_misuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", *arguments])
    assert "usage: pear-ros bench" in capsys.readouterr().err
