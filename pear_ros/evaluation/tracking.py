"""How well people are followed: simulated sequences with known identities.

People walk through a room in front of a camera, hide each other, leave and enter. What a detector
and the network would say of each image is simulated as well: missed people, false boxes, noise. The
network itself does not run, so many sequences take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.geometry.camera import project
from pear_ros.people import Camera, FloatArray
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.motion import Motion
from pear_ros.synthetic.scene import FACING_CAMERA, Cast, parameters_of
from pear_ros.synthetic.shapes import BodyShapes
from pear_ros.tracking.tracker import POSE_JOINTS, SHAPE_COEFFICIENTS, Sightings

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Random = np.random.Generator

WIDTH, HEIGHT = 640, 480
CAMERA = Camera(520.0, 520.0, 319.5, 239.5)
CAMERA_HEIGHT_M = 1.2
NEAR_M, FAR_M = 2.5, 7.5
BOX_MARGIN = 0.12  # of the joints' extent: a box is tight around skin and clothes, not joints
ACCELERATION_M_S2 = 3.0  # largest of a person who starts, stops or turns
MEMORY_S = 1.0  # an identity must survive if the person is hidden for at most this time


@dataclass(frozen=True)
class Conditions:
    """What is simulated."""

    images: int = 200
    rate_hz: float = 15.0
    missed: float = 0.2  # fraction of visible people who are not detected
    false: float = 0.05  # false boxes per visible person
    # About twice what the demo network shows on rendered people (docs/detection_and_tracking.md).
    box_noise: float = 0.03  # standard deviation, of the box's size
    depth_bias: float = 0.08  # standard deviation of a person's constant error, of the distance
    depth_noise: float = 0.03  # ... of the error that is new in each image
    lateral_noise: float = 0.003
    joint_noise_m: float = 0.025
    shape_shrinkage: float = 0.5  # estimated shapes are nearer to the mean than true ones
    shape_noise: float = 0.3
    # Scores of NanoDet on real people, and of the few false boxes that it reports.
    score: tuple[float, float] = (0.68, 0.09)  # mean and standard deviation, at least 0.5
    false_score: tuple[float, float] = (0.5, 0.04)
    least_visible: float = 0.4  # less visible people are hidden: never detected
    hides: bool = True  # False: people do not hide each other, whatever their places


@dataclass(frozen=True)
class Simulated:
    """A sequence of images: the truth, and the sightings in each image."""

    stamps_s: list[float]
    ids: list[Ints]  # true identities of the people in each image
    boxes: list[FloatArray]  # their boxes, xyxy, px
    sightings: list[Sightings]

    def __getitem__(self, images: slice) -> Simulated:
        return Simulated(*(getattr(self, f.name)[images] for f in fields(self)))


class Walker:
    """One person who walks between random places, and who may start outside of the image."""

    def __init__(self, cast: Cast, random: Random) -> None:
        motion_random, self._random = random.spawn(2)
        self.shapes = cast.shapes(1, random)
        self.motion = Motion(REPERTOIRES["held_out"], motion_random)
        self._place, self._goal = self._random_place(), self._random_place()
        self._heading = self._random.uniform(0, 2 * np.pi)
        self._velocity = np.zeros(2)  # m/s
        self._rest_s = 0.0
        self._speed_m_s = self._random.uniform(0.6, 1.5)

    def walk(self, elapsed_s: float) -> tuple[Array, float]:
        """Walks on; returns the place (x, z), m, and the heading, radians, 0 to the camera."""
        to_goal = self._goal - self._place
        distance = float(np.linalg.norm(to_goal))
        if distance < 0.3:
            self._goal, self._rest_s = self._random_place(), self._random.uniform(0, 2)
        self._rest_s -= elapsed_s
        is_walking = self._rest_s <= 0
        wanted = to_goal / max(distance, 1e-6) * self._speed_m_s * is_walking
        change = wanted - self._velocity
        most = ACCELERATION_M_S2 * elapsed_s
        self._velocity += change * min(1.0, most / max(float(np.linalg.norm(change)), 1e-9))
        self._place = self._place + self._velocity * elapsed_s
        if is_walking:
            turn = np.arctan2(to_goal[0], -to_goal[1]) - self._heading
            turn = (turn + np.pi) % (2 * np.pi) - np.pi
            self._heading += np.clip(turn, -3 * elapsed_s, 3 * elapsed_s)
        return self._place, self._heading

    def _random_place(self) -> Array:
        z = self._random.uniform(NEAR_M, FAR_M)
        half_width = 0.5 * WIDTH / CAMERA.fx * z
        # One in five places is outside of the image.
        side = self._random.uniform(1.3, 1.6) * self._random.choice((-1, 1))
        x = side if self._random.random() < 0.2 else self._random.uniform(-0.85, 0.85)
        return np.array((x * half_width, z))


def simulate(
    cast: Cast, people: int, seed: int, conditions: Conditions = Conditions()
) -> Simulated:
    """Simulates `people` who walk in front of the camera. The same seed gives the same sequence."""
    random = np.random.default_rng(seed)
    walkers = [Walker(cast, random) for _ in range(people)]
    stamps_s = [i / conditions.rate_hz for i in range(conditions.images)]
    joints = np.stack([_joints(cast, walker, stamps_s) for walker in walkers], 1)  # (I, P, 55, 3)
    boxes = np.stack([_boxes(image) for image in joints])  # (I, P, 4)
    visible = np.stack([_visible(*image) for image in zip(boxes, joints, strict=True)])  # (I, P)
    can_see = np.stack(
        [_can_see(*rows, conditions) for rows in zip(boxes.swapaxes(0, 1), visible.T, strict=True)],
        1,
    )  # (I, P)
    identity = _identities(can_see, conditions.rate_hz)
    betas = np.concatenate([walker.shapes.betas for walker in walkers])[:, :SHAPE_COEFFICIENTS]
    bias = 1 + conditions.depth_bias * random.standard_normal(people)
    sightings = [
        _seen(joints[i], boxes[i], can_see[i], betas, bias, conditions, random)
        for i in range(conditions.images)
    ]
    rows = [np.flatnonzero(image > 0) for image in identity]
    return Simulated(
        stamps_s,
        [image[r] for image, r in zip(identity, rows, strict=True)],
        [clipped(image[r]) for image, r in zip(boxes, rows, strict=True)],
        sightings,
    )


def _joints(cast: Cast, walker: Walker, stamps_s: list[float]) -> FloatArray:
    """(I, 55, 3) m, optical, of one person in all images."""
    count = len(stamps_s)
    elapsed_s = stamps_s[1] - stamps_s[0]
    places, headings = zip(*(walker.walk(elapsed_s) for _ in stamps_s), strict=True)
    turns = Rotation.from_euler("y", -np.array(headings)[:, None]) * FACING_CAMERA
    shapes = BodyShapes(
        *(
            np.repeat(rows, count, 0)
            for rows in (walker.shapes.betas, walker.shapes.flame_betas, walker.shapes.head_scale)
        )
    )
    parameters = parameters_of(
        turns.as_matrix(),
        np.stack([walker.motion(t) for t in stamps_s]),
        np.stack([walker.motion.face(t) for t in stamps_s]),
        shapes,
    )
    with torch.inference_mode():
        joints = cast.body_model(parameters).joints.numpy()
    feet = joints[..., 1].max(1)  # the camera is level; y points down
    offset = np.array([(x, CAMERA_HEIGHT_M, z) for x, z in places]) - np.stack(
        (np.zeros(count), feet, np.zeros(count)), 1
    )
    placed: FloatArray = (joints + offset[:, None]).astype(np.float32)
    return placed


def _boxes(joints: FloatArray) -> FloatArray:
    """(P, 55, 3) m -> boxes (P, 4) px, not clipped."""
    pixels = project(np.maximum(joints, (-np.inf, -np.inf, 0.3)).astype(np.float32), CAMERA)
    low, high = pixels.min(1), pixels.max(1)
    margin = BOX_MARGIN * (high - low).min(1, keepdims=True)
    return np.concatenate((low - margin, high + margin), 1)


def clipped(xyxy: FloatArray) -> FloatArray:
    return xyxy.clip(0, (WIDTH, HEIGHT, WIDTH, HEIGHT))


def _visible(xyxy: FloatArray, joints: FloatArray) -> Array:
    """(P,) the fraction of each person that is in the image and not behind somebody nearer."""
    depth = joints[:, 0, 2]
    visible = np.zeros(len(xyxy))
    # People fill the middle of their boxes.
    shrink = np.array((0.2, 0.0, -0.2, 0.0)) * (xyxy[:, 2:3] - xyxy[:, :1])
    inner = xyxy + shrink
    for i, (left, top, right, bottom) in enumerate(inner):
        x, y = np.meshgrid(np.linspace(left, right, 12), np.linspace(top, bottom, 24))
        seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
        for left_k, top_k, right_k, bottom_k in inner[depth < depth[i]]:
            seen &= ~((x > left_k) & (x < right_k) & (y > top_k) & (y < bottom_k))
        visible[i] = seen.mean()
    return visible


def _can_see(xyxy: FloatArray, visible: Array, conditions: Conditions) -> NDArray[np.bool_]:
    """(I,) whether a detector could see one person with boxes (I, 4), by image.

    Nobody is hidden by others for longer than MEMORY_S: after that time the person is seen again.
    """
    area = np.maximum((xyxy[:, 2:] - xyxy[:, :2]).prod(1), 1)
    seen_xyxy = clipped(xyxy)
    inside = (seen_xyxy[:, 2:] - seen_xyxy[:, :2]).prod(1) / area >= conditions.least_visible
    longest = round(MEMORY_S * conditions.rate_hz)
    seen = (visible >= conditions.least_visible) | (not conditions.hides)
    hidden = 0
    for i in range(len(seen)):
        hidden = 0 if seen[i] or not inside[i] else hidden + 1
        seen[i] |= hidden > longest
    can_see: NDArray[np.bool_] = seen & inside
    return can_see


def _identities(visible: NDArray[np.bool_], rate_hz: float) -> Ints:
    """True identities (I, P) by image; 0: the person does not count in this image.

    A person who is away for longer than MEMORY_S has another identity afterwards.
    """
    identity = np.zeros(visible.shape, np.int64)
    longest = round(MEMORY_S * rate_hz)
    number = 0
    for person in range(visible.shape[1]):
        seen = np.flatnonzero(visible[:, person])
        for part in np.split(seen, np.flatnonzero(np.diff(seen) > longest + 1) + 1):
            if len(part):
                number += 1
                identity[part[0] : part[-1] + 1, person] = number
    return identity


def _seen(
    joints: FloatArray,  # (P, 55, 3) m
    xyxy: FloatArray,  # (P, 4) px
    can_see: NDArray[np.bool_],  # (P,)
    betas: FloatArray,  # (P, 10)
    bias: Array,  # (P,) factor of the distance
    conditions: Conditions,
    random: Random,
) -> Sightings:
    """What detector and network say of one image."""
    rows = np.flatnonzero(can_see & (random.random(len(xyxy)) >= conditions.missed))
    count_false = random.binomial(int(can_see.sum()), conditions.false)
    real = _noisy(joints[rows], xyxy[rows], betas[rows], bias[rows], conditions, random)
    # A false box has the place and the body of nobody.
    height = random.uniform(40, HEIGHT, count_false)
    corner = random.uniform((0, 0), (WIDTH, HEIGHT), (count_false, 2)) - height[:, None] / 4
    boxes = np.concatenate((corner, corner + np.stack((0.4 * height, height), 1)), 1)
    depth = CAMERA.fy * random.uniform(1.0, 2.2, count_false) / height
    centre = (corner + 0.5 * np.stack((0.4 * height, height), 1)) - (CAMERA.cx, CAMERA.cy)
    false = Sightings(
        boxes.astype(np.float32),
        _scores(conditions.false_score, count_false, random),
        boxes.astype(np.float32),
        np.concatenate((centre / CAMERA.fx * depth[:, None], depth[:, None]), 1),
        random.normal(0, 0.4, (count_false, POSE_JOINTS, 3)).astype(np.float32),
        random.normal(0, 0.5, (count_false, SHAPE_COEFFICIENTS)).astype(np.float32),
    )
    arrays = [f.name for f in fields(Sightings) if f.name != "is_detected"]
    both: dict[str, Any] = {
        name: np.concatenate((getattr(real, name), getattr(false, name))) for name in arrays
    }
    return Sightings(**both)[random.permutation(len(rows) + count_false)]


def _scores(distribution: tuple[float, float], count: int, random: Random) -> FloatArray:
    scores: FloatArray = random.normal(*distribution, count).clip(0.5, 1).astype(np.float32)
    return scores


def _noisy(
    joints: FloatArray,
    xyxy: FloatArray,
    betas: FloatArray,
    bias: Array,
    conditions: Conditions,
    random: Random,
) -> Sightings:
    count = len(joints)
    size = np.tile(xyxy[:, 2:] - xyxy[:, :2], 2)
    boxes = clipped(xyxy) + conditions.box_noise * size * random.standard_normal((count, 4))
    pelvis = joints[:, 0].astype(np.float64)
    distance = np.linalg.norm(pelvis, axis=1, keepdims=True)
    factor = bias * (1 + conditions.depth_noise * random.standard_normal(count))
    sideways = conditions.lateral_noise * distance * random.standard_normal((count, 3))
    relative = joints[:, :POSE_JOINTS] - joints[:, :1]
    relative = relative + random.normal(0, conditions.joint_noise_m, relative.shape)
    shape = conditions.shape_shrinkage * betas + random.normal(
        0, conditions.shape_noise, betas.shape
    )
    return Sightings(
        boxes.astype(np.float32),
        _scores(conditions.score, count, random),
        boxes.astype(np.float32),
        pelvis * factor[:, None] + sideways,
        relative.astype(np.float32),
        shape.astype(np.float32),
    )
