"""Reads the shell commands in Markdown pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samples import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "training/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^( *)(`{3,})([^\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
SEPARATORS = {"&&", "||", ";", "|"}
ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One command of a code block; what stands before it, as `cd x &&`, is another."""

    page: Path
    arguments: tuple[str, ...]  # the program's name first

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.arguments)}"


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The code blocks of a page in some languages, without their indentation."""
    for indent, _, language, body in FENCE.findall(page.read_text()):
        if language.strip() in languages:
            yield re.sub(f"^{indent}", "", body, flags=re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def commands(page: Path) -> Iterator[Command]:
    """The commands of all shell blocks, with the variables that a block sets filled in."""
    for block in blocks(page, "sh", "bash", "console"):
        variables: dict[str, str] = {}
        for line in block.replace("\\\n", " ").splitlines():
            for name, value in variables.items():
                line = re.sub(rf"\${name}\b", lambda _, value=value: value, line)
            for arguments in split(line):
                if len(arguments) == 1 and (found := ASSIGNMENT.fullmatch(arguments[0])):
                    variables[found[1]] = found[2]
                    continue
                while ASSIGNMENT.fullmatch(arguments[0]):  # set for this command alone
                    arguments = arguments[1:]
                yield Command(page, tuple(arguments))


def split(line: str) -> Iterator[list[str]]:
    """A line's commands as lists of words, comments left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in SEPARATORS:
            if words:
                yield words
            words = []
        else:
            words.append(word)
