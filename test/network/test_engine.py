"""Which engines are trusted and used, and what replaces the others. Against a fake of TensorRT."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import fake_tensorrt
from engines import both_versions, flip_a_bit, install
from exports import Model

from pear_ros.config import Config
from pear_ros.errors import EngineError, StaleEngineError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import (
    SMALL,
    TOLERANCES,
    TRIED_PEOPLE,
    choose_network,
    deviation,
    fixed_images,
    open_engine,
)
from pear_ros.network.engine_file import Key
from pear_ros.network.network import Network, PearNetwork
from pear_ros.network.onnx_export import OUTPUTS
from pear_ros.people import EhmParameters
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems

# --- Agreement with torch ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "factor",
    [pytest.param(0.9, id="within the tolerance"), pytest.param(1.2, id="outside")],
)
def test_the_tolerance_is_the_limit(
    fake: Any, engine_path: Path, exported: Model, factor: float
) -> None:
    allowed = TOLERANCES["float32"]
    fake.distort = lambda name, x: x * (1 + factor * allowed) if name == "betas" else x
    if factor < 1:
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)
        return
    with pytest.raises(EngineError, match=r"betas differs.* by 0\.12 % \(allowed: 0\.1 %\)"):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


@pytest.mark.parametrize("people", [1, 3, 4, 32], ids="{} people".format)
@pytest.mark.parametrize(
    ("name", "value"), [("camera_t", float("nan")), ("left_hand_pose", 5.0)], ids=["NaN", "wrong"]
)
def test_one_wrong_person_is_enough(
    fake: Any, engine_path: Path, exported: Model, people: int, name: str, value: float
) -> None:
    def distort(output: str, values: np.ndarray) -> np.ndarray:
        padded = {1: 1, 3: 4, 4: 4, 32: 32}[people]
        if output == name and len(values) == padded:
            values[people - 1] = value
        return values

    fake.distort = distort
    with pytest.raises(EngineError, match=f"not trusted.*{name}") as error:
        open_engine(
            engine_path, exported.network, exported.checkpoint, exported.tensorrt, TRIED_PEOPLE
        )
    assert not isinstance(error.value, StaleEngineError)  # a new build would be no better


class Scaled:
    """A network whose outputs are multiplied by known factors."""

    device = torch.device("cpu")
    description = ""

    def __init__(self, network: Network, **factors: float) -> None:
        self.network, self.factors = network, factors

    def __call__(self, crops: torch.Tensor) -> EhmParameters:
        answer = self.network(crops)
        changed = {name: getattr(answer, name) * x for name, x in self.factors.items()}
        return dataclasses.replace(answer, **changed)


def test_deviation(network: PearNetwork) -> None:
    assert deviation(network, network)[0] < 1e-5  # sums of another order
    found, name, _ = deviation(network, Scaled(network, betas=1.03, camera_t=1.07))
    assert (found, name) == (pytest.approx(0.07, rel=1e-3), "camera_t")


def test_the_deviation_is_that_of_the_worst_person(
    network: PearNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the mean, in which one wrong person among 32 would be within the tolerance."""

    def one_off(crops: torch.Tensor) -> EhmParameters:
        answer = network(crops)
        factor = torch.ones(len(crops), 1)
        factor[0] = 1.05
        return dataclasses.replace(answer, camera_t=answer.camera_t * factor)

    monkeypatch.setattr("pear_ros.network.engine.TRIED_PEOPLE", (32,))
    assert deviation(network, one_off)[0] == pytest.approx(0.05, rel=1e-3)


def test_deviation_of_small_values(network: PearNetwork) -> None:
    """Values far below SMALL differ by rounding, so their differences are relative to SMALL."""
    tiny = Scaled(network, **dict.fromkeys(OUTPUTS, 1e-3))
    found, _, _ = deviation(tiny, Scaled(tiny, **dict.fromkeys(OUTPUTS, 1.5)))
    answer = tiny(fixed_images(32))
    largest = max(getattr(answer, name).abs().max().item() for name in OUTPUTS)
    assert largest < SMALL
    assert found <= 0.5 * largest / SMALL


