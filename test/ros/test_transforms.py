"""Transforms over DDS between real nodes, and a stand-in for tf2_ros."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from geometry_msgs.msg import TransformStamped
from harness import Peer, own_domain
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage
from tf_sender import LATCHED, stamped

from pear_ros.geometry.transform_tree import TransformError
from pear_ros.problems import Problems
from pear_ros.ros.transforms import OwnTransforms, Tf2Transforms, Transforms, listen

pytestmark = pytest.mark.ros

NOW = 1_700_000_000_000_000_000
TURN = Rotation.from_euler("xyz", (0.1, -0.7, 2.0))
PLACE = np.array((1.0, -2.0, 0.5))


@pytest.fixture
def peer() -> Iterator[Peer]:
    with own_domain() as domain:
        peer = Peer(domain)
        yield peer
        peer.close()


def when_found(peer: Peer, transforms: Transforms, *names: str) -> np.ndarray:
    """Waits until a transform has arrived."""

    def found() -> list[np.ndarray]:
        try:
            return [transforms.lookup(*names, NOW)]
        except TransformError:
            return []

    return peer.wait(found, "a transform", 10)[0]


@pytest.mark.parametrize(
    "reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT], ids=lambda p: p.name
)
def test_over_dds(peer: Peer, reliability: ReliabilityPolicy) -> None:
    """The static transform was sent before the listener was there."""
    latched = peer.node.create_publisher(TFMessage, "/tf_static", LATCHED)
    latched.publish(TFMessage(transforms=[stamped("base", "camera", 0, PLACE, TURN)]))
    sender = peer.node.create_publisher(
        TFMessage, "/tf", QoSProfile(depth=9, reliability=reliability)
    )
    problems = Problems(print)
    transforms = listen(peer.node, problems)
    assert isinstance(transforms, OwnTransforms), "tf2_ros is not on PyPI"
    peer.wait(sender.get_subscription_count, "the listener")
    bad = stamped("odom", "odom", NOW, PLACE, TURN)
    sender.publish(TFMessage(transforms=[bad, stamped("odom", "base", NOW, PLACE, TURN)]))

    found = when_found(peer, transforms, "odom", "camera")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = TURN.as_matrix(), PLACE
    np.testing.assert_allclose(found, pose @ pose, atol=1e-12)
    assert problems.counts() == {"transforms_invalid": 1}

    transforms.close()
    with pytest.raises(TransformError, match="no transform was received"):
        transforms.lookup("odom", "camera", NOW)
    peer.wait(lambda: not sender.get_subscription_count(), "the end of the subscription")


# --- tf2_ros -------------------------------------------------------------------------------------


class TransformException(Exception):  # noqa: N818
    """As in tf2_ros."""


class LookupException(TransformException):
    """As in tf2_ros."""


class ConnectivityException(TransformException):
    """As in tf2_ros."""


class ExtrapolationException(TransformException):
    """As in tf2_ros."""


class Buffer:
    """Knows one transform, or raises `error`."""

    error: Exception | None = None
    given = stamped("odom", "camera", NOW, PLACE, TURN)
    cleared = 0

    def lookup_transform(self, target: str, source: str, time: Any) -> TransformStamped:
        assert (target, source, time.nanoseconds) == ("odom", "camera", NOW)
        if self.error is not None:
            raise self.error
        return self.given

    def clear(self) -> None:
        self.cleared += 1


class TransformListener:
    """Keeps what it was given."""

    def __init__(self, buffer: Buffer, node: Any, *, qos: QoSProfile, static_qos: QoSProfile):
        self.buffer, self.node = buffer, node
        assert qos.durability == DurabilityPolicy.VOLATILE
        assert static_qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        self.is_registered = True

    def unregister(self) -> None:
        self.is_registered = False


@pytest.fixture
def tf2_ros(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in: tf2_ros has no wheel, so that the real one is used on a ROS install only."""
    module = ModuleType("tf2_ros")
    for kind in (Buffer, TransformListener, TransformException, LookupException):
        setattr(module, kind.__name__, kind)
    module.ConnectivityException = ConnectivityException
    module.ExtrapolationException = ExtrapolationException
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


class FakeNode:
    """A node with a clock that calls back when it jumps."""

    def __init__(self) -> None:
        self.on_jump: Callable[[Any], None] | None = None

    def get_clock(self) -> FakeNode:
        return self

    def create_jump_callback(self, threshold: Any, *, post_callback: Any) -> Any:
        assert threshold.min_backward.nanoseconds < 0
        self.on_jump = post_callback
        return SimpleNamespace(unregister=lambda: setattr(self, "on_jump", None))


def test_tf2_ros_is_used_if_installed(tf2_ros: ModuleType) -> None:
    """With a stand-in for tf2_ros: this tests our calls, not tf2."""
    node = FakeNode()
    transforms = listen(node, Problems(print))
    assert isinstance(transforms, Tf2Transforms)
    found = transforms.lookup("odom", "camera", NOW)
    np.testing.assert_allclose(found[:3, :3], TURN.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found[:3, 3], PLACE)
    node.on_jump(None)
    assert transforms._buffer.cleared == 1
    transforms.close()
    assert not transforms._listener.is_registered
    assert node.on_jump is None


@pytest.mark.parametrize(
    ("length", "place_m", "text"),
    [(1.1, PLACE, "length 1"), (np.nan, PLACE, "finite"), (1.0, 1e39 * PLACE, "farther")],
    ids=["length", "not a number", "far"],
)
def test_transforms_of_tf2_ros_that_cannot_be_used(
    tf2_ros: ModuleType, length: float, place_m: np.ndarray, text: str
) -> None:
    """With a stand-in for tf2_ros, which takes quaternions that are a little too long."""
    given = stamped("odom", "camera", NOW, place_m, TURN)
    given.transform.rotation.w *= length
    transforms = listen(FakeNode(), Problems(print))
    transforms._buffer.given = given
    with pytest.raises(TransformError, match=text) as raised:
        transforms.lookup("odom", "camera", NOW)
    assert raised.value.kind == TransformError.OTHER


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LookupException("no frame odom"), TransformError.UNKNOWN),
        (ConnectivityException("two trees"), TransformError.SEPARATE),
        (ExtrapolationException("into the future"), TransformError.TOO_NEW),
        (TransformException("else"), TransformError.OTHER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_reasons_of_tf2_ros(tf2_ros: ModuleType, error: Exception, kind: str) -> None:
    """With a stand-in for tf2_ros: this tests our calls, not tf2."""
    transforms = listen(FakeNode(), Problems(print))
    transforms._buffer.error = error
    with pytest.raises(TransformError, match=str(error)) as raised:
        transforms.lookup("odom", "camera", NOW)
    assert raised.value.kind == kind
