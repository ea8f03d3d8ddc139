"""Writes config/pear.yaml from `pear_ros.config`: `python -m scripts.config_yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pear_ros.config import Config, settings

ROOT = Path(__file__).parents[1]


def as_yaml() -> str:
    """Returns a ROS parameter file with the default of every setting."""
    lines = [
        "# Written by `python -m scripts.config_yaml`; see docs/reference/parameters.md.",
        "/**:",
        "  ros__parameters:",
    ]
    group = ""
    for name, field in settings(Config).items():
        parent, _, leaf = name.rpartition(".")
        if parent and parent != group:
            lines.append(f"    {parent}:")
        group = parent
        indent = "      " if parent else "    "
        lines.append(f"{indent}{leaf}: {yaml_value(field.default)}")
    return "\n".join(lines) + "\n"


def yaml_value(value: Any) -> str:
    """Returns a setting's value as YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    # ROS cannot infer the type of an empty list; the node ignores empty names.
    return '[""]' if value == () else str(value)


if __name__ == "__main__":
    (ROOT / "config/pear.yaml").write_text(as_yaml())
