"""Imports point down, ROS stays in ros/, and the top of the package is five files.

docs/design.md shows the table of folders; this test holds the source to it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import ROOT

PACKAGE = ROOT / "pear_ros"
FILES = sorted(PACKAGE.rglob("*.py"))
# From the bottom up: a folder or module imports only names of rows before its own.
LAYERS = (
    {"people", "errors", "problems"},
    {"config"},
    {"geometry", "system"},
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
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "geometry_msgs",
    "launch", "launch_ros", "lifecycle_msgs", "rcl_interfaces", "rclpy", "sensor_msgs",
    "sensor_msgs_py", "std_msgs", "std_srvs", "tf2_msgs", "vision_msgs", "visualization_msgs",
}  # fmt: skip


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions, by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folders_imported_by(path: Path) -> set[str]:
    """The folders and modules of pear_ros that a file imports."""
    parts = [name.split(".") for name in imported(path)]
    return {part[1] for part in parts if part[0] == "pear_ros" and len(part) > 1} - {"msg"}


def name_of(path: Path) -> str:
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
    names = set(imported(path))
    ros = {name for name in names if name.split(".")[0] in ROS or name.startswith("pear_ros.msg")}
    assert not ros or name_of(path) == "ros"


def test_five_files_are_at_the_top() -> None:
    top = {path.name for path in PACKAGE.glob("*.py")}
    five = {"pipeline.py", "people.py", "config.py", "errors.py", "problems.py"}
    assert top == five | {"__init__.py"}


def test_the_source_has_no_folder_that_the_build_generates() -> None:
    assert not {"msg", "srv", "action"} & {path.name for path in PACKAGE.iterdir()}


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES} - {PACKAGE}), ids=lambda path: path.name
)
def test_each_folder_names_its_files(folder: Path) -> None:
    """Its `__init__.py` is a docstring alone, a line for each file."""
    tree = ast.parse((folder / "__init__.py").read_text())
    assert len(tree.body) == 1
    named = re.findall(r"^(\w+\.py) ", ast.get_docstring(tree) or "", re.MULTILINE)
    assert sorted(named) == sorted(
        path.name for path in folder.glob("*.py") if not path.name.startswith("__")
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_fit_in_a_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
