"""A GPU computes from recordings what the CPU computes step by step."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES, NO_CUDA
from estimators import (
    Setup,
    Tiny,
    assert_same,
    assert_same_tensors,
    estimated,
    frames_of,
    posed,
)
from host_stream import HostStream
from samples import random_parameters
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from waits import Operations, Waits

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.estimation import recorded as recorded_module
from pear_ros.estimation.estimator import Estimator
from pear_ros.estimation.recorded import RecordedEstimator
from pear_ros.people import Boxes, Camera, EhmParameters, Frame
from pear_ros.system.cuda_graphs import BATCHES, CudaStream

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
TOLERANCE = {"cpu": 2e-5, "cuda": 1e-3}


@pytest.fixture
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four people fill the largest batch, so that few are more than one batch."""
    monkeypatch.setattr(recorded_module, "BATCHES", SMALL_BATCHES)


@pytest.mark.parametrize("recorded", [True, False], ids=["torch", "engine"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("_small_batches")
def test_estimates_agree_with_the_estimator(
    small_assets: BodyAssets, device: str, recorded: bool
) -> None:
    """The steps of each batch size after the first replay its recordings."""
    setup = Setup(small_assets, device, recorded)
    for seed, counts in enumerate((*COUNTS.values(), [2], [1])):
        frames = frames_of(counts, seed=seed)
        expected = estimated(setup.expected, frames)
        assert_same(estimated(setup.found, frames), expected, TOLERANCE[device])
    assert set(setup.network.batches) == set(SMALL_BATCHES)


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("_small_batches")
def test_posed_bodies_agree_with_the_estimator(
    small_assets: BodyAssets, device: str, mesh: bool
) -> None:
    """Nobody, batches that are padded and several batches; those that follow replay recordings."""
    setup = Setup(small_assets, device, recorded=True)
    for seed, people in enumerate((0, 1, 2, 3, 7, 2, 1, 0)):
        parameters = random_parameters(people, seed)
        expected = posed(setup.expected, parameters, mesh)
        found = posed(setup.found, parameters, mesh)
        assert_same_tensors(found, expected, TOLERANCE[device])
    assert set(setup.found._bodies) == {(1, False), *((n, mesh) for n in SMALL_BATCHES)}


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_more_people_than_the_largest_batch(small_assets: BodyAssets, device: str) -> None:
    """With the batch sizes that are used: 41 people are a batch of 32 and 9 padded to 16."""
    setup = Setup(small_assets, device, recorded=True)
    for seed in (1, 2):
        frames = frames_of([20, 21], seed=seed)
        expected = estimated(setup.expected, frames)
        assert_same(estimated(setup.found, frames), expected, TOLERANCE[device])
        bodies = posed(setup.expected, expected.parameters, mesh=True)
        found = posed(setup.found, expected.parameters, mesh=True)
        assert_same_tensors(found, bodies, TOLERANCE[device])
    assert set(setup.network.batches) == {1, 16, 32}
    assert {1, 16, 32} <= set(BATCHES)
    assert set(setup.found._bodies) == {(1, False), (16, True), (32, True)}


@pytest.mark.parametrize("device", DEVICES)
def test_larger_images_get_a_larger_buffer(
    small_assets: BodyAssets, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And everything is recorded again, as the stream has forgotten the recordings' memory."""
    monkeypatch.setattr(recorded_module, "PIXELS", 1000)
    setup = Setup(small_assets, device, recorded=True)
    recorded = setup.count_recordings()
    counts = []
    for seed, scale in enumerate((0.2, 1, 3, 0.5)):
        frames = frames_of([1, 2], scale, seed)
        expected = estimated(setup.expected, frames)
        assert_same(estimated(setup.found, frames), expected, 1e-3)
        counts.append(len(recorded))
        for mesh in (False, True):
            bodies = posed(setup.expected, expected.parameters, mesh)
            found = posed(setup.found, expected.parameters, mesh)
            assert_same_tensors(found, bodies, 1e-3)
        counts.append(len(recorded))
    assert counts == [3, 5, 8, 10, 13, 15, 15, 15]


def test_the_next_step_does_not_change_results(small_assets: BodyAssets) -> None:
    setup = Setup(small_assets, "cpu", recorded=True)
    estimates = estimated(setup.found, frames_of([3], seed=1))
    bodies = [posed(setup.found, random_parameters(3, 1), mesh) for mesh in (False, True)]
    kept = copy.deepcopy((estimates, bodies))
    estimated(setup.found, frames_of([3], seed=2))
    for before, after, mesh in zip(bodies, kept[1], (False, True), strict=True):
        posed(setup.found, random_parameters(3, 2), mesh)
        assert_same_tensors(before, after, atol=0)
    assert_same(estimates, kept[0], atol=0)


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


def test_an_estimate_waits_once_at_its_end(small_assets: BodyAssets) -> None:
    """Five people are one batch; everything before the wait is only enqueued."""
    setup = Setup(small_assets, "cpu", recorded=True)
    estimated(setup.found, frames_of([2, 3]))
    done: list[str] = []
    setup.stream.wait = lambda: done.append("wait")  # type: ignore[method-assign]
    step = setup.found._steps[8]
    for name in ("crops", "network", "estimates"):
        getattr(step, name).replay = partial(done.append, name)
    with Enqueued(done):
        estimated(setup.found, frames_of([2, 3]))
    image, crop_rows, turns, results = ["copy"] * 4
    assert done == [image, crop_rows, "crops", "network", turns, "estimates", results, "wait"]


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
def test_a_pose_waits_once_at_its_end(small_assets: BodyAssets, mesh: bool) -> None:
    setup = Setup(small_assets, "cpu", recorded=True)
    posed(setup.found, random_parameters(5), mesh)
    done: list[str] = []
    setup.stream.wait = lambda: done.append("wait")  # type: ignore[method-assign]
    setup.found._bodies[8, mesh].replay = partial(done.append, "bodies")
    with Enqueued(done):
        posed(setup.found, random_parameters(5), mesh)
    assert done == ["copy", "bodies", "copy", "wait"]


def test_the_start_records_what_most_people_need(small_assets: BodyAssets) -> None:
    """Except for meshes, which few outputs need."""
    setup = Setup(small_assets, "cpu", recorded=True, most_people=3)
    recorded = setup.count_recordings()
    for people in (1, 2, 3):
        estimated(setup.found, frames_of([people]))
        posed(setup.found, random_parameters(people), mesh=False)
    assert not recorded
    posed(setup.found, random_parameters(5), mesh=False)
    assert len(recorded) == 1


def test_each_part_is_recorded_once(small_assets: BodyAssets) -> None:
    """Estimates as crops, network and body model; bodies with and without a mesh."""
    setup = Setup(small_assets, "cpu", recorded=True)
    recorded = setup.count_recordings()
    parameters = random_parameters(2)
    for expected in ((3, 4, 5), (5, 5, 5)):
        estimated(setup.found, frames_of([2]))
        counts = [len(recorded)]
        for mesh in (False, True):
            posed(setup.found, parameters, mesh)
            counts.append(len(recorded))
        assert tuple(counts) == expected


def test_pixels_beyond_2_to_the_24_are_found(small_assets: BodyAssets) -> None:
    """float32 cannot represent odd numbers above 2^24."""
    setup = Setup(small_assets, "cpu", recorded=True)
    large = np.zeros((4101, 4099, 3), np.uint8)  # an odd number of pixels
    box = Boxes(np.array([[10, 10, 99, 200]], np.float32), np.ones(1, np.float32))
    frames = [Frame(large, Camera(4000, 4000, 2000, 2000), 0.0, "large", box), *frames_of([2])]
    assert_same(estimated(setup.found, frames), estimated(setup.expected, frames))


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
            Tiny(device), BodyModel(small_assets, device), HostStream(None), 2
        )
        found._network = network(device, width=160).halve()
        with Waits() as waits, torch.no_grad():
            try:
                answer = found._network(found._crop(found._crop_rows.on_device[:2]))
                found._estimates(found._turns.on_device[:2], answer)
                for mesh in (False, True):
                    found._pose(found._parameters.on_device[:2], mesh)
            except RuntimeError as error:
                refused.append(str(error))
        refused += waits.found
    assert bool(refused) == is_refused, refused


@pytest.mark.parametrize(("part", "most"), [("estimates", 80), ("joints", 50), ("mesh", 82)])
def test_a_recorded_step_has_few_operations(small_assets: BodyAssets, part: str, most: int) -> None:
    """Without the network's. A GPU takes longer to launch most of them than to run them.

    With torch 2.13 there are 75 for estimates, 48 for posed joints and 78 for a mesh.
    """
    network = Tiny("meta")
    found = RecordedEstimator(network, BodyModel(small_assets, "meta"), HostStream(None))
    crop_rows, turns, parameters = (
        table.on_device[:2] for table in (found._crop_rows, found._turns, found._parameters)
    )
    with torch.no_grad():
        answer = network(torch.zeros(2, 256, 256, 3, dtype=torch.uint8, device="meta"))
        with Operations() as operations:
            if part == "estimates":
                found._crop(crop_rows)
                found._estimates(turns, answer)
            else:
                found._pose(parameters, mesh=part == "mesh")
    assert 0 < operations.count <= most


@NO_CUDA
def test_cuda_graphs_do_not_wait(small_assets: BodyAssets) -> None:
    """Torch raises an error if the host waits for the device before the end of a part."""
    setup = Setup(small_assets, "cuda", recorded=True)
    frames, parameters = frames_of([3]), random_parameters(3)
    estimated(setup.found, frames)
    posed(setup.found, parameters, mesh=True)
    wait = setup.stream.wait

    def last_wait() -> None:
        torch.cuda.set_sync_debug_mode("default")
        wait()
        torch.cuda.set_sync_debug_mode("error")

    setup.stream.wait = last_wait  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        stack.callback(torch.cuda.set_sync_debug_mode, "default")
        torch.cuda.set_sync_debug_mode("error")
        estimated(setup.found, frames)
        posed(setup.found, parameters, mesh=True)


@NO_CUDA
def test_recordings_are_made_in_a_worker_thread(small_assets: BodyAssets) -> None:
    """The node's worker records meshes when they are first needed. In float16, like PEAR."""
    network = Tiny("cuda", width=160).halve()
    body_model = BodyModel(small_assets, "cuda")
    found = RecordedEstimator(network, body_model, CudaStream(network.device), most_people=4)
    expected = Estimator(network, body_model)
    frames = frames_of([3])
    with ThreadPoolExecutor(1) as worker:
        for mesh in (False, True, False):
            estimates = worker.submit(estimated, found, frames).result()
            assert_same(estimates, estimated(expected, frames), 3e-2)
            bodies = worker.submit(posed, found, estimates.parameters, mesh).result()
            assert_same_tensors(bodies, posed(expected, estimates.parameters, mesh), 1e-3)
