"""`pear-ros bench`: how long a step takes on this machine, compared with a baseline.

A step is `Pipeline.step`, from an image with boxes to people. Steps of the pipeline and of the
baseline (`baseline.py`, a reference implementation of the published code) alternate on the same
frames, so that their ratio is meaningful on a busy machine, too. Stages are timed in additional
steps, which wait for the GPU after each stage. This prevents stages from overlapping, so the sum of
the stages is longer than a step.

The pipeline follows people from step to step, as the images of a camera, but publishes them as
estimated in each image: see AS_ESTIMATED.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from pear_ros.assets.body_assets import load_assets
from pear_ros.benchmark.baseline import ReferencePipeline
from pear_ros.benchmark.options import BenchOptions
from pear_ros.benchmark.report import Measurement, Row, Run, Times, markdown
from pear_ros.benchmark.stopwatch import Memory, Stopwatch, synchronize
from pear_ros.benchmark.workload import Workload, random_weights
from pear_ros.body.body_model import BodyModel
from pear_ros.config import Config
from pear_ros.errors import EngineError, SettingError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import backend_name
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import Frame, People
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems
from pear_ros.system.device import choose_device, choose_dtype
from pear_ros.system.files import write_whole
from pear_ros.system.hardware import hardware

MOST_PEOPLE = 64  # per step
WARM_UP = 3  # steps before the timed ones
# With these settings the results are those of the baseline, which neither smooths nor predicts
# people, and leaves out nobody; random weights give hardly any plausible person. Filters without
# effect take as long as others.
AS_ESTIMATED = {
    "detection.min_plausibility": 0.0,
    "tracking.confirm_score": 0.0,
    "tracking.predict_s": 0.0,
    "smoothing.rotation_cutoff_hz": 0.0,
    "smoothing.position_cutoff_hz": 0.0,
    "smoothing.depth_cutoff_hz": 0.0,
    "smoothing.expression_cutoff_hz": 0.0,
    "smoothing.shape": False,
}


def bench(options: BenchOptions, output: Path | None) -> int:
    """Measures and prints tables; with `output`, also writes the results as JSON. Returns 0.

    Raises:
        PearError: If weights, body model, engine or options cannot be used.
    """
    if too_many := [people for people in options.batches if people > MOST_PEOPLE]:
        raise SettingError(f"--batches: {too_many[0]} is not within 1 ... {MOST_PEOPLE}")
    if output is not None and not output.parent.is_dir():
        raise SettingError(f"{output} cannot be written: {output.parent} is not a directory")
    config = options.config.replaced(
        {"detection.detector": "topic", "detection.max_people": max(options.batches)}
    )
    configs = [config.replaced({"network.dtype": dtype}) for dtype in options.dtypes]
    machine = hardware(choose_device(config.network.device))
    with _checkpoint(options) as checkpoint:
        runs = [measure(c.replaced({"network.checkpoint": checkpoint}), options) for c in configs]
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    for run in runs:
        print(f"\n{run.backend}: {run.network}\n\n{markdown(run)}")
    if output is not None:
        report = {
            "hardware": machine,
            "image": list(options.image_size),
            "mesh": options.mesh,
            "repeats": options.repeats,
            "runs": [dataclasses.asdict(run) for run in runs],
        }
        write_whole(output, (json.dumps(report, indent=1) + "\n").encode())
        print(f"\nwrote {output}")
    return 0


def _checkpoint(options: BenchOptions) -> AbstractContextManager[str]:
    if options.random is None:
        return nullcontext(options.config.network.checkpoint)
    return random_weights(options.config.network.config, options.random)


def measure(config: Config, options: BenchOptions) -> Run:
    """Measures one configuration for all batch sizes.

    Raises:
        EngineError: If `config` names an engine that cannot be used.
        PearError: If a file or setting cannot be used.
    """
    device = choose_device(config.network.device)
    memory, watch, reference_watch = Memory(device), Stopwatch(device), Stopwatch(device)
    messages: list[str] = []
    problems = Problems(messages.append)
    pipeline = load_pipeline(config.replaced(AS_ESTIMATED), problems, on_stage=watch)
    if "engine_not_used" in problems.counts():
        raise EngineError(f"nothing was measured: {messages[0]}")
    is_torch = isinstance(pipeline.network, PearNetwork)
    make_messages = message_maker(pipeline.body_model, options.image_size)

    def step(frame: Frame) -> People:
        (people,) = pipeline.step([frame], options.mesh)
        return people

    def step_in_stages(frame: Frame) -> None:
        # Another camera, as a camera's images are later and later, but this one was processed.
        people = step(dataclasses.replace(frame, source=f"{frame.source}_stages"))
        if len(people) != len(frame.boxes or ()):
            problems.count("people_missing", "not everybody was estimated")
        if make_messages is not None:
            watch("publish")
            make_messages(people)

    workloads = [
        Workload(people, options.image_size, source=f"batch{i}")
        for i, people in enumerate(options.batches)
    ]
    peaks_mib = [memory.peak_mib(partial(warm_up, step, workload)) for workload in workloads]
    held_mib = memory.now_mib() - memory.start_mib
    baseline = load_baseline(config, device, reference_watch)
    # Alternately, so that ratios hold on a machine whose speed drifts.
    steps: tuple[Callable[[Frame], object], ...] = (
        step,
        baseline.step,
        lambda frame: watch.run(partial(step_in_stages, frame)),
        lambda frame: reference_watch.run(partial(baseline.step, frame)),
    )

    rows = []
    progress = tqdm(workloads, unit="batch", disable=None)
    for workload, peak_mib in zip(progress, peaks_mib, strict=True):
        people, repeats = workload.people, options.repeats
        reference_peak_mib = memory.peak_mib(partial(warm_up, baseline.step, workload)) - held_mib
        times_s, reference_s, *_ = alternate(steps, workload, repeats, device)
        pear_ros = _measurement(people, times_s, peak_mib, watch.take())
        reference = _measurement(people, reference_s, reference_peak_mib, reference_watch.take())
        speed_up = reference.latency_ms.p50 / pear_ros.latency_ms.p50
        rows.append(Row(people, pear_ros, reference, speed_up))
    return Run(
        backend="torch" if is_torch else backend_name(device, config.network),
        dtype=str(choose_dtype(config.network.dtype, device)).removeprefix("torch."),
        network=pipeline.description,
        rows=rows,
        problems=problems.counts(),
    )


def warm_up(step: Callable[[Frame], object], workload: Workload) -> None:
    for _ in range(WARM_UP):
        step(workload.frame())


def alternate(
    steps: Sequence[Callable[[Frame], object]],
    workload: Workload,
    repeats: int,
    device: torch.device,
) -> list[list[float]]:
    """Runs the steps alternately on the same frames; returns the times, s, of each step."""
    times_s: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        frame = workload.frame()
        for step, times in zip(steps, times_s, strict=True):
            synchronize(device)
            started_s = time.perf_counter()
            step(frame)
            synchronize(device)
            times.append(time.perf_counter() - started_s)
    return times_s


def load_baseline(config: Config, device: torch.device, watch: Stopwatch) -> ReferencePipeline:
    """Loads the baseline with the same checkpoint and body model as the pipeline.

    Raises:
        CheckpointError: If the checkpoint or its configuration cannot be loaded.
        AssetError: If the body model cannot be loaded.
    """
    sizes = NetworkConfig.from_json(Path(config.network.config)) if config.network.config else None
    network = load_network(
        Path(config.network.checkpoint), sizes, device, torch.float32, fold=False
    )
    assets = load_assets(Path(config.body.assets))
    return ReferencePipeline(network.state_dict(), network.config, assets, device, watch)


def _measurement(
    people: int, times_s: Sequence[float], memory_mib: float, stages_ms: dict[str, Times]
) -> Measurement:
    latency_ms = Times.of(times_s)
    share = stages_ms["network"].p50 / latency_ms.p50
    return Measurement(
        latency_ms, people * len(times_s) / sum(times_s), memory_mib, stages_ms, share
    )


def message_maker(
    body_model: BodyModel, image_size: tuple[int, int]
) -> Callable[[People], object] | None:
    """Returns a function that builds the node's messages for an image; None without ROS."""
    try:
        from pear_ros.ros.to_messages import messages_of_an_image
    except ImportError:
        return None
    width, height = image_size
    return partial(messages_of_an_image, faces=body_model.faces, image_size=(height, width))
