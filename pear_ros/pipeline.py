"""Images in, people out: detection, tracking and PEAR in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.body.legs import with_moved_feet
from pear_ros.body.measures import BodyMeasures
from pear_ros.config import Config, value_of
from pear_ros.detection.cadence import Cadence, Expected
from pear_ros.detection.detector import Detector, make_detector
from pear_ros.errors import SettingError
from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.estimation.distances import measured
from pear_ros.estimation.estimator import Estimates, OnStage, ignore_stages
from pear_ros.estimation.factory import make_estimator
from pear_ros.estimation.plausibility import plausibility
from pear_ros.geometry.boxes import usable as usable_boxes
from pear_ros.images.crop import Squares, squares_of
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import choose_network
from pear_ros.network.network import Network
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import (
    Boxes,
    EhmParameters,
    FloatArray,
    Frame,
    People,
    join,
    map_tensors,
)
from pear_ros.placement.uncertainty import covariances, joint_sigmas
from pear_ros.problems import Problems
from pear_ros.system.device import choose_device, choose_dtype
from pear_ros.tracking.body_size import Measured
from pear_ros.tracking.follower import Estimated, FollowedPeople, Follower, Moving


class Pipeline:
    """PEAR with a person detector, and tracking and smoothing for each camera. Not thread-safe."""

    def __init__(
        self,
        network: Network,
        body_model: BodyModel,
        detector: Detector,
        config: Config,
        problems: Problems,
        on_stage: OnStage = ignore_stages,
        measures: BodyMeasures | None = None,  # needed for frames with floor or depth images
    ) -> None:
        self._measures = measures
        self.config = config  # may be replaced between steps
        self.body_model = body_model
        self.network = network
        most_people = config.detection.max_people * max(1, len(config.camera.names))
        self._estimate = make_estimator(network, body_model, most_people, problems, on_stage)
        self._cadence = Cadence(detector)
        self._followers: dict[str, Follower] = {}  # by camera
        self._id_prefix = config.tracking.id_prefix
        self._problems = problems
        self._on_stage = on_stage

    @torch.inference_mode()
    def step(self, frames: Sequence[Frame], mesh: bool = False) -> list[People]:
        """Estimates the people in each frame, all of them in one batch.

        Each frame is from a different camera; the stamps of a camera must not decrease. With `mesh`
        the people have vertices, too. Returns one People per frame, in the order of `frames`: who
        is seen, then who is predicted. People whose estimate cannot be used are left out and
        counted as problems.
        """
        self._on_stage("detect")
        boxes, is_detected = self._detect(frames)  # N boxes in total
        squares = squares_of(frames, boxes)  # (N, 4) px, the crops that the network sees
        estimates = self._estimate(frames, squares)  # network, joints, placement
        self._on_stage("track")
        distances = measured(frames, squares, estimates, self._measures, self.config.placement)
        usable, scores = self._usable(frames, squares, estimates)  # (N,), (N,)
        followed = [
            self._followers[frame.source](
                people,
                frame.camera,
                _size(frame),
                frame.stamp_s,
                frame.world_from_optical,
                frame.floor,
            )
            for frame, people in zip(
                frames,
                _by_frame(boxes, squares, estimates, distances, usable, scores, is_detected),
                strict=True,
            )
        ]  # M people in total
        posed = self._pose(frames, followed, mesh)
        for frame in frames:
            if frame.is_still:
                del self._followers[frame.source]
                self._cadence.forget(frame.source)
        return posed

    @property
    def description(self) -> str:
        """The network's size and where it runs, as text for the log."""
        return self.network.description

    def forget(self, source: str) -> None:
        """Drops the people of the camera `source`, whose time has jumped back."""
        if source in self._followers:
            self._followers[source].forget()

    def _detect(self, frames: Sequence[Frame]) -> tuple[list[Boxes], list[bool]]:
        """The boxes in each frame, and whether the detector found them, see `Cadence`."""
        expected = []
        for frame in frames:
            people = self._follower(frame).expected(
                frame.camera, frame.stamp_s, frame.world_from_optical
            )
            is_seen = people.missed == 0
            seen = Boxes(people.xyxy, people.scores)[is_seen]
            seen = seen[usable_boxes(seen.xyxy, *_size(frame)[::-1])]
            is_unclear = people.has_candidates or bool((people.missed == 1).any())
            finite = people.xyxy[np.isfinite(people.xyxy).all(1)]
            expected.append(Expected(seen, finite, is_unclear))
        every_nth = self.config.detection.every_nth
        found, is_detected = self._cadence(frames, expected, every_nth)
        boxes = [
            self._selected(frame, in_frame) if detected else in_frame
            for frame, in_frame, detected in zip(frames, found, is_detected, strict=True)
        ]
        return boxes, is_detected

    def _selected(self, frame: Frame, found: Boxes) -> Boxes:
        """The usable boxes with a sufficient score, at most `detection.max_people`."""
        height, width = _size(frame)
        is_score = (found.scores >= 0) & (found.scores <= 1)
        good = usable_boxes(found.xyxy, width, height) & is_score
        if not good.all():
            self._problems.count(
                "bad_boxes",
                f"{frame.source or 'camera'}: ignored a box that is outside the "
                f"{width}x{height} image, empty, inverted or not finite, or whose score is not "
                "within 0 ... 1; check the detector, or the boxes if you gave them",
                frame.source,
                times=int((~good).sum()),
            )
        found = found[good & (found.scores >= self.config.detection.min_score)]
        best = np.argsort(-found.scores, kind="stable")[: self.config.detection.max_people]
        left_out = len(found) - len(best)
        if left_out:
            self._problems.count(
                "people_over_limit",
                f"{frame.source or 'camera'}: left out {left_out} of {len(found)} people, those "
                f"with the lowest scores; raise detection.max_people, {len(best)}",
                frame.source,
                times=left_out,
            )
        return found[np.sort(best)]

    def _follower(self, frame: Frame) -> Follower:
        """The follower of the frame's camera; in a picture of its own everybody is reported."""
        if frame.source not in self._followers or frame.is_still:
            camera = f"{frame.source}_" if frame.source else ""
            settings = self.config.tracking
            if frame.is_still:
                settings = replace(settings, confirm_score=0.0)
            self._followers[frame.source] = Follower(
                f"{self._id_prefix}{camera}p",
                settings,
                self.config.smoothing,
                self.config.placement,
            )
        return self._followers[frame.source]

    def _usable(
        self, frames: Sequence[Frame], squares: Squares, estimates: Estimates
    ) -> tuple[NDArray[np.bool_], FloatArray]:
        """Which estimates can be used, and their plausibility; counts the others as problems."""
        finite = _finite_rows(estimates.parameters) & _valid_rows(estimates.bodies)  # (N,)
        placed = estimates.translation.isfinite().all(1).numpy() & finite
        scores = plausibility(
            estimates.parameters,
            estimates.bodies.joints,
            estimates.translation,
            CropCameras.of(frames, squares),
        ).numpy()
        plausible = placed & (scores >= self.config.detection.min_plausibility)
        for i, frame in enumerate(frames):
            rows = squares.frame_index == i
            self._count_unusable(frame, *(kind[rows] for kind in (finite, placed, plausible)))
        return plausible, scores

    def _count_unusable(
        self,
        frame: Frame,
        finite: NDArray[np.bool_],
        placed: NDArray[np.bool_],
        plausible: NDArray[np.bool_],
    ) -> None:
        self._count(
            "network_not_finite",
            frame,
            ~finite,
            "whose network output is not finite; check the checkpoint, or set network.dtype to "
            "float32",
        )
        self._count(
            "not_placeable",
            frame,
            finite & ~placed,
            "whom the network places behind the camera or nowhere; if it happens often, check "
            "that the boxes contain people and that the images are upright",
        )
        self._count(
            "not_plausible",
            frame,
            placed & ~plausible,
            "whose estimate is not plausible as a person; if it happens often, check that the "
            "boxes contain people, or lower detection.min_plausibility",
        )

    def _count(self, kind: str, frame: Frame, rows: NDArray[np.bool_], reason: str) -> None:
        if rows.any():
            message = f"{frame.source or 'camera'}: ignored a person {reason}"
            self._problems.count(kind, message, frame.source, times=int(rows.sum()))

    def _pose(
        self, frames: Sequence[Frame], followed: Sequence[FollowedPeople], mesh: bool
    ) -> list[People]:
        """Poses the bodies of all people in one batch."""
        if not frames:
            return []
        ids = tuple(id_ for people in followed for id_ in people.ids)
        parameters = join([people.parameters for people in followed])
        locks = self.config.placement.foot_locking
        bodies = self._estimate.pose(ids, parameters, mesh and not locks)
        ends = np.cumsum([len(people) for people in followed])
        rows = [slice(end - len(people), end) for people, end in zip(followed, ends, strict=True)]
        joints = bodies.joints.numpy()
        moving = [
            self._followers[frame.source].moving(people, joints[part])
            for frame, people, part in zip(frames, followed, rows, strict=True)
        ]
        if locks:  # bends legs and poses everybody again
            bends = [torch.from_numpy(one.bend) for one in moving]
            parameters = with_moved_feet(parameters, bodies, torch.cat(bends))
            bodies = self._estimate.pose(ids, parameters, mesh)
        return [
            self._people(
                frame,
                replace(people, parameters=map_tensors(parameters, lambda t, p=part: t[p])),  # type: ignore[misc]
                map_tensors(bodies, lambda t, p=part: t[p]),  # type: ignore[misc]
                one,
            )
            for frame, people, part, one in zip(frames, followed, rows, moving, strict=True)
        ]

    def _people(
        self, frame: Frame, people: FollowedPeople, posed: Bodies, moving: Moving
    ) -> People:
        """The M people of a frame with their posed bodies."""
        settings = self.config.placement
        joints = posed.joints.numpy()
        position = (moving.translation + joints[:, 0]).astype(np.float64)  # (M, 3) m
        covariance = people.spread + covariances(
            position, people.distance_sigma.astype(np.float64), settings.lateral_sigma
        )
        joint_sigma_m = joint_sigmas(covariance, settings.joint_sigma_scale)
        return People(
            ids=people.ids,
            boxes=people.boxes,
            crop_xywh=people.crop_xywh,
            parameters=people.parameters,
            translation=moving.translation,
            joints=joints,
            rotations=posed.rotations.numpy(),
            vertices=None if posed.vertices is None else posed.vertices.numpy(),
            is_metric=frame.camera.is_metric,
            visible=people.visible,
            age_s=people.age_s,
            plausibility=people.plausibility,
            shape_confidence=people.shape_confidence,
            velocity=people.velocity,
            joint_velocity=moving.joint_velocity,
            contact=moving.contact,
            covariance=covariance.astype(np.float32),
            joint_sigma_m=joint_sigma_m.astype(np.float32),
            distance_source=people.distance_source,
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
    detector = make_detector(config.detection, device, dtype)
    assets = load_assets(Path(config.body.assets))
    body_model, measures = BodyModel(assets, device), BodyMeasures(assets)
    sizes = NetworkConfig.from_json(Path(config.network.config)) if config.network.config else None
    network = load_network(Path(config.network.checkpoint), sizes, device, dtype)
    chosen = replace_network(choose_network(network, config, problems))
    del network  # if an engine replaces it, frees its memory before CUDA graphs are recorded
    return Pipeline(chosen, body_model, detector, config, problems, on_stage, measures)


def _size(frame: Frame) -> tuple[int, int]:
    """Height and width, px."""
    height, width = frame.image.shape[:2]
    return height, width


def _by_frame(
    boxes: Sequence[Boxes],
    squares: Squares,
    estimates: Estimates,
    distances: Measured,
    usable: NDArray[np.bool_],
    scores: FloatArray,
    is_detected: Sequence[bool],
) -> list[Estimated]:
    """The usable people of each frame."""
    people = []
    for i, (in_frame, detected) in enumerate(zip(boxes, is_detected, strict=True)):
        of_frame = squares.frame_index == i
        rows = np.flatnonzero(of_frame & usable)
        index = torch.from_numpy(rows)
        people.append(
            Estimated(
                boxes=in_frame[usable[of_frame]],
                parameters=map_tensors(estimates.parameters, lambda t, r=index: t[r]),  # type: ignore[misc]
                translation=estimates.translation.numpy()[rows],
                joints=estimates.bodies.joints.numpy()[rows],
                plausibility=scores[rows],
                is_detected=detected,
                measured=distances[rows],
            )
        )
    return people


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
