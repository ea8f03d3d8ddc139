"""How far the pipeline is off: people of the synthetic camera, with the exact truth.

The people, their motions, clothes, rooms and cameras are none of those that the demo network was
trained on: the held-out repertoire shares no action with the training's, everything else comes from
another seed. Boxes are the true ones, jittered as a detector's are.

Beside the errors of the poses stand those of somebody who looks at nothing: a person of mean shape
who stands with hands at rest, put where the true pelvis is and turned as it is.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.frames import body_frames
from pear_ros.config import Config
from pear_ros.errors import PearError
from pear_ros.evaluation.metrics import (
    hands_pa,
    mpjpe,
    pa_mpjpe,
    projected_error_px,
    pve,
    rotation_angle_deg,
)
from pear_ros.evaluation.report import Errors, draw_worst, markdown, summary
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import (
    JOINT,
    Boxes,
    Camera,
    EhmParameters,
    FloatArray,
    Frame,
    ImageArray,
    People,
)
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.rendering.renderer import render
from pear_ros.synthetic.actions import REPERTOIRES
from pear_ros.synthetic.controls import STANDING, vector
from pear_ros.synthetic.scene import Cast, Scene, Shot, parameters_of
from pear_ros.synthetic.shapes import BodyShapes
from pear_ros.system.files import hash_files, write_whole

Array = NDArray[Any]

FRAMES, SEED = 1000, 20261122
SHOTS_PER_SCENE = 4
SHOT_EVERY_S = 2.3
MOST_PEOPLE = 3
BOX_JITTER = 0.03  # standard deviation of a box's edges, in the box's longer side
# Who counts: people who are mostly in the image and mostly not hidden.
LEAST_VISIBLE, LEAST_INSIDE = 0.5, 0.7
BATCH = 4  # images a step of the pipeline
REGIONS = ("body", "hands", "face")
LEAST_REGION_PX = 20  # of the true silhouette, in a crop of 256 px


def held_out_shots(cast: Cast, frames: int, seed: int) -> Iterator[Shot]:
    """`frames` images of scenes with one to three people, several images a scene."""
    for number in range(math.ceil(frames / SHOTS_PER_SCENE)):
        people = 1 + number % MOST_PEOPLE
        scene = Scene(cast, REPERTOIRES["held_out"], (seed, number), people)
        for k in range(min(SHOTS_PER_SCENE, frames - number * SHOTS_PER_SCENE)):
            yield scene.shot(SHOT_EVERY_S * (k + 0.5))


def counted(shot: Shot) -> NDArray[np.bool_]:
    """(N,) True for people who are mostly in the image and mostly visible."""
    height, width, _ = shot.image.shape
    boxes = shot.people.boxes.xyxy
    inside = np.clip(boxes, 0, (width, height, width, height))
    share = np.prod(inside[:, 2:] - inside[:, :2], 1) / np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    mask: NDArray[np.bool_] = (share >= LEAST_INSIDE) & (shot.visible >= LEAST_VISIBLE)
    return mask


def detections(shot: Shot, random: np.random.Generator) -> Boxes:
    """The boxes of everybody in the shot, as a detector may give them."""
    boxes = shot.people.boxes
    height, width, _ = shot.image.shape
    seen = np.clip(boxes.xyxy, 0, (width, height, width, height))
    size = (seen[:, 2:] - seen[:, :2]).max(1, keepdims=True)
    jitter = random.normal(0, BOX_JITTER, seen.shape) * size
    return Boxes((seen + jitter).astype(np.float32), boxes.scores)


class Judge:
    """Compares people with the truth."""

    def __init__(self, assets: BodyAssets) -> None:
        joint = assets.body_weights.argmax(1)  # (V,) that moves a vertex most
        is_hand = (joint >= JOINT["left_index1"]) | (joint == JOINT["left_wrist"])
        is_hand |= joint == JOINT["right_wrist"]
        is_head = np.zeros(len(joint), bool)
        is_head[assets.head_vertex_ids[assets.head_is_pasted]] = True
        self._faces = assets.body_faces
        self._parts = {
            "body": np.ones(len(self._faces), bool),
            "hands": is_hand[self._faces].all(1),
            "face": is_head[self._faces].all(1),
        }  # (F,) each

    def __call__(self, truth: People, found: People, camera: Camera) -> Errors:
        """Of N people, row by row the same."""
        at, guess = (p.joints + p.translation[:, None] for p in (truth, found))  # (N, 55, 3)
        off = guess[:, 0] - at[:, 0]  # (N, 3) m, of the pelvis
        px_of_256 = CROP_SIZE / truth.crop_xywh[:, 2:3]  # (N, 1)
        ends = {
            a.name: 100 * np.linalg.norm(a.position - b.position, axis=1)
            for a, b in zip(body_frames(found), body_frames(truth), strict=True)
        }
        ious = self._ious(truth, found, camera)
        return {
            **pose_errors(truth, found),
            "joints_px": projected_error_px(guess, at, camera) * px_of_256,
            "position_cm": 100 * np.linalg.norm(off, axis=1),
            "depth_cm": 100 * np.abs(off[:, 2]),
            "head_cm": ends["head"],
            "hands_cm": np.stack((ends["left_hand"], ends["right_hand"]), 1),
            **{f"iou_{name}": ious[:, i] for i, name in enumerate(REGIONS)},
        }

    def _ious(self, truth: People, found: People, camera: Camera) -> FloatArray:
        """(N, 3) of REGIONS in the truth's crop, others in the picture left out; NaN if unseen."""
        ious = np.full((len(truth), len(REGIONS)), np.nan, np.float32)
        for i, (x, y, side, _) in enumerate(truth.crop_xywh):
            zoom = CROP_SIZE / side
            crop_camera = Camera(
                camera.fx * zoom, camera.fy * zoom, (camera.cx - x) * zoom, (camera.cy - y) * zoom
            )
            masks = [self._masks(people, i, crop_camera) for people in (truth, found)]
            for k, name in enumerate(REGIONS):
                a, b = (mask[name] for mask in masks)
                if a.sum() >= LEAST_REGION_PX:
                    ious[i, k] = (a & b).sum() / (a | b).sum()
        return ious

    def _masks(self, people: People, row: int, camera: Camera) -> dict[str, NDArray[np.bool_]]:
        assert people.vertices is not None
        placed = people.vertices[row : row + 1] + people.translation[row]
        nothing = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
        grey = np.ones((1, 1, 3), np.float32)
        faces = render(nothing, placed, self._faces, grey, camera).faces  # (256, 256)
        # -1, where nobody is, indexes the False that follows the last face
        return {name: np.append(part, False)[faces] for name, part in self._parts.items()}


