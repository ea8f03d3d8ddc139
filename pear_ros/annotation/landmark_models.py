"""MediaPipe's models for landmarks of body, hands and face, without MediaPipe's own program.

The models are .tflite files inside MediaPipe's wheels up to 0.10.14 (Apache-2.0). LiteRT runs
them; the regions that they look at and the decoding of their outputs follow MediaPipe's graphs.
Nothing is downloaded.

Bazarevsky et al., BlazePose, 2020; Zhang et al., MediaPipe Hands, 2020; Kartynnik et al., Real-time
Facial Surface Geometry from Monocular Video on Mobile GPUs, 2019.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import SettingError
from pear_ros.people import ImageArray

Array = NDArray[np.float64]

POSE = "pose_landmark/pose_landmark_full.tflite"
HAND = "hand_landmark/hand_landmark_full.tflite"
PERSON = "pose_detection/pose_detection.tflite"
PALM = "palm_detection/palm_detection_full.tflite"
FACE = "face_landmark/face_landmark.tflite"
INSTALL = "run `pip install ai-edge-litert` and `pip install --no-deps mediapipe==0.10.14`"

LEAST_HEAT = 0.5  # of a heat map's peak, for its use to refine a point
HEAT_RADIUS = 3  # cells
# Points of a hand that MediaPipe frames to follow it: the palm and the first bones of the fingers.
FRAMED_POINTS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)


@dataclass(frozen=True)
class Region:
    """A turned square of an image."""

    centre: Array  # (2,) px
    side: float  # px
    angle: float = 0.0  # rad, clockwise; 0: upright

    @property
    def turn(self) -> Array:
        """(2, 2) from the square's axes to the image's."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.array(((c, -s), (s, c)))

    def to_image(self, unit: Array) -> Array:
        """Points (P, 2) from 0 to 1 across the square -> (P, 2) px."""
        return self.centre + (unit - 0.5) * self.side @ self.turn.T

    def cut(self, image: ImageArray, size: int) -> NDArray[np.float32]:
        """(size, size, 3) the square's content, 0 to 1; black outside of the image."""
        step = self.side / size * self.turn
        first = self.to_image(np.array((0.5, 0.5)) / size)  # centre of the first pixel
        matrix = np.column_stack((step, first))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(image, matrix, (size, size), flags=flags)
        return np.asarray(pixels, np.float32) / np.float32(255)

    @staticmethod
    def upright(centre: Array, side: float, up: Array) -> Region:
        """The square in which the direction `up` (2,) px points up."""
        return Region(centre, max(float(side), 1.0), float(np.arctan2(up[0], -up[1])))


@dataclass(frozen=True)
class Found:
    """Landmarks that a model found in one region."""

    points: Array  # (P, 2) px of the image
    confidence: Array  # (P,) 0 to 1
    score: float  # that there is such a thing at all, 0 to 1
    region: Region  # where to look for it again
    is_right: float = 0.5  # of a hand: that it is a right one, 0 to 1


class Model:
    """One .tflite file."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.size = int(self._input["shape"][1])  # px

    def __call__(self, image: ImageArray, region: Region) -> list[NDArray[np.float32]]:
        """Outputs for a square region, without the batch's axis."""
        self._interpreter.set_tensor(self._input["index"], self.pixels(image, region)[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output["index"])[0] for output in self._outputs]

    def pixels(self, image: ImageArray, region: Region) -> NDArray[np.float32]:
        """(S, S, 3) what the model sees."""
        return region.cut(image, self.size)


