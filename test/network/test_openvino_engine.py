"""Engines of OpenVINO, with OpenVINO itself on this CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("openvino")
from engines import flip_a_bit
from exports import Model

from pear_ros.cli.main import main
from pear_ros.config import Config
from pear_ros.errors import EngineError, StaleEngineError
from pear_ros.network import openvino_engine
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import choose_network, deviation, fixed_images, open_engine
from pear_ros.network.engine_file import build_engine, path_of_engine
from pear_ros.network.network import Network
from pear_ros.network.onnx_export import OUTPUTS
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems


@pytest.fixture(scope="module")
def built(exported: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the small network; must not be changed."""
    path = tmp_path_factory.mktemp("openvino") / "pear.engine"
    build_engine(path, exported.network, exported.checkpoint, exported.openvino, exported.onnx)
    return path


@pytest.fixture
def engine_path(built: Path, tmp_path: Path) -> Path:
    """A copy that tests may damage."""
    for file in built.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / built.name


def opened(path: Path, exported: Model) -> Network:
    return open_engine(path, exported.network, exported.checkpoint, exported.openvino)


def choose(
    path: Path | str, exported: Model, **settings: Any
) -> tuple[Network, list[str], dict[str, int]]:
    """The chosen network, the messages and the counts of problems."""
    messages: list[str] = []
    problems = Problems(messages.append)
    files = {"network.engine": str(path), "network.checkpoint": str(exported.checkpoint)}
    chosen = choose_network(exported.network, Config.of(files | settings), problems)
    return chosen, messages, problems.counts()


# --- Building and running ------------------------------------------------------------------------


def test_files_of_an_engine(built: Path, exported: Model) -> None:
    assert sorted(p.name for p in built.parent.iterdir()) == ["pear.engine", "pear.engine.json"]
    key = json.loads(Path(f"{built}.json").read_text())["key"]
    assert (key["backend"], key["precision"]) == ("openvino", "float32")
    assert key["version"] == openvino_engine.require_version()
    assert key["hardware"]["device"] == "CPU"
    assert key["hardware"]["processor"]


@pytest.mark.parametrize("people", [*range(1, 9), 15, 16, 17, 31, 32, 33])
def test_any_number_of_people(built: Path, exported: Model, people: int) -> None:
    engine = opened(built, exported)
    crops = fixed_images(people)
    with torch.inference_mode():
        expected = exported.network(crops)
    found = engine(crops)
    for name in OUTPUTS:
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-3, atol=1e-4
        )


def test_results_stay_when_it_runs_again(built: Path, exported: Model) -> None:
    engine = opened(built, exported)
    crops = fixed_images(4)
    first = engine(crops[:2])
    kept = first.betas.clone()
    engine(crops[2:])
    torch.testing.assert_close(first.betas, kept, rtol=0, atol=0)


def test_crops_need_not_be_contiguous(built: Path, exported: Model) -> None:
    engine = opened(built, exported)
    crops = fixed_images(6)
    every_other = engine(crops[::2])
    torch.testing.assert_close(every_other.betas, engine(crops[::2].contiguous()).betas)