def pose_errors(truth: People, found: People) -> Errors:
    """Of N people, wherever they stand."""
    assert truth.vertices is not None
    assert found.vertices is not None
    roots = found.joints[:, 0], truth.joints[:, 0]
    angles = {
        name: rotation_angle_deg(found.rotations[:, JOINT[joint]], truth.rotations[:, JOINT[joint]])
        for name, joint in (("head_deg", "head"), ("body_deg", "pelvis"))
    }
    return {
        "mpjpe": 1e3 * mpjpe(found.joints, truth.joints),
        "pa_mpjpe": 1e3 * pa_mpjpe(found.joints, truth.joints),
        "hands_pa": 1e3 * hands_pa(found.joints, truth.joints),
        "pve": 1e3 * pve(found.vertices, truth.vertices, *roots),
        **angles,
    }


def standing(truth: People, body_model: BodyModel) -> People:
    """The answer of somebody who looks at nothing but which way the pelvis is turned."""
    count = len(truth)
    mean = BodyShapes(np.zeros((count, 200)), np.zeros((count, 300)), np.ones((count, 3)))
    orientation = truth.parameters.global_orient[:, 0].double().numpy()
    controls = np.tile(vector(STANDING), (count, 1))
    parameters = parameters_of(orientation, controls, np.zeros((count, 50)), mean)
    return posed(truth, parameters, body_model)


def posed(people: People, parameters: EhmParameters, body_model: BodyModel) -> People:
    """The same people, where they are, with other parameters."""
    bodies = body_model(parameters, mesh=True)
    assert bodies.vertices is not None
    return dataclasses.replace(
        people,
        parameters=parameters,
        joints=bodies.joints.numpy(),
        rotations=bodies.rotations.numpy(),
        vertices=bodies.vertices.numpy(),
    )


