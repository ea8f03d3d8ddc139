"""The demo network with depth images: people are where the depth says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from depth_images import depth_image

from pear_ros.config import BodySettings, Config, DetectionSettings, NetworkSettings
from pear_ros.people import Frame
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene
from pear_ros.system.installed import shared_file


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    config = Config(
        network=NetworkSettings(
            checkpoint=str(shared_file("demo/model.pt")),
            config=str(shared_file("demo/network.json")),
        ),
        body=BodySettings(assets=str(shared_file("standin/body.npz"))),
        detection=DetectionSettings(detector="topic"),
    )
    return load_pipeline(config, Problems(print))


def frame_with_depth(cast: Cast, seed: int) -> tuple[Frame, float]:
    """A person with a noisy depth image, and their true distance, m."""
    shot = Scene(cast, REPERTOIRES["held_out"], seed, 1).shot(2.0, visibility=False)
    people = shot.people
    random = np.random.default_rng(seed)
    depth_m = depth_image(shot, cast)
    depth_m = depth_m * (1 + random.normal(0, 0.02, depth_m.shape))
    depth_m[random.random(depth_m.shape) < 0.2] = 0
    frame = Frame(
        shot.image, shot.camera, 0.0, boxes=people.boxes, is_still=True,
        depth_m=depth_m.astype(np.float32),
    )  # fmt: skip
    pelvis = people.joints[0, 0] + people.translation[0]
    return frame, float(np.linalg.norm(pelvis))


@pytest.mark.slow
def test_depth_corrects_the_distance(pipeline: Pipeline, cast: Cast) -> None:
    errors: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(16):
        frame, true_m = frame_with_depth(cast, seed)
        for has_depth in (True, False):
            given = frame if has_depth else replace(frame, depth_m=None)
            (people,) = pipeline.step([given])
            found = np.linalg.norm(people.joints[0, 0] + people.translation[0])
            errors[has_depth].append(abs(found - true_m))
    assert np.median(errors[True]) < 0.05
    assert np.median(errors[True]) < 0.5 * np.median(errors[False])


def test_only_the_frame_with_depth_is_corrected(pipeline: Pipeline, cast: Cast) -> None:
    frames = [replace(frame_with_depth(cast, seed)[0], source=f"c{seed}") for seed in (1, 2)]
    plain = [replace(frame, depth_m=None) for frame in frames]
    assert frames[0].depth_m is not None
    nearer = replace(frames[0], depth_m=0.9 * frames[0].depth_m)
    far, _ = pipeline.step(frames)
    near, second = pipeline.step([nearer, plain[1]])
    _, without_second = pipeline.step(plain)
    assert near.translation[0, 2] == pytest.approx(0.9 * far.translation[0, 2], rel=0.02)
    np.testing.assert_array_equal(second.translation, without_second.translation)


def test_nobody_in_a_frame_with_depth(pipeline: Pipeline, cast: Cast) -> None:
    frame, _ = frame_with_depth(cast, 3)
    assert frame.boxes is not None
    nobody = replace(frame, boxes=frame.boxes[:0])
    (people,) = pipeline.step([nobody])
    assert len(people) == 0
