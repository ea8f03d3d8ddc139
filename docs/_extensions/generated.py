"""Reference pages made from the source: parameters, messages, commands.

In a page, ```` ```{generated} parameters ```` (or `camera_parameters`, `messages`, `commands`)
stands for what the function below returns. Nothing is written to disk, so nothing can go stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pear_ros.cli.main import make_parser  # noqa: E402
from pear_ros.config import Checked, Config, SyntheticCameraConfig, settings  # noqa: E402
from pear_ros.people import JOINT_NAMES  # noqa: E402

USAGE_WIDTH = 92
MESSAGES = ("HumanArray", "Human", "EhmParameters")  # from the outside in
JOINTS_PER_ROW = 5


# --- Parameters ----------------------------------------------------------------------------------


def parameters() -> str:
    """The node's parameters, in Markdown: a section and a table for each group."""
    sections = []
    for group in groups(Config):
        title = group or "Without a group"
        sections.append(f"## {title}\n\n{parameters_table(Config, group)}")
    return "\n\n".join(sections)


def camera_parameters() -> str:
    """The synthetic camera's parameters, in Markdown."""
    return parameters_table(SyntheticCameraConfig, "")


def groups(kind: type[Checked]) -> list[str]:
    """The groups of settings in order; "" for settings without one."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in settings(kind)))


def parameters_table(kind: type[Checked], group: str) -> str:
    """A Markdown table of one group's settings."""
    has_live = kind is Config  # no parameter of the synthetic camera can change while it runs
    rows = []
    for name, field in settings(kind).items():
        if name.rpartition(".")[0] == group:
            metadata = field.metadata
            row = (f"`{name}`", shown(field.default), range_of(metadata))
            live = "yes" if metadata["live"] else ""
            rows.append((*row, *has_live * (live,), cell(metadata["doc"])))
    return table(("parameter", "default", "range", *has_live * ("live",), "description"), rows)


