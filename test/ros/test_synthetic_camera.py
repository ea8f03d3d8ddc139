"""The synthetic camera, and the accuracy of the node with the demo network on its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")
pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")

from harness import NodeProcess, System, arguments_of, own_domain, stamp_ns
from pear_ros.msg import HumanArray
from rclpy.qos import qos_profile_sensor_data
from samples import demo_settings
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.frames import body_frames
from pear_ros.config import SyntheticCameraConfig
from pear_ros.evaluation.metrics import distances, rotation_angle_deg
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.geometry.camera import project
from pear_ros.people import FloatArray, People
from pear_ros.ros.from_messages import (
    boxes_from_detections,
    camera_from_info,
    people_from_message,
    rgb_from_message,
)
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene
from pear_ros.system.installed import shared_file

pytestmark = pytest.mark.ros

CAMERA = SyntheticCameraConfig(
    people=2, seed=3, rate_hz=4.0, duration_s=10.0, wait_for_subscriber=True
)
TO_COMPARE = 30  # at least, of 40 images; two people in each
# Largest allowed medians of TF against the ground truth: position in the camera's frame, rotation
# of the head. Each of the `WRONG` changes exceeds one of them.
MOST_M, MOST_DEG = 0.12, 10.0
MIRROR = np.diag((-1.0, 1.0, 1.0))  # of the optical x axis


@dataclass(frozen=True, repr=False)
class Recording:
    """The messages of camera and node, by stamp."""

    images: dict[int, Image]
    infos: dict[int, CameraInfo]
    detections: dict[int, Detection2DArray]
    truth: dict[int, HumanArray]
    humans: dict[int, HumanArray]
    frames: dict[int, dict[str, tuple[FloatArray, FloatArray]]]  # position, rotation


@pytest.fixture(scope="module")
def body_model() -> BodyModel:
    return BodyModel(load_assets(shared_file("standin/body.npz")))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Runs camera and node as processes until the last image is answered."""
    folder = tmp_path_factory.mktemp("synthetic")
    parameters = {
        **demo_settings(),
    }
    with own_domain() as domain:
        system = System(folder, domain, arguments_of(parameters))
        camera = None
        try:
            listen = system.peer.collect
            received: dict[str, list[Any]] = {
                "infos": listen(CameraInfo, "/camera_info", qos_profile_sensor_data),
                "detections": listen(Detection2DArray, "/detections"),
                "truth": listen(HumanArray, "/ground_truth"),
                "humans": listen(HumanArray, "/pear/humans"),
            }
            transforms = listen(TFMessage, "/tf")
            system.peer.wait(lambda: system.state() == "active", "the node")
            # The camera starts when the node subscribes; the peer subscribes to images later.
            arguments = arguments_of({k: v for k, v in vars(CAMERA).items() if v != ""})
            camera = NodeProcess(folder, domain, arguments, "synthetic-camera")
            received["images"] = listen(Image, "/image", qos_profile_sensor_data)
            assert camera.process.wait(60) == 0, camera.log()
            truth, humans = received["truth"], received["humans"]
            last = stamp_ns(truth[-1]) - 10**9  # images are best effort
            system.peer.wait(lambda: stamp_ns(humans[-1]) > last, "answers to the last images", 10)
        finally:
            system.close()
            if camera is not None:
                camera.end()
                print(camera.log())
    frames: dict[int, dict[str, tuple[FloatArray, FloatArray]]] = {}
    for message in transforms:
        for transform in message.transforms:
            t, q = transform.transform.translation, transform.transform.rotation
            turn = Rotation.from_quat((q.x, q.y, q.z, q.w)).as_matrix()
            at = frames.setdefault(stamp_ns(transform), {})
            at[transform.child_frame_id] = (np.array((t.x, t.y, t.z)), turn)
    return Recording(
        **{name: {stamp_ns(m): m for m in messages} for name, messages in received.items()},
        frames=frames,
    )


# --- The ground truth ----------------------------------------------------------------------------


def test_all_messages_of_an_image_have_its_stamp(recording: Recording) -> None:
    for name in ("images", "infos", "detections", "truth", "humans"):
        messages = getattr(recording, name)
        common = set(messages) & set(recording.truth)
        assert len(common) >= TO_COMPARE, (
            name
        )  # not all: the first are published before all endpoints are discovered
        assert {m.header.frame_id for m in messages.values()} == {"camera_optical_frame"}


def test_parameters_and_joints_of_the_truth_agree(
    recording: Recording, body_model: BodyModel
) -> None:
    for message in recording.truth.values():
        people = people_from_message(message, body_model)
        published = [np.reshape(human.joints, (55, 3)) for human in message.humans]
        np.testing.assert_allclose(
            people.joints + people.translation[:, None], published, atol=1e-4
        )


