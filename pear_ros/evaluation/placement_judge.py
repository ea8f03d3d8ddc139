"""The pipeline on the scenes of the evaluation of placement, and its errors there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.body.stature import Stature
from pear_ros.config import Config
from pear_ros.evaluation.calibration import Samples
from pear_ros.evaluation.given_boxes import rows_of
from pear_ros.evaluation.metrics import rotation_angle_deg
from pear_ros.evaluation.placement_scenes import Images
from pear_ros.network.network import Network
from pear_ros.people import JOINT, Boxes, EhmParameters, Frame, People
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems
from pear_ros.synthetic.base import moved
from pear_ros.synthetic.scene import Shot

Array = NDArray[np.float64]

WARM_UP_S = 0.5  # after which velocities, feet and places in odom are judged
FEET = [JOINT["left_foot"], JOINT["right_foot"]]


@dataclass(frozen=True)
class Sources:
    """What the pipeline is told beside the image."""

    name: str
    floor: bool = False
    depth: bool = False
    height: bool = False
    world: bool = False
    lock: bool = False
    lens: bool = True  # False: the camera is taken for a pinhole, wrongly


class AsksOnce:
    """A network that does not run again on the crops that it has just seen."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.device, self.description = network.device, network.description
        self.can_be_recorded = False
        self._last: tuple[Tensor, EhmParameters] | None = None

    def __call__(self, crops: Tensor) -> EhmParameters:
        if self._last is None or not torch.equal(self._last[0], crops):
            self._last = crops.clone(), self._network(crops)
        return self._last[1]


class Clock:
    """An OnStage that adds up the CPU time between the network and the posed bodies, by person."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self.spent_s: list[float] = []

    def __call__(self, stage: str) -> None:
        if stage == "placement":
            self._began_s = time.process_time()
        elif stage == "pose" and self._began_s is not None:
            self.spent_s.append(time.process_time() - self._began_s)
            self._began_s = None


@dataclass
class Judged:
    """What the pipeline says of the one person in each image of a scene."""

    found: list[People | None] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)  # without images
    spent_s: list[float] = field(default_factory=list)

    def pairs(self, from_s: float = 0.0) -> Iterator[tuple[Shot, People]]:
        """Those images from this time on in which the person was found."""
        for shot, found in zip(self.shots, self.found, strict=True):
            if found is not None and shot.time_s >= from_s - 1e-9:
                yield shot, found


class Judge:
    """Runs the pipeline on scenes with several combinations of sources."""

    def __init__(self, config: Config, problems: Problems, stature: Stature) -> None:
        self._config = config.replaced(
            {"detection.detector": "topic", "detection.min_plausibility": 0.0}
        )
        self._clock, self._stature, self._scenes = Clock(), stature, 0
        self.pipeline = load_pipeline(self._config, problems, self._clock, AsksOnce)
        self.images = self.missed = 0

    @property
    def scenes(self) -> int:
        return self._scenes

    def __call__(self, images: Images, *combinations: Sources) -> dict[str, Judged]:
        """Returns by the combinations' names."""
        self._scenes += 1
        judged = {sources.name: Judged() for sources in combinations}
        for shot in images.shots():
            self.images += 1
            for sources in combinations:
                one = judged[sources.name]
                one.found.append(self._found(shot, sources))
                one.shots.append(shot)
                one.spent_s.append(self._clock.spent_s.pop() if self._clock.spent_s else np.nan)
            self.missed += judged[combinations[0].name].found[-1] is None
        return judged

    def _found(self, shot: Shot, sources: Sources) -> People | None:
        """The estimate of the person in the image; None if there is none."""
        height, width, _ = shot.image.shape
        boxes = shot.people.boxes
        boxes = Boxes(boxes.xyxy.clip(0, (width, height, width, height)), boxes.scores)
        frame = Frame(
            shot.image,
            shot.camera if sources.lens else replace(shot.camera, lens=None),
            shot.time_s,
            f"{sources.name} {self._scenes}",
            boxes,
            depth_m=shot.depth_m if sources.depth else None,
            world_from_optical=shot.world_from_optical if sources.world else None,
            floor=shot.floor if sources.floor else None,
        )
        tall_m = float(self._stature(shot.people.parameters)[0]) if sources.height else 0.0
        changes = {"placement.body_height_m": tall_m, "placement.foot_locking": sources.lock}
        self.pipeline.config = self._config.replaced(changes)
        people = self.pipeline.step([frame])[0]
        rows = rows_of(people, boxes)
        return None if rows[0] < 0 else people.rows(rows[:1])


def position(people: People) -> Array:
    """(N, 3) m, optical, of the pelvis."""
    return (people.translation + people.joints[:, 0]).astype(np.float64)


def samples_of(judged: Judged) -> Samples:
    """The stated and the seen errors in all images of a scene."""
    pairs = list(judged.pairs())
    return Samples(
        np.array([position(found)[0] - position(shot.people)[0] for shot, found in pairs]).reshape(
            -1, 3
        ),
        np.array([position(found)[0] for _, found in pairs]).reshape(-1, 3),
        np.array([found.covariance[0] for _, found in pairs], np.float64).reshape(-1, 3, 3),
        tuple(found.distance_source[0] for _, found in pairs),
    )


def position_cm(judged: Judged) -> Array:
    """The errors of positions in all images of a scene."""
    errors: Array = 100 * np.linalg.norm(samples_of(judged).error, axis=1)
    return errors


def velocity_errors(judged: Judged) -> Array:
    """m/s, of the pelvis, from WARM_UP_S on; NaN if the velocity is not known."""
    errors = [
        np.linalg.norm(found.velocity[0] - shot.people.velocity[0])
        for shot, found in judged.pairs(WARM_UP_S)
    ]
    return np.array(errors, np.float64)


def sliding_cm_s(judged: Judged) -> Array:
    """Speeds in the world of feet that truly stand, between neighbouring images in which they do.

    From WARM_UP_S on; a contact must be known, else NaN.
    """
    pairs = list(judged.pairs(WARM_UP_S))
    speeds: list[Array] = []
    for (before, was), (after, now) in pairwise(pairs):
        feet = [
            moved(shot.world_from_optical, found.joints[0, FEET] + found.translation[0])
            for shot, found in ((before, was), (after, now))
        ]
        stands = (before.people.contact[0] > 0.5) & (after.people.contact[0] > 0.5)
        speed = 100 * np.linalg.norm(feet[1] - feet[0], axis=1) / (after.time_s - before.time_s)
        is_known = np.isfinite(now.contact[0])
        speeds.append(np.where(is_known, speed, np.nan)[stands])
    return np.concatenate(speeds) if speeds else np.zeros(0)


def spread_in_world(judged: Judged) -> tuple[Array, Array]:
    """How far positions, cm, and orientations, degrees, of a person are from their mean in odom."""
    pairs = list(judged.pairs(WARM_UP_S))
    if not pairs:
        return np.zeros(0), np.zeros(0)
    places = np.array([moved(shot.world_from_optical, position(p))[0] for shot, p in pairs])
    turns = np.array([shot.world_from_optical[:3, :3] @ p.rotations[0, 0] for shot, p in pairs])
    mean = Rotation.from_matrix(turns).mean().as_matrix()
    off_cm: Array = 100 * np.linalg.norm(places - places.mean(0), axis=1)
    return off_cm, rotation_angle_deg(turns, np.broadcast_to(mean, turns.shape))
