"""Images in, people out: the whole of PEAR in one step."""

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
    """PEAR with its detector and one tracker per camera. Not for several threads at once."""

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
        """The people in each frame: one batch over all of them. Frames are of different cameras."""
        boxes = [self._find(frame) for frame in frames]  # N boxes in all
        ids = tuple(id_ for f, b in zip(frames, boxes, strict=True) for id_ in self._track(f, b))
        squares = squares_of(frames, boxes)  # what the network sees
        estimates = self._estimate(frames, squares, ids, mesh)  # N people in their cameras
        return self._per_frame(frames, boxes, ids, squares, estimates)

    @property
    def description(self) -> str:
        """The network's size and where it runs, for people."""
        return self.network.description

    def forget(self, source: str) -> None:
        """Drops the tracks of a camera whose time has jumped back."""
        if source in self._trackers:
            self._trackers[source].forget()

    def _find(self, frame: Frame) -> Boxes:
        found = self._detector(frame)
        height, width = frame.image.shape[:2]
        is_score = (found.scores >= 0) & (found.scores <= 1)
        good = usable(found.xyxy, width, height) & is_score
        if not good.all():
            self._problems.count(
                "bad_boxes",
                f"{frame.source or 'camera'}: a detected box is outside of the {width}x{height} "
                "image, empty, inverted or not finite, or its score is not within 0 ... 1; it is "
                "left out: check the detector",
                frame.source,
                times=int((~good).sum()),
            )
        found = found[good & (found.scores >= self.config.detection.min_score)]
        best = np.argsort(-found.scores, kind="stable")[: self.config.detection.max_people]
        return found[np.sort(best)]

    def _track(self, frame: Frame, boxes: Boxes) -> tuple[str, ...]:
        if frame.source not in self._trackers:
            prefix = f"{frame.source}_p" if frame.source else "p"
            self._trackers[frame.source] = Tracker(
                prefix, self.config.tracking.min_iou, self.config.tracking.timeout_s
            )
        return self._trackers[frame.source](boxes.xyxy, frame.stamp_s)

    def _per_frame(
        self,
        frames: Sequence[Frame],
        boxes: Sequence[Boxes],
        ids: tuple[str, ...],
        squares: Squares,
        estimates: Estimates,
    ) -> list[People]:
        parameters, bodies = estimates.parameters, estimates.bodies
        translation = estimates.translation.numpy()  # (N, 3)
        finite = _finite_rows(parameters) & _rotated_rows(bodies)  # (N,)
        is_placed = np.isfinite(translation).all(1) & finite
        people = []
        for i, (frame, found) in enumerate(zip(frames, boxes, strict=True)):
            rows = np.flatnonzero(squares.frame_index == i)
            placed = is_placed[rows]
            self._count_lost(frame, finite[rows], placed)
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

    def _count_lost(
        self, frame: Frame, finite: NDArray[np.bool_], placed: NDArray[np.bool_]
    ) -> None:
        if not finite.all():
            self._problems.count(
                "network_not_finite",
                f"{frame.source or 'camera'}: the network gave numbers that are not finite; the "
                "person is left out: check the checkpoint, or set dtype to float32",
                frame.source,
                times=int((~finite).sum()),
            )
        if (finite & ~placed).any():
            self._problems.count(
                "not_placeable",
                f"{frame.source or 'camera'}: the network put a person behind the camera or "
                "nowhere; the person is left out",
                frame.source,
                times=int((finite & ~placed).sum()),
            )


def load_pipeline(
    config: Config,
    problems: Problems,
    on_stage: OnStage = ignore_stages,
    replace_network: Callable[[Network], Network] = lambda network: network,
) -> Pipeline:
    """Reads the files that `config` names.

    `replace_network` gets the loaded network, and its result is used: for benchmarks.

    Raises CheckpointError, AssetError or SettingError that says what to do.
    """
    files = {"network.checkpoint": "PEAR's weights", "body.assets": "the body model"}
    for setting, content in files.items():
        if not value_of(config, setting):
            raise SettingError(
                f"{setting} is not set: the file of {content}; docs/weights.md says where to get it"
            )
    device = choose_device(config.network.device)
    dtype = choose_dtype(config.network.dtype, device)
    detector = make_detector(config.detection.detector)
    body_model = BodyModel(load_assets(Path(config.body.assets)), device)
    sizes = NetworkConfig.from_json(Path(config.network.config)) if config.network.config else None
    network = load_network(Path(config.network.checkpoint), sizes, device, dtype)
    chosen = replace_network(choose_network(network, config, problems))
    del network  # beside an engine its memory is free, before the pipeline records what it does
    return Pipeline(chosen, body_model, detector, config, problems, on_stage)


def _rows(batch: _Batch, rows: IntArray, count: int) -> _Batch:
    """Some rows, in ascending order, of a dataclass of tensors (count, ...); mostly all of them."""
    if len(rows) == count:
        return batch
    index = torch.from_numpy(rows)
    return map_tensors(batch, lambda tensor: tensor[index])


def _finite_rows(parameters: EhmParameters) -> NDArray[np.bool_]:
    columns = [getattr(parameters, f.name).flatten(1) for f in fields(parameters)]
    finite: NDArray[np.bool_] = torch.cat(columns, 1).isfinite().all(1).numpy()
    return finite


def _rotated_rows(bodies: Bodies) -> NDArray[np.bool_]:
    """(N,) False where joints are not finite, or a rotation is none: 6D zeros make zeros."""
    rotated = torch.linalg.det(bodies.rotations) > 0.5  # NaN is not
    good: NDArray[np.bool_] = (rotated & bodies.joints.isfinite().all(-1)).all(1).numpy()
    return good
