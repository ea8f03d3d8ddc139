"""Makes autodoc read our docstrings as they are meant: plain text with code in backticks."""

from __future__ import annotations

import re
from typing import Any


def plain(lines: list[str]) -> list[str]:
    """Docstring lines in reStructuredText that shows every other mark as it is.

    Lines `name.py  text` of a folder's docstring become a list.
    """
    return [_escaped(_as_item(line)) for line in lines]


def _as_item(line: str) -> str:
    found = re.match(r"(\w+\.py) +(\S.*)", line)
    return f"- `{found[1]}`: {found[2]}" if found else line


def _escaped(line: str) -> str:
    parts = line.split("`")
    if len(parts) % 2 == 0 or "``" in line:  # a code span over two lines, or one already marked
        return line
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|]|\b_|_\b)", r"\\\1", parts[i])
    return "`".join(parts)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def setup(app: Any) -> dict[str, Any]:
    """Runs before napoleon, which turns Args and Raises into fields."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
