"""Files around the code: pins that must agree, the size of the README and its picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from samples import ROOT

PINS = dict(
    re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
)


def test_hooks_have_the_versions_of_the_environment() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = dict(re.findall(r'"([\w-]+)==([\w.]+)"', hooks))
    assert {"ruff", "codespell", "clang-format"} == set(pinned)
    assert pinned == {name: PINS[name] for name in pinned}


def test_the_readme_fits_two_screens() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    assert text.index("docs/demo.webp") < text.index("make demo   ") < text.index("colcon build")


def test_the_picture_is_small_and_animated() -> None:
    data = (ROOT / "docs/demo.webp").read_bytes()
    assert len(data) <= 2_000_000
    assert data[:4] == b"RIFF"
    assert data.count(b"ANMF") > 10  # frames


def test_versions_agree() -> None:
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", "CONTRIBUTING.md"])
def test_one_script_is_what_ci_runs(path: str) -> None:
    assert ".ci/run" in (ROOT / path).read_text()
