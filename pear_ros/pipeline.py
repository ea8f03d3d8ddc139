"""Images in, people out: detection, tracking and PEAR in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.config import Config, value_of
from pear_ros.detection.detector import Detector, make_detector
from pear_ros.errors import SettingError
from pear_ros.estimation.estimator import Estimates, OnStage, ignore_stages
from pear_ros.estimation.factory import make_estimator
from pear_ros.geometry.boxes import usable
from pear_ros.images.crop import Squares, squares_of
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import choose_network
from pear_ros.network.network import Network
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import (
    Boxes,
    EhmParameters,
    Frame,
    IntArray,
    People,
    map_tensors,
)
from pear_ros.problems import Problems
from pear_ros.system.device import choose_device, choose_dtype
from pear_ros.tracking.tracker import Tracker

_Batch = TypeVar("_Batch")


class Pipeline:
    """PEAR with a person detector and one tracker per camera. Not thread-safe."""

    def __init__(
        self,
        network: Network,
        body_model: BodyModel,
        detector: Detector,
        config: Config,
        problems: Problems,
        on_stage: OnStage = ignore_stages,
    ) -> None:
        self.config = config  # may be replaced between steps
        self.body_model = body_model
        self.network = network
        self._detector = detector
        most_people = config.detection.max_people * max(1, len(config.camera.names))
        self._estimate = make_estimator(
            network, body_model, config.body.shape_frames, most_people, problems, on_stage
        )
        self._trackers: dict[str, Tracker] = {}
        self._problems = problems

    @torch.inference_mode()
    def step(self, frames: Sequence[Frame], mesh: bool = False) -> list[People]:
        """Estimates the people in each frame, all of them in one batch.

        Each frame is from a different camera. With `mesh` the people have vertices, too. Returns
        one People per frame, in the order of `frames`. People whose estimate is not finite or who
        cannot be placed in front of the camera are left out and counted as problems.
        """
        boxes = self._detect(frames)  # N boxes in total
        ids = self._track(frames, boxes)  # N ids
        squares = squares_of(frames, boxes)  # (N, 4) px, the crops that the network sees
        estimates = self._estimate(frames, squares, ids, mesh)  # network, body model, placement
        return self._split_by_frame(frames, boxes, ids, squares, estimates)

    @property
    def description(self) -> str:
        """The network's size and where it runs, as text for the log."""
        return self.network.description

    def forget(self, source: str) -> None:
        """Drops the tracks of the camera `source`, whose time has jumped back."""
        if source in self._trackers:
            self._trackers[source].forget()

    def _detect(self, frames: Sequence[Frame]) -> list[Boxes]:
        found = self._detector(frames)
        return [self._usable(frame, boxes) for frame, boxes in zip(frames, found, strict=True)]

    def _usable(self, frame: Frame, found: Boxes) -> Boxes:
        """The usable boxes with a sufficient score, at most `detection.max_people`."""
        height, width = frame.image.shape[:2]
        is_score = (found.scores >= 0) & (found.scores <= 1)
        good = usable(found.xyxy, width, height) & is_score
        if not good.all():
            self._problems.count(
                "bad_boxes",
                f"{frame.source or 'camera'}: ignored a detected box that is outside the "
                f"{width}x{height} image, empty, inverted or not finite, or whose score is not "
                "within 0 ... 1; check the detector",
                frame.source,
                times=int((~good).sum()),
            )
        found = found[good & (found.scores >= self.config.detection.min_score)]
        best = np.argsort(-found.scores, kind="stable")[: self.config.detection.max_people]
        return found[np.sort(best)]

    def _track(self, frames: Sequence[Frame], boxes: Sequence[Boxes]) -> tuple[str, ...]:
        """The ids of the people in all boxes, frame by frame."""
        ids: list[str] = []
        for frame, found in zip(frames, boxes, strict=True):
            ids += self._tracker(frame.source)(found.xyxy, frame.stamp_s)
        return tuple(ids)

    def _tracker(self, source: str) -> Tracker:
        if source not in self._trackers:
            prefix = f"{source}_p" if source else "p"
            self._trackers[source] = Tracker(
                prefix, self.config.tracking.min_iou, self.config.tracking.timeout_s
            )
        return self._trackers[source]

    def _split_by_frame(
        self,
        frames: Sequence[Frame],
        boxes: Sequence[Boxes],
        ids: tuple[str, ...],
        squares: Squares,
        estimates: Estimates,
    ) -> list[People]:
        """Leaves out and counts unusable estimates."""
        parameters, bodies = estimates.parameters, estimates.bodies
        translation = estimates.translation.numpy()  # (N, 3)
        finite = _finite_rows(parameters) & _valid_rows(bodies)  # (N,)
        is_placed = np.isfinite(translation).all(1) & finite
        people = []
        for i, (frame, found) in enumerate(zip(frames, boxes, strict=True)):
            rows = np.flatnonzero(squares.frame_index == i)
            placed = is_placed[rows]
            self._count_unusable(frame, finite[rows], placed)
            kept = rows[placed]
            posed = _rows(bodies, kept, len(ids))
            people.append(
                People(
                    ids=tuple(ids[row] for row in kept),
                    boxes=found[placed],
                    crop_xywh=squares.xywh[kept],
                    parameters=_rows(parameters, kept, len(ids)),
                    translation=translation[kept],
                    joints=posed.joints.numpy(),
                    rotations=posed.rotations.numpy(),
                    vertices=None if posed.vertices is None else posed.vertices.numpy(),
                    is_metric=frame.camera.is_metric,
                )
            )
        return people

    def _count_unusable(
        self, frame: Frame, finite: NDArray[np.bool_], placed: NDArray[np.bool_]
    ) -> None:
        if not finite.all():
            self._problems.count(
                "network_not_finite",
                f"{frame.source or 'camera'}: ignored a person whose network output is not finite; "
                "check the checkpoint, or set network.dtype to float32",
                frame.source,
                times=int((~finite).sum()),
            )
        if (finite & ~placed).any():
            self._problems.count(
                "not_placeable",
                f"{frame.source or 'camera'}: ignored a person whom the network places behind the "
                "camera or nowhere; if it happens often, check that the boxes contain people and "
                "that the images are upright",
                frame.source,
                times=int((finite & ~placed).sum()),
            )


