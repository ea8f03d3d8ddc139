"""Transforms over time agree with scipy's rotations and with products of matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from pear_ros.geometry import transform_tree
from pear_ros.geometry.transform_tree import (
    MOST_MOVING,
    MOST_SAMPLES,
    MOST_STATIC,
    TransformError,
    TransformTree,
)

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
IDENTITY = (0.0, 0.0, 0.0, 1.0)


def put(tree: TransformTree, pose: str, at_s: float = 0.0, **options: object) -> None:
    """`pose`: "parent child" or "parent child x" in metres."""
    parent, child, *x = pose.split()
    translation = (float(x[0]) if x else 0.0, 0.0, 0.0)
    tree.put(parent, child, NOW + round(at_s * SECOND), translation, IDENTITY, **options)


def x_of(tree: TransformTree, target: str, source: str, at_s: float = 0.0) -> float:
    pose = tree.lookup(target, source, NOW + round(at_s * SECOND))
    np.testing.assert_allclose(pose[:3, :3], np.eye(3), atol=1e-12)
    return float(pose[0, 3])


def error_of(tree: TransformTree, target: str, source: str, at_s: float = 0.0) -> TransformError:
    with pytest.raises(TransformError) as raised:
        tree.lookup(target, source, NOW + round(at_s * SECOND))
    return raised.value


def matrix(rotation: Rotation, translation: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.as_matrix(), translation
    return pose


# --- Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_random_trees_agree_with_products_of_matrices(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"frame_{i}" for i in range(int(random.integers(2, 15)))]
    root_from = {names[0]: np.eye(4)}
    tree = TransformTree()
    for i, name in enumerate(names[1:], 1):
        parent = names[random.integers(0, i)]
        rotation, translation = Rotation.random(random_state=random), random.normal(size=3)
        quat = rotation.as_quat() * random.choice((-1, 1))
        tree.put(parent, name, NOW, translation, quat, is_static=bool(random.integers(2)))
        root_from[name] = root_from[parent] @ matrix(rotation, translation)
    for target in names:
        for source in names:
            expected = np.linalg.inv(root_from[target]) @ root_from[source]
            np.testing.assert_allclose(tree.lookup(target, source, NOW), expected, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.001, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("turn_deg", [0, 1e-7, 30, 90, 179, 350])
def test_between_two_samples_a_robot_turns_and_drives(weight: float, turn_deg: float) -> None:
    """The rotation is scipy's slerp, the translation is linear."""
    ends = Rotation.from_euler("z", [[10], [10 + turn_deg]], degrees=True)
    places = np.array([(1.0, 2.0, 0.0), (2.0, 0.0, 0.5)])
    tree = TransformTree()
    for i in range(2):
        sign = (1, -1)[i]  # both quaternions are the same rotation
        tree.put("odom", "base_link", NOW + i * SECOND, places[i], sign * ends[i].as_quat())
    tree.put("base_link", "camera", 0, (0.3, 0, 1), (0.5, -0.5, 0.5, -0.5), is_static=True)

    odom_from_base = matrix(
        Slerp([0, 1], ends)(weight), (1 - weight) * places[0] + weight * places[1]
    )
    base_from_camera = matrix(Rotation.from_quat((0.5, -0.5, 0.5, -0.5)), np.array((0.3, 0, 1)))
    found = tree.lookup("odom", "camera", NOW + round(weight * SECOND))
    np.testing.assert_allclose(found, odom_from_base @ base_from_camera, atol=1e-9)


def test_samples_in_any_order() -> None:
    tree = TransformTree()
    for i in np.random.default_rng(0).permutation(10):
        put(tree, f"odom base {i}", 0.09 * i)
    assert x_of(tree, "odom", "base", 0.09 * 3.5) == pytest.approx(3.5)


def test_the_last_sample_of_a_stamp_counts() -> None:
    tree = TransformTree()
    put(tree, "odom base 1")
    put(tree, "odom base 2")
    assert x_of(tree, "odom", "base") == 2


def test_slashes_in_front_do_not_matter() -> None:
    tree = TransformTree()
    put(tree, "/odom /base 1")
    assert x_of(tree, "odom", "/base") == 1


def test_static_frames_hold_at_any_time() -> None:
    tree = TransformTree()
    put(tree, "base camera 1", is_static=True)
    assert x_of(tree, "base", "camera", -1000) == x_of(tree, "base", "camera", 1000) == 1
    tree.clear()
    assert x_of(tree, "base", "camera") == 1


