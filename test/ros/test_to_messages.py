"""People to messages and back, by real messages and without a node."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import torch
from crowd import some_people
from geometry_msgs.msg import Point
from harness import round_trip
from pear_ros.msg import Human, HumanArray
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message
from samples import random_parameters
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.lens import lens_of
from pear_ros.people import (
    DISTANCE_SOURCES,
    JOINT,
    JOINT_NAMES,
    Camera,
    People,
    unknown_motion,
)
from pear_ros.rendering.overlay import person_color
from pear_ros.ros.ehm_fields import smplx_keywords
from pear_ros.ros.from_messages import boxes_from_detections, camera_from_info, people_from_message
from pear_ros.ros.markers import SKELETON_WIDTH_M, mesh_markers, skeleton_markers
from pear_ros.ros.to_messages import (
    camera_info_message,
    cloud_message,
    depth_message,
    detections_message,
    humans_message,
    pose_message,
    transforms_message,
)

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="camera_optical_frame")
HEADER.stamp.sec, HEADER.stamp.nanosec = 1_700_000_000, 123_456_789


# --- Markers: spliced bytes equal those of objects that rclpy serializes --------------------------


def slow_markers(
    people: People, points: np.ndarray, kind: int, scale: float, header: Header, gone: list[str]
) -> MarkerArray:
    array_ = MarkerArray()
    for id_, rows in zip(people.ids, points.astype(np.float64).tolist(), strict=True):
        marker = Marker(header=header, ns=id_, type=kind, action=Marker.ADD)
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in rows]
        marker.color.r, marker.color.g, marker.color.b = person_color(id_)
        marker.color.a = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = scale
        marker.pose.orientation.w = 1.0
        marker.lifetime = Duration(seconds=2.0).to_msg()
        array_.markers.append(marker)
    for id_ in gone:
        array_.markers.append(Marker(header=header, ns=id_, action=Marker.DELETE))
    return round_trip(array_)  # rounds float32 fields


SMALL_SHAPES = [
    pytest.param(people, triangles, gone, id=f"{people} people, {triangles} triangles, {gone} gone")
    for people in (0, 1, 2, 5)
    for triangles in (1, 2, 7)
    for gone in (0, 2)
]


@pytest.mark.parametrize(
    ("people", "triangles", "gone"),
    [*SMALL_SHAPES, pytest.param(2, 20908, 1, id="2 people as large as SMPL-X")],
)
def test_mesh_markers(people: int, triangles: int, gone: int) -> None:
    random = np.random.default_rng(triangles)
    crowd = some_people(tuple(f"p{i + 8}" for i in range(people)), num_vertices=triangles + 2)
    faces = random.integers(0, triangles + 2, (triangles, 3))
    absent = [f"gone_{i}" for i in range(gone)]

    fast = deserialize_message(mesh_markers(crowd, faces, HEADER, absent), MarkerArray)

    placed = (crowd.vertices + crowd.translation[:, None])[:, faces.reshape(-1)]
    assert fast == slow_markers(crowd, placed, Marker.TRIANGLE_LIST, 1.0, HEADER, absent)


@pytest.mark.parametrize("length", range(1, 21), ids="{} letters".format)
def test_markers_with_names_of_any_length(length: int) -> None:
    """The length of a name shifts the fields after it by 1 to 7 bytes."""
    bones = np.array([[0, 1], [1, 4], [54, 53]])
    for other in (1, 2, 3, 5, 8):
        header = Header(frame_id="f" * length)
        crowd = some_people(("p" * other, "q" * length), num_vertices=4)
        absent = ["g" * other, "h" * length]
        fast = deserialize_message(skeleton_markers(crowd, bones, header, absent), MarkerArray)
        lines = (crowd.joints + crowd.translation[:, None])[:, bones.reshape(-1)]
        scale = SKELETON_WIDTH_M
        assert fast == slow_markers(crowd, lines, Marker.LINE_LIST, scale, header, absent)


# --- People --------------------------------------------------------------------------------------


def test_humans_message() -> None:
    crowd = some_people(("p1", "p7"))
    crowd.boxes.xyxy[:] = [[10.4, 20.6, 30.2, 50.9], [-5, -5, 900, 700]]
    message = round_trip(humans_message(crowd, HEADER, (480, 640), 3, 0.25))

    assert (message.header, message.dropped, message.processing_time) == (HEADER, 3, 0.25)
    assert [human.id for human in message.humans] == ["p1", "p7"]
    regions = [human.region for human in message.humans]
    assert regions[0] == RegionOfInterest(x_offset=10, y_offset=21, width=20, height=30)
    assert regions[1] == RegionOfInterest(x_offset=0, y_offset=0, width=640, height=480)
    p = crowd.parameters
    for i, human in enumerate(message.humans):
        assert human.score == crowd.boxes.scores[i]
        assert human.is_metric
        np.testing.assert_array_equal(human.translation, crowd.translation[i])
        joints = np.asarray(human.joints).reshape(55, 3)
        np.testing.assert_array_equal(joints, crowd.joints[i] + crowd.translation[i])
        np.testing.assert_array_equal(human.velocity, crowd.velocity[i])
        speeds = np.asarray(human.joint_velocities).reshape(55, 3)
        np.testing.assert_array_equal(speeds, crowd.joint_velocity[i])
        np.testing.assert_array_equal(human.contacts, crowd.contact[i])
        spread = np.asarray(human.position_covariance).reshape(3, 3)
        np.testing.assert_array_equal(spread, crowd.covariance[i])
        np.testing.assert_array_equal(human.joint_standard_deviations, crowd.joint_sigma_m[i])
        for name in ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose"):
            rotvec = np.asarray(getattr(human.parameters, name)).reshape(-1, 3)
            matrices = Rotation.from_rotvec(rotvec).as_matrix()
            np.testing.assert_allclose(matrices, getattr(p, name)[i], atol=2e-6, err_msg=name)
        for name, tensor in {
            "betas": p.betas,
            "expression": p.expression,
            "hand_scale": p.hand_scale,
            "head_scale": p.head_scale,
            "jaw_pose": p.flame_jaw_pose,
            "eye_pose": p.flame_eye_pose,
            "eyelids": p.flame_eyelids,
            "flame_betas": p.flame_betas,
            "flame_expression": p.flame_expression,
        }.items():
            np.testing.assert_array_equal(
                getattr(human.parameters, name), tensor[i].numpy(), err_msg=name
            )


def test_nobody_is_an_empty_list() -> None:
    message = round_trip(humans_message(some_people(()), HEADER, (480, 640), 1, 0.5))
    assert message == HumanArray(header=HEADER, humans=[], dropped=1, processing_time=0.5)


def test_assumed_intrinsics_are_not_metric() -> None:
    crowd = dataclasses.replace(some_people(("p1",)), is_metric=False)
    assert not humans_message(crowd, HEADER, (480, 640)).humans[0].is_metric


def test_joint_names_of_the_message_agree_with_ours() -> None:
    assert tuple(Human.JOINT_NAMES.split()) == JOINT_NAMES
    assert len(JOINT_NAMES) == Human.NUM_JOINTS


def test_distance_sources_of_the_message_agree_with_ours() -> None:
    crowd = dataclasses.replace(some_people(("a", "b", "c", "d")), distance_source=DISTANCE_SOURCES)
    humans = humans_message(crowd, HEADER, (480, 640)).humans
    constants = [getattr(Human, f"DISTANCE_{name.upper()}") for name in DISTANCE_SOURCES]
    assert [human.distance_source for human in humans] == constants == [0, 1, 2, 3]


def test_what_is_not_known_is_not_a_number() -> None:
    crowd = dataclasses.replace(some_people(("p1",)), **unknown_motion(1))
    (human,) = round_trip(humans_message(crowd, HEADER, (480, 640))).humans
    for name in ("velocity", "joint_velocities", "contacts", "position_covariance"):
        assert np.isnan(getattr(human, name)).all(), name
    assert np.isnan(human.joint_standard_deviations).all()
    assert human.distance_source == Human.DISTANCE_IMAGE


@pytest.mark.parametrize("ids", [(), ("p1",), ("p1", "p2", "p3")], ids=["nobody", "one", "three"])
def test_people_from_message(ids: tuple[str, ...], small_body_model: BodyModel) -> None:
    """People with the joints of a body model are the same after a round trip."""
    people = some_people(ids)
    bodies = small_body_model(people.parameters, mesh=True)
    sent = dataclasses.replace(people, joints=bodies.joints.numpy())
    message = round_trip(humans_message(sent, HEADER, (480, 640)))
    back = people_from_message(message, small_body_model, mesh=True)
    assert back.ids == ids
    np.testing.assert_allclose(back.joints, bodies.joints, atol=1e-4)
    np.testing.assert_allclose(back.rotations, bodies.rotations, atol=1e-4)
    np.testing.assert_allclose(back.vertices, bodies.vertices, atol=1e-4)
    np.testing.assert_array_equal(back.translation, people.translation)
    np.testing.assert_array_equal(back.boxes.scores, people.boxes.scores)
    for name in ("velocity", "joint_velocity", "contact", "covariance", "joint_sigma_m"):
        np.testing.assert_array_equal(getattr(back, name), getattr(people, name), err_msg=name)
        assert getattr(back, name).dtype == np.float32
    assert back.distance_source == people.distance_source
    regions = np.rint(people.boxes.xyxy).clip(0, (640, 480, 640, 480))
    np.testing.assert_array_equal(back.boxes.xyxy, regions)


def test_a_source_of_the_distance_that_is_not_known(small_body_model: BodyModel) -> None:
    """From a newer pear_ros, for example."""
    message = humans_message(some_people(("p1",)), HEADER, (480, 640))
    message.humans[0].distance_source = 200
    with pytest.raises(ValueError, match="distance_source 200 is none of"):
        people_from_message(message, small_body_model)


@pytest.mark.parametrize("rectified", [False, True], ids=["K", "P"])
def test_camera_info_message(rectified: bool) -> None:
    camera = Camera(fx=500.5, fy=501.0, cx=319.5, cy=239.0)
    message = round_trip(camera_info_message(camera, HEADER, (480, 640)))
    assert message.header == HEADER
    assert (message.distortion_model, list(message.d)) == ("plumb_bob", [0.0] * 5)
    assert camera_from_info(message, 640, 480, rectified) == camera


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (-0.3, 0.1, 0.001, -0.002, 0.01)),
        ("rational_polynomial", (1.2, 0.3, 0.001, 0.0, 0.01, 1.6, 0.6, 0.05)),
        ("equidistant", (-0.02, 0.004, -0.002, 0.0003)),
        ("equidistant", (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_lenses_in_camera_info(model: str, coefficients: tuple[float, ...]) -> None:
    lens = lens_of(model, coefficients)
    assert lens is not None
    camera = Camera(500.5, 501.0, 319.5, 239.0, lens=lens)
    message = round_trip(camera_info_message(camera, HEADER, (480, 640)))
    assert (message.distortion_model, tuple(message.d)) == (model, coefficients)
    assert lens_of(message.distortion_model, message.d) == lens


def test_depth_message() -> None:
    depth_m = np.array(((1.5, 0.0, 7.25), (0.0, 2.0, 3.0)), np.float32)
    message = round_trip(depth_message(depth_m, HEADER))
    assert (message.encoding, message.height, message.width, message.step) == ("32FC1", 2, 3, 12)
    values = np.frombuffer(message.data, "<f4").reshape(2, 3)
    np.testing.assert_array_equal(np.isnan(values), depth_m == 0)
    np.testing.assert_array_equal(np.nan_to_num(values), depth_m)


def test_pose_message() -> None:
    pose = np.eye(4)
    pose[:3, :3] = ((0, -1, 0), (1, 0, 0), (0, 0, 1))  # a quarter turn to the left
    pose[:3, 3] = (1, 2, 3)
    message = round_trip(pose_message(pose, HEADER, "child"))
    assert (message.header, message.child_frame_id) == (HEADER, "child")
    t, q = message.transform.translation, message.transform.rotation
    assert (t.x, t.y, t.z) == (1, 2, 3)
    assert (q.x, q.y, q.z, q.w) == pytest.approx((0, 0, 0.5**0.5, 0.5**0.5))


@pytest.mark.parametrize("ids", [(), ("p1", "p2")], ids=["nobody", "two"])
def test_detections_message(ids: tuple[str, ...]) -> None:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    boxes = some_people(ids).boxes
    message = round_trip(detections_message(boxes, HEADER))
    back = boxes_from_detections(message, "person")
    np.testing.assert_allclose(back.xyxy, boxes.xyxy, rtol=1e-6)
    np.testing.assert_allclose(back.scores, boxes.scores, rtol=1e-6)


def test_smplx_package_poses_the_same_body(
    small_assets: BodyAssets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of the package `smplx` agrees with ours without a FLAME head."""
    smplx = pytest.importorskip("smplx", reason="non-commercial licence: `make venv SMPLX=1`")
    ids = smplx.body_models.VERTEX_IDS  # of landmarks that a body of 150 vertices does not have
    monkeypatch.setitem(ids, "smplx", dict.fromkeys(ids["smplx"], 0))
    num_vertices = len(small_assets.body_template)
    shapedirs = np.zeros((num_vertices, 3, 400), np.float32)
    shapedirs[..., :200] = small_assets.body_shapedirs
    shapedirs[..., 300:350] = small_assets.body_expressiondirs
    np.savez(
        tmp_path / "SMPLX_NEUTRAL.npz",
        v_template=small_assets.body_template,
        f=small_assets.body_faces,
        shapedirs=shapedirs,
        posedirs=small_assets.body_posedirs.reshape(num_vertices, 3, -1),
        J_regressor=small_assets.body_joint_regressor,
        kintree_table=np.stack((small_assets.body_parents, np.arange(55))),
        weights=small_assets.body_weights,
        hands_componentsl=np.eye(45),
        hands_componentsr=np.eye(45),
        hands_meanl=np.full(45, 0.1),  # not used with flat_hand_mean=True
        hands_meanr=np.full(45, 0.1),
        lmk_faces_idx=np.zeros(51, np.int64),
        lmk_bary_coords=np.full((51, 3), 1 / 3),
    )
    model = smplx.create(
        str(tmp_path / "SMPLX_NEUTRAL.npz"),
        model_type="smplx",
        use_pca=False,
        flat_hand_mean=True,
        num_betas=200,
        num_expression_coeffs=50,
        use_face_contour=False,
    )
    headless = np.zeros_like(small_assets.head_is_pasted)
    ours = BodyModel(dataclasses.replace(small_assets, head_is_pasted=headless))
    bodies = ours(random_parameters(2, seed=5), mesh=True)
    crowd = dataclasses.replace(some_people(("p1", "p2")), parameters=random_parameters(2, seed=5))

    for i, human in enumerate(humans_message(crowd, HEADER, (480, 640)).humans):
        keywords = smplx_keywords(human.parameters, num_betas=200)
        theirs = model(**{name: torch.from_numpy(value) for name, value in keywords.items()})
        np.testing.assert_allclose(
            theirs.vertices[0].detach(), bodies.vertices[i], atol=1e-5, rtol=0
        )
        np.testing.assert_allclose(
            theirs.joints[0, :55].detach(), bodies.joints[i], atol=1e-5, rtol=0
        )