@dataclass
class Comparison:
    """What was found."""

    errors: list[Errors]
    standing: list[Errors]  # pose errors of one who always stands
    frames: int = 0
    people: int = 0  # that count
    missed: int = 0  # of them, left out by the pipeline
    worst: list[tuple[float, Shot, People]] = dataclasses.field(default_factory=list)  # ten


def compare(
    pipeline: Pipeline, shots: Iterator[Shot], judge: Judge, total: int, seed: int
) -> Comparison:
    """Every counted person's errors, and the ten frames with the worst MPJPE."""
    random = np.random.default_rng(seed)
    comparison = Comparison([], [])
    with tqdm(total=total, unit="frame", disable=None) as progress:
        while batch := [(shot, detections(shot, random)) for shot in islice(shots, BATCH)]:
            frames = [
                Frame(shot.image, shot.camera, 0.0, f"view{i}", boxes)
                for i, (shot, boxes) in enumerate(batch)
            ]
            everybody = pipeline.step(frames, mesh=True)
            for frame, (shot, boxes), found in zip(frames, batch, everybody, strict=True):
                pipeline.forget(frame.source)
                rows = rows_of(found, boxes)
                wanted = np.flatnonzero(counted(shot))
                there = wanted[rows[wanted] >= 0]
                comparison.frames += 1
                comparison.people += len(wanted)
                comparison.missed += len(wanted) - len(there)
                if not len(there):
                    continue
                truth = shot.people.rows(there)
                errors = judge(truth, found.rows(rows[there]), shot.camera)
                comparison.errors.append(errors)
                still = standing(truth, pipeline.body_model)
                comparison.standing.append(pose_errors(truth, still))
                worst = [*comparison.worst, (float(errors["mpjpe"].max()), shot, found)]
                comparison.worst = sorted(worst, key=lambda entry: -entry[0])[:10]
            progress.update(len(batch))
    return comparison


def rows_of(found: People, boxes: Boxes) -> NDArray[np.int64]:
    """(B,) row of `found` that each box became; -1 where the person was left out."""
    same = (boxes.xyxy[:, None] == found.boxes.xyxy[None]).all(-1)  # (B, N)
    return np.where(same.any(1), same.argmax(1) if same.size else 0, -1)


def evaluate(config: Config, frames: int, seed: int, output: Path | None) -> int:
    """Prints the table; with `output`, a folder, writes evaluation.json and worst.jpg there, too.

    Raises PearError where the weights or the assets cannot be used, the folder cannot be written,
    or nobody was found.
    """
    problems = Problems(lambda message: tqdm.write(message))
    if output is not None:  # now: who waits for a folder that cannot be made?
        _make_folder(output)
    pipeline = load_pipeline(config.replaced({"detection.detector": "topic"}), problems)
    assets = load_assets(Path(config.body.assets))
    shots = held_out_shots(Cast(assets), frames, seed)
    found = compare(pipeline, shots, Judge(assets), frames, seed)
    if not found.errors:
        raise PearError("the network found nobody that could be compared")
    report = {
        "frames": found.frames,
        "seed": seed,
        "people": found.people,
        "missed": found.missed,
        "network": pipeline.description,
        "checkpoint_sha256": hash_files(Path(config.network.checkpoint)),
        "metrics": summary(found.errors),
        "standing": summary(found.standing),
    }
    print(markdown(report))
    for kind, count in problems.counts().items():
        print(f"{kind}: {count}")
    if output is not None:
        worst = [(shot.image, shot.camera, people) for _, shot, people in found.worst]
        _write(output, report, draw_worst(worst, assets.body_faces))
    return 0


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PearError(f"{error}; give another --output") from error


def _write(output: Path, report: Mapping[str, Any], worst: ImageArray) -> None:
    picture = cv2.imencode(".jpg", cv2.cvtColor(worst, cv2.COLOR_RGB2BGR))[1]
    try:
        write_whole(output / "evaluation.json", json.dumps(report, indent=1).encode())
        write_whole(output / "worst.jpg", picture)
    except OSError as error:
        raise PearError(f"{error}; give another --output") from error
    print(f"\nwrote {output / 'evaluation.json'} and {output / 'worst.jpg'}")