def test_the_fixed_images_give_different_people(network: PearNetwork) -> None:
    """Otherwise an engine that confuses people would pass."""
    answer = network(fixed_images(32))
    for name in ("body_pose", "betas"):
        rows = getattr(answer, name).flatten(1)
        nearest = (torch.cdist(rows, rows) + 1e9 * torch.eye(32)).min(1).values
        assert (nearest > TOLERANCES["float16"] * rows.norm(dim=1)).all(), name


def test_batches_that_agreement_is_measured_with() -> None:
    """One person, a padded batch, and the batches that engines are tuned for and limited to."""
    assert TRIED_PEOPLE == (1, 3, 4, 32)


# --- Keys and files ------------------------------------------------------------------------------


def test_an_engine_with_another_key_is_stale(engine_path: Path, exported: Model) -> None:
    manifest = json.loads(Path(f"{engine_path}.json").read_text())
    hardware = manifest["key"].pop("hardware")
    for name in (*manifest["key"], *hardware):
        other = json.loads(json.dumps(manifest))
        other["key"]["hardware"] = dict(hardware)
        (other["key"]["hardware"] if name in hardware else other["key"])[name] = "another"
        Path(f"{engine_path}.json").write_text(json.dumps(other))
        with pytest.raises(StaleEngineError, match=rf"built for {name} another \(here "):
            open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(0.0, id="first byte"),
        pytest.param(0.3, id="in the middle"),
        pytest.param(0.999, id="near the end"),
    ],
)
def test_a_damaged_engine_is_stale(engine_path: Path, exported: Model, where: float) -> None:
    flip_a_bit(engine_path, where)
    with pytest.raises(StaleEngineError, match="damaged"):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


def test_an_empty_engine_is_stale(engine_path: Path, exported: Model) -> None:
    engine_path.write_bytes(b"")
    with pytest.raises(StaleEngineError, match="damaged"):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


UNREADABLE_MANIFESTS = {
    "empty": "",
    "truncated": "{",
    "list": "[]",
    "no key": "{}",
    "empty key": '{"key": {}}',
    "key is a number": '{"key": 3}',
    "hardware is text": json.dumps(
        {"key": dict.fromkeys(Key.__annotations__, "x"), "onnx": "", "sha256": ""}
    ),
}


@pytest.mark.parametrize("text", UNREADABLE_MANIFESTS.values(), ids=UNREADABLE_MANIFESTS)
def test_an_unreadable_manifest_makes_an_engine_stale(
    engine_path: Path, exported: Model, text: str
) -> None:
    Path(f"{engine_path}.json").write_text(text)
    with pytest.raises(StaleEngineError, match=r"pear\.engine\.json cannot be read"):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


def test_an_engine_that_tensorrt_cannot_read_is_stale(
    fake: Any, engine_path: Path, exported: Model
) -> None:
    """For example after a driver update, which the key does not name."""
    fake.gpu = "fake GPU with another driver"
    with pytest.raises(StaleEngineError, match="another version or device"):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


