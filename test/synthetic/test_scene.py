"""Synthetic people: their controls, motions and scenes; the ground truth agrees with the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, JOINT_NAMES
from pear_ros.synthetic.actions import TRAINING
from pear_ros.synthetic.actors import KEPT_STEPS, Actor, Cast, parameters_of
from pear_ros.synthetic.controls import (
    CONTROLS,
    INDEX,
    LIMITS,
    STANDING,
    limited,
    rotations,
    vector,
)
from pear_ros.synthetic.held_out import HELD_OUT
from pear_ros.synthetic.motion import EXPRESSION_SPREAD, KEPT, Motion
from pear_ros.synthetic.scene import Scene, Shot

UPRIGHT = np.eye(3)  # model axes: x to the person's left, y up, z forward


@pytest.fixture(scope="module")
def shot(cast: Cast) -> Shot:
    return Scene(cast, HELD_OUT, seed=4, people=3).shot(2.0)


def joints(cast: Cast, **controls: float) -> dict[str, NDArray[np.float32]]:
    """Joints of a standing person with some controls changed, in model axes."""
    values = vector({**STANDING, **controls})[None]
    shapes = cast.shapes(1, np.random.default_rng(0))
    parameters = parameters_of(UPRIGHT[None], values, np.zeros((1, 50)), shapes)
    posed = cast.body_model(parameters).joints[0].numpy()
    return dict(zip(JOINT_NAMES, posed, strict=True))


LEFT, UP, FORWARD = range(3)


@pytest.mark.parametrize(
    ("control", "value", "joint", "axis", "sign"),
    [
        ("left_arm_raise", 90, "left_wrist", UP, 1),
        ("left_elbow", 80, "left_wrist", FORWARD, 1),
        ("left_shrug", 20, "left_shoulder", UP, 1),
        ("left_hip_flex", 60, "left_knee", FORWARD, 1),
        ("left_hip_side", 30, "left_ankle", LEFT, 1),
        ("left_knee", 60, "left_ankle", FORWARD, -1),
        ("left_ankle", 20, "left_foot", UP, -1),
        ("bend", 40, "head", FORWARD, 1),
        ("lean", 15, "head", LEFT, -1),
        ("nod", 30, "left_eye", UP, -1),
        ("turn", 40, "left_eye", FORWARD, -1),  # looks to the left
        ("tilt", 20, "left_eye", LEFT, -1),
    ],
)
def test_controls_move_the_joints_that_they_name(
    cast: Cast, control: str, value: float, joint: str, axis: int, sign: int
) -> None:
    for side in ("left", "right") if control.startswith("left_") else ("left",):
        name = control.replace("left_", f"{side}_")
        moved = joint if control in ("nod", "turn", "tilt") else joint.replace("left_", f"{side}_")
        at, before = joints(cast, **{name: value})[moved], joints(cast)[moved]
        outward = -1 if side == "right" and axis == LEFT else 1
        assert sign * outward * (at - before)[axis] > 0.01


def test_a_raised_arm_points_sideways_or_forward(cast: Cast) -> None:
    for forward, axis in ((0, LEFT), (90, FORWARD)):
        at = joints(cast, left_arm_raise=70, left_arm_forward=forward, left_elbow=0)
        arm = at["left_elbow"] - at["left_shoulder"]
        assert arm[axis] > 0.9 * np.linalg.norm(arm)


def test_a_fist_closes_towards_the_palm(cast: Cast) -> None:
    level = {"left_arm_raise": 90, "left_arm_forward": 0, "left_elbow": 0}  # the palm is down
    curls = {f"left_{finger}_curl": 1 for finger in ("index", "middle", "ring", "pinky")}
    opened, closed = joints(cast, **level), joints(cast, **level, **curls)
    for finger in ("index", "middle", "ring", "pinky"):
        tip, knuckle = closed[f"left_{finger}3"], closed[f"left_{finger}1"]
        assert tip[UP] < knuckle[UP] - 0.01
        reach = [
            np.linalg.norm(at[f"left_{finger}3"] - at["left_wrist"]) for at in (opened, closed)
        ]
        assert reach[1] < 0.85 * reach[0]


def test_the_same_control_on_the_other_side_is_the_mirrored_movement() -> None:
    random = np.random.default_rng(0)
    drawn = {n: random.uniform(*LIMITS[n]) for n in CONTROLS if n.startswith("left_")}
    both = rotations(vector(drawn | {f"right_{n[5:]}": v for n, v in drawn.items()})[None])
    flip = np.diag((-1, 1, 1))
    np.testing.assert_allclose(both.right_hand_pose, flip @ both.left_hand_pose @ flip, atol=1e-12)
    for left in (name for name in JOINT_NAMES[1:22] if name.startswith("left_")):
        right = JOINT[left.replace("left_", "right_")] - 1
        expected = flip @ both.body_pose[0, JOINT[left] - 1] @ flip
        np.testing.assert_allclose(both.body_pose[0, right], expected, atol=1e-12)


def test_training_and_test_share_no_action() -> None:
    assert not set(TRAINING) & set(HELD_OUT)


@pytest.mark.parametrize("repertoire", [TRAINING, HELD_OUT], ids=["training", "held out"])
def test_motions_are_smooth_within_limits_and_repeat(repertoire: tuple) -> None:
    times_s = np.arange(0, 20, 1 / 60)
    first, second = (Motion(repertoire, np.random.default_rng(7)) for _ in range(2))
    path = np.stack([first(t) for t in times_s])
    np.testing.assert_array_equal(path, np.stack([second(t) for t in times_s]))
    np.testing.assert_array_equal(path, limited(path))
    speed = np.abs(np.diff(path, axis=0)).max(0) * 60  # per second
    span = np.array([high - low for low, high in LIMITS.values()])
    assert (speed < 12 * span).all(), CONTROLS[int((speed / span).argmax())]
    assert (np.ptp(path, axis=0) > 0.02 * span).mean() > 0.8  # most controls move


def test_times_of_a_motion_may_come_in_any_order() -> None:
    motion = Motion(TRAINING, np.random.default_rng(3))
    later = motion(12.5)
    earlier = motion(1.0)
    np.testing.assert_array_equal(motion(12.5), later)
    np.testing.assert_array_equal(motion(1.0), earlier)


def test_forgotten_steps_are_computed_again(cast: Cast) -> None:
    def make() -> Actor:
        return Actor(cast, HELD_OUT, (-0.2, 0.2, 2.5, 5.0), np.random.default_rng(2))

    actor, fresh = make(), make()
    times_s = (0.0, 1.0, 7.3)
    early = [fresh.place(t) for t in times_s]
    early_poses = np.stack([fresh.motion(t) for t in times_s])
    assert actor.place(100.0) == make().place(100.0)
    assert len(actor._path) == KEPT_STEPS
    assert len(actor.motion._parts) == KEPT
    np.testing.assert_array_equal(np.stack([actor.motion(t) for t in times_s]), early_poses)
    assert [actor.place(t) for t in times_s] == early
    assert actor.place(100.0) == make().place(100.0)
    walks = [actor.motion.walks(t) for t in np.arange(0, 60, 0.5)]
    assert 0 < np.mean(walks) < 1


def test_faces_move() -> None:
    motion = Motion(HELD_OUT, np.random.default_rng(0))
    faces = np.stack([motion.face(t) for t in np.arange(0, 60, 0.1)])
    assert faces.std() == pytest.approx(EXPRESSION_SPREAD, rel=0.2)
    assert np.ptp(np.stack([motion(t) for t in np.arange(0, 20, 0.1)])[:, INDEX["jaw"]]) > 5


def test_a_seed_determines_the_scene(cast: Cast, shot: Shot) -> None:
    again = Scene(cast, HELD_OUT, seed=4, people=3)
    again.shot(5.0)  # other times before do not matter
    same = again.shot(2.0)
    np.testing.assert_array_equal(same.image, shot.image)
    np.testing.assert_array_equal(same.people.joints, shot.people.joints)
    other = Scene(cast, HELD_OUT, seed=5, people=3).shot(2.0)
    assert (other.image != shot.image).mean() > 0.5


def test_the_truth_is_where_the_person_is_drawn(cast: Cast, shot: Shot) -> None:
    """The joints of people who are not occluded are on pixels that differ from the background."""
    people = shot.people
    assert len(people) == 3
    height, width, _ = shot.image.shape
    empty = Scene(cast, HELD_OUT, seed=4, people=3)
    background = empty._background
    changed = (shot.image != background).any(-1)
    for i in np.flatnonzero(shot.visible > 0.95):
        pixels = project(people.joints[i] + people.translation[i], shot.camera)
        inside = ((pixels >= 0) & (pixels < (width - 1, height - 1))).all(1)
        at = np.rint(pixels[inside]).astype(int)
        assert changed[at[:, 1], at[:, 0]].mean() > 0.97
        left, top, right, bottom = people.boxes.xyxy[i].astype(int)
        for outside in (
            changed[max(top - 6, 0) : max(top - 2, 0), left:right],
            changed[bottom + 3 : bottom + 6, left:right],
        ):
            assert outside.mean() < 0.2 if outside.size else True


def test_people_stand_on_the_floor(cast: Cast) -> None:
    scene = Scene(cast, TRAINING, seed=1, people=2)
    for time_s in (0.0, 3.3, 9.1):
        people = scene.shot(time_s).people
        assert people.vertices is not None
        placed = people.vertices + people.translation[:, None]
        down = scene._optical_from_stage[:, 1]
        np.testing.assert_allclose((placed @ down).max(1), scene._height_m, atol=1e-4)


def test_parameters_and_joints_agree(cast: Cast, shot: Shot) -> None:
    people = shot.people
    with torch.inference_mode():
        bodies = cast.body_model(people.parameters, mesh=True)
    np.testing.assert_allclose(bodies.joints.numpy(), people.joints, atol=1e-6)
    np.testing.assert_allclose(bodies.rotations.numpy(), people.rotations, atol=1e-6)


def test_occluded_people_are_less_visible(cast: Cast) -> None:
    hidden = [
        visible
        for seed in range(12)
        for visible in Scene(cast, TRAINING, seed, people=3).shot(1.0).visible
    ]
    assert max(hidden) <= 1
    assert min(hidden) < 0.9  # some people are occluded
    assert np.median(hidden) > 0.9  # most people are not