class AnchorModel(Model):
    """A detector: finds a thing, with points of it, in the cells of several grids."""

    grids: tuple[tuple[int, int], ...]  # distance of a grid's cells, px; guesses in each cell

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        anchors = []
        for step_px, repeats in self.grids:
            centres = (np.arange(self.size // step_px) + 0.5) * step_px / self.size
            cells = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
            anchors.append(np.repeat(cells, repeats, axis=0))
        self._anchors = np.concatenate(anchors)  # (A, 2) 0 to 1

    def best(self, image: ImageArray, region: Region) -> tuple[Array, float] | None:
        """The box's centre and the points (1 + P, 2) px, and the side of its box, px.

        None if it is less likely than not that there is one in `region`.
        """
        boxes, logits = self(image, region)
        best = int(logits[:, 0].argmax())
        if logits[best, 0] < 0:
            return None
        numbers = boxes[best].reshape(-1, 2).astype(np.float64) / self.size
        offsets = np.delete(numbers, 1, axis=0)  # row 1 is the size of the box
        side = float(numbers[1].max()) * region.side
        return region.to_image(offsets + self._anchors[best]), side


class PersonModel(AnchorModel):
    """Finds a person by the face, to know where to look for the body, even if much is hidden."""

    grids = ((8, 2), (16, 2), (32, 6))

    def pixels(self, image: ImageArray, region: Region) -> NDArray[np.float32]:
        return 2 * super().pixels(image, region) - 1

    def find(self, image: ImageArray, region: Region) -> Region | None:
        """The region of the likeliest body in `region`; None if there is none."""
        found = self.best(image, region)
        if found is None:
            return None
        _, middle, top = found[0][:3]
        return _around_body(middle, top)


class PoseModel(Model):
    """33 points of a body."""

    def __init__(self, path: Path, people: Path) -> None:
        super().__init__(path)
        self._people = PersonModel(people)

    def find(self, image: ImageArray, region: Region) -> Found:
        """The better of two: looked for in `region`, or where a person is detected in it.

        Either way it looks twice, the second time where the first result is.
        """
        found = self.once(image, self.once(image, region).region)
        person = self._people.find(image, region)
        if person is not None:
            other = self.once(image, self.once(image, person).region)
            found = max(other, found, key=lambda pose: pose.score)
        return found

    def once(self, image: ImageArray, region: Region) -> Found:
        """Looks at one region."""
        landmarks, score, _, heat, _ = self(image, region)
        rows = landmarks.reshape(39, 5).astype(np.float64)  # x, y, z px; visible, present logits
        unit = _refined(rows[:, :2] / self.size, _sigmoid(heat.astype(np.float64)))
        points = region.to_image(unit)
        confidence = _sigmoid(rows[:33, 3]) * _sigmoid(rows[:33, 4])
        around = _around_body(points[33], points[34])
        return Found(points[:33], confidence, float(score[0]), around)


class HandModel(Model):
    """21 points of a hand, in the order of COCO-WholeBody."""

    def __init__(self, path: Path, palms: Path) -> None:
        super().__init__(path)
        self._palms = PalmModel(palms)

    def find(self, image: ImageArray, guess: Region, around: Region) -> Found:
        """The better of two: from `guess`, or from a palm detected in the region `around`."""
        found = self._followed(image, guess)
        palm = self._palms.find(image, around)
        if palm is not None:
            other = self._followed(image, palm)
            found = max(found, other, key=lambda hand: hand.score)
        return found

    def _followed(self, image: ImageArray, region: Region) -> Found:
        """Looks twice, the second time where the first result is."""
        first = self._once(image, region)
        if first.score < 0.05:
            return first
        second = self._once(image, first.region)
        return max(first, second, key=lambda hand: hand.score)

    def _once(self, image: ImageArray, region: Region) -> Found:
        landmarks, score, is_right, _ = self(image, region)
        points = region.to_image(landmarks.reshape(21, 3)[:, :2].astype(np.float64) / self.size)
        up = (points[5] + points[13]) / 4 + points[9] / 2 - points[0]
        return Found(
            points, np.full(21, float(score[0])), float(score[0]),
            _framed(points[list(FRAMED_POINTS)], up, 2.0, 0.1), float(is_right[0]),
        )  # fmt: skip


class PalmModel(AnchorModel):
    """Finds a palm, to know where to look for a hand."""

    grids = ((8, 2), (16, 6))

    def find(self, image: ImageArray, region: Region) -> Region | None:
        """The region of the hand with the likeliest palm in `region`; None if there is none."""
        found = self.best(image, region)
        if found is None:
            return None
        (middle, wrist, _, knuckle, *_), side = found
        up = knuckle - wrist
        shift = 0.5 * side * up / max(float(np.linalg.norm(up)), 1e-6)
        return Region.upright(middle + shift, 2.6 * side, up)


class FaceModel(Model):
    """468 points of a face."""

    def find(self, image: ImageArray, region: Region) -> Found:
        """Looks twice: in `region`, then around the result."""
        return self._once(image, self._once(image, region).region)

    def _once(self, image: ImageArray, region: Region) -> Found:
        landmarks, logit = self(image, region)
        points = region.to_image(landmarks.reshape(468, 3)[:, :2].astype(np.float64) / self.size)
        score = float(_sigmoid(logit.astype(np.float64)).item())
        eyes = points[263] - points[33]  # from the right to the left outer corner
        up = np.array((eyes[1], -eyes[0]))
        return Found(points, np.full(468, score), score, _framed(points, up, 1.5, 0.0))


@dataclass(frozen=True)
class LandmarkModels:
    """The models of MediaPipe that are used here."""

    pose: PoseModel
    hand: HandModel
    face: FaceModel

    @staticmethod
    def load() -> LandmarkModels:
        """Loads the models from the installed package mediapipe, which is not imported.

        Raises:
            SettingError: If mediapipe or LiteRT is not installed, or mediapipe has no models.
        """
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise SettingError(
                f"LiteRT, which runs MediaPipe's models, is not installed; {INSTALL}"
            )
        package = importlib.util.find_spec("mediapipe")
        if package is None or package.origin is None:
            raise SettingError(f"MediaPipe, whose models are used, is not installed; {INSTALL}")
        folder = Path(package.origin).parent / "modules"
        missing = [
            name for name in (POSE, PERSON, HAND, PALM, FACE) if not (folder / name).is_file()
        ]
        if missing:
            raise SettingError(
                f"the installed mediapipe has no {', '.join(missing)}; {INSTALL}, the last version "
                "that contains its models"
            )
        return LandmarkModels(
            PoseModel(folder / POSE, folder / PERSON),
            HandModel(folder / HAND, folder / PALM),
            FaceModel(folder / FACE),
        )


def hand_regions(pose: Found, side: str) -> tuple[Region, Region]:
    """Where the points of a pose say that a hand is: closely, and with its surroundings."""
    wrist, pinky, index = (16, 18, 20) if side == "right" else (15, 17, 19)
    knuckles = (2 * pose.points[index] + pose.points[pinky]) / 3
    up = knuckles - pose.points[wrist]
    elbow = pose.points[wrist - 2]
    forearm = float(np.linalg.norm(pose.points[wrist] - elbow))
    length = max(float(np.linalg.norm(up)), 0.25 * forearm)
    return Region.upright(knuckles, 4 * length, up), Region(knuckles, 8 * length)


def face_region(pose: Found) -> Region:
    """Where the points of a pose say that the face is."""
    eyes, mouth = pose.points[[2, 5]].mean(0), pose.points[[9, 10]].mean(0)
    up = eyes - mouth
    spread = np.ptp(pose.points[:11] @ Region.upright(eyes, 1, up).turn, axis=0).max()
    return Region.upright(eyes - 0.5 * up, 2.0 * max(spread, 1.0), up)


def _around_body(middle: Array, top: Array) -> Region:
    """The square around a body, from the middle of its hips and a point on the circle around it."""
    return Region.upright(middle, 2.5 * float(np.linalg.norm(top - middle)), top - middle)


def _framed(points: Array, up: Array, margin: float, shift: float) -> Region:
    """The square around points (P, 2), `margin` times as large and moved up by a share of it."""
    turn = Region.upright(points[0], 1, up).turn
    turned = points @ turn
    low, high = turned.min(0), turned.max(0)
    centre = (low + high) / 2 - (0, shift * (high - low)[1])
    return Region.upright(turn @ centre, margin * float((high - low).max()), up)


def _refined(unit: Array, heat: Array) -> Array:
    """Points (P, 2), 0 to 1, moved to the centre of their peaks in heat maps (S, S, P)."""
    size = len(heat)
    refined = unit.copy()
    for i, (x, y) in enumerate(unit * size):
        column, row = int(x), int(y)
        if not (0 <= column < size and 0 <= row < size):
            continue
        rows = slice(max(row - HEAT_RADIUS, 0), row + HEAT_RADIUS + 1)
        columns = slice(max(column - HEAT_RADIUS, 0), column + HEAT_RADIUS + 1)
        peak = heat[rows, columns, i]
        if peak.max() >= LEAST_HEAT:
            ys, xs = np.mgrid[rows.start : rows.start + peak.shape[0],
                              columns.start : columns.start + peak.shape[1]]  # fmt: skip
            refined[i] = np.array(((xs * peak).sum(), (ys * peak).sum())) / peak.sum() / size
    return refined


def _sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
