"""Writes config/pear.yaml from `pear_ros.config`: `python -m scripts.config_yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pear_ros.config import Config, settings

ROOT = Path(__file__).parents[1]


def as_yaml() -> str:
    """A ROS parameter file with every setting at its default."""
    lines = [
        "# Written by `python -m scripts.config_yaml`; docs/reference/parameters.md explains.",
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
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    # ROS cannot tell the type of an empty list; the node reads one empty name as none.
    return '[""]' if value == () else str(value)


if __name__ == "__main__":
    (ROOT / "config/pear.yaml").write_text(as_yaml())
