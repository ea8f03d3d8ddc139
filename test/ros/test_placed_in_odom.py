"""People who stand still do so in `odom`, seen from a robot that drives in a circle, over DDS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")
pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")

from harness import NodeProcess, System, arguments_of, own_domain, stamp_ns
from pear_ros.msg import HumanArray
from samples import demo_settings
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage
from tf_sender import LATCHED

pytestmark = pytest.mark.ros

CAMERA: dict[str, Any] = {
    "people": 1,
    "seed": 4,  # in view all the time, 4 to 5 m away
    "repertoire": "standing",
    "rate_hz": 5.0,
    "fov_deg": 90.0,
    "base": "circle",
    "depth": True,
    "duration_s": 8.0,
    "wait_for_subscriber": True,
}
SOURCES = {
    "floor": {"placement.ground_frame": "odom"},
    "depth": {"camera.depth": "raw", "camera.depth_timeout_s": 1.0},
}
WARM_UP_NS = 500_000_000
MOST_M, MOST_DEG = 0.10, 5.0


@pytest.mark.parametrize("source", SOURCES)
def test_who_stands_does_so_in_odom(source: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("odom")
    parameters = {
        **demo_settings(),
        "placement.output_frame": "odom",
        "placement.tf_timeout_s": 1.0,
        **SOURCES[source],
    }
    with own_domain() as domain:
        system = System(folder, domain, arguments_of(parameters))
        camera = None
        try:
            humans = system.peer.collect(HumanArray, "/pear/humans")
            moving = system.peer.collect(TFMessage, "/tf")
            system.peer.wait(lambda: system.state() == "active", "the node")
            camera = NodeProcess(folder, domain, arguments_of(CAMERA), "synthetic-camera")
            system.peer.wait(lambda: bool(moving), "the base")
            system.peer.collect(TFMessage, "/tf_static", LATCHED)
            assert camera.process.wait(90) == 0, camera.log()
            counts = system.counts()
        finally:
            system.close()
            if camera is not None:
                camera.end()
    messages = [m for m in humans if m.humans and m.header.frame_id == "odom"]
    messages = [m for m in messages if stamp_ns(m) >= stamp_ns(messages[0]) + WARM_UP_NS]
    assert len(messages) >= 20, counts
    assert [len(m.humans) for m in messages] == [1] * len(messages)
    people = [m.humans[0] for m in messages]
    (id_,) = {human.id for human in people}
    pelvis = np.array([human.joints[:3] for human in people], np.float64)  # m
    off_m = np.linalg.norm(pelvis - pelvis.mean(0), axis=1)

    transforms = [t for m in moving for t in m.transforms]
    stamps = {stamp_ns(m) for m in messages}
    bodies = [t for t in transforms if t.child_frame_id == f"body_{id_}" and stamp_ns(t) in stamps]
    assert {t.header.frame_id for t in bodies} == {"odom"}
    assert len(bodies) >= 0.9 * len(messages)
    turns = Rotation.from_quat([quaternion_of(t) for t in bodies])
    off_deg = np.degrees((turns.mean().inv() * turns).magnitude())

    base = [t.transform.translation for t in transforms if t.child_frame_id == "base_link"]
    way_m = np.linalg.norm(np.diff([(t.x, t.y) for t in base], axis=0), axis=1).sum()
    print(f"{source}: {off_m.max():.3f} m, {off_deg.max():.1f} degrees; base {way_m:.1f} m")
    assert way_m > 2  # it did drive
    assert off_m.max() <= MOST_M
    assert off_deg.max() <= MOST_DEG
    assert np.abs(pelvis[:, 2] - 0.95).max() < 0.25  # the height of a hip above odom's floor


def quaternion_of(transform: Any) -> tuple[float, float, float, float]:
    turn = transform.transform.rotation
    return turn.x, turn.y, turn.z, turn.w
