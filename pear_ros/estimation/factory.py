"""Which estimator a device gets, and what happens where recording fails."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from pear_ros.body.body_model import BodyModel
from pear_ros.estimation.estimator import Estimate, Estimates, Estimator, OnStage, ignore_stages
from pear_ros.estimation.recorded import RecordedEstimator
from pear_ros.images.crop import Squares
from pear_ros.network.network import Network
from pear_ros.people import Frame
from pear_ros.problems import Problems
from pear_ros.system.cuda_graphs import CudaStream


def make_estimator(
    network: Network,
    body_model: BodyModel,
    hold_shapes_after: int,
    most_people: int,
    problems: Problems,
    on_stage: OnStage = ignore_stages,
) -> Estimate:
    """The estimator for the network's device, prepared for `most_people` at a time."""
    step_by_step = Estimator(network, body_model, hold_shapes_after, on_stage)
    if network.device.type != "cuda":
        return step_by_step

    def recorded() -> Estimate:
        stream = CudaStream(network.device)
        return RecordedEstimator(
            network, body_model, hold_shapes_after, stream, most_people, on_stage
        )

    return RecordedWherePossible(recorded, step_by_step, problems)


class RecordedWherePossible:
    """Uses recordings until one cannot be made or used, then goes step by step and says so once.

    Recordings are made at the start, and later for meshes, larger batches and larger images.
    """

    def __init__(
        self, recorded: Callable[[], Estimate], step_by_step: Estimate, problems: Problems
    ) -> None:
        self._step_by_step = step_by_step
        self._problems = problems
        self._recorded: Estimate | None = None
        try:
            self._recorded = recorded()
        except RuntimeError as error:  # of CUDA, such as no memory
            self._give_up(error)

    def __call__(
        self, frames: Sequence[Frame], squares: Squares, ids: tuple[str, ...], mesh: bool
    ) -> Estimates:
        if self._recorded is not None:
            try:
                return self._recorded(frames, squares, ids, mesh)
            except RuntimeError as error:
                self._give_up(error)
            gc.collect()  # an error and the frames of its traceback hold each other, and memory
        return self._step_by_step(frames, squares, ids, mesh)

    def _give_up(self, error: RuntimeError) -> None:
        self._recorded = None
        reason = str(error).partition("\n")[0]
        self._problems.count(
            "not_recorded",
            "CUDA graphs cannot be recorded or used, so each step is slower; its results are the "
            f"same: {reason}; a lower max_people or fewer cameras need less memory",
        )