def test_no_telemetry(built: Path) -> None:
    """OpenVINO's Python tools send some if its package can be imported."""
    code = (
        "import sys; from pear_ros.network import openvino_engine; import openvino.tools.ovc\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("telemetry_stub")


def test_threads_are_a_setting(
    built: Path, exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    properties = openvino_engine._properties
    monkeypatch.setattr(
        openvino_engine, "_properties", lambda target: given.append(properties(target)) or given[-1]
    )
    for threads in (0, 1):
        target = replace(exported.openvino, threads=threads)
        open_engine(built, exported.network, exported.checkpoint, target)
    assert [p["INFERENCE_NUM_THREADS"] for p in given] == [torch.get_num_threads(), 1]


def test_memory_does_not_grow(built: Path, exported: Model) -> None:
    """It keeps something for each number of people, but no more when they come again."""
    code = f"""
from pathlib import Path
import torch
from pear_ros.network.engine import fixed_images
from pear_ros.network.engine_backend import Target
from pear_ros.network.openvino_engine import load_network
engine = load_network(Path({str(built)!r}), Target("openvino", torch.device("cpu"), "float32"))
crops = fixed_images(33)
for _ in range(6):
    for people in range(1, 34):
        engine(crops[:people])
    print(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kib = [int(line) for line in done.stdout.split()]
    assert max(kib[2:]) < kib[1] + 10_000


# --- Which engines are used ----------------------------------------------------------------------


def test_a_trusted_engine_is_used(built: Path, exported: Model) -> None:
    chosen, messages, counts = choose(built, exported)
    assert chosen.description.startswith("OpenVINO 20")
    assert chosen.description.endswith("engine in float32 on CPU")
    assert (messages, counts) == ([], {})
    assert choose(built, exported, **{"network.backend": "torch"})[0] is exported.network


def test_an_engine_with_other_weights_is_refused(
    built: Path, exported: Model, tmp_path: Path
) -> None:
    """Its manifest is forged: the outputs tell."""
    other = load_network(exported.checkpoint)
    with torch.no_grad():
        other.head.decoders.bias += 0.5
    forged = tmp_path / "pear.engine"
    build_engine(forged, other, exported.checkpoint, exported.openvino)
    with pytest.raises(EngineError, match="not trusted") as raised:
        opened(forged, exported)
    assert not isinstance(raised.value, StaleEngineError)
    chosen, (message,), counts = choose(forged, exported)
    assert chosen is exported.network
    assert counts == {"engine_not_used": 1}
    assert "pear-ros build" not in message  # it would be the same again


@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_a_flipped_bit_is_found(engine_path: Path, exported: Model, where: float) -> None:
    flip_a_bit(engine_path, where)
    with pytest.raises(StaleEngineError, match="damaged"):
        opened(engine_path, exported)


@pytest.mark.parametrize("damage", ["cut", "rubbish"])
def test_damage_behind_a_right_checksum_is_found(
    engine_path: Path, exported: Model, damage: str
) -> None:
    """OpenVINO itself refuses it."""
    content = engine_path.read_bytes()
    engine_path.write_bytes(content[: len(content) // 3] if damage == "cut" else b"pear" * 1000)
    manifest = json.loads(Path(f"{engine_path}.json").read_text())
    manifest["sha256"] = openvino_engine_sha256(engine_path)
    Path(f"{engine_path}.json").write_text(json.dumps(manifest))
    with pytest.raises(StaleEngineError, match=r"OpenVINO cannot read it: .{20}") as raised:
        opened(engine_path, exported)
    assert "\n" not in str(raised.value)
    assert "Exception from" not in str(raised.value)  # a place in OpenVINO's source


def openvino_engine_sha256(path: Path) -> str:
    from pear_ros.system.files import hash_files

    return hash_files(path)


def test_an_engine_of_another_version_is_stale(
    built: Path, exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "require_version", lambda: "2031.2.0")
    with pytest.raises(StaleEngineError, match=r"version 20.* \(here 2031\.2\.0\)"):
        opened(built, exported)


def test_old_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine.ov, "get_version", lambda: "2024.6.0-17404-abc")
    with pytest.raises(EngineError, match=r"OpenVINO 2024\.6\.0.* is installed; 2025\.0 or newer"):
        openvino_engine.require_version()


def test_an_engine_of_the_other_backend_is_stale(fake: Any, built: Path, exported: Model) -> None:
    """With the fake of TensorRT."""
    with pytest.raises(StaleEngineError, match=r"backend openvino \(here tensorrt\)"):
        open_engine(built, exported.network, exported.checkpoint, exported.tensorrt)


def test_the_precision_is_the_one_that_is_computed(
    exported: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some CPUs compute float32 whatever is asked for."""
    network = load_network(exported.checkpoint, dtype=torch.bfloat16)
    target = replace(exported.openvino, precision="bfloat16")
    path = tmp_path / "pear.engine"
    build_engine(path, network, exported.checkpoint, target, exported.onnx)
    found = open_engine(path, network, exported.checkpoint, target).description
    has_bfloat16 = "BF16" in openvino_engine.ov.Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    )
    assert f"in {'bfloat16' if has_bfloat16 else 'float32'} on CPU" in found


def test_a_device_that_is_not_there(exported: Model, tmp_path: Path) -> None:
    """This machine has no GPU of Intel."""
    target = replace(exported.openvino, openvino_device="GPU")
    with pytest.raises(EngineError, match="OpenVINO finds no GPU here, only CPU"):
        build_engine(tmp_path / "e", exported.network, exported.checkpoint, target, exported.onnx)
    assert not list(tmp_path.iterdir())


def test_the_pipeline_uses_the_engine(
    built: Path, exported: Model, small_assets_path: Path
) -> None:
    config = Config.of(
        {
            "network.checkpoint": str(exported.checkpoint),
            "body.assets": str(small_assets_path),
            "network.device": "cpu",
            "network.dtype": "float32",
            "network.engine": str(built),
            "detection.detector": "topic",
        }
    )
    assert load_pipeline(config, Problems(print)).description.startswith("OpenVINO")


# --- Engines that are found ----------------------------------------------------------------------


@pytest.fixture
def found_engine(
    built: Path, exported: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The engine where `pear-ros build` writes it without --output."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = path_of_engine(exported.checkpoint, exported.openvino)
    path.parent.mkdir(parents=True)
    for suffix in ("", ".json"):
        Path(f"{path}{suffix}").write_bytes(Path(f"{built}{suffix}").read_bytes())
    return path


def test_an_engine_is_found_without_a_setting(found_engine: Path, exported: Model) -> None:
    chosen, messages, _ = choose("", exported)
    assert chosen.description.startswith("OpenVINO")
    assert not messages
    assert choose("", exported, **{"network.backend": "torch"})[0] is exported.network
    assert choose("", exported, **{"network.openvino_device": "GPU"})[0] is exported.network


def test_an_engine_that_was_found_but_is_damaged(found_engine: Path, exported: Model) -> None:
    flip_a_bit(found_engine)
    chosen, (message,), counts = choose("", exported)
    assert chosen is exported.network
    assert counts == {"engine_not_used": 1}
    assert "damaged" in message
    assert message.partition("pear-ros build ")[2].startswith(
        f"--backend openvino --checkpoint {exported.checkpoint} --device cpu --dtype float32 ("
    )


@pytest.mark.parametrize(
    "settings", [{"network.backend": "openvino"}, {"network.build_engine": True}], ids=str
)
def test_an_engine_that_is_asked_for_but_missing(
    exported: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """It is built on request; else the reason is told."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen, messages, counts = choose("", exported, **settings)
    if "network.build_engine" in settings:
        assert chosen.description.startswith("OpenVINO")
        return
    assert counts == {"engine_not_used": 1}
    assert "it does not exist; build a new one: pear-ros build" in messages[0]


def test_folders_that_cannot_be_read_have_no_engine(
    exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/1/fd" if os.getuid() else "/proc/none")
    assert choose("", exported) == (exported.network, [], {})
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # XDG says to ignore it
    path = path_of_engine(Path(240 * "c"), exported.openvino)
    assert path.is_absolute()
    assert len(path.name) < 200


def test_checkpoints_with_the_same_name_have_engines_of_their_own(exported: Model) -> None:
    paths = {path_of_engine(Path(folder, "model.pt"), exported.openvino) for folder in "ab"}
    paths.add(path_of_engine(Path("a", "model.pt"), exported.tensorrt))
    assert len(paths) == 3


# --- Commands ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_export")
def test_build_command(
    exported: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without --output it goes to the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine = path_of_engine(exported.checkpoint, exported.openvino)
    build = ["build", "--checkpoint", str(exported.checkpoint), "--dtype", "float32"]
    assert main([*build, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert f"wrote {engine}, whose outputs agree with PyTorch's: OpenVINO" in said
    found = opened(engine, exported)
    assert deviation(exported.network, found)[0] < 1e-4
