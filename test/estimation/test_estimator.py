"""Which estimator a device gets, and what replaces recordings that fail."""

from __future__ import annotations

import pytest
import torch
from estimators import Setup, Tiny, assert_same, estimated, frames_of

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.estimation import factory
from pear_ros.estimation import recorded as recorded_module
from pear_ros.estimation.estimator import Estimator
from pear_ros.estimation.factory import RecordedWherePossible, make_estimator
from pear_ros.problems import Problems


def test_the_estimator_replaces_recordings_that_cannot_be_made(
    small_body_model: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(device: torch.device) -> None:
        raise RuntimeError("CUDA out of memory\nmuch more")

    monkeypatch.setattr(factory, "CudaStream", no_memory)
    messages: list[str] = []
    problems = Problems(messages.append)
    network = Tiny("cpu")
    network.device = torch.device("cuda")
    made = make_estimator(network, small_body_model, 0, 16, problems)
    assert problems.counts() == {"not_recorded": 1}
    assert "(CUDA out of memory), so each step is slower" in messages[0]
    network.device = torch.device("cpu")
    frames = frames_of([2])
    expected = Estimator(network, small_body_model, 0)
    assert_same(estimated(made, frames, True), estimated(expected, frames, True), atol=0)


@pytest.mark.parametrize("cause", ["mesh", "larger image"])
def test_recordings_that_fail_later_lose_no_image(
    small_assets: BodyAssets, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "PIXELS", 100_000)
    setup = Setup(small_assets, "cpu", recorded=True)
    messages: list[str] = []
    problems = Problems(messages.append)
    made = RecordedWherePossible(lambda: setup.found, setup.expected, problems)
    frames = frames_of([2])
    assert_same(estimated(made, frames, mesh=False), estimated(setup.expected, frames, mesh=False))
    assert len(setup.network.batches) > 0
    assert not problems.counts()

    def no_memory(work: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(setup.stream, "record", no_memory)
    frames = frames_of([2], scale=1 if cause == "mesh" else 3)
    mesh = cause == "mesh"
    for _ in range(2):  # the second step does not try to record
        assert_same(estimated(made, frames, mesh), estimated(setup.expected, frames, mesh), atol=0)
    assert problems.counts() == {"not_recorded": 1}
    assert "each step is slower" in messages[0]