def test_the_truth_is_where_the_image_shows_it(recording: Recording, body_model: BodyModel) -> None:
    """The projected mesh covers the pixels that differ from the empty scene."""
    scene = Scene(
        Cast(load_assets(shared_file("standin/body.npz"))),
        REPERTOIRES[CAMERA.repertoire],
        CAMERA.seed,
        CAMERA.people,
    )
    empty = scene._background
    stamps = set(recording.images) & set(recording.infos) & set(recording.truth)
    for stamp in sorted(stamps)[::6]:
        info, message = recording.infos[stamp], recording.truth[stamp]
        assert (list(info.d), list(info.r)) == ([0.0] * 5, np.eye(3).reshape(-1).tolist())
        size = (info.width, info.height)
        camera = camera_from_info(info, *size)
        assert camera == camera_from_info(info, *size, rectified=True) == scene.camera
        is_person = (rgb_from_message(recording.images[stamp]) != empty).any(-1)  # (H, W)
        rows, columns = np.nonzero(is_person)
        people = people_from_message(message, body_model, mesh=True)
        pixels = project(people.vertices + people.translation[:, None], camera)  # (N, V, 2)
        around = np.concatenate((pixels.min((0, 1)), pixels.max((0, 1))))
        drawn = (columns.min(), rows.min(), columns.max(), rows.max())
        np.testing.assert_allclose(drawn, around.clip(0, (639, 479) * 2), atol=1.5)
        inner = project(people.joints + people.translation[:, None], camera)[:, :22]
        column, row = np.rint(inner).astype(int).reshape(-1, 2).T
        seen = (column >= 0) & (column < size[0]) & (row >= 0) & (row < size[1])
        assert is_person[row[seen], column[seen]].mean() > 0.97


def test_detections_are_the_true_boxes(recording: Recording) -> None:
    for stamp in set(recording.detections) & set(recording.truth):
        message = recording.detections[stamp]
        boxes = boxes_from_detections(message, "person")
        regions = [human.region for human in recording.truth[stamp].humans]
        corners = [(r.x_offset, r.y_offset, r.x_offset + r.width, r.y_offset + r.height)
                   for r in regions]  # fmt: skip
        np.testing.assert_allclose(boxes.xyxy, corners, atol=0.51)


# --- The node ------------------------------------------------------------------------------------


def matched(found: People, truth: People) -> list[tuple[int, int]]:
    """Rows of the same people, matched by their boxes, which come from the ground truth."""
    iou = box_iou_batch(found.boxes.xyxy, truth.boxes.xyxy)
    return [(i, int(row.argmax())) for i, row in enumerate(iou) if row.max() > 0.9]


@pytest.fixture(scope="module")
def placed(recording: Recording, body_model: BodyModel) -> dict[str, Placed]:
    """Estimated and true frames of all people in all images, by name."""
    pairs: dict[str, list[tuple[Any, ...]]] = {"head": [], "left_hand": [], "right_hand": []}
    for stamp in sorted(set(recording.humans) & set(recording.truth)):
        truth = people_from_message(recording.truth[stamp], body_model)
        true_frames = {poses.name: poses for poses in body_frames(truth)}
        found = people_from_message(recording.humans[stamp], body_model)
        for i, j in matched(found, truth):
            for name, rows in pairs.items():
                true_rotation = Rotation.from_quat(true_frames[name].quat_xyzw[j]).as_matrix()
                there = recording.frames[stamp][f"{name}_{found.ids[i]}"]
                rows.append((*there, true_frames[name].position[j], true_rotation))
    assert len(pairs["head"]) >= 2 * TO_COMPARE
    return {n: Placed(*map(np.stack, zip(*rows, strict=True))) for n, rows in pairs.items()}


@dataclass(frozen=True, repr=False)
class Placed:
    """One frame of N people."""

    position: FloatArray  # (N, 3) m, from TF
    rotation: FloatArray  # (N, 3, 3)
    true_position: FloatArray
    true_rotation: FloatArray


def medians(placed: dict[str, Placed]) -> tuple[float, float]:
    """The largest median position error of the frames, m; the median rotation error of the head."""
    off_m = [np.median(distances(p.position, p.true_position)) for p in placed.values()]
    head = placed["head"]
    return float(max(off_m)), float(
        np.median(rotation_angle_deg(head.rotation, head.true_rotation))
    )


def mirrored(placed: dict[str, Placed]) -> dict[str, Placed]:
    return {n: replace(p, position=p.position @ MIRROR) for n, p in placed.items()}


def rotated_the_other_way(placed: dict[str, Placed]) -> dict[str, Placed]:
    """About the vertical axis."""
    head = placed["head"]
    wrong = MIRROR @ head.rotation @ np.diag((1.0, -1.0, 1.0))  # of the frame: x forward, y left
    return placed | {"head": replace(head, rotation=wrong)}


def with_swapped_hands(placed: dict[str, Placed]) -> dict[str, Placed]:
    left, right = placed["left_hand"], placed["right_hand"]
    return placed | {
        "left_hand": replace(left, position=right.position),
        "right_hand": replace(right, position=left.position),
    }


WRONG = [mirrored, rotated_the_other_way, with_swapped_hands]


def test_frames_of_heads_and_hands_agree_with_the_truth(placed: dict[str, Placed]) -> None:
    off_m, off_deg = medians(placed)
    print(f"medians: {off_m:.3f} m, head {off_deg:.1f} degrees")
    assert off_m <= MOST_M
    assert off_deg <= MOST_DEG


@pytest.mark.parametrize("wrong", WRONG, ids=["mirrored", "rotated the other way", "hands swapped"])
def test_wrong_estimates_exceed_the_bounds(
    placed: dict[str, Placed], wrong: Callable[[dict[str, Placed]], dict[str, Placed]]
) -> None:
    off_m, off_deg = medians(wrong(placed))
    assert off_m > MOST_M or off_deg > MOST_DEG, (off_m, off_deg)
