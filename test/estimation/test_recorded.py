"""What a GPU computes from recordings is what the CPU computes step by step."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES, NO_CUDA
from fake_tensorrt import HostStream
from samples import random_parameters
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from waits import Operations, Waits

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.shape_cache import MOST_PEOPLE, ShapeCache, ShapeTable
from pear_ros.estimation import factory
from pear_ros.estimation import recorded as recorded_module
from pear_ros.estimation.estimator import Estimate, Estimates, Estimator
from pear_ros.estimation.factory import RecordedWherePossible, make_estimator
from pear_ros.estimation.recorded import RecordedEstimator, Stream
from pear_ros.images.crop import cut_crop, cut_on_device, squares_of
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.head import HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import Boxes, Camera, EhmParameters, Frame
from pear_ros.problems import Problems
from pear_ros.system.cuda_graphs import BATCHES, CudaStream, Recorded
from pear_ros.system.device import forbid_reduced_precision

RANDOM = np.random.default_rng(3)


class Tiny:
    """A network of random weights that keeps how many people it was asked for."""

    description = "tiny"

    def __init__(self, device: str, can_be_recorded: bool = True, width: int = 24) -> None:
        torch.manual_seed(0)
        backbone = BackboneConfig(embed_dim=width, depth=1, num_heads=2)
        head = HeadConfig(context_dim=width, dim=32, depth=2, heads=2, dim_head=16, mlp_dim=32)
        self._network = PearNetwork(NetworkConfig(backbone, head)).eval().to(device)
        with torch.no_grad():
            for values in self._network.parameters():
                values.normal_(std=0.2)
        self.device = torch.device(device)
        self.can_be_recorded = can_be_recorded
        self.batches: list[int] = []

    def halve(self) -> Tiny:
        """The backbone in float16, as it is by default on CUDA."""
        self._network.backbone.half()
        return self

    def __call__(self, crops: Tensor) -> EhmParameters:
        self.batches.append(len(crops))
        people: EhmParameters = self._network(crops)
        return people


def frames_of(counts: Sequence[int], scale: float = 1) -> list[Frame]:
    """One frame of another size each, with so many people; boxes reach over the borders."""
    frames = []
    for i, count in enumerate(counts):
        height, width = int(scale * (120 + 31 * i)), int(scale * (160 - 13 * i))
        image = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
        image.setflags(write=False)  # as those of messages are
        corner = RANDOM.uniform(-20, 0.6 * height, (count, 2))
        size = RANDOM.uniform(0.2 * width, 0.7 * width, (count, 2))
        boxes = np.concatenate((corner, corner + size), 1).astype(np.float32)
        camera = Camera(width, width + 10, width / 2, height / 2)
        frames.append(Frame(image, camera, 0.0, f"c{i}", Boxes(boxes, np.ones(count, np.float32))))
    return frames


def estimated(estimator: Estimate, frames: list[Frame], mesh: bool) -> Estimates:
    boxes = [frame.boxes or Boxes.empty() for frame in frames]
    squares = squares_of(frames, boxes)
    ids = tuple(f"p{i}" for i in range(len(squares)))
    with torch.inference_mode():
        return estimator(frames, squares, ids, mesh)


def assert_same(found: Estimates, right: Estimates, atol: float = 2e-5) -> None:
    for part in ("parameters", "bodies"):
        for field in dataclasses.fields(getattr(right, part)):
            a, b = (getattr(getattr(estimates, part), field.name) for estimates in (found, right))
            if b is None:
                assert a is None
            else:
                torch.testing.assert_close(a, b, rtol=1e-5, atol=atol)
    torch.testing.assert_close(found.translation, right.translation, rtol=1e-4, atol=atol)


class Setup:
    def __init__(self, assets: BodyAssets, device: str, recorded: bool, hold: int = 0) -> None:
        forbid_reduced_precision()
        self.network = Tiny(device, recorded)
        self.stream: Stream = (
            HostStream(None) if device == "cpu" else CudaStream(self.network.device)
        )
        body_model = BodyModel(assets, device)
        self.found = RecordedEstimator(self.network, body_model, hold, self.stream)
        self.right = Estimator(Tiny("cpu"), BodyModel(assets), hold)


COUNTS = {
    "no frame": [],
    "nobody": [0],
    "one": [1],
    "three, padded to four": [3],
    "two cameras and an empty one": [2, 0, 3],
    "more than the largest batch": [20, 21],
}


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
@pytest.mark.parametrize("recorded", [True, False], ids=["torch", "engine"])
@pytest.mark.parametrize("device", DEVICES)
def test_recorded_is_step_by_step(
    small_assets: BodyAssets, device: str, recorded: bool, mesh: bool
) -> None:
    setup = Setup(small_assets, device, recorded)
    for counts in (*COUNTS.values(), *COUNTS.values()):
        frames = frames_of(counts)
        right = estimated(setup.right, frames, mesh)
        assert_same(estimated(setup.found, frames, mesh), right, 2e-5 if device == "cpu" else 1e-3)
    assert set(setup.network.batches) <= set(BATCHES)


@pytest.mark.parametrize("device", DEVICES)
def test_larger_images_find_room(
    small_assets: BodyAssets, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "PIXELS", 1000)
    setup = Setup(small_assets, device, recorded=True)
    for scale in (0.2, 1, 3, 0.5):
        frames = frames_of([1, 2], scale)
        right = estimated(setup.right, frames, mesh=False)
        assert_same(estimated(setup.found, frames, mesh=False), right, 1e-3)


@pytest.mark.parametrize("counts", [[3], [20, 21]], ids=["three", "more than the largest batch"])
@pytest.mark.parametrize("hold", [1, 2, 3])
@pytest.mark.parametrize("device", DEVICES)
def test_shapes_are_held(
    small_assets: BodyAssets,
    device: str,
    hold: int,
    counts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where others are recorded in between: for a mesh, for a larger image."""
    monkeypatch.setattr(recorded_module, "PIXELS", 1000)
    setup = Setup(small_assets, device, recorded=True, hold=hold)
    used = []
    for i in range(6):
        frames, mesh = frames_of(counts, scale=2 if i == 2 else 0.5), i in (1, 3)
        right = estimated(setup.right, frames, mesh)
        found = estimated(setup.found, frames, mesh)
        assert_same(found, right, 1e-4)
        used.append(found.parameters.betas)
    for i in range(1, 6):
        assert torch.equal(used[i - 1], used[i]) == (i >= hold), i


