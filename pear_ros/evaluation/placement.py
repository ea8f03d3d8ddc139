"""`pear-ros evaluate --placement`: how well people are placed in metres, on the synthetic camera.

Everybody is alone in a scene, 4 m away, and the pipeline gets the true box. The network sees each
image once; each combination of sources of the distance then uses its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.stature import Stature
from pear_ros.config import Config, PlacementSettings
from pear_ros.evaluation.calibration import (
    Samples,
    coverage,
    factor,
    joined,
    settings_to_use,
)
from pear_ros.evaluation.ideal_network import placed_ideally
from pear_ros.evaluation.placement_judge import (
    WARM_UP_S,
    Judge,
    Sources,
    position_cm,
    samples_of,
    sliding_cm_s,
    spread_in_world,
    velocity_errors,
)
from pear_ros.evaluation.placement_report import Row, as_json, placement_markdown, row
from pear_ros.evaluation.placement_scenes import IN_PLACE, WALK, Images, View, scene, seen_by
from pear_ros.evaluation.report import make_folder, network_facts, write_report
from pear_ros.people import DISTANCE_SOURCES
from pear_ros.problems import Problems
from pear_ros.synthetic.actors import Cast, Route
from pear_ros.synthetic.depth_sensor import DepthSensor
from pear_ros.synthetic.held_out import STANDING
from pear_ros.synthetic.optics import LENSES

Array = NDArray[np.float64]

FRAMES, SEED = 855, 20261130
FIELDS_DEG = (60.0, 90.0, 120.0)
IDEAL_PEOPLE = 25  # of each lens and place; no images
TRACK = 3  # images of each person whose position is measured
WALK_IMAGES, STAND_IMAGES, DRIVE_IMAGES = 15, 25, 75  # of each scene; a circle takes 7.5 s
RATE_HZ = 10.0
SENSOR = DepthSensor(noise=0.02, holes=0.2)
USUAL = View("plumb_bob", 90.0)
WIDE = View("equidistant", 120.0), View("equidistant", 120.0, at_border=True)


IMAGE, GROUND = Sources("image only"), Sources("ground plane", floor=True)
HEIGHT, DEPTH = Sources("known height", height=True), Sources("noisy depth", depth=True)
ALL = Sources("all sources", True, True, True, True)
PLAIN = Sources("no lens", lens=False)  # for the time only
AIMS_CM = {"ground plane": 15.0, "known height": 8.0, "noisy depth": 5.0}


# --- The parts of the evaluation ------------------------------------------------------------------


def ideal_rows(cast: Cast, seed: int) -> list[Row]:
    """Positions and reprojection with true parameters, for each lens."""
    people = [scene(cast, USUAL, (seed, 0, k)).people(2.0) for k in range(IDEAL_PEOPLE)]
    rows = []
    for lens in LENSES:
        for fov_deg in FIELDS_DEG:
            for at_border in (False, True):
                view = View(lens, fov_deg, at_border)
                found = [
                    placed_ideally(seen_by(view, truth, side), view.camera)
                    for truth, side in zip(people, cycle((-1, 1)), strict=False)  # cycle has no end
                ]
                cm = [placed.position_cm for placed in found]
                px = [np.median(placed.reprojection_px) for placed in found]
                part = "true parameters"
                rows.append(row(part, f"position: {view.name}", "cm", cm, 1.0))
                rows.append(row(part, f"reprojection: {view.name}", "px", px, 0.5))
    return rows


@dataclass(frozen=True)
class Budget:
    """How many scenes of each kind; together they have about the images that were asked for."""

    tracks: int  # of TRACK images
    wide: int  # of TRACK images, at the centre and at the border
    walks: int
    stands: int
    drives: int

    @staticmethod
    def of(frames: int) -> Budget:
        share = frames / FRAMES
        counts = (120, 30, 6, 3, 2)
        return Budget(*(max(1, round(share * count)) for count in counts))


def distance_rows(
    judge: Judge, cast: Cast, budget: Budget, seed: int
) -> tuple[list[Row], list[Samples], list[Row]]:
    """Positions with each source; also the samples of each person, and the CPU times."""
    combinations = (IMAGE, HEIGHT, GROUND, DEPTH, ALL)
    tracks = [
        judge(
            Images(scene(cast, USUAL, (seed, 1, k)), TRACK, RATE_HZ, SENSOR, start_s=2.0),
            *combinations,
            PLAIN,
        )
        for k in tqdm(range(budget.tracks), unit="scene", desc="sources", disable=None)
    ]
    rows = []
    for sources in combinations:
        errors = np.concatenate([position_cm(track[sources.name]) for track in tracks])
        aim = AIMS_CM.get(sources.name)
        rows.append(row("network, 4 m, 90 degrees", f"position: {sources.name}", "cm", errors, aim))
    samples = [samples_of(track[sources.name]) for track in tracks for sources in combinations[:-1]]
    times_ms = [
        1e3 * np.concatenate([track[name].spent_s for track in tracks])
        for name in (PLAIN.name, ALL.name)
    ]
    part = "time per image and person, one core"
    times = [
        row(part, "placement, tracking and filters without lens and sources", "ms", times_ms[0]),
        row(part, "added by the lens and all sources", "ms", times_ms[1] - times_ms[0], 1.0),
    ]
    at = []
    for number, view in enumerate(WIDE):
        errors = np.concatenate(
            [
                position_cm(
                    judge(Images(scene(cast, view, (seed, 2 + number, k)), TRACK, RATE_HZ), IMAGE)[
                        IMAGE.name
                    ]
                )
                for k in tqdm(range(budget.wide), unit="scene", desc=view.name, disable=None)
            ]
        )
        at.append(row("network, 4 m, 120 degrees", f"position: {view.name}", "cm", errors))
    centre, border = at[0].median, at[1].median
    ratio = border / centre if centre and border else np.nan
    at.append(row("network, 4 m, 120 degrees", "border relative to centre", "", [ratio], 1.3))
    return [*rows, *at], samples, times


def motion_rows(judge: Judge, cast: Cast, budget: Budget, seed: int) -> list[Row]:
    """Velocities of walking people, and the sliding of standing feet."""
    headings_deg = (90.0, -90.0, 0.0, 180.0, 45.0, -45.0)
    walks = []
    for k in tqdm(range(budget.walks), unit="scene", desc="walks", disable=None):
        heading_deg = headings_deg[k % len(headings_deg)]
        # They are 4 m away in the middle of their way.
        way = 0.75 * np.array((np.sin(np.radians(heading_deg)), -np.cos(np.radians(heading_deg))))
        route = Route(float(-way[0]), float(4 - way[1]), heading_deg, 1.0)
        made = scene(cast, USUAL, (seed, 4, k), WALK, route=route)
        walks.append(judge(Images(made, WALK_IMAGES, RATE_HZ, SENSOR, motion=True), IMAGE, DEPTH))
    rows = [
        row(
            "motion",
            f"velocity at 1 m/s, after {WARM_UP_S} s: {sources.name}",
            "m/s",
            np.concatenate([velocity_errors(walk[sources.name]) for walk in walks]),
            0.1,
        )
        for sources in (IMAGE, DEPTH)
    ]
    free = Sources("not locked", world=True, floor=True)
    locked = Sources("foot locking", world=True, floor=True, lock=True)
    stands = [
        judge(
            Images(scene(cast, USUAL, (seed, 5, k), IN_PLACE), STAND_IMAGES, RATE_HZ, motion=True),
            free,
            locked,
        )
        for k in tqdm(range(budget.stands), unit="scene", desc="feet", disable=None)
    ]
    for sources, aim in ((free, None), (locked, 1.0)):
        speeds = np.concatenate([sliding_cm_s(stand[sources.name]) for stand in stands])
        rows.append(row("motion", f"sliding of standing feet: {sources.name}", "cm/s", speeds, aim))
    return rows


def driving_rows(judge: Judge, cast: Cast, budget: Budget, seed: int) -> list[Row]:
    """Standing people in odom, seen from a base that drives in a circle."""
    combinations = [
        Sources("image only", world=True),
        Sources("ground plane", world=True, floor=True),
        Sources("noisy depth", world=True, depth=True),
    ]
    drives = [
        judge(
            Images(
                scene(cast, USUAL, (seed, 6, k), STANDING, "circle"), DRIVE_IMAGES, RATE_HZ, SENSOR
            ),
            *combinations,
        )
        for k in tqdm(range(budget.drives), unit="scene", desc="drives", disable=None)
    ]
    rows = []
    for sources in combinations:
        spreads = [spread_in_world(drive[sources.name]) for drive in drives]
        part = "standing person, the base drives in a circle"
        for i, (unit, aim) in enumerate((("cm", 10.0), ("deg", 5.0))):
            values = np.concatenate([spread[i] for spread in spreads])
            what = ("position", "orientation")[i]
            label = f"{what} in odom, from its mean: {sources.name}"
            rows.append(row(part, label, unit, values, aim, "largest"))
    return rows


def calibration(samples: list[Samples], settings: PlacementSettings) -> dict[str, Any]:
    """Coverage by source, and the settings to use; `samples` are those of each scene."""
    sources = {}
    for source in DISTANCE_SOURCES:
        parts = [part.of(source).stated for part in samples]
        picked = joined(parts)
        share = coverage(picked)
        sources[source] = {
            "count": len(picked),
            "people": sum(len(part) > 0 for part in parts),
            "coverage": None if np.isnan(share) else share,
            "factor": None if np.isnan(share) else factor(picked),
        }
    return {"sources": sources, "settings": settings_to_use(joined(samples).stated, settings)}


def evaluate_placement(config: Config, frames: int, seed: int, output: Path | None) -> int:
    """Evaluates and prints the tables; writes placement.json to the folder `output`.

    Returns 0.

    Raises:
        PearError: If the weights or the body model cannot be used, or the folder not be written.
    """
    problems = Problems(lambda message: tqdm.write(message))
    if output is not None:  # fails now rather than after the work
        make_folder(output)
    assets = load_assets(Path(config.body.assets))
    judge = Judge(config, problems, Stature(assets))
    cast, budget = Cast(assets), Budget.of(frames)
    distances, samples, times = distance_rows(judge, cast, budget, seed)
    rows = [
        *ideal_rows(cast, seed),
        *distances,
        *motion_rows(judge, cast, budget, seed),
        *driving_rows(judge, cast, budget, seed),
        *times,
    ]
    report: dict[str, Any] = {
        "frames": judge.images,
        "seed": seed,
        "people": judge.scenes,
        "missed": judge.missed,
        **network_facts(judge.pipeline, config),
        "rows": as_json(rows),
        "calibration": calibration(samples, config.placement),
    }
    print(placement_markdown(report))
    print(f"\n{settings_text(report['calibration']['settings'])}")
    for kind, count in problems.counts().items():
        print(f"{kind}: {count}")
    if output is not None:
        write_report(output / "placement.json", report)
    return 0


def settings_text(settings: Mapping[str, float]) -> str:
    """The lines for the configuration file, with which stated errors would be those seen."""
    if not settings:
        return "No covariances: nothing to calibrate."
    lines = ["With these settings the stated errors would be those seen; evaluate again with them:"]
    return "\n".join([*lines, *(f"  placement.{k}: {v}" for k, v in settings.items())])
