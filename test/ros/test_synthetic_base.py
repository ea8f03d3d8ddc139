"""The synthetic camera on a base that drives: TF, lens and depth agree with the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from harness import NodeProcess, Peer, arguments_of, own_domain, stamp_ns
from numpy.typing import NDArray
from pear_ros.msg import HumanArray
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.config import SyntheticCameraConfig
from pear_ros.geometry.camera import project
from pear_ros.geometry.lens import lens_of
from pear_ros.people import Camera, FloatArray, People
from pear_ros.ros.from_messages import people_from_message
from pear_ros.synthetic.base import moved, pose
from pear_ros.synthetic.optics import camera_with
from pear_ros.system.installed import shared_file

pytestmark = pytest.mark.ros

CAMERA = SyntheticCameraConfig(
    people=2,
    seed=3,
    rate_hz=4.0,
    width=320,
    height=240,
    fov_deg=100.0,
    lens="equidistant",
    depth=True,
    base="circle",
    duration_s=6.0,
)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True, repr=False)
class Received:
    """One image's messages."""

    people: People
    camera: Camera
    depth_m: FloatArray
    world_from_optical: NDArray[np.float64]

    @property
    def placed(self) -> FloatArray:
        """(N, V, 3) m, optical."""
        assert self.people.vertices is not None
        return self.people.vertices + self.people.translation[:, None]


def pose_of(message: Any) -> NDArray[np.float64]:
    t, q = message.transform.translation, message.transform.rotation
    turn = Rotation.from_quat((q.x, q.y, q.z, q.w)).as_matrix()
    return pose(turn, np.array((t.x, t.y, t.z)))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Received]:
    folder = tmp_path_factory.mktemp("base")
    with own_domain() as domain:
        peer = Peer(domain)
        best_effort = qos_profile_sensor_data
        infos = peer.collect(CameraInfo, "/camera_info", best_effort)
        depths = peer.collect(Image, "/depth", best_effort)
        truth = peer.collect(HumanArray, "/ground_truth")
        moving = peer.collect(TFMessage, "/tf")
        arguments = arguments_of({k: v for k, v in vars(CAMERA).items() if v != ""})
        camera = NodeProcess(folder, domain, arguments, "synthetic-camera")
        try:
            peer.wait(lambda: bool(truth), "the first image", 60)
            # Subscribed late: it is latched.
            fixed = peer.collect(TFMessage, "/tf_static", LATCHED)
            assert camera.process.wait(60) == 0, camera.log()
            peer.wait(lambda: bool(fixed), "where the camera is mounted")
        finally:
            camera.end()
            peer.close()
    body_model = BodyModel(load_assets(shared_file("standin/body.npz")))
    (mount,) = fixed[0].transforms
    assert (mount.header.frame_id, mount.child_frame_id) == ("base_link", "camera_optical_frame")
    bases = {stamp_ns(t): t for message in moving for t in message.transforms}
    assert {(t.header.frame_id, t.child_frame_id) for t in bases.values()} == {
        ("odom", "base_link")
    }
    by_stamp = [{stamp_ns(m): m for m in messages} for messages in (infos, depths, truth)]
    stamps = sorted(set(bases).intersection(*by_stamp))
    assert len(stamps) >= 15, camera.log()
    return [
        Received(
            people_from_message(by_stamp[2][stamp], body_model, mesh=True),
            camera_of(by_stamp[0][stamp]),
            depth_of(by_stamp[1][stamp]),
            pose_of(bases[stamp]) @ pose_of(mount),
        )
        for stamp in stamps
    ]


def camera_of(info: CameraInfo) -> Camera:
    lens = lens_of(info.distortion_model, info.d)
    return Camera(info.k[0], info.k[4], info.k[2], info.k[5], lens=lens)


def depth_of(message: Image) -> FloatArray:
    assert message.encoding == "32FC1"
    assert message.header.frame_id == "camera_optical_frame"
    return np.frombuffer(message.data, "<f4").reshape(message.height, message.width)


def test_the_lens_is_the_one_asked_for(images: list[Received]) -> None:
    assert images[0].camera == camera_with("equidistant", 100.0, 320, 240)


def test_the_base_drives(images: list[Received]) -> None:
    places = np.stack([image.world_from_optical[:2, 3] for image in images])
    way_m = np.linalg.norm(np.diff(places, axis=0), axis=1).sum()
    assert 1.5 < way_m < 3.5  # at 0.5 m/s for 6 s, some images may be missing


def test_people_stand_on_the_floor_of_odom(images: list[Received]) -> None:
    for image in images:
        heights = moved(image.world_from_optical, image.placed)[..., 2]  # (N, V)
        np.testing.assert_allclose(heights.min(1), 0, atol=2e-3)
        assert (heights.max(1) > 1.2).all()


def test_depth_images_show_the_people(images: list[Received]) -> None:
    """The middle of the trunk: nearer than the joint by part of a body, or a hole."""
    differences = []
    for image in images:
        spine = image.people.joints[:, 6] + image.people.translation  # spine2
        for point, (column, row) in zip(
            spine, np.rint(project(spine, image.camera)).astype(int), strict=True
        ):
            if 2 <= column < 318 and 2 <= row < 238:
                around = image.depth_m[row - 2 : row + 3, column - 2 : column + 3]
                if np.isfinite(around).any():
                    differences.append(np.nanmedian(around) - point[2])
    assert len(differences) >= 15
    assert -0.35 < np.median(differences) < 0.05
    share = np.mean([np.isnan(image.depth_m).mean() for image in images])
    assert share == pytest.approx(CAMERA.depth_holes, abs=0.1)
