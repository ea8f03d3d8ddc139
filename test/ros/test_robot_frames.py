"""An image waits for its transforms, at most for a while; what is missing is told and counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from pear_ros.config import Config
from pear_ros.geometry.transform_tree import TransformTree
from pear_ros.problems import Problems
from pear_ros.ros.robot_frames import MOST_WAITING, RobotFrames

pytestmark = pytest.mark.ros

FRAMES = {"placement.output_frame": "odom", "placement.ground_frame": "floor"}
TIMEOUT_S = 0.1
TILTED = Rotation.from_euler("x", -100, degrees=True)  # of a camera that looks down a little


class Robot:
    """A camera 1.5 m above the floor that drives 1 m/s in odom; transforms arrive one by one."""

    def __init__(self, **settings: object) -> None:
        config = Config.of({**FRAMES, "placement.tf_timeout_s": TIMEOUT_S} | settings)
        self.tree = TransformTree()
        self.told: list[str] = []
        self.problems = Problems(self.told.append)
        self.frames: RobotFrames[str] = RobotFrames(
            "front", "/front/image", config.placement, self.tree.lookup, self.problems
        )
        self.drive(1)

    def drive(self, at_s: float) -> None:
        stamp_ns = round(at_s * 1e9)
        self.tree.put("odom", "floor", stamp_ns, (at_s, 0, 0), (0, 0, 0, 1))
        self.tree.put("floor", "camera", 0, (0, 0, 1.5), TILTED.as_quat(), is_static=True)

    def put(self, at_s: float, now_s: float, frame_id: str = "camera") -> int:
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(round(at_s * 1e9), 10**9)
        return self.frames.put(f"image at {at_s:g}", header, now_s)


def test_an_image_waits_for_transforms_that_come_after_it() -> None:
    robot = Robot()
    robot.put(2, now_s=10)
    assert robot.frames.release(10.09) is None
    robot.drive(3)
    image, pose, superseded = robot.frames.release(10.09)
    assert (image, superseded) == ("image at 2", 0)
    np.testing.assert_allclose(pose.world_from_optical[:3, 3], (2, 0, 1.5))
    np.testing.assert_allclose(pose.world_from_optical[:3, :3], TILTED.as_matrix(), atol=1e-12)
    assert robot.problems.counts() == {}
    assert robot.frames.release(10.2) is None


def test_the_floor_tells_heights() -> None:
    robot = Robot()
    robot.put(1, now_s=0)
    _, pose, _ = robot.frames.release(0)
    normal, offset = pose.floor[:3], pose.floor[3]
    points = np.random.default_rng(0).normal(size=(9, 3))
    heights = TILTED.apply(points)[:, 2] + 1.5
    np.testing.assert_allclose(points @ normal + offset, heights)
    assert np.linalg.norm(normal) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "counters"),
    [
        ({}, {"transforms_missing", "floor_missing"}),
        ({"placement.output_frame": ""}, {"floor_missing"}),
        ({"placement.ground_frame": ""}, {"transforms_missing"}),
        ({"placement.ground_frame": "", "placement.output_frame": ""}, set()),
    ],
    ids=["both", "ground", "output", "none"],
)
def test_only_the_frames_that_are_set_are_waited_for(
    settings: dict[str, str], counters: set[str]
) -> None:
    robot = Robot(**{"placement.ground_frame": "map"} | settings)
    for i in range(3):
        robot.put(2 + i, now_s=i)
        assert (robot.frames.release(i + 0.99 * TIMEOUT_S) is None) == bool(counters)
        if counters:
            image, pose, _ = robot.frames.release(i + TIMEOUT_S)
            assert image == f"image at {2 + i}"
            assert pose.world_from_optical is None
            assert pose.floor is None
    assert robot.problems.counts() == dict.fromkeys(counters, 3)
    assert len(robot.told) == len(counters)


def test_one_of_two_transforms() -> None:
    """The floor is known from the static transform; odom is not."""
    robot = Robot()
    robot.put(2, now_s=0)
    _, pose, _ = robot.frames.release(1)
    assert pose.world_from_optical is None
    assert pose.floor is not None
    assert robot.problems.counts() == {"transforms_missing": 1}


def leave_as_is(_: TransformTree) -> None:
    pass


def make_loop(tree: TransformTree) -> None:
    tree.put("camera", "odom", 0, (0, 0, 0), (0, 0, 0, 1), is_static=True)


@pytest.mark.parametrize(
    ("change", "at_s", "frame_id", "texts"),
    [
        pytest.param(leave_as_is, 3.5, "camera", ("end 2.500 s before the stamp",
                     "raise placement.tf_timeout_s"), id="stale"),
        pytest.param(leave_as_is, 0.5, "camera", ("begin 0.500 s after the stamp",
                     "has the clock of the camera"), id="began later"),
        pytest.param(leave_as_is, 1, "camera_2", ("no frame 'camera_2'; similar names are 'camera'",
                     "the image's frame_id"), id="unknown"),
        pytest.param(leave_as_is, 0, "camera", ("the image's header has no stamp",
                     "in the camera driver"), id="no stamp"),
        pytest.param(leave_as_is, 1, "", ("the image's header has no frame_id",
                     "in the camera driver"), id="no frame"),
        pytest.param(make_loop, 1, "camera", ("camera in floor in odom in camera",
                     "each frame has one parent"), id="loop"),
    ],
)  # fmt: skip
def test_the_reason_is_told_once_with_what_to_do(
    change: Callable[[TransformTree], None], at_s: float, frame_id: str, texts: tuple[str, str]
) -> None:
    robot = Robot(**{"placement.ground_frame": ""})
    change(robot.tree)
    for i in range(2):
        robot.put(at_s, i, frame_id)
        _, pose, _ = robot.frames.release(i + TIMEOUT_S)
        assert pose.world_from_optical is None
    assert robot.problems.counts() == {"transforms_missing": 2}
    (told,) = robot.told
    for text in (*texts, "placement.output_frame", "'odom'", "/front/image", repr(frame_id)):
        assert text in told


def test_an_image_that_cannot_be_looked_up_does_not_wait() -> None:
    robot = Robot()
    robot.put(0, now_s=5)
    assert robot.frames.release(5)[0] == "image at 0"


def test_the_newest_complete_image_wins() -> None:
    robot = Robot()
    for at_s in (1.1, 1.2, 1.3, 1.4):
        robot.put(at_s, now_s=0)
    robot.drive(1.35)
    image, pose, superseded = robot.frames.release(0.01)
    assert (image, superseded) == ("image at 1.3", 2)
    assert pose.world_from_optical[0, 3] == pytest.approx(1.3)
    assert robot.frames.release(0.01) is None
    assert robot.frames.drop_all() == 1
    assert robot.frames.release(9) is None
    assert robot.problems.counts() == {}


@pytest.mark.parametrize("lag_images", [0.5, 1.5, 3.5])
def test_transforms_that_lag_behind_by_several_images_starve_none(lag_images: float) -> None:
    """At 50 images a second; all are released, in their order and with their own pose."""
    robot = Robot(**{"placement.ground_frame": ""})
    released = []
    for i in range(40):
        at_s = 1.02 + 0.02 * i
        robot.put(at_s, now_s=at_s)
        robot.drive(at_s - 0.02 * lag_images)
        if found := robot.frames.release(at_s):
            image, pose, superseded = found
            assert superseded == 0
            assert float(image.split()[-1]) == pytest.approx(pose.world_from_optical[0, 3])
            released.append(image)
    assert len(released) == 40 - np.ceil(lag_images)
    assert robot.problems.counts() == {}


def test_images_that_wait_are_few_and_the_oldest_stays() -> None:
    robot = Robot(**{"placement.tf_timeout_s": 10.0})
    dropped = sum(robot.put(2 + 0.01 * i, now_s=0.01 * i) for i in range(3 * MOST_WAITING))
    assert dropped == 2 * MOST_WAITING
    assert robot.frames.release(10.005)[0] == "image at 2"
    assert robot.frames.drop_all() == MOST_WAITING - 1