def load_pipeline(
    config: Config,
    problems: Problems,
    on_stage: OnStage = ignore_stages,
    replace_network: Callable[[Network], Network] = lambda network: network,
) -> Pipeline:
    """Loads the files that `config` names and builds the pipeline.

    If the engine that `config` names cannot be used, torch runs the network and `problems` counts
    `engine_not_used`.

    Args:
        config: The settings.
        problems: Counts and reports problems of the pipeline.
        on_stage: Called at the beginning of each stage of a step; for benchmarks.
        replace_network: Receives the loaded network, returns the one to use; for benchmarks.

    Raises:
        SettingError: If a setting is missing or cannot be used on this machine.
        CheckpointError: If the checkpoint or its configuration cannot be loaded.
        AssetError: If the body model cannot be loaded, or the detector is not installed.
    """
    files = {"network.checkpoint": "PEAR's weights", "body.assets": "the body model"}
    for setting, content in files.items():
        if not value_of(config, setting):
            raise SettingError(
                f"{setting} is not set; give the file with {content}, see "
                "docs/how_to/get_weights.md"
            )
    device = choose_device(config.network.device)
    dtype = choose_dtype(config.network.dtype, device)
    detector = make_detector(config.detection, device)
    body_model = BodyModel(load_assets(Path(config.body.assets)), device)
    sizes = NetworkConfig.from_json(Path(config.network.config)) if config.network.config else None
    network = load_network(Path(config.network.checkpoint), sizes, device, dtype)
    chosen = replace_network(choose_network(network, config, problems))
    del network  # if an engine replaces it, frees its memory before CUDA graphs are recorded
    return Pipeline(chosen, body_model, detector, config, problems, on_stage)


def _rows(batch: _Batch, rows: IntArray, count: int) -> _Batch:
    """Selects ascending `rows` of a dataclass of tensors (count, ...)."""
    if len(rows) == count:  # all of them, which is the usual case: no copy
        return batch
    index = torch.from_numpy(rows)
    return map_tensors(batch, lambda tensor: tensor[index])


def _finite_rows(parameters: EhmParameters) -> NDArray[np.bool_]:
    columns = [getattr(parameters, f.name).flatten(1) for f in fields(parameters)]
    finite: NDArray[np.bool_] = torch.cat(columns, 1).isfinite().all(1).numpy()
    return finite


def _valid_rows(bodies: Bodies) -> NDArray[np.bool_]:
    """(N,) False if a joint is not finite or a matrix is not a rotation.

    A 6D rotation of zeros, for example, becomes a matrix of zeros.
    """
    is_rotation = torch.linalg.det(bodies.rotations) > 0.5  # False for NaN
    valid: NDArray[np.bool_] = (is_rotation & bodies.joints.isfinite().all(-1)).all(1).numpy()
    return valid
