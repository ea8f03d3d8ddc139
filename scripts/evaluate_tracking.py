"""Measures how well people are followed and smoothed: docs/evaluation/tracking.json.

    python -m scripts.evaluate_tracking [--output docs/evaluation]

Identities are scored by `trackeval` in simulated sequences, against a tracker that only compares
boxes. Jitter is measured on rendered people with the demo network, lag on a hand that moves at
1 m/s.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.config import Config, PlacementSettings, SmoothingSettings, TrackingSettings
from pear_ros.estimation.estimator import Estimator
from pear_ros.evaluation.smoothing import NO_SMOOTHING, jitter, lag_ms, record
from pear_ros.evaluation.tracking import (
    CAMERA,
    HEIGHT,
    WIDTH,
    Conditions,
    Simulated,
    clipped,
    simulate,
)
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.geometry.camera import project
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import Boxes, FloatArray, Frame, map_tensors, neutral_parameters
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene
from pear_ros.system.installed import shared_file
from pear_ros.tracking.body_size import Measured
from pear_ros.tracking.follower import Estimated, Follower
from pear_ros.tracking.tracker import Sightings, Tracker

SEQUENCES = 20
STRENGTHS = (0, 0.25, 0.5, 1, 2, 4)  # of the smoothing; 1: the default settings
Follow = Callable[[Sightings, float], tuple[Sequence[str], FloatArray]]
"""(sightings, stamp) -> ids and boxes of the people reported for an image."""


def our_tracker() -> Follow:
    tracker = Tracker("p", TrackingSettings())

    def follow(sightings: Sightings, stamp_s: float) -> tuple[Sequence[str], FloatArray]:
        followed = tracker(sightings, CAMERA, (HEIGHT, WIDTH), stamp_s)
        xyxy = followed.xyxy.copy()
        is_seen = followed.sighting >= 0
        xyxy[is_seen] = sightings.xyxy[followed.sighting[is_seen]]
        return followed.ids, xyxy

    return follow


def overlap_tracker(min_iou: float = 0.3, timeout_s: float = 1.0) -> Follow:
    """The tracker of pear_ros until November 2026: boxes that overlap are the same person."""
    tracks: list[tuple[str, FloatArray, float]] = []
    count = 0

    def follow(sightings: Sightings, stamp_s: float) -> tuple[Sequence[str], FloatArray]:
        nonlocal tracks, count
        known = [track for track in tracks if stamp_s - track[2] <= timeout_s]
        before = np.array([xyxy for _, xyxy, _ in known], np.float32).reshape(-1, 4)
        overlap = box_iou_batch(before, sightings.xyxy)
        overlap[overlap < min_iou] = 0
        pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        matched = {box: track for track, box in pairs if overlap[track, box] > 0}
        seen = []
        for i, box in enumerate(sightings.xyxy):
            if i not in matched:
                count += 1
            name = known[matched[i]][0] if i in matched else f"p{count}"
            seen.append((name, box, stamp_s))
        tracks = seen + [t for k, t in enumerate(known) if k not in matched.values()]
        return [name for name, _, _ in seen], sightings.xyxy

    return follow


def scores(sequence: Simulated, follow: Follow) -> dict[str, float]:
    """Scores a tracker on one sequence, with an IoU of at least 0.5: ratios, and id switches.

    Luiten et al., HOTA, IJCV 2021; Ristani et al., IDF1, ECCV Workshops 2016; Bernardin and
    Stiefelhagen, MOTA, 2008.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it lists the datasets that it lacks
        import trackeval  # type: ignore[import-untyped]

    numbers: dict[str, int] = {}
    true_ids, found_ids, similarity = [], [], []
    renumbered = {number: i for i, number in enumerate(np.unique(np.concatenate(sequence.ids)))}
    images = zip(*(getattr(sequence, f.name) for f in fields(sequence)), strict=True)
    for stamp_s, ids, boxes, sightings in images:
        names, found = follow(sightings, stamp_s)
        true_ids.append(np.array([renumbered[i] for i in ids], int))
        found_ids.append(np.array([numbers.setdefault(n, len(numbers)) for n in names], int))
        similarity.append(box_iou_batch(boxes, clipped(found)))
    data = {
        "gt_ids": true_ids,
        "tracker_ids": found_ids,
        "similarity_scores": similarity,
        "num_timesteps": len(true_ids),
        "num_gt_ids": len(renumbered),
        "num_tracker_ids": len(numbers),
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, found_ids)),
    }
    quiet = {"PRINT_CONFIG": False, "THRESHOLD": 0.5}
    clear = trackeval.metrics.CLEAR(quiet).eval_sequence(data)
    identity = trackeval.metrics.Identity(quiet).eval_sequence(data)
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    return {
        "IDF1": float(identity["IDF1"]),
        "MOTA": float(clear["MOTA"]),
        "HOTA": float(np.mean(hota["HOTA"])),
        "switches": float(clear["IDSW"]),
        "missed": float(clear["CLR_FN"] / data["num_gt_dets"]),
        "false": float(clear["CLR_FP"] / data["num_gt_dets"]),
    }


