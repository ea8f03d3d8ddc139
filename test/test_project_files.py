"""Files around the code: pins that must agree, the size of the README and its picture."""

from __future__ import annotations

import re
import tomllib
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


# --- Python ---------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST = PROJECT["project"]["requires-python"].removeprefix(">=")


@pytest.mark.parametrize(
    "path",
    ["README.md", "CONTRIBUTING.md", "Makefile", "docs/installation.md", "docs/getting_started.md"],
)
def test_all_pages_name_the_oldest_python(path: str) -> None:
    assert re.findall(r"(3\.\d+) or newer", (ROOT / path).read_text()) == [OLDEST]


def test_ci_runs_the_oldest_python_and_a_newer_one() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    oldest, newest = re.findall(r'python-version: "(3\.\d+)"', workflow)
    assert oldest == OLDEST
    assert int(newest.split(".")[1]) > int(oldest.split(".")[1])


def test_linters_assume_the_oldest_python() -> None:
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{OLDEST.replace('.', '')}"


# --- Licences -------------------------------------------------------------------------------------


def test_non_commercial_software_is_installed_only_if_asked_for() -> None:
    assert "smplx" not in PINS
    assert re.search(r"^smplx==", (ROOT / "scripts/requirements-smplx.txt").read_text(), re.M)
    assert "$(if $(SMPLX),.venv/smplx.stamp)" in (ROOT / "Makefile").read_text()
    assert "export SMPLX=1" in (ROOT / ".ci/run").read_text()


def test_copyright() -> None:
    copyright_line = "Copyright 2026 pear_ros maintainers"
    assert copyright_line in (ROOT / "README.md").read_text()
    assert copyright_line in (ROOT / "NOTICE").read_text()
    assert PROJECT["project"]["license-files"] == ["LICENSE", "NOTICE"]


def test_messages_of_others_keep_their_licences() -> None:
    licences = {
        name: ElementTree.parse(ROOT / f"interfaces/{name}/package.xml").findtext("license")
        for name in ("tf2_msgs", "vision_msgs")
    }
    assert licences == {"tf2_msgs": "BSD-3-Clause", "vision_msgs": "Apache-2.0"}
