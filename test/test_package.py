"""Declared dependencies, built messages and installed files."""

import ast
import functools
import json
import os
import re
import sys
from importlib import import_module, metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from samples import ROOT

import pear_ros
from pear_ros.errors import AssetError
from pear_ros.system import installed as share

PACKAGE_XML = ElementTree.parse(ROOT / "package.xml").getroot()

# import: (rosdep key, pip requirement); package.xml explains why torch has no key
ROSDEP_AND_PIP = {
    "PIL": ("python3-pil", "pillow"),
    "cv2": ("python3-opencv", "opencv-python-headless"),
    "numpy": ("python3-numpy", "numpy"),
    "scipy": ("python3-scipy", "scipy"),
    "tf2_ros": ("tf2_ros_py", "ros-tf2-ros"),
    "torch": (None, "torch"),
    "tqdm": ("python3-tqdm", "tqdm"),
}
# ROS packages without a wheel: built into ours, or used only if a ROS install provides them
WITHOUT_WHEEL = {"sensor_msgs_py", "tf2_msgs", "tf2_ros", "vision_msgs"}
EXTRAS = {  # extra by module
    "ai_edge_litert": "annotation",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "pillow_heif": "heif",
    "smplx": "smplx",
    "tensorrt": "tensorrt",
}

# as `ros2 topic info --verbose` prints them on a ROS install
UPSTREAM_HASHES = {
    "tf2_msgs/msg/TFMessage": (
        "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
    ),
    "vision_msgs/msg/Detection2DArray": (
        "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
    ),
}


def imports_of(path: Path) -> set[str]:
    """The top-level packages that a source file imports, without the standard library."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    packages = {name.split(".")[0] for name in names}
    return packages - set(sys.stdlib_module_names) - {"pear_ros"}


@functools.cache
def imports_of_package() -> set[str]:
    return set().union(*(imports_of(path) for path in (ROOT / "pear_ros").rglob("*.py")))


def pip_requirements() -> list[str]:
    """The requirements of the installed pear_ros; skips the test in a colcon workspace."""
    requirements = metadata.requires("pear-ros")
    if requirements is None:
        pytest.skip("pear_ros was not installed by pip")
    return requirements


def pip_name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group()


def test_the_version_agrees_with_package_xml():
    assert metadata.version("pear-ros") == PACKAGE_XML.findtext("version")


def test_package_xml_declares_every_import():
    declared = {tag.text for tag in PACKAGE_XML if tag.tag in ("depend", "exec_depend")}
    keys = {ROSDEP_AND_PIP.get(name, (name,))[0] for name in imports_of_package() - EXTRAS.keys()}
    assert keys - {None} <= declared


def test_pip_requirements_cover_every_import():
    required = {pip_name(line) for line in pip_requirements() if "extra ==" not in line}
    wheels = {
        ROSDEP_AND_PIP.get(name, (None, "ros-" + name.replace("_", "-")))[1]
        for name in imports_of_package() - EXTRAS.keys() - WITHOUT_WHEEL
    }
    assert wheels <= required


@pytest.mark.parametrize(("name", "extra"), EXTRAS.items())
def test_extras_are_never_required(name, extra):
    wheel = name.replace("_", "-")
    lines = [line for line in pip_requirements() if pip_name(line) == wheel]
    assert [line.split(";")[1].strip() for line in lines] == [f'extra == "{extra}"']


def test_torch_has_only_a_lower_bound():
    (torch,) = [line for line in pip_requirements() if pip_name(line) == "torch"]
    assert re.fullmatch(r"torch>=[\d.]+", torch)


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(None, id="source tree"),
        pytest.param("lib/python3.11/site-packages", id="pip"),
        pytest.param("local/lib/dist-packages", id="Debian"),
    ],
)
def test_shared_files_are_found(folder, tmp_path, monkeypatch):
    expected = ROOT / "assets/standin/body.npz"
    if folder:
        monkeypatch.setattr(pear_ros, "__file__", str(tmp_path / folder / "pear_ros/__init__.py"))
        with pytest.raises(AssetError, match=r"standin/body\.npz was not installed"):
            share.shared_file("standin/body.npz")
        expected = tmp_path / "share/pear_ros/standin/body.npz"
        expected.parent.mkdir(parents=True)
        expected.touch()
    assert share.shared_file("standin/body.npz") == expected


@pytest.mark.ros
@pytest.mark.parametrize("path", sorted((ROOT / "msg").glob("*.msg")), ids=lambda path: path.stem)
def test_messages_are_installed_as_in_the_source(path):
    fields = [
        line.split()[1]
        for line in (line.partition("#")[0] for line in path.read_text().splitlines())
        if line.strip() and "=" not in line  # constants are left out
    ]
    message = getattr(import_module("pear_ros.msg"), path.stem)
    assert list(message.get_fields_and_field_types()) == fields


@pytest.mark.ros
@pytest.mark.parametrize("name", UPSTREAM_HASHES)
def test_our_build_of_a_standard_message_has_the_standard_type(name):
    """If the hashes differ, our nodes cannot exchange these messages with a ROS install."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    found = [Path(prefix, "share", f"{name}.json") for prefix in prefixes if prefix]
    description = json.loads(next(path for path in found if path.exists()).read_text())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    assert hashes[name] == UPSTREAM_HASHES[name]


def test_the_wheel_has_messages_without_a_wheel_and_nothing_for_tests():
    pip_requirements()  # skips where pip has not installed it
    files = metadata.files("pear-ros")
    assert {"pear_ros", "tf2_msgs"} <= {path.parts[0] for path in files}
    assert any(str(path).endswith("share/pear_ros/standin/body.npz") for path in files)
    assert not any("vision_msgs" in str(path) for path in files)
    assert not any("parent_prefix_path" in str(path) for path in files)