def test_answers_stay_when_the_next_come(small_assets: BodyAssets) -> None:
    setup = Setup(small_assets, "cpu", recorded=True)
    first = estimated(setup.found, frames_of([3]), mesh=True)
    kept = copy.deepcopy(first)
    estimated(setup.found, frames_of([3]), mesh=True)
    assert_same(first, kept, atol=0)


class Enqueued(TorchDispatchMode):
    """Notes copies between host and device, but those of a recording."""

    def __init__(self, done: list[str]) -> None:
        super().__init__()
        self.done = done

    def __torch_dispatch__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        # Arguments: to, from, and whether the host goes on at once.
        if str(func).startswith("aten.copy_") and args[2:] == (True,):
            self.done.append("copy")
        return func(*args, **kwargs or {})


def test_a_step_waits_once_at_its_end(small_assets: BodyAssets) -> None:
    """Five people are one batch; all is enqueued on the stream before."""
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
    image, sights, turns, answer = ["copy"] * 4
    assert done == [image, sights, "crops", "network", turns, "posed", answer, "wait"]


def test_a_mesh_needs_no_second_recording_of_the_network(small_assets: BodyAssets) -> None:
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
    """Where float32 has no odd numbers any more."""
    setup = Setup(small_assets, "cpu", recorded=True)
    large = np.zeros((4101, 4099, 3), np.uint8)  # an odd number of pixels
    box = Boxes(np.array([[10, 10, 99, 200]], np.float32), np.ones(1, np.float32))
    frames = [Frame(large, Camera(4000, 4000, 2000, 2000), 0.0, "large", box), *frames_of([2])]
    found = estimated(setup.found, frames, mesh=False)
    assert_same(found, estimated(setup.right, frames, mesh=False))


class ReadsAValue(Tiny):
    def __call__(self, crops: Tensor) -> EhmParameters:
        assert crops[0, 0, 0, 0].item() < 256
        return super().__call__(crops)


class Adds(Tiny):
    """What it adds to its answer comes from the host."""

    def __call__(self, crops: Tensor) -> EhmParameters:
        people = super().__call__(crops)
        return dataclasses.replace(people, camera_t=people.camera_t + self.brought())

    def brought(self) -> Tensor:
        return torch.ones(3)


