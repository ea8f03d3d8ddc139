"""`pear-ros bench`: how long a step takes on this machine, and how long as PEAR was published.

A step is the pipeline's own, from an image with boxes to people. Each is followed by the same work
done the published way (`published.py`), so that ratios hold on a busy machine, too. Stages are
timed apart from that: waiting for each costs a GPU its overlap, so their sum is no step.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pear_ros.assets.body_assets import load_assets
from pear_ros.benchmark.baseline import PublishedPipeline
from pear_ros.benchmark.report import Row, Run, Times, Way, hardware, markdown
from pear_ros.body.body_model import BodyModel
from pear_ros.config import Config
from pear_ros.errors import EngineError, SettingError
from pear_ros.estimation.estimator import RecordedEstimator, Stream
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.geometry.crop_camera import camera_from_crop, turned
from pear_ros.images.crop import cut_crops, squares_of
from pear_ros.network.network import (
    Network,
    NetworkConfig,
    PearNetwork,
    choose_device,
    choose_dtype,
    load_network,
)
from pear_ros.people import Boxes, Camera, Frame, People, map_tensors
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.problems import Problems
from pear_ros.system.cuda_graphs import CudaStream

MOST_PEOPLE = 64  # in a step
WARM_UP = 3  # steps of each way that are not timed
BOX_JITTER = 0.02  # of a box's side from step to step, or the shape cache would know everybody
FRAME_S = 1 / 30  # between the stamps of two steps

Stage = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class BenchOptions:
    config: Config  # its detector, dtype and max_people are not used
    random: str | None  # file for random weights, empty: a temporary one; None: config's weights
    dtypes: tuple[str, ...]  # of the backbone
    batches: tuple[int, ...]  # people a step
    image_size: tuple[int, int]  # width, height, px
    repeats: int
    mesh: bool


def bench(options: BenchOptions, output: Path | None) -> int:
    """Prints tables; with `output` writes the numbers as JSON, too.

    Raises PearError where weights, assets, engine or options cannot be used.
    """
    if too_many := [people for people in options.batches if people > MOST_PEOPLE]:
        raise SettingError(f"batches: {too_many[0]} is not within 1 ... {MOST_PEOPLE}")
    if output is not None and not output.parent.is_dir():
        raise SettingError(f"{output} cannot be written: {output.parent} is no directory")
    config = dataclasses.replace(options.config, detector="topic", max_people=max(options.batches))
    configs = [dataclasses.replace(config, dtype=dtype) for dtype in options.dtypes]
    machine = hardware(choose_device(config.device))
    with _checkpoint(options) as checkpoint:
        runs = [measure(dataclasses.replace(c, checkpoint=checkpoint), options) for c in configs]
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
        output.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\nwrote {output}")
    return 0


# --- Work ----------------------------------------------------------------------------------------


def _checkpoint(options: BenchOptions) -> AbstractContextManager[str]:
    if options.random is None:
        return nullcontext(options.config.checkpoint)
    return random_weights(options.config.network_config, options.random)


@contextmanager
def random_weights(network_config: str, kept: str) -> Iterator[str]:
    """A checkpoint of that size (JSON file; empty: the published), the same one every time.

    Written to `kept`; where that is empty it is gone afterwards. Everybody whom the network sees
    stands before the camera.
    """
    sizes = NetworkConfig.from_json(Path(network_config)) if network_config else NetworkConfig()
    with tempfile.TemporaryDirectory(prefix="pear_ros_") as folder:
        path = kept or str(Path(folder, "random.pt"))
        try:
            with open(path, "wb") as file:
                _write_random(sizes, file)
        except (OSError, RuntimeError) as error:  # torch's writer turns the first into the second
            raise SettingError(
                f"random weights cannot be written to {path} ({error}); the published size needs "
                "2.5 GiB, and TMPDIR names another disk for temporary files"
            ) from error
        yield path


def _write_random(sizes: NetworkConfig, file: Any) -> None:
    torch.manual_seed(0)
    network = PearNetwork(sizes)
    for parameter in network.head.cam_decoder.parameters():
        nn.init.zeros_(parameter)
    parts = {"backbone": network.backbone, "head": network.head}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)


class Work:
    """Images of one camera with N people, each step with boxes a little elsewhere."""

    def __init__(self, people: int, image_size: tuple[int, int]) -> None:
        self.people = people
        self._random = np.random.default_rng(people)
        width, height = image_size
        coarse = self._random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
        self._image = coarse[rows[:, None], columns]  # (H, W, 3)
        self._camera = Camera(0.9 * width, 0.9 * width, width / 2, height / 2)
        size = self._random.uniform(0.4, 0.9, people) * height
        left = self._random.uniform(0, 1, people) * np.maximum(width - 0.4 * size, 0)
        top = self._random.uniform(0, 1, people) * (height - size)
        self._xyxy = np.stack((left, top, left + 0.4 * size, top + size), -1)  # (N, 4) px
        self._steps = 0

    def frame(self) -> Frame:
        """The next step's."""
        self._steps += 1
        sides = self._xyxy[:, 2:] - self._xyxy[:, :2]  # (N, 2)
        moved = self._xyxy + np.tile(sides, 2) * self._random.normal(0, BOX_JITTER, (1, 4))
        boxes = Boxes(moved.astype(np.float32), np.ones(self.people, np.float32))
        return Frame(self._image, self._camera, self._steps * FRAME_S, boxes=boxes)


