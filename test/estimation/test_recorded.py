"""A GPU computes from recordings what the CPU computes step by step."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES, NO_CUDA
from estimators import Setup, Tiny, assert_same, estimated, frames_of
from host_stream import HostStream
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from waits import Operations, Waits

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.estimation import recorded as recorded_module
from pear_ros.estimation.estimator import Estimator
from pear_ros.estimation.recorded import RecordedEstimator
from pear_ros.people import Boxes, Camera, EhmParameters, Frame
from pear_ros.system.cuda_graphs import BATCHES, CudaStream, Recorded

COUNTS = {
    "no frame": [],
    "nobody": [0],
    "one": [1],
    "two": [2],
    "three, padded to four": [3],
    "two cameras and an empty one": [1, 0, 2],
    "more than the largest batch": [3, 4],
}
SMALL_BATCHES = (1, 2, 4)


@pytest.fixture
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four people fill the largest batch, so that few are more than one batch."""
    monkeypatch.setattr(recorded_module, "BATCHES", SMALL_BATCHES)


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
@pytest.mark.parametrize("recorded", [True, False], ids=["torch", "engine"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("_small_batches")
def test_recordings_agree_with_the_estimator(
    small_assets: BodyAssets, device: str, recorded: bool, mesh: bool
) -> None:
    """The steps of each batch size after the first replay its recordings."""
    setup = Setup(small_assets, device, recorded)
    for seed, counts in enumerate((*COUNTS.values(), [2], [1])):
        frames = frames_of(counts, seed=seed)
        expected = estimated(setup.expected, frames, mesh)
        found = estimated(setup.found, frames, mesh)
        assert_same(found, expected, 2e-5 if device == "cpu" else 1e-3)
    assert set(setup.network.batches) == set(SMALL_BATCHES)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_more_people_than_the_largest_batch(small_assets: BodyAssets, device: str) -> None:
    """With the batch sizes that are used: 41 people are a batch of 32 and 9 padded to 16."""
    setup = Setup(small_assets, device, recorded=True)
    for seed in (1, 2):
        frames = frames_of([20, 21], seed=seed)
        expected = estimated(setup.expected, frames, mesh=True)
        found = estimated(setup.found, frames, mesh=True)
        assert_same(found, expected, 2e-5 if device == "cpu" else 1e-3)
    assert set(setup.network.batches) == {1, 16, 32}
    assert {1, 16, 32} <= set(BATCHES)


@pytest.mark.parametrize("device", DEVICES)
def test_larger_images_get_a_larger_buffer(
    small_assets: BodyAssets, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "PIXELS", 1000)
    setup = Setup(small_assets, device, recorded=True)
    for seed, scale in enumerate((0.2, 1, 3, 0.5)):
        frames = frames_of([1, 2], scale, seed)
        expected = estimated(setup.expected, frames, mesh=False)
        assert_same(estimated(setup.found, frames, mesh=False), expected, 1e-3)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([3], id="three"),
        pytest.param([3, 4], id="more than the largest batch", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("hold", [1, 2, 3], ids="after {} frames".format)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("_small_batches")
def test_shapes_are_held(
    small_assets: BodyAssets,
    device: str,
    hold: int,
    counts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if a mesh or a larger image needs new recordings in between."""
    monkeypatch.setattr(recorded_module, "PIXELS", 1000)
    setup = Setup(small_assets, device, recorded=True, hold=hold)
    used = []
    for i in range(6):
        frames = frames_of(counts, scale=2 if i == 2 else 0.5, seed=i)
        mesh = i in (1, 3)
        expected = estimated(setup.expected, frames, mesh)
        found = estimated(setup.found, frames, mesh)
        assert_same(found, expected, 1e-4)
        used.append(found.parameters.betas)
    for i in range(1, 6):
        assert torch.equal(used[i - 1], used[i]) == (i >= hold), i


def test_the_next_step_does_not_change_estimates(small_assets: BodyAssets) -> None:
    setup = Setup(small_assets, "cpu", recorded=True)
    first = estimated(setup.found, frames_of([3], seed=1), mesh=True)
    kept = copy.deepcopy(first)
    estimated(setup.found, frames_of([3], seed=2), mesh=True)
    assert_same(first, kept, atol=0)


class Enqueued(TorchDispatchMode):
    """Records the copies between host and device that are not part of a recording."""

    def __init__(self, done: list[str]) -> None:
        super().__init__()
        self.done = done

    def __torch_dispatch__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        # Arguments: destination, source, and non_blocking.
        if str(func).startswith("aten.copy_") and args[2:] == (True,):
            self.done.append("copy")
        return func(*args, **kwargs or {})


def test_a_step_waits_once_at_its_end(small_assets: BodyAssets) -> None:
    """Five people are one batch; everything before the wait is only enqueued."""
    setup = Setup(small_assets, "cpu", recorded=True)
    estimated(setup.found, frames_of([2, 3]), mesh=False)
    done: list[str] = []
    setup.stream.wait = lambda: done.append("wait")  # type: ignore[method-assign]
    step = setup.found._steps[8, False]
    for name in ("crops", "network", "posed"):
        recorded = getattr(step, name)
        recorded.replay = partial(done.append, name)
    with Enqueued(done):
        estimated(setup.found, frames_of([2, 3]), mesh=False)
    image, crop_rows, pose_rows, results = ["copy"] * 4
    assert done == [image, crop_rows, "crops", "network", pose_rows, "posed", results, "wait"]


def test_joints_and_mesh_share_the_recording_of_the_network(small_assets: BodyAssets) -> None:
    setup = Setup(small_assets, "cpu", recorded=True)
    recorded, record = [], setup.stream.record

    def count(work: Callable[[], Any]) -> Recorded[Any]:
        recorded.append(work)
        return record(work)

    setup.stream.record = count  # type: ignore[method-assign]
    frames = frames_of([2])
    for mesh, expected in ((False, 3), (True, 4), (False, 4), (True, 4)):
        estimated(setup.found, frames, mesh)
        assert len(recorded) == expected


def test_pixels_beyond_2_to_the_24_are_found(small_assets: BodyAssets) -> None:
    """float32 cannot represent odd numbers above 2^24."""
    setup = Setup(small_assets, "cpu", recorded=True)
    large = np.zeros((4101, 4099, 3), np.uint8)  # an odd number of pixels
    box = Boxes(np.array([[10, 10, 99, 200]], np.float32), np.ones(1, np.float32))
    frames = [Frame(large, Camera(4000, 4000, 2000, 2000), 0.0, "large", box), *frames_of([2])]
    found = estimated(setup.found, frames, mesh=False)
    assert_same(found, estimated(setup.expected, frames, mesh=False))


class ReadsAValue(Tiny):
    def __call__(self, crops: Tensor) -> EhmParameters:
        assert crops[0, 0, 0, 0].item() < 256
        return super().__call__(crops)


class Adds(Tiny):
    """Adds a tensor to its answer; the subclasses make that tensor in other ways."""

    def __call__(self, crops: Tensor) -> EhmParameters:
        people = super().__call__(crops)
        return dataclasses.replace(people, camera_t=people.camera_t + self.added())

    def added(self) -> Tensor:
        return torch.ones(3)


class Copies(Adds):
    def added(self) -> Tensor:
        return torch.ones(3).to(self.device)


class Makes(Adds):
    def added(self) -> Tensor:
        return torch.tensor([1.0, 2, 3], device=self.device)


class CopiesIn(Adds):
    def added(self) -> Tensor:
        return torch.empty(3, device=self.device).copy_(torch.ones(3))


class Inverts(Adds):
    def added(self) -> Tensor:
        return torch.linalg.inv(torch.eye(3, device=self.device))[0]


@pytest.mark.parametrize(
    ("network", "is_refused"),
    [
        pytest.param(Tiny, False, id="good"),
        pytest.param(ReadsAValue, True, id="reads a value"),
        pytest.param(Adds, True, id="uses a CPU tensor", marks=pytest.mark.slow),
        pytest.param(Copies, True, id="copies to the device", marks=pytest.mark.slow),
        pytest.param(Makes, True, id="makes a tensor of numbers", marks=pytest.mark.slow),
        pytest.param(CopiesIn, True, id="copies in place", marks=pytest.mark.slow),
        pytest.param(Inverts, True, id="inverts a matrix", marks=pytest.mark.slow),
    ],
)
def test_a_recorded_step_neither_copies_nor_waits(
    small_assets: BodyAssets,
    network: type[Tiny],
    is_refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CUDA graph can do neither.

    Tensors on torch's `meta` device have no values and do not mix with those of other devices.
    """
    monkeypatch.setattr(recorded_module, "PIXELS", 1000)
    refused = []
    for device in ("meta", "cpu"):
        found = RecordedEstimator(
            Tiny(device), BodyModel(small_assets, device), 0, HostStream(None), 2
        )
        found._network = network(device, width=160).halve()
        with Waits() as waits, torch.no_grad():
            try:
                answer = found._network(found._crop(found._crop_rows.on_device[:2]))
                for mesh in (False, True):
                    found._pose(found._pose_rows.on_device[:2], answer, mesh)
            except RuntimeError as error:
                refused.append(str(error))
        refused += waits.found
    assert bool(refused) == is_refused, refused


@pytest.mark.parametrize(("mesh", "most"), [(False, 80), (True, 110)], ids=["joints", "mesh"])
def test_a_recorded_step_has_few_operations(
    small_assets: BodyAssets, mesh: bool, most: int
) -> None:
    """Without the network's. A GPU takes longer to launch most of them than to run them.

    With torch 2.13 there are 75 for joints and 105 with a mesh.
    """
    network = Tiny("meta")
    found = RecordedEstimator(network, BodyModel(small_assets, "meta"), 0, HostStream(None))
    crop_rows, pose_rows = found._crop_rows.on_device[:2], found._pose_rows.on_device[:2]
    with torch.no_grad():
        answer = network(torch.zeros(2, 256, 256, 3, dtype=torch.uint8, device="meta"))
        with Operations() as operations:
            found._crop(crop_rows)
            found._pose(pose_rows, answer, mesh)
    assert 0 < operations.count <= most


@NO_CUDA
def test_cuda_graphs_do_not_wait(small_assets: BodyAssets) -> None:
    """Torch raises an error if the host waits for the device before the end of the step."""
    setup = Setup(small_assets, "cuda", recorded=True)
    frames = frames_of([3])
    estimated(setup.found, frames, mesh=True)
    wait = setup.stream.wait

    def last_wait() -> None:
        torch.cuda.set_sync_debug_mode("default")
        wait()
        torch.cuda.set_sync_debug_mode("error")

    setup.stream.wait = last_wait  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        stack.callback(torch.cuda.set_sync_debug_mode, "default")
        torch.cuda.set_sync_debug_mode("error")
        estimated(setup.found, frames, mesh=True)


@NO_CUDA
def test_recordings_are_made_in_a_worker_thread(small_assets: BodyAssets) -> None:
    """The node's worker records meshes when they are first needed. In float16, like PEAR."""
    network = Tiny("cuda", width=160).halve()
    body_model = BodyModel(small_assets, "cuda")
    found = RecordedEstimator(network, body_model, 0, CudaStream(network.device), most_people=4)
    expected = Estimator(network, body_model, 0)
    frames = frames_of([3])
    with ThreadPoolExecutor(1) as worker:
        for mesh in (False, True, False):
            estimates = worker.submit(estimated, found, frames, mesh).result()
            assert_same(estimates, estimated(expected, frames, mesh), 3e-2)