def test_an_engine_with_other_outputs_is_stale(
    engine_path: Path, exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["pear_ros.network.tensorrt_engine"]
    monkeypatch.setattr(module, "OUTPUTS", (*OUTPUTS, "mood"))
    with pytest.raises(StaleEngineError, match="inputs and outputs"):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


# --- The choice between engine and torch ---------------------------------------------------------


def choose(
    path: Path | str, exported: Model, **settings: Any
) -> tuple[Network, list[str], dict[str, int]]:
    """The chosen network, the messages and the counts of problems."""
    messages: list[str] = []
    problems = Problems(messages.append)
    files = {
        "network.engine": str(path),
        "network.checkpoint": str(exported.checkpoint),
        "network.config": str(exported.sizes),
        "network.backend": "tensorrt",
    }
    config = Config.of(files | settings)
    return choose_network(exported.network, config, problems), messages, problems.counts()


def test_torch_without_the_setting(exported: Model) -> None:
    assert choose("", exported, **{"network.backend": "auto"}) == (exported.network, [], {})


def test_a_trusted_engine_is_used(engine_path: Path, exported: Model) -> None:
    chosen, messages, _ = choose(engine_path, exported)
    assert chosen.description.startswith("TensorRT 10.3.0 engine")
    assert not messages


def test_torch_if_the_engine_is_missing(fake: Any, exported: Model, tmp_path: Path) -> None:
    path = tmp_path / "pear.engine"
    chosen, (message,), counts = choose(path, exported)
    assert chosen is exported.network
    assert counts == {"engine_not_used": 1}
    assert "does not exist" in message
    assert (
        f"pear-ros build --backend tensorrt --checkpoint {exported.checkpoint} "
        f"--network-config {exported.sizes} --device cpu --dtype float32 --output {path}" in message
    )
    assert not list(tmp_path.iterdir())  # engines are built only if `build_engine` is set


def test_torch_if_the_engine_is_wrong(fake: Any, engine_path: Path, exported: Model) -> None:
    fake.distort = lambda name, x: 1.02 * x if name == "betas" else x
    engine = engine_path.read_bytes()
    chosen, (message,), _ = choose(engine_path, exported, **{"network.build_engine": True})
    assert chosen is exported.network
    assert "betas differs from torch's by 2 % (allowed: 0.1 %)" in message
    assert engine_path.read_bytes() == engine  # not built again: the result would be the same


@both_versions
@pytest.mark.parametrize("reason", ["missing", "damaged", "another TensorRT"])
@pytest.mark.usefixtures("quick_export")
def test_a_stale_engine_is_built_anew_on_request(
    fake: Any, engine_path: Path, exported: Model, reason: str
) -> None:
    if reason == "missing":
        engine_path.unlink()
    elif reason == "damaged":
        flip_a_bit(engine_path)
    else:
        manifest = json.loads(Path(f"{engine_path}.json").read_text())
        manifest["key"]["version"] = "10.2.0"
        Path(f"{engine_path}.json").write_text(json.dumps(manifest))
    assert choose(engine_path, exported)[0] is exported.network
    chosen, messages, _ = choose(engine_path, exported, **{"network.build_engine": True})
    assert chosen.description.startswith(f"TensorRT {fake.__version__} engine")
    assert not messages
    assert choose(engine_path, exported)[0] is not exported.network  # the new engine was stored


def test_torch_if_cuda_fails(
    engine_path: Path, exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    module = sys.modules["pear_ros.network.tensorrt_engine"]
    monkeypatch.setattr(module, "CudaStream", out_of_memory)
    chosen, (message,), _ = choose(engine_path, exported)
    assert chosen is exported.network
    assert "CUDA out of memory" in message


@pytest.mark.parametrize("build", [False, True], ids=["use", "build"])
def test_torch_without_tensorrt(
    exported: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: bool
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "pear_ros.network.tensorrt_engine", raising=False)
    chosen, (message,), _ = choose(
        tmp_path / "pear.engine", exported, **{"network.build_engine": build}
    )
    assert chosen is exported.network
    assert "TensorRT is not installed" in message


@pytest.mark.parametrize("version", ["10.2.0", "8.6.1", "12.0.0"])
def test_torch_with_an_unsupported_tensorrt(
    exported: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    install(monkeypatch, version)
    _, (message,), _ = choose(tmp_path / "pear.engine", exported)
    assert f"TensorRT {version} is installed; 10.3 to 11 are supported" in message


def test_torch_without_a_gpu(
    exported: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.make_fake("10.3.0"))
    (tmp_path / "pear.engine").touch()
    _, (message,), _ = choose(tmp_path / "pear.engine", exported, **{"network.build_engine": True})
    assert "needs an NVIDIA GPU" in message
    assert "device is cpu" in message


def test_torch_in_bfloat16(fake: Any, exported: Model, tmp_path: Path) -> None:
    network = load_network(exported.checkpoint, dtype=torch.bfloat16)
    rounded = dataclasses.replace(exported, network=network)
    _, (message,), _ = choose(tmp_path / "pear.engine", rounded, **{"network.build_engine": True})
    assert "bfloat16" in message


def test_the_pipeline_uses_the_engine(
    engine_path: Path, exported: Model, small_assets_path: Path
) -> None:
    config = Config.of(
        {
            "network.checkpoint": str(exported.checkpoint),
            "body.assets": str(small_assets_path),
            "network.device": "cpu",
            "network.dtype": "float32",
            "network.engine": str(engine_path),
            "network.backend": "tensorrt",
        }
    )
    pipeline = load_pipeline(config, Problems(pytest.fail))
    assert pipeline.description.startswith("TensorRT 10.3.0 engine")
