"""Launch files without ROS's launch packages, which have no wheel.

`stand_ins` are fakes of the few classes that our launch files use. They check what a misspelt name
would break: arguments of a node, undeclared launch arguments, files that do not exist. They do not
check how ROS starts processes; `ros2 launch` itself has not been run (docs/installation.md).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from samples import ROOT

SHARE = "/share/pear_ros"  # of the installed package


class LaunchContext:
    def __init__(self) -> None:
        self.launch_configurations: dict[str, str] = {}
        self.environment = dict(os.environ)


class LaunchDescription:
    def __init__(self, entities: Iterable[Any]) -> None:
        self.entities = list(entities)


class LaunchConfiguration:
    def __init__(self, name: str) -> None:
        self._name = name

    def perform(self, context: LaunchContext) -> str:
        return context.launch_configurations[self._name]  # KeyError: not declared


class FindPackageShare:
    def __init__(self, package: str) -> None:
        assert package == "pear_ros"

    def perform(self, context: LaunchContext) -> str:
        return SHARE


class PathJoinSubstitution:
    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = list(parts)

    def perform(self, context: LaunchContext) -> str:
        return "/".join(performed(part, context) for part in self._parts)


class EnvironmentVariable:
    def __init__(self, name: str, *, default_value: str) -> None:
        self._name, self._default = name, default_value

    def perform(self, context: LaunchContext) -> str:
        return context.environment.get(self._name, self._default)


class ParameterValue:
    def __init__(self, value: Any, *, value_type: type) -> None:
        self._value, self._type = value, value_type

    def evaluate(self, context: LaunchContext) -> Any:
        text = performed(self._value, context)
        if self._type is bool:
            return {"true": True, "false": False}[text.lower()]
        return self._type(text)


class IfCondition:
    def __init__(self, predicate: Any) -> None:
        self._predicate = predicate

    def evaluate(self, context: LaunchContext) -> bool:
        return {"true": True, "false": False}[performed(self._predicate, context).lower()]


class DeclareLaunchArgument:
    def __init__(self, name: str, *, default_value: Any, description: str) -> None:
        self.name, self.description, self._default = name, description, default_value

    def visit(self, context: LaunchContext) -> None:
        context.launch_configurations.setdefault(self.name, performed(self._default, context))


class SetEnvironmentVariable:
    def __init__(self, name: str, value: Any) -> None:
        self._name, self._value = name, value

    def visit(self, context: LaunchContext) -> None:
        context.environment[self._name] = performed(self._value, context)


class LogInfo:
    def __init__(self, *, msg: str) -> None:
        pass

    def visit(self, context: LaunchContext) -> None:
        pass


class OpaqueFunction:
    def __init__(self, *, function: Any) -> None:
        self._function = function

    def visit(self, context: LaunchContext) -> list[Any]:
        return self._function(context)


class IncludeLaunchDescription:
    def __init__(self, source: Any, *, launch_arguments: Iterable[tuple[str, Any]]) -> None:
        self.source, self.arguments = source, dict(launch_arguments)


@dataclass
class Node:
    """The keywords are those of launch_ros's Node that we use."""

    package: str
    executable: str
    name: str | None = None
    namespace: str = ""
    output: str = "log"
    parameters: Any = ()
    remappings: Any = ()
    arguments: Any = ()
    ros_arguments: Any = ()
    additional_env: dict[str, str] = field(default_factory=dict)
    condition: Any = None


def stand_ins() -> dict[str, ModuleType]:
    """The fakes as modules, by the names under which launch files import them."""
    content: dict[str, tuple[Any, ...]] = {
        "launch": (LaunchContext, LaunchDescription),
        "launch.actions": (
            *(DeclareLaunchArgument, IncludeLaunchDescription, LogInfo, OpaqueFunction),
            SetEnvironmentVariable,
        ),
        "launch.conditions": (IfCondition,),
        "launch.substitutions": (EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution),
        "launch_ros": (),
        "launch_ros.actions": (Node,),
        "launch_ros.parameter_descriptions": (ParameterValue,),
        "launch_ros.substitutions": (FindPackageShare,),
    }
    modules = {name: ModuleType(name) for name in content}
    for name, members in content.items():
        vars(modules[name]).update({member.__name__: member for member in members})
    return modules


def performed(value: Any, context: Any) -> str:
    """The text of a string, a substitution or a list of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "".join(performed(part, context) for part in value)
    return value.perform(context)


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A launch file as a module, whose nodes and included files are those of this module."""
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for kind in (Node, IncludeLaunchDescription):
        if hasattr(module, kind.__name__):
            monkeypatch.setattr(module, kind.__name__, kind)
    return module


class Launched:
    """What `ros2 launch FILE name:=value ...` starts: the nodes, with all substitutions performed.

    Raises:
        KeyError: If a launch argument is used or given that the file does not declare.
    """

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, context: Any, **arguments: str
    ) -> None:
        self._monkeypatch = monkeypatch
        self.declared: dict[str, str] = {}  # descriptions by name
        self.nodes: dict[str, Node] = {}  # by executable
        self._launch(path, context, arguments)

    def _launch(self, path: Path, context: Any, arguments: dict[str, str]) -> None:
        context.launch_configurations.update(arguments)
        declared: set[str] = set()
        entities = load(path, self._monkeypatch).generate_launch_description().entities
        self._visit(entities, context, declared)
        if arguments.keys() - declared:
            raise KeyError(f"{path.name} has no arguments {arguments.keys() - declared}")

    def _visit(self, entities: Iterable[Any], context: Any, declared: set[str]) -> None:
        for entity in entities:
            if isinstance(entity, Node):
                self.nodes[entity.executable] = _performed_node(entity, context)
            elif isinstance(entity, IncludeLaunchDescription):
                values = {k: performed(v, context) for k, v in entity.arguments.items()}
                path = source_of(performed(entity.source, context))
                self._launch(path, context, values)
            else:
                if hasattr(entity, "default_value") or isinstance(entity, DeclareLaunchArgument):
                    declared.add(entity.name)
                    self.declared[entity.name] = entity.description
                self._visit(entity.visit(context) or (), context, declared)


def _performed_node(node: Node, context: Any) -> Node:
    return Node(
        package=node.package,
        executable=node.executable,
        name=node.name,
        namespace=performed(node.namespace, context),
        parameters=[
            {name: _evaluated(value, context) for name, value in given.items()}
            if isinstance(given, dict)
            else performed(given, context)
            for given in node.parameters
        ],
        remappings={performed(a, context): performed(b, context) for a, b in node.remappings},
        arguments=[performed(part, context) for part in node.arguments],
        ros_arguments=[performed(part, context) for part in node.ros_arguments],
        additional_env=node.additional_env,
        condition=node.condition is None or node.condition.evaluate(context),
    )


def _evaluated(value: Any, context: Any) -> Any:
    return value.evaluate(context) if hasattr(value, "evaluate") else value


def source_of(installed: str) -> Path:
    """The file in the source tree that CMake installs as `installed`."""
    inside = installed.partition("/share/pear_ros/")[2] or installed
    found = [path for path in (ROOT / inside, ROOT / "assets" / inside) if path.exists()]
    assert found, f"{installed} is not installed"
    return found[0]
