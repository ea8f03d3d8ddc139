"""The launch files and the configuration of RViz."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from samples import ROOT

from pear_ros.config import Config, SyntheticCameraConfig, settings
from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

LAUNCH_FILE = ROOT / "launch/pear.launch.py"
DEMO_FILE = ROOT / "launch/demo.launch.py"


def constant(name: str, launch_file: Path = LAUNCH_FILE) -> Any:
    """The value that the launch file assigns to `name`, read without importing the file."""
    tree = ast.parse(launch_file.read_text())
    assigned = {
        node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)
    }
    return ast.literal_eval(assigned[name])


def outputs() -> dict[str, str]:
    """The outputs of the node and their message types, read from its source."""
    tree = ast.parse((ROOT / "pear_ros/ros/camera_topics.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and "humans" in (
            keys := [ast.unparse(k).strip("'") for k in node.keys if k]
        ):
            return dict(zip(keys, map(ast.unparse, node.values), strict=True))
    raise AssertionError("camera_topics.py has no table of outputs")


@pytest.fixture
def rviz() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "config/pear.rviz").read_text())["Visualization Manager"]


def displays_with_topic(rviz: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {d["Topic"]["Value"]: d for d in rviz["Displays"] if "Topic" in d}


def test_arguments_that_set_parameters_are_parameters():
    assert set(constant("SETTINGS").values()) <= set(settings(Config))


def test_demo_arguments_are_settings_of_the_camera():
    names = set(settings(SyntheticCameraConfig))
    assert set(constant("SETTINGS", DEMO_FILE)) <= names


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


def load(path: Path) -> Any:
    pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS install only")
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module that returns the arguments of its nodes instead of nodes."""
    module = load(LAUNCH_FILE)
    monkeypatch.setattr(module, "Node", dict)
    monkeypatch.delenv(TRANSPORTS, raising=False)
    return module


def launched(launch_file, **arguments: str) -> dict[str, dict[str, Any]]:
    """The arguments of the nodes by package, with substitutions replaced by their values."""
    from launch.actions import DeclareLaunchArgument

    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update(
        {"params_file": "pear.yaml"} | arguments  # the default needs an installed pear_ros
    )
    for action in launch_file.generate_launch_description().entities:
        if isinstance(action, DeclareLaunchArgument):
            action.visit(context)
    nodes = [node for node in launch_file._nodes(context) if isinstance(node, dict)]
    for node in nodes:
        node["remappings"] = dict(node["remappings"])
        node["parameters"] = [
            {name: value.evaluate(context) for name, value in given.items()}
            if isinstance(given, dict)
            else given
            for given in node["parameters"]
        ]
        if "condition" in node:
            node["condition"] = node["condition"].evaluate(context)
    return {node["package"]: node for node in nodes}


def test_every_argument_is_described(launch_file):
    arguments = launch_file.generate_launch_description().get_launch_arguments()
    described = {argument.name: argument.description for argument in arguments}
    assert described.keys() == {*launch_file.ARGUMENTS, *launch_file.SETTINGS}
    assert all(described.values())


def test_defaults(launch_file):
    nodes = launched(launch_file)
    pear = nodes["pear_ros"]
    assert (pear["name"], pear["namespace"]) == ("pear", "")
    assert pear["parameters"] == ["pear.yaml", {}]
    assert pear["remappings"] == {
        "image": "/camera/image_raw",
        "image/compressed": "/camera/image_raw/compressed",
        "camera_info": "/camera/camera_info",
        "detections": "detections",
    }
    assert not nodes["rviz2"]["condition"]


def test_topics_are_remapped(launch_file):
    topics = {"image": "/a/image", "camera_info": "/a/info", "detections": "/a/boxes"}
    remapped = launched(launch_file, **topics)["pear_ros"]["remappings"]
    assert remapped == {**topics, "image/compressed": "/a/image/compressed"}


def test_arguments_override_the_file(launch_file):
    """Arguments are text: the device "0" does not become an integer."""
    pear = launched(launch_file, device="0", image_transport="compressed", use_sim_time="true")
    expected = {
        "network.device": "0",
        "camera.image_transport": "compressed",
        "use_sim_time": True,
    }
    assert pear["pear_ros"]["parameters"] == ["pear.yaml", expected]


def test_rviz_follows_topics_and_namespace(launch_file, rviz):
    node = launched(launch_file, rviz="true", namespace="robot1", image="/a/image")["rviz2"]
    assert node["condition"]
    assert node["namespace"] == "robot1"
    assert node["remappings"].pop("/camera/image_raw") == "/a/image"
    for topic, remapped in node["remappings"].items():
        assert remapped == topic.removeprefix("/")  # relative, so it is in RViz's namespace
    assert {"/camera/image_raw", *node["remappings"]} == set(displays_with_topic(rviz))


def test_rviz_file_and_launch_file_agree_on_the_frame(launch_file, rviz):
    assert launched(launch_file)["rviz2"]["arguments"][-1] == rviz["Global Options"]["Fixed Frame"]


@pytest.mark.parametrize(
    ("set_by_user", "given"),
    [
        pytest.param(None, {TRANSPORTS: LARGE_IMAGES}, id="not set"),
        pytest.param("X", {}, id="set by the user"),
    ],
)
def test_transports_of_the_user_are_kept(launch_file, monkeypatch, set_by_user, given):
    if set_by_user:
        monkeypatch.setenv(TRANSPORTS, set_by_user)
    assert launched(launch_file)["pear_ros"]["additional_env"] == given


def test_demo_connects_the_node_to_the_camera(launch_file, monkeypatch):
    module = load(DEMO_FILE)
    monkeypatch.setattr(module, "Node", dict)
    monkeypatch.setattr(module, "IncludeLaunchDescription", lambda _, **given: given)
    monkeypatch.setattr(module, "LaunchDescription", list)
    *_, camera, pear = module.generate_launch_description()
    arguments = dict(pear["launch_arguments"])
    topics = {name: arguments[name] for name in ("image", "camera_info", "detections")}
    assert topics == {name: f"/{camera['namespace']}/{name}" for name in topics}
    assert arguments.keys() <= {*launch_file.ARGUMENTS, *launch_file.SETTINGS}
