"""Imports point down, only ros/ imports ROS, and the top of the package has four files.

docs/design.md has the table of folders; these tests compare the source with it.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import ROOT

PACKAGE = ROOT / "pear_ros"
FILES = sorted(PACKAGE.rglob("*.py"))
# The lowest layer first: a folder or module imports only from layers before its own.
LAYERS = (
    {"people", "errors", "problems"},
    {"config", "system"},
    {"geometry"},
    {"assets", "detection", "images", "network", "rendering", "tracking"},
    {"body", "placement"},
    {"estimation", "synthetic"},
    {"pipeline"},
    {"evaluation", "offline", "ros"},
    {"annotation", "benchmark"},
    {"cli"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ROS = {
    "ament_index_python", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs",
    "launch", "launch_ros", "lifecycle_msgs", "rcl_interfaces", "rclpy", "sensor_msgs",
    "sensor_msgs_py", "std_msgs", "std_srvs", "tf2_msgs", "tf2_ros", "vision_msgs",
    "visualization_msgs",
}  # fmt: skip


@functools.cache
def imported(path: Path) -> set[str]:
    """The full names of the modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def folders_imported_by(path: Path) -> set[str]:
    """The folders and modules of pear_ros that a file imports."""
    parts = [name.split(".") for name in imported(path)]
    return {part[1] for part in parts if part[0] == "pear_ros" and len(part) > 1} - {"msg"}


def name_of(path: Path) -> str:
    """The folder or module of pear_ros that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = name_of(path)
    if here == "__init__":
        assert not folders_imported_by(path)
        return
    upward = {name for name in folders_imported_by(path) - {here} if LEVEL[name] >= LEVEL[here]}
    assert not upward


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_ros_imports_ros(path: Path) -> None:
    ros = {
        name
        for name in imported(path)
        if name.split(".")[0] in ROS or name.startswith("pear_ros.msg")
    }
    assert not ros or name_of(path) == "ros"


def test_four_files_are_at_the_top() -> None:
    top = {path.name for path in PACKAGE.glob("*.py")}
    four = {"pipeline.py", "people.py", "errors.py", "problems.py"}
    assert top == four | {"__init__.py"}


def test_the_source_has_no_folder_that_the_build_generates() -> None:
    assert not {"msg", "srv", "action"} & {path.name for path in PACKAGE.iterdir()}


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES} - {PACKAGE}), ids=lambda path: path.name
)
def test_each_folder_names_its_files(folder: Path) -> None:
    """`__init__.py` contains only a docstring, with a line for each file.

    That of `config` also hands its names on.
    """
    tree = ast.parse((folder / "__init__.py").read_text())
    assert len(tree.body) == 1 or folder.name == "config"
    named = re.findall(r"^(\w+\.py) ", ast.get_docstring(tree) or "", re.MULTILINE)
    assert sorted(named) == sorted(
        path.name for path in folder.glob("*.py") if not path.name.startswith("__")
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


# --- What an import needs ------------------------------------------------------------------------

IMPORT_SCRIPT = """
import importlib, sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        is_ours = name in ("pear_ros.msg", "pear_ros.ros")
        if is_ours or top in ("rclpy", "rosidl_parser", "ament_index_python") or top.endswith(
            ("_msgs", "_interfaces", "_srvs")
        ):
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, NoRos())
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted({"onnx", "onnxscript", "tensorrt"} & {name.split(".")[0] for name in sys.modules}))
"""


def import_without_ros(*modules: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_SCRIPT, *modules]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_imports_need_neither_ros_nor_packages_for_engines() -> None:
    done = import_without_ros("pear_ros.cli.main", "pear_ros.pipeline", "pear_ros.offline.infer")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    "module", ["rclpy", "pear_ros.msg", "sensor_msgs.msg", "pear_ros.ros.node"]
)
def test_an_import_of_ros_fails(module: str) -> None:
    """So the test above would find it."""
    done = import_without_ros(module)
    assert done.returncode == 1
    assert "blocked: " in done.stderr
