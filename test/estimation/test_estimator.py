"""Which estimator a device gets, and what replaces recordings that fail."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from estimators import (
    Setup,
    Tiny,
    assert_same,
    assert_same_tensors,
    estimated,
    frames_of,
    posed,
)
from samples import random_parameters

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
    made = make_estimator(network, small_body_model, 16, problems)
    assert problems.counts() == {"not_recorded": 1}
    assert "(CUDA out of memory), so each step is slower" in messages[0]
    network.device = torch.device("cpu")
    frames = frames_of([2])
    expected = Estimator(network, small_body_model)
    assert_same(estimated(made, frames), estimated(expected, frames), atol=0)
    people = random_parameters(2)
    assert_same_tensors(posed(made, people, True), posed(expected, people, True), atol=0)


def failing(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Lets new recordings fail; returns a list that gets an entry for each."""
    tried: list[object] = []

    def no_memory(work: object) -> None:
        tried.append(work)
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(setup.stream, "record", no_memory)
    return tried


@pytest.mark.parametrize(
    "cause", ["mesh", "larger batch of bodies", "larger batch", "larger image"]
)
def test_recordings_that_fail_later_lose_no_image(
    small_assets: BodyAssets, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is those of estimates or those of posed bodies."""
    monkeypatch.setattr(recorded_module, "PIXELS", 100_000)
    setup = Setup(small_assets, "cpu", recorded=True)
    messages: list[str] = []
    problems = Problems(messages.append)
    made = RecordedWherePossible(lambda: setup.found, setup.expected, problems)
    frames, people = frames_of([2]), random_parameters(2)
    assert_same(estimated(made, frames), estimated(setup.expected, frames))
    assert_same_tensors(posed(made, people, False), posed(setup.expected, people, False))
    assert set(setup.found._steps) == {1, 2}
    assert not problems.counts()

    tried = failing(setup, monkeypatch)
    frames = frames_of(
        [3 if cause == "larger batch" else 2], scale=3 if cause == "larger image" else 1
    )
    people = random_parameters(3 if cause == "larger batch of bodies" else 2)
    for _ in range(2):  # the second step does not try to record
        assert_same(estimated(made, frames), estimated(setup.expected, frames), atol=2e-5)
        expected = posed(setup.expected, people, cause == "mesh")
        assert_same_tensors(posed(made, people, cause == "mesh"), expected, atol=2e-5)
        assert len(tried) == 1
    assert problems.counts() == {"not_recorded": 1}
    assert "each step is slower" in messages[0]


@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
def test_people_are_posed_as_given(small_body_model: BodyModel, mesh: bool) -> None:
    """Also those whose shape is known from the last image, and those who have the id of others."""
    estimator = Estimator(Tiny("cpu"), small_body_model)
    people, others = random_parameters(3), random_parameters(3, seed=1)
    moved = dataclasses.replace(others, betas=people.betas, flame_betas=people.flame_betas)
    for parameters in (people, people, moved, others):
        expected = small_body_model(parameters, mesh=mesh)
        assert_same_tensors(posed(estimator, parameters, mesh), expected, atol=1e-5)


def test_estimates_are_the_bodies_of_their_parameters(small_body_model: BodyModel) -> None:
    """Without meshes; whoever follows people needs the joints of these parameters."""
    estimates = estimated(Estimator(Tiny("cpu"), small_body_model), frames_of([2, 1]))
    expected = small_body_model(estimates.parameters)
    assert expected.vertices is None
    assert_same_tensors(estimates.bodies, expected, atol=1e-6)
