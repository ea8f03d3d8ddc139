"""Service requests with values that no client library sends; the node lives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from harness import System, running
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("hostile"), **files) as system:
        yield system


def send(system: System, kind: Any, name: str, request: Any) -> None:
    """Sends a request without waiting for the answer, which may never come."""
    client = system.peer.node.create_client(kind, f"/pear/{name}")
    system.peer.wait(client.service_is_ready, name)
    client.call_async(request)


@pytest.mark.parametrize("kind", [100, 255], ids=str)
def test_a_parameter_of_no_known_type(system: System, kind: int) -> None:
    before = system.count("internal_errors")
    value = ParameterValue(type=kind, double_value=0.4)
    request = SetParameters.Request(parameters=[Parameter(name="detection.min_score", value=value)])
    send(system, SetParameters, "set_parameters", request)
    system.peer.wait(lambda: system.count("internal_errors") > before, "the counter")
    assert system.state() == "active"
    assert system.set_parameters(**{"detection.min_score": 0.4}) == []


def test_names_that_are_no_parameters(system: System) -> None:
    names = ["", "a" * 100_000, "..", "detection.", "detection.min_score.x", "ü人"]
    send(system, GetParameters, "get_parameters", GetParameters.Request(names=names))
    send(system, DescribeParameters, "describe_parameters", DescribeParameters.Request(names=names))
    request = ListParameters.Request(prefixes=names, depth=2**63)
    send(system, ListParameters, "list_parameters", request)
    assert system.state() == "active"
    assert system.set_parameters(**{"detection.min_score": 0.5}) == []