# --- Measuring -----------------------------------------------------------------------------------


def measure(config: Config, options: BenchOptions) -> Run:
    """Raises EngineError where an engine was asked for and is not used."""
    device = choose_device(config.device)
    memory = Memory(device)
    told: list[str] = []
    problems = Problems(told.append)
    pipeline = load_pipeline(config, problems)
    if "engine_not_used" in problems.counts():
        raise EngineError(f"nothing was measured: {told[0]}")

    def step(frame: Frame) -> People:
        return pipeline.step([frame], options.mesh)[0]

    works = [Work(people, options.image_size) for people in options.batches]
    peaks_mib = [memory.peak_mib(partial(warm_up, step, work)) for work in works]
    stages = make_stages(pipeline, device, options, works, problems)
    held_mib = memory.now_mib() - memory.start_mib
    published = load_published(config, device)

    def published_step(frame: Frame) -> object:
        return published.step(frame, lambda _: nullcontext())

    rows = []
    for work, peak_mib in zip(tqdm(works, unit="batch", disable=None), peaks_mib, strict=True):
        published_peak_mib = memory.peak_mib(partial(warm_up, published_step, work)) - held_mib
        watch, published_watch = Stopwatch(device), Stopwatch(device)
        people = step(work.frame())
        # Of each pair the second is published, so that all of ours find the caches alike.
        ways = (
            step,
            published_step,
            lambda frame, p=people, w=watch: stages.run(frame, p, w.next_step()),
            lambda frame, w=published_watch: published.step(frame, w.next_step()),
        )
        times_s, published_s, *_ = alternate(ways, work, options.repeats, device)
        ours = _way(work.people, times_s, peak_mib, watch)
        theirs = _way(work.people, published_s, published_peak_mib, published_watch)
        ratio = theirs.latency_ms.p50 / ours.latency_ms.p50
        rows.append(Row(work.people, ours, theirs, ratio))
    return Run(
        backend="tensorrt" if config.engine else "torch",
        dtype=str(choose_dtype(config.dtype, device)).removeprefix("torch."),
        network=pipeline.description,
        rows=rows,
        problems=problems.counts(),
    )


def warm_up(step: Callable[[Frame], object], work: Work) -> None:
    for _ in range(WARM_UP):
        step(work.frame())


def alternate(
    steps: Sequence[Callable[[Frame], object]], work: Work, repeats: int, device: torch.device
) -> list[list[float]]:
    """Times, s, of each of the steps, one after the other on the same frames."""
    times_s: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        frame = work.frame()
        for step, times in zip(steps, times_s, strict=True):
            synchronize(device)
            started_s = time.perf_counter()
            step(frame)
            synchronize(device)
            times.append(time.perf_counter() - started_s)
    return times_s


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def load_published(config: Config, device: torch.device) -> PublishedPipeline:
    sizes = NetworkConfig.from_json(Path(config.network_config)) if config.network_config else None
    network = load_network(Path(config.checkpoint), sizes, device, torch.float32, fold=False)
    assets = load_assets(Path(config.assets))
    return PublishedPipeline(network.state_dict(), network.config, assets, device)


def _way(people: int, times_s: Sequence[float], memory_mib: float, watch: Stopwatch) -> Way:
    latency_ms, stages_ms = Times.of(times_s), watch.times()
    share = stages_ms["network"].p50 / latency_ms.p50
    return Way(latency_ms, people * len(times_s) / sum(times_s), memory_mib, stages_ms, share)


class Stages(Protocol):
    """The pipeline's stages, each waited for."""

    def run(self, frame: Frame, people: People, stage: Stage) -> None:
        """All stages of a frame; `people` are to be published."""


def make_stages(
    pipeline: Pipeline,
    device: torch.device,
    options: BenchOptions,
    works: Sequence[Work],
    problems: Problems,
) -> Stages:
    """Those of the estimator that the pipeline has on this device, with its network."""
    network, body_model = pipeline.network, pipeline.body_model
    if device.type == "cuda" and "not_recorded" not in problems.counts():
        try:
            return _recorded_stages(network, body_model, options, works, device)
        except RuntimeError as error:  # of CUDA, such as no memory for a second set
            reason = str(error).partition("\n")[0]
            problems.count("stages_not_recorded", f"stages are timed step by step: {reason}")
        gc.collect()  # an error and what it failed in hold each other, and memory
    return StepByStepStages(network, body_model, options)