def test_a_frame_in_itself_is_at_the_origin() -> None:
    assert x_of(TransformTree(), "camera", "camera") == 0


def test_what_is_above_the_common_frame_does_not_matter() -> None:
    """The transforms of odom in map have ended, but odom and camera do not need them."""
    tree = TransformTree()
    put(tree, "map odom 5", -3)
    for at_s in (-0.1, 0.1):
        put(tree, "odom base 1", at_s)
    put(tree, "base camera 1", is_static=True)
    assert x_of(tree, "odom", "camera") == 2
    assert x_of(tree, "camera", "odom") == -2
    assert error_of(tree, "map", "camera").kind == TransformError.TOO_NEW


# --- Parents -------------------------------------------------------------------------------------


def test_a_frame_that_gets_another_parent() -> None:
    """The newest sample that is not newer than the stamp tells the parent, as in tf2."""
    tree = TransformTree()
    put(tree, "world table", is_static=True)
    put(tree, "world hand 10", is_static=True)
    for at_s in (0, 1):
        put(tree, "table cup 1", at_s)
    for at_s in (2, 3):
        put(tree, "hand cup 1", at_s)
    for at_s, x in ((0.5, 1), (1.5, 1), (2.0, 11), (2.5, 11)):
        assert x_of(tree, "world", "cup", at_s) == x


def test_of_static_and_moving_the_last_counts() -> None:
    tree = TransformTree()
    put(tree, "odom base 1", is_static=True)
    put(tree, "odom base 2")
    assert x_of(tree, "odom", "base") == 2
    assert error_of(tree, "odom", "base", 1).kind == TransformError.TOO_NEW
    put(tree, "odom base 3", is_static=True)
    assert x_of(tree, "odom", "base", 1) == 3


# --- What is not known ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("poses", "target", "source", "at_s", "kind", "text"),
    [
        pytest.param([], "odom", "camera", 0, TransformError.UNKNOWN,
                     "no transform was received", id="nothing received"),
        pytest.param(["base camera"], "odom", "camera", 0, TransformError.UNKNOWN,
                     "no frame 'odom'; it has 2 frames, such as 'base', 'camera'", id="unknown"),
        pytest.param(["base camera_link"], "base", "camera_lnk", 0, TransformError.UNKNOWN,
                     "no frame 'camera_lnk'; similar names are 'camera_link'", id="misspelt"),
        pytest.param(["map odom", "base camera"], "odom", "camera", 0, TransformError.SEPARATE,
                     "tree of 'camera' ends at 'base', that of 'odom' at 'map'", id="two trees"),
        pytest.param(["odom base"], "odom", "base", 0.25, TransformError.TOO_NEW,
                     "of 'base' in 'odom' end 0.250 s before the stamp", id="too new"),
        pytest.param(["odom base"], "odom", "base", -0.25, TransformError.TOO_OLD,
                     "of 'base' in 'odom' begin 0.250 s after the stamp", id="too old"),
        pytest.param(["a b", "b c", "c a", "x a2"], "x", "b", 0, TransformError.LOOP,
                     "a loop, each in the next: b in a in c in b", id="loop"),
        pytest.param(["odom base", "base camera", "camera odom"], "odom", "camera", 0,
                     TransformError.LOOP, "camera in base in odom in camera",
                     id="loop with both frames"),
    ],
)  # fmt: skip
def test_the_reason(
    poses: list[str], target: str, source: str, at_s: float, kind: str, text: str
) -> None:
    tree = TransformTree()
    for pose in poses:
        put(tree, pose)
    error = error_of(tree, target, source, at_s)
    assert error.kind == kind
    assert text in str(error)