def shown(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    # ROS cannot tell the type of an empty list; the node reads one empty name as none.
    return '`[""]`' if value == () else f"`{value}`"


def range_of(metadata: Any) -> str:
    """The choices or the bounds of a setting, with its unit."""
    if metadata["choices"]:
        return ", ".join(f"`{choice}`" for choice in metadata["choices"])
    if metadata["bounds"] is None:
        return ""
    low, high = metadata["bounds"]
    return f"{low} to {high} {metadata['unit']}".strip()


# --- Messages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A field or a constant of a message."""

    type: str
    name: str
    value: str | None  # of a constant
    comment: str


def messages() -> str:
    """All messages, in Markdown."""
    found = {path.stem for path in (ROOT / "msg").glob("*.msg")}
    names = [*MESSAGES, *sorted(found - set(MESSAGES))]
    return "\n\n".join(message(name) for name in names)


def message(name: str) -> str:
    """A message's section: its comments, its fields, its constants."""
    about, fields = read_message((ROOT / f"msg/{name}.msg").read_text())
    parts = [f"({anchor_of(name)})=\n## pear_ros/msg/{name}", about]
    rows = [(f"`{f.name}`", type_link(f.type), cell(f.comment)) for f in fields if f.value is None]
    parts.append(table(("field", "type", "description"), rows))
    constants = [f for f in fields if f.value is not None]
    if constants:
        values = [
            (f"`{f.name}`", f"`{f.type}`", constant_value(f), cell(f.comment)) for f in constants
        ]
        parts.append(table(("constant", "type", "value", "description"), values))
    for f in constants:
        if f.name == "JOINT_NAMES":
            parts += [
                "Index and name of each joint:",
                joint_table((f.value or "").strip('"').split()),
            ]
    return "\n\n".join(part for part in parts if part)


def constant_value(constant: Field) -> str:
    return "see below" if constant.name == "JOINT_NAMES" else f"`{constant.value}`"


def read_message(text: str) -> tuple[str, list[Field]]:
    """The comment at the top of a .msg file, and its fields with their comments.

    A comment in lines of its own belongs to the line that follows without a blank line.
    """
    about: list[str] = []
    above: list[str] = []
    fields: list[Field] = []
    for line in text.splitlines():
        declaration, _, comment = (part.strip() for part in line.partition("#"))
        if not declaration:
            if comment:
                above.append(comment)
            elif above and not fields:
                about += [*above, ""]
                above = []
            else:
                above = []
            continue
        kind, _, rest = declaration.partition(" ")
        name, is_constant, value = (part.strip() for part in rest.partition("="))
        told = " ".join([*above, comment]).strip()
        above = []
        fields.append(Field(kind, name, value if is_constant else None, told))
    return "\n".join(about).strip(), fields


def type_link(kind: str) -> str:
    """The type of a field; our own link to their section."""
    base = kind.partition("[")[0]
    if base in MESSAGES:
        return f"[{cell(kind)}](#{anchor_of(base)})"
    return f"`{kind}`"


def anchor_of(name: str) -> str:
    """The target of a message's section."""
    return f"msg-{name.lower()}"


def joint_table(names: list[str]) -> str:
    """Joints with their index, several in a row."""
    assert tuple(names) == JOINT_NAMES
    cells = [f"{i} `{name}`" for i, name in enumerate(names)]
    rows = [tuple(cells[i : i + JOINTS_PER_ROW]) for i in range(0, len(cells), JOINTS_PER_ROW)]
    return table(("joint",) * JOINTS_PER_ROW, rows)


# --- Commands ------------------------------------------------------------------------------------


def commands() -> str:
    """Every subcommand of `pear-ros`, in Markdown."""
    parser = make_parser()
    return "\n\n".join(command(sub, help_, 2) for sub, help_ in subcommands(parser))


def subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """The parsers of a parser's subcommands, with their short help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                yield sub, helps.get(name, "")


def command(parser: argparse.ArgumentParser, help_: str, level: int) -> str:
    """A subcommand's section: help, usage, arguments; then the sections of its own subcommands."""
    about = parser.description or help_
    parts = [f"{'#' * level} {parser.prog}", sentence(about)]
    nested = list(subcommands(parser))
    if not nested:
        parser.formatter_class = partial(argparse.HelpFormatter, width=USAGE_WIDTH)
        usage = parser.format_usage().strip().removeprefix("usage: ")
        usage = re.sub(r"\n {7}", "\n", usage)  # as deep as "usage: " was long
        parts.append(f"```text\n{usage}\n```")
        rows = [
            (argument_name(action), argument_values(action), cell(argument_help(parser, action)))
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        if rows:
            parts.append(table(("argument", "values", "description"), rows))
    parts += [command(sub, text, level + 1) for sub, text in nested]
    return "\n\n".join(parts)


def argument_name(action: argparse.Action) -> str:
    """An option as it is written; a positional argument by its placeholder."""
    if action.option_strings:
        return ", ".join(f"`{option}`" for option in action.option_strings)
    return f"`{action.metavar or action.dest}`"


def argument_values(action: argparse.Action) -> str:
    """What follows an option: choices, or a placeholder."""
    if action.choices:
        return ", ".join(f"`{choice}`" for choice in action.choices)
    if action.nargs == 0 or not action.option_strings:
        return ""
    placeholder = action.metavar or action.dest.rpartition(".")[2].upper()
    assert isinstance(placeholder, str)
    many = {"+": " ...", "*": " ..."}.get(str(action.nargs), "")
    return f"`{placeholder}{many}`"


def argument_help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An argument's help; adds a default that the help does not tell, and what is required."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    is_told = "default" in text
    default = action.default
    if action.option_strings and action.required:
        text = f"{text} (required)".strip()
    elif action.option_strings and action.nargs != 0 and default not in (None, "") and not is_told:
        text = f"{text} (default: {default})".strip()
    return text


# --- Markdown ------------------------------------------------------------------------------------


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    width = len(head)
    padded = [(*row, *("",) * (width - len(row))) for row in rows]
    lines = [head, ("---",) * width, *padded]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Text for a table's cell; code in backticks stays, other marks are shown as they are."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([|<*\[\]])", r"\\\1", parts[i])
    return "`".join(parts)


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = cell(text.strip())
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


GENERATORS: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "camera_parameters": camera_parameters,
    "messages": messages,
    "commands": commands,
}
SOURCES = (
    "pear_ros/config/*.py",
    "pear_ros/cli/*.py",
    "msg/*.msg",
    "docs/_extensions/generated.py",
)


def setup(app: Any) -> dict[str, Any]:
    """Registers the directive; Sphinx is imported here, as the tests run without it."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class Generated(SphinxDirective):
        required_arguments = 1

        def run(self) -> list[nodes.Node]:
            for pattern in SOURCES:
                for path in ROOT.glob(pattern):
                    self.env.note_dependency(str(path))
            text = GENERATORS[self.arguments[0]]()
            return self.parse_text_to_nodes(text, allow_section_headings=True)

    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