def test_smplx_keywords_take_as_many_betas_as_the_model_has() -> None:
    human = humans_message(some_people(("p1",)), HEADER, (480, 640)).humans[0]
    for count in (10, 300):
        betas = smplx_keywords(human.parameters, count)["betas"]
        assert betas.shape == (1, count)
        used = min(count, 200)
        np.testing.assert_array_equal(betas[0, :used], human.parameters.betas[:used])
        assert not betas[0, used:].any()


# --- Frames --------------------------------------------------------------------------------------

RIGHT, DOWN, AWAY = np.eye(3)  # of the optical frame
UPRIGHT_FACING_CAMERA = np.stack((RIGHT, -DOWN, -AWAY), 1)  # columns: left, up, forward


@pytest.mark.parametrize(
    ("frame", "x", "y", "z", "origin"),
    [
        ("body", -AWAY, RIGHT, -DOWN, ["left_hip", "right_hip"]),
        ("head", -AWAY, RIGHT, -DOWN, ["left_eye", "right_eye"]),
        ("left_hand", RIGHT, AWAY, -DOWN, ["left_wrist"]),
        ("right_hand", -RIGHT, -AWAY, -DOWN, ["right_wrist"]),
    ],
    ids=["body", "head", "left hand", "right hand"],
)
def test_frames_of_a_person_facing_the_camera(
    frame: str, x: np.ndarray, y: np.ndarray, z: np.ndarray, origin: list[str]
) -> None:
    crowd = some_people(("p1", "p2"))
    crowd.rotations[1] = UPRIGHT_FACING_CAMERA
    message = round_trip(transforms_message(crowd, HEADER))

    found = {transform.child_frame_id: transform for transform in message.transforms}
    transform = found[f"{frame}_p2"]
    assert transform.header == HEADER
    q, t = transform.transform.rotation, transform.transform.translation
    optical_from_frame = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    np.testing.assert_allclose(optical_from_frame, np.stack((x, y, z), 1), atol=1e-6)
    joints = (crowd.joints + crowd.translation[:, None])[1]
    middle = joints[[JOINT[name] for name in origin]].mean(0)
    np.testing.assert_allclose([t.x, t.y, t.z], middle, atol=1e-6)


