"""Without enough memory, a command says so, whatever runs out first."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from samples import ROOT

from pear_ros.cli import main as main_module
from pear_ros.cli.main import main
from pear_ros.system.memory import NO_MEMORY


@pytest.mark.parametrize("megabytes", [120, 500, 800])
def test_commands_under_a_limit(tmp_path: Path, megabytes: int) -> None:
    """Libraries cannot be mapped, or arrays not allocated; with 1,600 MB it would work."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20,) * 2)

    command = [sys.executable, "-m", "pear_ros.cli", "infer", "docs/evaluation/worst.jpg"]
    command += ["--detector", "full_frame", "--output", str(tmp_path / "people.npz")]
    done = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, preexec_fn=limit, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"pear-ros: {NO_MEMORY} (")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not said to need ROS 2."""

    def fail(*_: str) -> int:
        raise ImportError("librcl.so: failed to map segment from shared object")

    monkeypatch.setattr(main_module.nodes, "run", fail)
    assert main(["node"]) == 1
    reason = "librcl.so: failed to map segment from shared object"
    assert capsys.readouterr().err == f"pear-ros: {NO_MEMORY} ({reason})\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(5, "Input/output error")])
def test_other_errors_are_not_short_memory(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: str) -> int:
        raise error

    monkeypatch.setattr(main_module.nodes, "run", fail)
    with pytest.raises(type(error)):
        main(["node"])
