"""Errors of the pipeline on people rendered by the synthetic camera, with exact ground truth.

The demo network was not trained on these people, motions, clothes, rooms and cameras: the held-out
repertoire shares no action with the training's, and everything else comes from another seed. The
input boxes are the true ones with jitter, as a detector might give them.

The pose errors are compared with a baseline that ignores the image: mean shape, standing pose with
hands at rest, true position and orientation of the pelvis.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
from pear_ros.evaluation.cut_people import cut_errors, cut_markdown
from pear_ros.evaluation.given_boxes import View, estimates, load_judged_pipeline
from pear_ros.evaluation.metrics import (
    hands_pa,
    mpjpe,
    pa_mpjpe,
    projected_error_px,
    pve,
    rotation_angle_deg,
)
from pear_ros.evaluation.report import (
    Errors,
    draw_worst,
    make_folder,
    markdown,
    network_facts,
    summary,
    write_report,
    write_result,
)
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import (
    JOINT,
    Boxes,
    Camera,
    EhmParameters,
    FloatArray,
    ImageArray,
    People,
)
from pear_ros.pipeline import Pipeline
from pear_ros.problems import Problems
from pear_ros.rendering.renderer import render
from pear_ros.synthetic.controls import STANDING, vector
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene, Shot, parameters_of
from pear_ros.synthetic.shapes import BodyShapes

Array = NDArray[Any]

FRAMES, SEED = 1000, 20261122
SHOTS_PER_SCENE = 4
SHOT_EVERY_S = 2.3
MOST_PEOPLE = 3
BOX_JITTER = 0.03  # standard deviation of a box's edges as a fraction of its longer side
# People below these fractions (not occluded, inside the image) are not evaluated.
LEAST_VISIBLE, LEAST_INSIDE = 0.5, 0.7
REGIONS = ("body", "hands", "face")
LEAST_REGION_PX = 20  # smallest true silhouette in a 256x256 crop that is compared


def held_out_shots(cast: Cast, frames: int, seed: int) -> Iterator[Shot]:
    """Yields `frames` images of scenes with one to three people, SHOTS_PER_SCENE per scene."""
    for number in range(math.ceil(frames / SHOTS_PER_SCENE)):
        people = 1 + number % MOST_PEOPLE
        scene = Scene(cast, REPERTOIRES["held_out"], (seed, number), people)
        for k in range(min(SHOTS_PER_SCENE, frames - number * SHOTS_PER_SCENE)):
            yield scene.shot(SHOT_EVERY_S * (k + 0.5))


def counted(shot: Shot) -> NDArray[np.bool_]:
    """Returns (N,) True for people who are mostly inside the image and mostly visible."""
    height, width, _ = shot.image.shape
    boxes = shot.people.boxes.xyxy
    inside = np.clip(boxes, 0, (width, height, width, height))
    fraction = np.prod(inside[:, 2:] - inside[:, :2], 1) / np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    mask: NDArray[np.bool_] = (fraction >= LEAST_INSIDE) & (shot.visible >= LEAST_VISIBLE)
    return mask


def detections(shot: Shot, random: np.random.Generator) -> Boxes:
    """Returns the boxes of all people in the shot, clipped to the image and jittered."""
    boxes = shot.people.boxes
    height, width, _ = shot.image.shape
    clipped = np.clip(boxes.xyxy, 0, (width, height, width, height))
    size = (clipped[:, 2:] - clipped[:, :2]).max(1, keepdims=True)
    jitter = random.normal(0, BOX_JITTER, clipped.shape) * size
    return Boxes((clipped + jitter).astype(np.float32), boxes.scores)


class Judge:
    """Compares people with the ground truth, made with the body model of `assets`."""

    def __init__(self, assets: BodyAssets) -> None:
        joint = assets.body_weights.argmax(1)  # (V,) the joint with the largest skinning weight
        is_hand = (joint >= JOINT["left_index1"]) | (joint == JOINT["left_wrist"])
        is_hand |= joint == JOINT["right_wrist"]
        is_head = np.zeros(len(joint), bool)
        is_head[assets.head_vertex_ids[assets.head_is_pasted]] = True
        self._faces = assets.body_faces
        self._regions = {
            "body": np.ones(len(self._faces), bool),
            "hands": is_hand[self._faces].all(1),
            "face": is_head[self._faces].all(1),
        }  # (F,) True for the triangles of the region

    def __call__(self, truth: People, found: People, camera: Camera) -> Errors:
        """Returns the errors of N people; row i of `found` is the person in row i of `truth`."""
        true_joints, joints = (p.joints + p.translation[:, None] for p in (truth, found))
        offset = joints[:, 0] - true_joints[:, 0]  # (N, 3) m, of the pelvis
        crop_scale = CROP_SIZE / truth.crop_xywh[:, 2:3]  # (N, 1) image px -> px of the crop
        frames_cm = {
            a.name: 100 * np.linalg.norm(a.position - b.position, axis=1)
            for a, b in zip(body_frames(found), body_frames(truth), strict=True)
        }
        ious = self._ious(truth, found, camera)
        return {
            **pose_errors(truth, found),
            "joints_px": projected_error_px(joints, true_joints, camera) * crop_scale,
            "position_cm": 100 * np.linalg.norm(offset, axis=1),
            "depth_cm": 100 * np.abs(offset[:, 2]),
            "head_cm": frames_cm["head"],
            "hands_cm": np.stack((frames_cm["left_hand"], frames_cm["right_hand"]), 1),
            **{f"iou_{name}": ious[:, i] for i, name in enumerate(REGIONS)},
        }

    def _ious(self, truth: People, found: People, camera: Camera) -> FloatArray:
        """(N, 3) silhouette IoU of REGIONS in the true crop; NaN if the true one is too small.

        Each person is rendered alone, so other people do not occlude them.
        """
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
        """The silhouettes (256, 256) of one person's REGIONS."""
        assert people.vertices is not None
        placed = people.vertices[row : row + 1] + people.translation[row]
        background = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
        grey = np.ones((1, 1, 3), np.float32)
        faces = render(background, placed, self._faces, grey, camera).faces  # (256, 256)
        # Pixels without a person are -1, which indexes the appended False.
        return {name: np.append(region, False)[faces] for name, region in self._regions.items()}


