"""The launch files and the configuration of RViz.

The launch files run with stand-ins for ROS's launch packages (`support/launch_files.py`), and with
the real ones where they are installed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from launch_files import Launched, source_of, stand_ins
from samples import ROOT

from pear_ros.config import Config, SyntheticCameraConfig, settings
from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

PEAR, DEMO = "pear.launch.py", "demo.launch.py"
CMAKE = (ROOT / "CMakeLists.txt").read_text()


def outputs() -> dict[str, str]:
    """The outputs of the node and their message types, read from its source."""
    tree = ast.parse((ROOT / "pear_ros/ros/topics.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and "humans" in (
            keys := [ast.unparse(k).strip("'") for k in node.keys if k]
        ):
            return dict(zip(keys, map(ast.unparse, node.values), strict=True))
    raise AssertionError("topics.py has no table of outputs")


@pytest.fixture
def rviz() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "config/pear.rviz").read_text())["Visualization Manager"]


def displays_with_topic(rviz: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {d["Topic"]["Value"]: d for d in rviz["Displays"] if "Topic" in d}


def test_rviz_shows_topics_of_the_node_in_displays_of_their_type(rviz):
    shown = {topic: display["Class"] for topic, display in displays_with_topic(rviz).items()}
    assert shown.pop("/camera/image_raw") == "rviz_default_plugins/Image"
    assert {"/pear/markers", "/pear/skeletons"} <= set(shown)
    for topic, display in shown.items():
        assert display == f"rviz_default_plugins/{outputs()[topic.removeprefix('/pear/')]}"


def test_rviz_does_not_show_the_overlay_by_default(rviz):
    assert not displays_with_topic(rviz)["/pear/overlay"]["Enabled"]


def test_rviz_policies_have_valid_names(rviz):
    """RViz silently replaces a misspelled name by the default."""
    for display in displays_with_topic(rviz).values():
        topic = display["Topic"]
        assert topic.keys() == {
            *("Value", "Depth", "Durability Policy", "History Policy", "Reliability Policy")
        }
        assert topic["Durability Policy"] == "Volatile"
        assert topic["History Policy"] == "Keep Last"
        assert topic["Reliability Policy"] in ("Reliable", "Best Effort")


Launch = Callable[..., Launched]
"""(file, launch arguments) -> what is launched."""


@pytest.fixture(params=["stand-ins", "launch_ros"])
def launch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Launch:
    if request.param == "launch_ros":
        pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS install only")
    else:
        for name, module in stand_ins().items():
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv(TRANSPORTS, raising=False)

    def launch(file: str, **arguments: str) -> Launched:
        from launch import LaunchContext

        # the default of params_file needs an installed pear_ros
        given = {"params_file": "pear.yaml"} | arguments if file == PEAR else arguments
        return Launched(ROOT / "launch" / file, monkeypatch, LaunchContext(), **given)

    return launch


# --- pear.launch.py ------------------------------------------------------------------------------


def test_every_argument_is_described(launch: Launch) -> None:
    declared = launch(PEAR).declared
    assert {"image", "camera_info", "checkpoint", "assets", "rviz"} <= declared.keys()
    assert all(declared.values())


def test_defaults(launch: Launch) -> None:
    nodes = launch(PEAR).nodes
    pear = nodes["pear_node"]
    assert (pear.package, pear.name, pear.namespace) == ("pear_ros", "pear", "")
    assert pear.parameters == ["pear.yaml", {}]
    assert pear.remappings == {
        "image": "/camera/image_raw",
        "image/compressed": "/camera/image_raw/compressed",
        "camera_info": "/camera/camera_info",
        "detections": "detections",
    }
    assert pear.ros_arguments == ["--log-level", "info"]
    assert pear.condition
    assert not nodes["rviz2"].condition


def test_topics_are_remapped(launch: Launch) -> None:
    topics = {"image": "/a/image", "camera_info": "/a/info", "detections": "/a/boxes"}
    remapped = launch(PEAR, **topics).nodes["pear_node"].remappings
    assert remapped == {**topics, "image/compressed": "/a/image/compressed"}


@pytest.mark.parametrize(
    ("given", "transport"),
    [({}, "raw"), ({"depth_transport": "compressed"}, "compressed")],
    ids=["raw", "compressed"],
)
def test_the_topic_of_depth_images_turns_them_on(
    launch: Launch, given: dict[str, str], transport: str
) -> None:
    pear = launch(PEAR, depth="/a/depth", **given).nodes["pear_node"]
    assert pear.parameters == ["pear.yaml", {"camera.depth": transport}]
    assert pear.remappings["depth"] == "/a/depth"
    assert pear.remappings["depth/compressedDepth"] == "/a/depth/compressedDepth"


@pytest.mark.parametrize(
    ("argument", "parameter"),
    [
        ("checkpoint", "network.checkpoint"),
        ("network_config", "network.config"),
        ("assets", "body.assets"),
        ("detector", "detection.detector"),
        ("detector_model", "detection.model"),
        ("device", "network.device"),
        ("engine", "network.engine"),
        ("image_transport", "camera.image_transport"),
        ("depth_transport", "camera.depth"),
        ("output_frame", "placement.output_frame"),
    ],
)
def test_arguments_override_the_file(launch: Launch, argument: str, parameter: str) -> None:
    """Arguments are text: the device "0" does not become an integer."""
    pear = launch(PEAR, **{argument: "0"}).nodes["pear_node"]
    assert pear.parameters == ["pear.yaml", {parameter: "0"}]
    assert parameter in settings(Config)


def test_every_argument_is_used(launch: Launch) -> None:
    """The value of each argument reaches a node."""
    for name in launch(PEAR).declared:
        value = "true" if name in ("rviz", "use_sim_time") else "x_of_the_test"
        default, changed = launch(PEAR).nodes, launch(PEAR, **{name: value}).nodes
        assert default != changed, name


def test_simulated_time_is_a_parameter_of_both_nodes(launch: Launch) -> None:
    nodes = launch(PEAR, use_sim_time="true").nodes
    assert nodes["pear_node"].parameters[-1] == {"use_sim_time": True}
    assert nodes["rviz2"].parameters == [{"use_sim_time": True}]


def test_rviz_follows_topics_and_namespace(launch: Launch, rviz: dict[str, Any]) -> None:
    node = launch(PEAR, rviz="true", namespace="robot1", image="/a/image").nodes["rviz2"]
    assert node.condition
    assert node.namespace == "robot1"
    assert node.remappings.pop("/camera/image_raw") == "/a/image"
    for topic, remapped in node.remappings.items():
        assert remapped == topic.removeprefix("/")  # relative, so it is in RViz's namespace
    assert {"/camera/image_raw", *node.remappings} == set(displays_with_topic(rviz))


def test_rviz_file_and_launch_file_agree(launch: Launch, rviz: dict[str, Any]) -> None:
    arguments = launch(PEAR).nodes["rviz2"].arguments
    assert arguments[::2] == ["-d", "-f"]
    assert source_of(arguments[1]) == ROOT / "config/pear.rviz"
    assert arguments[3] == rviz["Global Options"]["Fixed Frame"]


@pytest.mark.parametrize(
    ("set_by_user", "given"),
    [
        pytest.param(None, {TRANSPORTS: LARGE_IMAGES}, id="not set"),
        pytest.param("X", {}, id="set by the user"),
    ],
)
def test_transports_of_the_user_are_kept(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, set_by_user: str | None, given: dict[str, str]
) -> None:
    if set_by_user:
        monkeypatch.setenv(TRANSPORTS, set_by_user)
    assert launch(PEAR).nodes["pear_node"].additional_env == given


# --- demo.launch.py ------------------------------------------------------------------------------


def test_demo_connects_the_node_to_the_camera(launch: Launch) -> None:
    nodes = launch(DEMO).nodes
    camera, pear = nodes["synthetic_camera"], nodes["pear_node"]
    topics = {name: pear.remappings[name] for name in ("image", "camera_info", "detections")}
    assert topics == {name: f"/{camera.namespace}/{name}" for name in topics}
    _, parameters = pear.parameters
    files = {
        "network.checkpoint": "assets/demo/model.pt",
        "network.config": "assets/demo/network.json",
        "body.assets": "assets/standin/body.npz",
    }
    assert parameters.pop("detection.detector") == "topic"
    assert {name: source_of(path) for name, path in parameters.items()} == {
        name: ROOT / path for name, path in files.items()
    }


def test_demo_arguments_are_settings_of_the_camera(launch: Launch) -> None:
    given = {"people": "3", "repertoire": "training", "seed": "7", "rate_hz": "15.5"}
    (parameters,) = launch(DEMO, **given).nodes["synthetic_camera"].parameters
    assert parameters == {
        "wait_for_subscriber": True,
        "people": 3,
        "repertoire": "training",
        "seed": 7,
        "rate_hz": 15.5,
    }
    SyntheticCameraConfig(**parameters)  # raises if one is no setting or of another type


def test_demo_defaults_are_those_of_the_camera(launch: Launch) -> None:
    (parameters,) = launch(DEMO).nodes["synthetic_camera"].parameters
    assert SyntheticCameraConfig(**parameters) == SyntheticCameraConfig(wait_for_subscriber=True)


@pytest.mark.parametrize(("rviz_argument", "starts"), [("true", True), ("false", False)])
def test_demo_starts_rviz_on_request(launch: Launch, rviz_argument: str, starts: bool) -> None:
    assert launch(DEMO, rviz=rviz_argument).nodes["rviz2"].condition is starts


# --- What is installed ---------------------------------------------------------------------------


def test_executables_are_installed(launch: Launch) -> None:
    programs = re.search(r"install\(PROGRAMS (.*?)\s+DESTINATION", CMAKE, re.DOTALL)
    installed = {path.removeprefix("scripts/") for path in programs[1].split()}
    nodes = launch(DEMO).nodes.values()
    assert {node.executable for node in nodes if node.package == "pear_ros"} <= installed
    assert all((ROOT / "scripts" / name).exists() for name in installed)
