"""Estimators with a tiny network, and frames of random pixels for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from host_stream import HostStream
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.estimation.estimator import Estimate, Estimates, Estimator
from pear_ros.estimation.recorded import RecordedEstimator, Stream
from pear_ros.images.crop import squares_of
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.head import HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import Boxes, Camera, EhmParameters, Frame
from pear_ros.system.cuda_graphs import CudaStream, Recorded
from pear_ros.system.device import forbid_reduced_precision

T = TypeVar("T", EhmParameters, Bodies)


class Tiny:
    """A network with random weights that records its batch sizes.

    A width of 160 gives attention heads as wide as PEAR's.
    """

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
        """Converts the backbone to float16, the default on CUDA."""
        self._network.backbone.half()
        return self

    def __call__(self, crops: Tensor) -> EhmParameters:
        self.batches.append(len(crops))
        people: EhmParameters = self._network(crops)
        return people


def frames_of(counts: Sequence[int], scale: float = 1, seed: int = 3) -> list[Frame]:
    """A frame for each count of people, each of another size; some boxes cross the borders."""
    random = np.random.default_rng(seed)
    frames = []
    for i, count in enumerate(counts):
        height, width = int(scale * (120 + 31 * i)), int(scale * (160 - 13 * i))
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        image.setflags(write=False)  # like those of messages
        corner = random.uniform(-20, 0.6 * height, (count, 2))
        size = random.uniform(0.2 * width, 0.7 * width, (count, 2))
        boxes = np.concatenate((corner, corner + size), 1).astype(np.float32)
        camera = Camera(width, width + 10, width / 2, height / 2)
        frames.append(Frame(image, camera, 0.0, f"c{i}", Boxes(boxes, np.ones(count, np.float32))))
    return frames


def estimated(estimator: Estimate, frames: list[Frame]) -> Estimates:
    boxes = [frame.boxes or Boxes.empty() for frame in frames]
    with torch.inference_mode():
        return estimator(frames, squares_of(frames, boxes))


def posed(estimator: Estimate, parameters: EhmParameters, mesh: bool) -> Bodies:
    ids = tuple(f"p{i}" for i in range(len(parameters.betas)))
    with torch.inference_mode():
        return estimator.pose(ids, parameters, mesh)


def assert_same(found: Estimates, expected: Estimates, atol: float = 2e-5) -> None:
    assert_same_tensors(found.parameters, expected.parameters, atol)
    assert_same_tensors(found.bodies, expected.bodies, atol)
    torch.testing.assert_close(found.translation, expected.translation, rtol=1e-4, atol=atol)


def assert_same_tensors(found: T, expected: T, atol: float = 2e-5) -> None:
    """`found` and `expected` are EhmParameters or Bodies."""
    for field in dataclasses.fields(expected):  # type: ignore[arg-type]
        a, b = (getattr(batch, field.name) for batch in (found, expected))
        if b is None:
            assert a is None
        else:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=atol)


class Setup:
    """A RecordedEstimator (`found`) and the Estimator that it must agree with (`expected`)."""

    def __init__(
        self, assets: BodyAssets, device: str, recorded: bool, most_people: int = 1
    ) -> None:
        forbid_reduced_precision()
        self.network = Tiny(device, recorded)
        self.stream: Stream = (
            HostStream(None) if device == "cpu" else CudaStream(self.network.device)
        )
        body_model = BodyModel(assets, device)
        self.found = RecordedEstimator(self.network, body_model, self.stream, most_people)
        self.expected = Estimator(Tiny("cpu"), BodyModel(assets))

    def count_recordings(self) -> list[Any]:
        """Returns a list that gets an entry for each recording from now on."""
        recorded: list[Any] = []
        record = self.stream.record

        def counting(work: Callable[[], Any]) -> Recorded[Any]:
            recorded.append(work)
            return record(work)

        self.stream.record = counting  # type: ignore[method-assign]
        return recorded