class Copies(Adds):
    def brought(self) -> Tensor:
        return torch.ones(3).to(self.device)


class Makes(Adds):
    def brought(self) -> Tensor:
        return torch.tensor([1.0, 2, 3], device=self.device)


class CopiesIn(Adds):
    def brought(self) -> Tensor:
        return torch.empty(3, device=self.device).copy_(torch.ones(3))


class Inverts(Adds):
    def brought(self) -> Tensor:
        return torch.linalg.inv(torch.eye(3, device=self.device))[0]


@pytest.mark.parametrize(
    ("network", "is_refused"),
    [
        (Tiny, False),
        *((refused, True) for refused in (ReadsAValue, Adds, Copies, Makes, CopiesIn, Inverts)),
    ],
)
def test_a_recorded_step_neither_copies_nor_waits(
    small_assets: BodyAssets, network: type[Tiny], is_refused: bool
) -> None:
    """As a CUDA graph must not. Torch's `meta` device has no values, and mixes with no other."""
    refused = []
    for device in ("meta", "cpu"):
        found = RecordedEstimator(
            Tiny(device, width=160).halve(), BodyModel(small_assets, device), 0, HostStream(None), 2
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
    """Beside the network's: a GPU takes longer to start them than to run. Torch 2.13: 75, 105."""
    network = Tiny("meta")
    found = RecordedEstimator(network, BodyModel(small_assets, "meta"), 0, HostStream(None))
    sights, turns = found._crop_rows.on_device[:2], found._pose_rows.on_device[:2]
    with torch.no_grad():
        answer = network(torch.zeros(2, 256, 256, 3, dtype=torch.uint8, device="meta"))
        with Operations() as operations:
            found._crop(sights)
            found._pose(turns, answer, mesh)
    assert 0 < operations.count <= most


def test_without_recordings_it_goes_step_by_step(
    small_body_model: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(device: torch.device) -> None:
        raise RuntimeError("CUDA out of memory\nmuch more")

    monkeypatch.setattr(factory, "CudaStream", no_memory)
    told: list[str] = []
    problems = Problems(told.append)
    network = Tiny("cpu")
    network.device = torch.device("cuda")
    made = make_estimator(network, small_body_model, 0, 16, problems)
    assert problems.counts() == {"not_recorded": 1}
    assert "CUDA out of memory; a lower max_people or fewer cameras" in told[0]
    network.device = torch.device("cpu")
    frames = frames_of([2])
    right = Estimator(network, small_body_model, 0)
    assert_same(estimated(made, frames, True), estimated(right, frames, True), atol=0)


@pytest.mark.parametrize("what", ["mesh", "larger image"])
def test_recordings_that_fail_later_lose_no_image(
    small_assets: BodyAssets, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "PIXELS", 100_000)
    setup = Setup(small_assets, "cpu", recorded=True)
    told: list[str] = []
    problems = Problems(told.append)
    made = RecordedWherePossible(lambda: setup.found, setup.right, problems)
    frames = frames_of([2])
    assert_same(estimated(made, frames, mesh=False), estimated(setup.right, frames, mesh=False))
    assert len(setup.network.batches) > 0
    assert not problems.counts()

    def no_memory(work: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(setup.stream, "record", no_memory)
    frames = frames_of([2], scale=1 if what == "mesh" else 3)
    mesh = what == "mesh"
    for _ in range(2):
        assert_same(estimated(made, frames, mesh), estimated(setup.right, frames, mesh), atol=0)
    assert problems.counts() == {"not_recorded": 1}  # not tried again
    assert "each step is slower" in told[0]


# --- Parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_crops_of_a_device_are_those_of_the_cpu(device: str) -> None:
    frames = frames_of([6, 5, 4], scale=2.5)
    boxes = [frame.boxes or Boxes.empty() for frame in frames]
    images = [torch.from_numpy(frame.image.reshape(-1, 3).copy()) for frame in frames]
    begins = np.cumsum([0, *map(len, images)])
    squares = squares_of(frames, boxes)
    index = squares.frame_index
    sizes = torch.tensor([frames[i].image.shape[1::-1] for i in index])
    crops = cut_on_device(
        torch.cat(images).to(device),
        torch.from_numpy(begins[index]).to(device),
        sizes.to(device),
        torch.from_numpy(squares.xywh).to(device),
    ).cpu()
    right = np.stack([cut_crop(frames[i].image, xywh) for i, xywh in zip(index, squares.xywh)])  # noqa: B905
    off = np.abs(crops.numpy().astype(int) - right)
    assert off.max() <= (0 if device == "cpu" else 1)
    assert (off == 0).mean() > 0.99
    assert right.mean(axis=(1, 2, 3)).min() > 10  # they show something


def test_the_table_of_shapes_is_the_cache(small_body_model: BodyModel) -> None:
    """People come and go; one prediction is not finite."""
    cache, table = ShapeCache(small_body_model, 3), ShapeTable(torch.device("cpu"), 3)
    for step, names in enumerate(("ab", "bac", "c", "acb", "ab", "cba", "abc")):
        people = random_parameters(len(names), seed=step)
        if step == 1:
            people.betas[0, 3] = torch.nan
        right, _ = cache(tuple(names), people, mesh=False)
        rows, shares = zip(*table.enter(tuple(names)), strict=True)
        found = table(people, torch.tensor(rows), torch.tensor(shares))
        # b's frames count on in the table, and begin anew in the cache.
        same = [i for i, name in enumerate(names) if step < 1 or name != "b"]
        torch.testing.assert_close(found.betas[same], right.betas[same])
        torch.testing.assert_close(found.flame_betas[same], right.flame_betas[same])
        assert (found.betas.isfinite().all(1) == people.betas.isfinite().all(1)).all()


def test_a_step_that_failed_leaves_no_shape() -> None:
    table = ShapeTable(torch.device("cpu"), 1)
    table.enter(("a",))  # and never told of a's prediction
    rows, shares = zip(*table.enter(("a",)), strict=True)
    people = random_parameters(1)
    found = table(people, torch.tensor(rows), torch.tensor(shares))
    torch.testing.assert_close(found.betas, people.betas)


def test_the_table_forgets_the_oldest() -> None:
    table = ShapeTable(torch.device("cpu"), 1)
    everyone = tuple(f"p{i}" for i in range(MOST_PEOPLE))
    rows = [row for row, _ in table.enter(everyone)]
    assert sorted(rows) == list(range(MOST_PEOPLE))
    assert table.enter(("p0", "new")) == [(rows[0], 0.0), (rows[1], 1.0)]
    assert table.enter(("p1",)) == [(rows[2], 1.0)]


def test_a_folded_head_answers_the_same() -> None:
    torch.manual_seed(1)
    head = PearNetwork(
        NetworkConfig(
            BackboneConfig(embed_dim=24, depth=1, num_heads=2),
            HeadConfig(context_dim=24, dim=32, depth=3, heads=2, dim_head=16, mlp_dim=32),
        )
    ).head.eval()
    head.init_body_pose.normal_()
    tokens = torch.randn(3, 192, 24)
    with torch.no_grad():
        before = head(tokens)
        head.fold()
        after = head(tokens)
    assert not any("to_qkv" in name or "_decoder" in name for name in head.state_dict())
    torch.testing.assert_close(vars(after), vars(before), rtol=1e-5, atol=1e-5)


@NO_CUDA
def test_cuda_graphs_do_not_wait(small_assets: BodyAssets) -> None:
    """A step in which the host waited for the device other than at its end would raise."""
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
def test_float16_is_recorded_in_a_thread_of_its_own(small_assets: BodyAssets) -> None:
    """As in the node: its worker records what was not at first. Heads are as wide as PEAR's."""
    network = Tiny("cuda", width=160).halve()
    body_model = BodyModel(small_assets, "cuda")
    found = RecordedEstimator(network, body_model, 0, CudaStream(network.device), most_people=4)
    right = Estimator(network, body_model, 0)
    frames = frames_of([3])
    with ThreadPoolExecutor(1) as worker:
        for mesh in (False, True, False):
            estimates = worker.submit(estimated, found, frames, mesh).result()
            assert_same(estimates, estimated(right, frames, mesh), 3e-2)


@NO_CUDA
def test_a_recording_that_fails_leaves_the_stream_to_others() -> None:
    stream = CudaStream(torch.device("cuda"))
    ones = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="when stream is capturing"):
        stream.record(lambda: ones.sum().item())  # the host waits for the device
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    recorded = stream.record(lambda: ones + 1)
    with stream.current():
        recorded.replay()
    stream.wait()
    assert recorded.result.tolist() == [2, 2, 2]