def _recorded_stages(
    network: Network,
    body_model: BodyModel,
    options: BenchOptions,
    works: Sequence[Work],
    device: torch.device,
) -> RecordedStages:
    """All recordings made: those of meshes and of larger images are when such come."""
    stages = RecordedStages(network, body_model, options, CudaStream(device))
    for work in works:
        stages.estimate(work.frame())
    return stages


class StepByStepStages:
    """By the functions that Estimator is made of."""

    def __init__(self, network: Network, body_model: BodyModel, options: BenchOptions) -> None:
        self._network = network
        self._body_model = body_model
        self._mesh = options.mesh
        self._make_messages = message_maker(body_model, options.image_size)

    @torch.inference_mode()
    def run(self, frame: Frame, people: People, stage: Stage) -> None:
        assert frame.boxes is not None
        with stage("crop"):
            squares = squares_of([frame], [frame.boxes])
            crops = cut_crops([frame], squares)
        with stage("upload"):
            images = torch.from_numpy(crops).to(self._network.device)
        with stage("network"):
            parameters = self._network(images)
        xywh = torch.from_numpy(squares.xywh)
        intrinsics = intrinsics_of([frame.camera] * len(squares))
        with stage("body"):
            turn = camera_from_crop(xywh, intrinsics).to(self._network.device)
            parameters = turned(parameters, turn)
            bodies = self._body_model(parameters, mesh=self._mesh)
        with stage("download"):
            parameters = map_tensors(parameters, Tensor.cpu)
            bodies = map_tensors(bodies, Tensor.cpu)
        with stage("placement"):
            place_in_camera(bodies.joints, parameters.camera_t, xywh, intrinsics)
        if self._make_messages is not None:
            with stage("publish"):
                self._make_messages(people)


class RecordedStages(RecordedEstimator):
    """By the parts of RecordedEstimator: the recordings, and what is between them."""

    def __init__(
        self, network: Network, body_model: BodyModel, options: BenchOptions, stream: Stream
    ) -> None:
        hold_shapes_after = options.config.shape_frames
        super().__init__(network, body_model, hold_shapes_after, stream, max(options.batches))
        self._stage: Stage = lambda _: nullcontext()
        self._mesh = options.mesh
        self._make_messages = message_maker(body_model, options.image_size)

    @torch.inference_mode()
    def run(self, frame: Frame, people: People, stage: Stage) -> None:
        self._stage = stage
        self.estimate(frame)
        if self._make_messages is not None:
            with stage("publish"):
                self._make_messages(people)

    @torch.inference_mode()
    def estimate(self, frame: Frame) -> None:
        assert frame.boxes is not None
        squares = squares_of([frame], [frame.boxes])
        self([frame], squares, tuple(f"p{i}" for i in range(len(squares))), self._mesh)

    def upload(self, *arguments: Any) -> None:
        with self._stage("upload"):
            super().upload(*arguments)

    def cut(self, *arguments: Any) -> None:
        with self._stage("crop"):
            super().cut(*arguments)

    def ask(self, *arguments: Any) -> None:
        with self._stage("network"):
            super().ask(*arguments)

    def pose(self, *arguments: Any) -> None:
        with self._stage("body"):
            super().pose(*arguments)

    def download(self, *arguments: Any) -> Any:
        with self._stage("download"):
            return super().download(*arguments)

    def place(self, *arguments: Any) -> Any:
        with self._stage("placement"):
            return super().place(*arguments)


def message_maker(
    body_model: BodyModel, image_size: tuple[int, int]
) -> Callable[[People], object] | None:
    """Makes the messages that the node publishes of an image; None where ROS is not installed."""
    try:
        from pear_ros.ros.to_messages import messages_of_an_image
    except ImportError:
        return None
    width, height = image_size
    return partial(messages_of_an_image, faces=body_model.faces, image_size=(height, width))


class Stopwatch:
    """Times of stages, step by step; a stage that is entered several times in a step adds up."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps: list[dict[str, float]] = []

    def next_step(self) -> Stage:
        times_s: dict[str, float] = defaultdict(float)
        self._steps.append(times_s)

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            synchronize(self._device)
            started_s = time.perf_counter()
            yield
            synchronize(self._device)
            times_s[name] += time.perf_counter() - started_s

        return stage

    def times(self) -> dict[str, Times]:
        return {name: Times.of([step[name] for step in self._steps]) for name in self._steps[0]}


class Memory:
    """Peaks, MiB: on a CPU of the process (resident), on a GPU of what torch keeps there.

    Kept since the start, not allocated: what a recorded graph works in is not allocated, but nobody
    else's either.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.start_mib = self.now_mib()

    def now_mib(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            return torch.cuda.memory_reserved(self._device) / 2**20
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def peak_mib(self, work: Callable[[], object]) -> float:
        """While `work` runs."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            work()
            return torch.cuda.max_memory_reserved(self._device) / 2**20 - self.start_mib
        with suppress(OSError):  # where Linux does not let us, the peak is the one since the start
            Path("/proc/self/clear_refs").write_text("5")
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
