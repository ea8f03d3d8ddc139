"""The commands `pear-ros export` and `pear-ros build`. Against a fake of TensorRT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from exports import Model
from samples import DATA

import pear_ros.network
from pear_ros.cli.main import main
from pear_ros.errors import EngineError, ExportError, PearError
from pear_ros.network import onnx_export
from pear_ros.network.onnx_export import read_onnx

TINY = DATA / "network_tiny.pt"


@pytest.mark.usefixtures("quick_export")
def test_build_command(
    fake: Any, exported: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "pear.engine"
    build = ["build", "--checkpoint", str(exported.checkpoint), "--device", "cpu"]
    build += ["--backend", "tensorrt", "--dtype", "float32", "--output", str(engine)]
    assert main([*build, "--onnx", str(exported.onnx)]) == 0
    assert f"wrote {engine}" in capsys.readouterr().out
    fake.distort = lambda name, x: 1.02 * x
    assert main(build) == 1
    assert "not trusted: " in capsys.readouterr().err


@pytest.mark.usefixtures("quick_export")
def test_export_command(
    exported: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model.onnx"
    arguments = [
        "--checkpoint",
        str(exported.checkpoint),
        "--network-config",
        str(exported.sizes),
    ]
    assert main(["export", *arguments, "--dtype", "float32", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {output}" in printed
    assert "backbone in float32" in printed
    assert read_onnx(output) == read_onnx(exported.onnx)


@pytest.mark.slow
def test_the_export_is_in_float16_by_default(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    output = tmp_path / "model.onnx"
    assert main(["export", "--checkpoint", str(small_checkpoint), "--output", str(output)]) == 0
    assert "backbone in float16" in capsys.readouterr().out
    assert read_onnx(output).precision == "float16"


FILES = ["--checkpoint", str(TINY), "--network-config", str(TINY.with_suffix(".json"))]
ERRORS = {
    "no checkpoint": (["export", "--checkpoint", "/no/c.pt", "--output", "m"], "no checkpoint at"),
    "another size": (["export", *FILES[:2], "--output", "m"], "does not fit the network"),
    "folder": (["export", *FILES, "--output", "/proc/no/m.onnx"], "cannot be written"),
    "no tensorrt": (
        ["build", *FILES, "--backend", "tensorrt", "--output", "m"], "TensorRT is not installed",
    ),
    "no openvino": (["build", *FILES, "--output", "m"], "OpenVINO is not installed"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_are_reported(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tensorrt", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"pear_ros.network.{name}_engine", raising=False)
        monkeypatch.delattr(pear_ros.network, f"{name}_engine", raising=False)
    monkeypatch.setattr(onnx_export, "_program", lambda network: None)  # takes ten seconds
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_errors_are_shown_without_a_traceback() -> None:
    """`main` prints a PearError as one line."""
    assert issubclass(EngineError, PearError)
    assert issubclass(ExportError, PearError)
