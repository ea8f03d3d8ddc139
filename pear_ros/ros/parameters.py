"""Settings as ROS parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from pear_ros.config import Checked, settings


def declare_parameters(node: Any, kind: type[Checked], read_only: bool = False) -> dict[str, Any]:
    """Declares a parameter for each setting of `kind`; returns their values by name.

    Raises:
        ParameterException: If a given value has the wrong type or is out of range.
    """
    values = {}
    for name, field in settings(kind).items():
        descriptor = _descriptor(field)
        descriptor.read_only = read_only
        default = _as_parameter(field.default)
        values[name] = as_setting(node.declare_parameter(name, default, descriptor).value)
    return values


def as_setting(value: Any) -> Any:
    """Converts a parameter's value to that of a settings field; drops empty names from lists."""
    if isinstance(value, list | tuple):
        return tuple(name for name in value if name)
    return value


def _as_parameter(value: Any) -> Any:
    """An empty list becomes [""], because ROS cannot infer the type of an empty list."""
    return (list(value) or [""]) if isinstance(value, tuple) else value


def _descriptor(setting: dataclasses.Field[Any]) -> ParameterDescriptor:
    metadata = setting.metadata
    descriptor = ParameterDescriptor(description=metadata["doc"])
    if metadata["choices"]:
        descriptor.additional_constraints = f"one of {', '.join(metadata['choices'])}"
    if metadata["bounds"]:
        low, high = metadata["bounds"]
        if isinstance(setting.default, int):
            span = IntegerRange(from_value=low, to_value=high, step=1)
            descriptor.integer_range = [span]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