def mean_scores(sequences: Sequence[Simulated], make: Callable[[], Follow]) -> dict[str, float]:
    """The mean over the sequences, each followed by a new tracker."""
    rows = [scores(sequence, make()) for sequence in sequences]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def measure_identities() -> dict[str, dict[str, float]]:
    """Scores of both trackers by condition, the mean over SEQUENCES sequences."""
    cast = Cast(load_assets(shared_file("standin/body.npz")))
    sequences = [simulate(cast, 2 + i % 7, i) for i in range(SEQUENCES)]
    crossings = [
        simulate(cast, 2 + i % 7, 100 + i, Conditions(hides=False)) for i in range(SEQUENCES)
    ]
    third = [sequence[::3] for sequence in sequences]
    return {
        "every image": mean_scores(sequences, our_tracker),
        "every third image": mean_scores(third, our_tracker),
        "nobody hidden": mean_scores(crossings, our_tracker),
        "every image, by overlap": mean_scores(sequences, overlap_tracker),
        "every third image, by overlap": mean_scores(third, overlap_tracker),
        "nobody hidden, by overlap": mean_scores(crossings, overlap_tracker),
    }


def measure_smoothing(scenes: int, images: int) -> list[dict[str, float]]:
    """Jitter and lag for several strengths; strength 1 are the defaults, 0 is no smoothing."""
    assets = load_assets(shared_file("standin/body.npz"))
    body_model, cast = BodyModel(assets), Cast(assets)
    demo = shared_file("demo/model.pt")
    sizes = NetworkConfig.from_json(demo.with_name("network.json"))
    network = load_network(demo, sizes, torch.device("cpu"), torch.float32)
    estimate = Estimator(network, body_model)
    recordings = [
        record(cast, estimate, 100 + seed, images) for seed in tqdm(range(scenes), unit="scene")
    ]
    person = map_tensors(recordings[0].parameters[0], lambda rows: rows[:1])
    rows = []
    for strength in STRENGTHS:
        settings = smoothing_of(strength)
        measured = jitter(recordings, settings, body_model)
        lags = {
            f"lag_{motion}_ms": lag_ms(motion, settings, person, body_model)
            for motion in ("arm", "sideways", "depth")
        }
        rows.append({"strength": strength, **asdict(measured), **lags})
    return rows


def smoothing_of(strength: float) -> SmoothingSettings:
    """The default settings with all cutoffs divided by `strength`."""
    if strength == 0:
        return NO_SMOOTHING
    default = SmoothingSettings()
    names = [f.name for f in fields(default) if "cutoff" in f.name]
    return replace(default, **{name: getattr(default, name) / strength for name in names})