@pytest.mark.parametrize(
    ("names", "translation", "quat_xyzw", "text"),
    [
        pytest.param(("", "base"), (0, 0, 0), IDENTITY, "a name is empty", id="no parent"),
        pytest.param(("odom", "/"), (0, 0, 0), IDENTITY, "a name is empty", id="no child"),
        pytest.param(("a", "a"), (0, 0, 0), IDENTITY, "its own parent", id="in itself"),
        pytest.param(("a", "b"), (0, np.nan, 0), IDENTITY, "must be finite", id="not a number"),
        pytest.param(("a", "b"), (0, 0, 0), (0, 0, 0, 0), "of length 1", id="never set"),
        pytest.param(("a", "b"), (0, 0, 0), (0, 0, 0, np.inf), "finite", id="infinite"),
        pytest.param(("a", "b"), (0, 0, 0), (0, 0, 0, 2), "of length 1", id="length 2"),
        pytest.param(("a", "b"), (0, 1e39, 0), IDENTITY, "than any place on earth", id="far"),
        pytest.param(("a", "b"), (0, 0, -1e308), IDENTITY, "than any place on earth", id="farther"),
    ],
)
def test_what_is_no_transform_is_refused(
    names: tuple[str, str], translation: tuple, quat_xyzw: tuple, text: str
) -> None:
    tree = TransformTree()
    with pytest.raises(ValueError, match=text):
        tree.put(*names, NOW, translation, quat_xyzw)
    assert error_of(tree, "a", "b").kind == TransformError.UNKNOWN


# --- Memory and time -----------------------------------------------------------------------------


def test_history_of_10_s() -> None:
    tree = TransformTree()
    for i in range(151):
        put(tree, f"odom base {i}", 0.1 * i)
    assert x_of(tree, "odom", "base", 5.0) == 50
    assert error_of(tree, "odom", "base", 4.9).kind == TransformError.TOO_OLD


def test_time_that_starts_anew() -> None:
    tree = TransformTree()
    put(tree, "base camera 1", is_static=True)
    for at_s in (100, 101):
        put(tree, "map odom 1", at_s)
        put(tree, "odom base 1", at_s)
    put(tree, "odom base 1", 100.2)  # late, but of the same run
    assert x_of(tree, "odom", "base", 100.5) == 1
    for at_s in (0, 1):
        put(tree, "odom base 7", at_s)
    assert x_of(tree, "odom", "camera", 0.5) == 8
    assert error_of(tree, "odom", "base", 100.5).kind == TransformError.TOO_NEW
    assert error_of(tree, "map", "base", 0.5).kind == TransformError.TOO_OLD


def test_a_publisher_whose_clock_jumps_back_takes_no_other_frame_away() -> None:
    tree = TransformTree()
    for at_s in (100, 101):
        put(tree, "odom base 1", at_s)
        put(tree, "base gripper 1", at_s)
    put(tree, "base gripper 2", 5)
    assert x_of(tree, "odom", "base", 100.5) == 1
    assert x_of(tree, "base", "gripper", 5) == 2


def test_a_frame_that_is_told_very_often_takes_no_memory() -> None:
    tree = TransformTree()
    for i in range(MOST_SAMPLES + 100):
        tree.put("odom", "base", NOW + i, (i, 0, 0), IDENTITY)
    assert len(tree._moving["base"][0]) == len(tree._moving["base"][1]) == MOST_SAMPLES
    assert x_of(tree, "odom", "base", (MOST_SAMPLES + 99) / SECOND) == MOST_SAMPLES + 99


def test_the_number_of_static_frames_is_limited() -> None:
    tree = TransformTree()
    for i in range(MOST_STATIC):
        put(tree, f"base part_{i} 1", is_static=True)
    with pytest.raises(ValueError, match="static"):
        put(tree, "base one_more 1", is_static=True)
    put(tree, "base part_0 2", is_static=True)  # those that are known may change
    assert x_of(tree, "base", "part_0") == 2


def test_similar_names_are_searched_only_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = TransformTree()
    put(tree, "odom base_link")
    error = error_of(tree, "odom", "base_lnik")
    searched = []
    search = transform_tree.difflib.get_close_matches
    monkeypatch.setattr(
        transform_tree.difflib,
        "get_close_matches",
        lambda *arguments: searched.append(arguments) or search(*arguments),
    )
    assert error.kind == TransformError.UNKNOWN
    assert not searched
    assert "similar names are 'base_link'" in str(error)
    assert searched


def test_frames_that_come_and_go_take_no_memory() -> None:
    tree = TransformTree()
    for i in range(3 * MOST_MOVING):
        put(tree, "odom base 1", 0.01 * i)
        put(tree, f"odom body_{i} 1", 0.01 * i)
    assert len(tree._moving) == MOST_MOVING
    last_s = 0.01 * (3 * MOST_MOVING - 1)
    assert x_of(tree, "odom", "base", last_s) == 1
    assert error_of(tree, "odom", "body_0", last_s).kind == TransformError.UNKNOWN
