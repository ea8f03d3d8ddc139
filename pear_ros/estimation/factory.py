"""Chooses the estimator for a device; falls back to eager execution if recording fails."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.estimation.estimator import Estimate, Estimates, Estimator, OnStage, ignore_stages
from pear_ros.estimation.recorded import RecordedEstimator
from pear_ros.images.crop import Squares
from pear_ros.network.network import Network
from pear_ros.people import EhmParameters, Frame
from pear_ros.problems import Problems
from pear_ros.system.cuda_graphs import CudaStream

T = TypeVar("T")


def make_estimator(
    network: Network,
    body_model: BodyModel,
    most_people: int,
    problems: Problems,
    on_stage: OnStage = ignore_stages,
) -> Estimate:
    """Returns the estimator for the network's device: recorded on CUDA, eager elsewhere.

    On CUDA the batch sizes for up to `most_people` are recorded now.
    """
    eager = Estimator(network, body_model, on_stage)
    if network.device.type != "cuda":
        return eager

    def recorded() -> Estimate:
        stream = CudaStream(network.device)
        return RecordedEstimator(network, body_model, stream, most_people, on_stage)

    return RecordedWherePossible(recorded, eager, problems)


class RecordedWherePossible:
    """Uses the recorded estimator until it fails, then only the eager one.

    The failure is counted as a problem. It may come at the start or later, as recordings for
    meshes, larger batches and larger images are made when they are first needed.
    """

    def __init__(
        self, recorded: Callable[[], Estimate], eager: Estimate, problems: Problems
    ) -> None:
        self._eager = eager
        self._problems = problems
        self._recorded: Estimate | None = None
        try:
            self._recorded = recorded()
        except RuntimeError as error:  # CUDA errors, for example out of memory
            self._give_up(error)

    def __call__(self, frames: Sequence[Frame], squares: Squares) -> Estimates:
        return self._attempt(lambda estimate: estimate(frames, squares))

    def pose(self, ids: tuple[str, ...], parameters: EhmParameters, mesh: bool) -> Bodies:
        return self._attempt(lambda estimate: estimate.pose(ids, parameters, mesh))

    def _attempt(self, work: Callable[[Estimate], T]) -> T:
        if self._recorded is not None:
            try:
                return work(self._recorded)
            except RuntimeError as error:
                self._give_up(error)
            gc.collect()  # the error and its traceback are a reference cycle that holds GPU memory
        return work(self._eager)

    def _give_up(self, error: RuntimeError) -> None:
        self._recorded = None
        reason = str(error).partition("\n")[0]
        self._problems.count(
            "not_recorded",
            f"CUDA graphs cannot be used ({reason}), so each step is slower; the results are the "
            "same; if memory ran out, lower detection.max_people or use fewer cameras",
        )