def draw_curve(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draws jitter against lag."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    raw = rows[0]
    for name, label in (("relative", "joints relative to the pelvis"), ("placed", "in the room")):
        axes.plot(
            [row["lag_arm_ms"] for row in rows],
            [row[name] / raw[name] for row in rows],
            "o-",
            label=label,
        )
    for row in rows:
        axes.annotate(
            f"{row['strength']:g}", (row["lag_arm_ms"], row["relative"] / raw["relative"])
        )
    axes.axhline(1 / 3, color="0.7", linewidth=1)
    axes.axvline(40, color="0.7", linewidth=1)
    axes.set_xlabel("lag of a hand at 1 m/s, ms")
    axes.set_ylabel("jitter, relative to no smoothing")
    axes.set_ylim(0, 1.05)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def measure_cadence(scenes: int = 8, images: int = 60) -> dict[str, dict[str, float]]:
    """Rendered people at 15 images per second, followed by the whole pipeline, NanoDet included.

    For the detector on each image and on every fifth: scores, the share of images in which it ran,
    and the median and mean time of an image.
    """
    cast = Cast(load_assets(shared_file("standin/body.npz")))
    demo, body = shared_file("demo/model.pt"), shared_file("standin/body.npz")
    shots = []
    for seed in tqdm(range(scenes), unit="scene"):
        scene = Scene(cast, REPERTOIRES["held_out"], 40 + seed, 2)
        shots.append([scene.shot(1 + i / 15) for i in range(images)])
    results = {}
    for every_nth in (1, 5):
        rows, times_ms = [], []
        for scene_shots in shots:
            config = Config.of(
                {
                    "network.checkpoint": str(demo),
                    "network.dtype": "float32",
                    "body.assets": str(body),
                    "detection.every_nth": every_nth,
                }
            )
            pipeline = load_pipeline(config, Problems(lambda message: None))
            reported = []
            for i, shot in enumerate(scene_shots):
                frame = Frame(shot.image, shot.camera, i / 15)
                began_s = time.perf_counter()
                (people,) = pipeline.step([frame])
                times_ms.append(1e3 * (time.perf_counter() - began_s))
                reported.append((people.ids, people.boxes.xyxy))
            answers = iter(reported)
            truth = [np.flatnonzero(shot.visible > 0.4) for shot in scene_shots]
            boxes = [s.people.boxes.xyxy[r] for s, r in zip(scene_shots, truth, strict=True)]
            unused: list[Sightings] = [None] * images  # type: ignore[list-item]
            stamps_s = [i / 15 for i in range(images)]
            sequence = Simulated(stamps_s, [r + 1 for r in truth], boxes, unused)
            rows.append(scores(sequence, lambda *_, answers=answers: next(answers)))
        mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        cost = {"median_ms": float(np.median(times_ms)), "mean_ms": float(np.mean(times_ms))}
        results[f"every {every_nth}"] = {"recall": 1 - mean["missed"], **mean, **cost}
    return results


def measure_time(people: int = 50) -> float:
    """Median time, ms, that tracker and filters take for an image with many people, one core."""
    random = np.random.default_rng(0)
    parameters = neutral_parameters(people)
    place = random.uniform((-6, 0, 4), (6, 0, 20), (people, 3)).astype(np.float32)
    joints = random.normal(0, 0.4, (people, 55, 3)).astype(np.float32)
    follower = Follower("p", TrackingSettings(), SmoothingSettings(), PlacementSettings())
    times_ms = []
    for i in range(60):
        moved = place + random.normal(0, 0.02, (people, 3)).astype(np.float32)
        centre = project(moved, CAMERA)
        half = CAMERA.fx / moved[:, 2:] * np.array((0.3, 0.9), np.float32)
        boxes = Boxes(
            np.concatenate((centre - half, centre + half), 1), np.ones(people, np.float32)
        )
        estimated = Estimated(
            boxes,
            parameters,
            moved,
            joints,
            np.ones(people, np.float32),
            is_detected=True,
            measured=Measured.from_image(np.full(people, 1.7)),
        )
        began_s = time.process_time()
        followed = follower(estimated, CAMERA, (HEIGHT, WIDTH), i / 15)
        follower.moving(followed, joints[: len(followed)])
        times_ms.append(1e3 * (time.process_time() - began_s))
    return float(np.median(times_ms[10:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("docs/evaluation"))
    output = parser.parse_args().output
    torch.set_num_threads(1)
    smoothing = measure_smoothing(scenes=8, images=120)
    draw_curve(smoothing, output / "smoothing.png")
    measured = {
        "identities": measure_identities(),
        "smoothing": smoothing,
        "detector on every n-th image": measure_cadence(),
        "time_of_50_people_ms": measure_time(),
    }
    text = json.dumps(measured, indent=1)
    (output / "tracking.json").write_text(re.sub(r"(\d\.\d{4})\d+", r"\1", text) + "\n")
    print(text)


if __name__ == "__main__":
    main()