def test_frames_follow_their_joints() -> None:
    """In any pose, a frame has the same rotation relative to its joint."""
    crowd = some_people(("p1", "p2"), seed=3)
    rest = some_people(("p1", "p2"), seed=3)
    rest.rotations[:] = np.eye(3)
    joints = {"body": "pelvis", "head": "head"}
    joints |= {f"{side}_hand": f"{side}_wrist" for side in ("left", "right")}

    def rotations(people: People) -> dict[str, np.ndarray]:
        quaternions = {
            t.child_frame_id: t.transform.rotation
            for t in transforms_message(people, HEADER).transforms
        }
        return {
            name: Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
            for name, q in quaternions.items()
        }

    posed, at_rest = rotations(crowd), rotations(rest)
    assert len(posed) == 8
    for i, id_ in enumerate(crowd.ids):
        for frame, joint in joints.items():
            expected = crowd.rotations[i, JOINT[joint]] @ at_rest[f"{frame}_{id_}"]
            np.testing.assert_allclose(posed[f"{frame}_{id_}"], expected, atol=1e-5)


def test_nobody_has_no_frames() -> None:
    assert transforms_message(some_people(()), HEADER) == TFMessage()


# --- Points --------------------------------------------------------------------------------------


def test_cloud_message(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = some_people(("p1", "p2"), num_vertices=7)
    for name in ("sensor_msgs_py", "sensor_msgs_py.point_cloud2"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    with pytest.raises(ImportError):
        cloud_message(crowd, HEADER)

    point_cloud2 = ModuleType("sensor_msgs_py.point_cloud2")
    point_cloud2.create_cloud_xyz32 = lambda header, points: (header, points)
    monkeypatch.setitem(sys.modules, "sensor_msgs_py", ModuleType("sensor_msgs_py"))
    monkeypatch.setitem(sys.modules, "sensor_msgs_py.point_cloud2", point_cloud2)
    header, points = cloud_message(crowd, HEADER)
    assert header == HEADER
    placed = crowd.vertices + crowd.translation[:, None]
    np.testing.assert_array_equal(points, placed.reshape(-1, 3))