def pose_errors(truth: People, found: People) -> Errors:
    """Returns the errors of N people that do not depend on their position."""
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
    """Returns the baseline: mean shape, standing pose, true pelvis position and orientation."""
    count = len(truth)
    mean = BodyShapes(np.zeros((count, 200)), np.zeros((count, 300)), np.ones((count, 3)))
    orientation = truth.parameters.global_orient[:, 0].double().numpy()
    controls = np.tile(vector(STANDING), (count, 1))
    parameters = parameters_of(orientation, controls, np.zeros((count, 50)), mean)
    return posed(truth, parameters, body_model)


def posed(people: People, parameters: EhmParameters, body_model: BodyModel) -> People:
    """Returns the same people at the same places, posed with other parameters."""
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
    """Results of an evaluation."""

    errors: list[Errors]
    standing: list[Errors]  # pose errors of the standing baseline
    frames: int = 0
    people: int = 0  # evaluated people, including missed ones
    missed: int = 0  # evaluated people without a result
    # The ten worst: largest MPJPE in the frame (mm), frame, result.
    worst: list[tuple[float, Shot, People]] = dataclasses.field(default_factory=list)


def compare(
    pipeline: Pipeline, shots: Iterator[Shot], judge: Judge, total: int, seed: int
) -> Comparison:
    """Runs the pipeline on `shots`; returns the errors and the ten frames with the worst MPJPE."""
    random = np.random.default_rng(seed)
    comparison = Comparison([], [])
    views = (View(shot.image, shot.camera, detections(shot, random).xyxy, shot) for shot in shots)
    for view, found in tqdm(estimates(pipeline, views), total=total, unit="frame", disable=None):
        shot = view.truth
        evaluated = np.flatnonzero(counted(shot))
        matched = evaluated[found.rows[evaluated] >= 0]
        comparison.frames += 1
        comparison.people += len(evaluated)
        comparison.missed += len(evaluated) - len(matched)
        if not len(matched):
            continue
        truth = shot.people.rows(matched)
        errors = judge(truth, found.people.rows(found.rows[matched]), shot.camera)
        comparison.errors.append(errors)
        baseline = standing(truth, pipeline.body_model)
        comparison.standing.append(pose_errors(truth, baseline))
        worst = [*comparison.worst, (float(errors["mpjpe"].max()), shot, found.people)]
        comparison.worst = sorted(worst, key=lambda entry: -entry[0])[:10]
    return comparison


def counted_people(shots: Iterable[Shot]) -> Iterator[tuple[Shot, int]]:
    """Yields each person who is evaluated: the shot and the person's row."""
    for shot in shots:
        for row in np.flatnonzero(counted(shot)):
            yield shot, int(row)


def evaluate(config: Config, frames: int, seed: int, output: Path | None) -> int:
    """Evaluates and prints a table; writes evaluation.json and worst.jpg to the folder `output`.

    Returns 0.

    Raises:
        PearError: If the weights or the body model cannot be used, the folder cannot be written, or
            there are no people to evaluate.
    """
    problems = Problems(lambda message: tqdm.write(message))
    if output is not None:  # fails now rather than after the work
        make_folder(output)
    pipeline = load_judged_pipeline(config, problems)
    assets = load_assets(Path(config.body.assets))
    cast = Cast(assets)
    found = compare(pipeline, held_out_shots(cast, frames, seed), Judge(assets), frames, seed)
    if not found.errors:
        raise PearError("there is no person to evaluate; give more --frames, or check the weights")
    cut = cut_errors(pipeline, counted_people(held_out_shots(cast, frames, seed)))
    report = {
        "frames": found.frames,
        "seed": seed,
        "people": found.people,
        "missed": found.missed,
        **network_facts(pipeline, config),
        "metrics": summary(found.errors),
        "standing": summary(found.standing),
        "cut": cut,
    }
    print(f"{markdown(report)}\n\n{cut_markdown(report)}")
    for kind, count in problems.counts().items():
        print(f"{kind}: {count}")
    if output is not None:
        worst = [(shot.image, shot.camera, people) for _, shot, people in found.worst]
        _write(output, report, draw_worst(worst, assets.body_faces))
    return 0


def _write(output: Path, report: Mapping[str, Any], worst: ImageArray) -> None:
    picture = cv2.imencode(".jpg", cv2.cvtColor(worst, cv2.COLOR_RGB2BGR))[1]
    write_result(output / "worst.jpg", picture)
    write_report(output / "evaluation.json", report)
