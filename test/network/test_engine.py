"""TensorRT engines: built, kept, recognised, trusted or not. Against a fake of TensorRT alone."""

from __future__ import annotations

import dataclasses
import importlib
import json
import operator
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
import fake_tensorrt
from samples import DATA, ROOT

import pear_ros.network
from pear_ros.cli.main import main
from pear_ros.config import Config
from pear_ros.errors import EngineError, ExportError, PearError, StaleEngineError
from pear_ros.network import engine as engine_module
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import (
    SMALL,
    TOLERANCES,
    build_engine,
    choose_network,
    deviation,
    fixed_images,
    open_engine,
)
from pear_ros.network.network import Network, PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.network.onnx_export import OUTPUTS, export
from pear_ros.people import EhmParameters, map_tensors
from pear_ros.pipeline import load_pipeline
from pear_ros.problems import Problems
from pear_ros.system.files import hash_files

CHECKPOINT = DATA / "network_tiny.pt"
SIZES = DATA / "network_tiny.json"
VERSIONS = ("10.3.0", "11.1.0.106")
GPU = {"gpu": "fake GPU", "compute_capability": "9.0", "cuda": "12.8"}


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> Any:
    """The fake in place of tensorrt, and the CPU in place of the GPU."""
    fake = fake_tensorrt.make_fake(version)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.delitem(sys.modules, "pear_ros.network.tensorrt_engine", raising=False)
    module = importlib.import_module("pear_ros.network.tensorrt_engine")
    monkeypatch.setattr(module, "CudaStream", fake_tensorrt.HostStream)
    monkeypatch.setattr(module, "describe_gpu", lambda device: dict(GPU))
    return fake


@pytest.fixture(autouse=True)
def _forget_the_fake() -> Iterator[None]:
    yield
    sys.modules.pop("pear_ros.network.tensorrt_engine", None)
    pear_ros.network.__dict__.pop("tensorrt_engine", None)


@pytest.fixture
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return install(monkeypatch, getattr(request, "param", VERSIONS[0]))


both_versions = pytest.mark.parametrize("fake", VERSIONS, indirect=True)


@pytest.fixture(scope="module")
def onnx_path(network: PearNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(network, hash_files(CHECKPOINT), path)
    return path


@pytest.fixture
def path(fake: Any, network: PearNetwork, onnx_path: Path, tmp_path: Path) -> Path:
    """An engine that fits."""
    path = tmp_path / "pear.engine"
    build_engine(path, network, CHECKPOINT, onnx_path)
    return path


def flip_a_bit(path: Path, where: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)


# --- Building ------------------------------------------------------------------------------------


@both_versions
def test_build(fake: Any, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fake.saw == {
        "strongly typed": True,
        "TF32": False,
        "shapes": {"crops": tuple((n, 256, 256, 3) for n in (1, 4, 32))},
        "timings of": "fake GPU",
    }
    names = [p.name for p in sorted(path.parent.iterdir())]
    assert names == ["pear.engine", "pear.engine.json", "pear.engine.timings"]


def test_progress_is_shown(
    fake: Any,
    network: PearNetwork,
    onnx_path: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    build_engine(tmp_path / "pear.engine", network, CHECKPOINT, onnx_path)
    shown = capfd.readouterr().err
    assert "Building Engine" in shown
    assert "2/2" in shown
    assert "Timing" not in shown  # a phase within it


@both_versions
def test_what_an_engine_depends_on_is_written(fake: Any, path: Path, onnx_path: Path) -> None:
    manifest = json.loads(Path(f"{path}.json").read_text())
    assert manifest["key"] == {
        "checkpoint": hash_files(CHECKPOINT),
        "precision": "float32",
        "profile": "1/4/32",
        "tensorrt": fake.__version__,
        **GPU,
    }
    assert manifest["onnx"] == hash_files(onnx_path, Path(f"{onnx_path}.data"))
    assert manifest["sha256"] == hash_files(path)


@both_versions
@pytest.mark.parametrize(
    "timings", [b"rubbish", fake_tensorrt.TIMINGS + b"another GPU", b""], ids=repr
)
def test_timings_that_do_not_fit_are_replaced(
    fake: Any, path: Path, network: PearNetwork, onnx_path: Path, timings: bytes
) -> None:
    Path(f"{path}.timings").write_bytes(timings)
    build_engine(path, network, CHECKPOINT, onnx_path)
    assert Path(f"{path}.timings").read_bytes() == fake_tensorrt.TIMINGS + b"fake GPU"
    assert fake.saw["timings of"] == "fake GPU"


def test_the_model_is_exported_where_none_is_given(
    fake: Any, network: PearNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "pear.engine"
    build_engine(path, network, CHECKPOINT)
    assert open_engine(path, network, CHECKPOINT).device == network.device
    assert len(list(path.parent.iterdir())) == 3  # the model is gone


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("build_serialized_network", "has built no engine: no implementation found for node 7"),
        ("add_optimization_profile", "takes no profile.*the profile is not valid"),
    ],
)
def test_a_build_that_fails(
    fake: Any, network: PearNetwork, onnx_path: Path, path: Path, method: str, told: str
) -> None:
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    fake.fails.add(method)
    with pytest.raises(EngineError, match=told):
        build_engine(path, network, CHECKPOINT, onnx_path)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


def test_a_model_that_tensorrt_does_not_read(
    fake: Any, network: PearNetwork, onnx_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    monkeypatch.setattr(fake_tensorrt, "what_is_unsupported", lambda model: "no operator Foo")
    with pytest.raises(EngineError, match=r"cannot read .*model\.onnx: no operator Foo"):
        build_engine(path, network, CHECKPOINT, onnx_path)


def test_a_model_of_another_checkpoint(fake: Any, network: PearNetwork, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    export(network, "another hash", other)
    with pytest.raises(ExportError, match="is of another checkpoint"):
        build_engine(tmp_path / "pear.engine", network, CHECKPOINT, other)


def test_a_model_in_another_precision(
    fake: Any, network_config: NetworkConfig, onnx_path: Path, tmp_path: Path
) -> None:
    half = load_network(CHECKPOINT, network_config, dtype=torch.float16)
    with pytest.raises(ExportError, match="float32, not float16"):
        build_engine(tmp_path / "pear.engine", half, CHECKPOINT, onnx_path)


def test_a_place_where_nothing_can_be_written(
    fake: Any, network: PearNetwork, onnx_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="cannot be written"):
        build_engine(tmp_path / "file" / "pear.engine", network, CHECKPOINT, onnx_path)


# --- Running -------------------------------------------------------------------------------------


def assert_same(a: EhmParameters, b: EhmParameters) -> None:
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4)


@both_versions
def test_an_engine_is_the_network(fake: Any, path: Path, network: PearNetwork) -> None:
    """Also of no people, of batches that are padded, and of more than fit into one call."""
    engine = open_engine(path, network, CHECKPOINT)
    images = fixed_images(70)
    expected = network(images)
    for people in (slice(0), slice(1), slice(3, 4), slice(2), slice(3), slice(32), slice(70)):
        right = map_tensors(expected, operator.itemgetter(people))
        assert_same(engine(images[people]), right)


def test_answers_stay_when_the_next_one_comes(path: Path, network: PearNetwork) -> None:
    engine = open_engine(path, network, CHECKPOINT)
    first = engine(fixed_images(2)[:1])
    kept = map_tensors(first, torch.clone)
    engine(fixed_images(2)[1:])
    assert_same(first, kept)


def test_outputs_are_aligned(path: Path, network: PearNetwork) -> None:
    """To 256 bytes, as TensorRT wants, where the memory they share is."""
    engine: Any = open_engine(path, network, CHECKPOINT)
    for people, recording in engine._recordings.items():
        start = recording.outputs.data_ptr()
        addresses = [recording.context.get_tensor_address(name) for name in OUTPUTS]
        assert all((address - start) % 256 == 0 for address in addresses), people
        assert len(set(addresses)) == len(OUTPUTS)


@pytest.mark.parametrize("method", ["create_execution_context", "execute_async_v3"])
def test_what_tensorrt_refuses_is_told(
    fake: Any, path: Path, network: PearNetwork, method: str
) -> None:
    fake.fails.add(method)
    with pytest.raises(EngineError, match=r"refused.*fallen off the bus|makes no .*out of memory"):
        open_engine(path, network, CHECKPOINT)


@both_versions
def test_the_fake_wants_what_the_real_one_wants(fake: Any, path: Path) -> None:
    logger = sys.modules["pear_ros.network.tensorrt_engine"].LOGGER  # type: ignore[attr-defined]
    engine = fake.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    context = engine.create_execution_context(fake.ExecutionContextAllocationStrategy.USER_MANAGED)
    assert not context.set_input_shape("crops", (33, 256, 256, 3))
    assert not context.set_tensor_address("x", 256)
    assert not context.execute_async_v3(1)
    assert context.set_input_shape("crops", (1, 256, 256, 3))
    assert not context.execute_async_v3(1)
    buffers = {name: torch.zeros(400_000) for name in ("crops", *OUTPUTS)}
    for name, buffer in buffers.items():
        assert context.set_tensor_address(name, buffer.data_ptr())
    assert not context.execute_async_v3(1)
    context.set_device_memory(256, engine.device_memory_size_v2)
    assert context.execute_async_v3(1)


# --- Trust ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.9, 1.2])
def test_the_tolerance_is_the_limit(
    fake: Any, path: Path, network: PearNetwork, factor: float
) -> None:
    allowed = TOLERANCES["float32"]
    fake.distort = lambda name, x: x * (1 + factor * allowed) if name == "betas" else x
    if factor < 1:
        open_engine(path, network, CHECKPOINT)
        return
    with pytest.raises(EngineError, match=r"betas differs.* by 0\.12 % \(allowed: 0\.1 %\)"):
        open_engine(path, network, CHECKPOINT)


@pytest.mark.parametrize("people", [1, 3, 4, 32])
@pytest.mark.parametrize(
    ("name", "value"), [("camera_t", float("nan")), ("left_hand_pose", 5.0)], ids=["NaN", "wrong"]
)
def test_one_wrong_person_is_enough(
    fake: Any, path: Path, network: PearNetwork, people: int, name: str, value: float
) -> None:
    def distort(output: str, values: np.ndarray) -> np.ndarray:
        padded = {1: 1, 3: 4, 4: 4, 32: 32}[people]
        if output == name and len(values) == padded:
            values[people - 1] = value
        return values

    fake.distort = distort
    with pytest.raises(EngineError, match=f"not trusted.*{name}") as error:
        open_engine(path, network, CHECKPOINT)
    assert not isinstance(error.value, StaleEngineError)  # another build would be no better


class Scaled:
    """Answers that are off by known amounts."""

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


def test_deviation_of_small_values(network: PearNetwork) -> None:
    """A thousandth of nearly nothing is rounding."""
    tiny = Scaled(network, **dict.fromkeys(OUTPUTS, 1e-3))
    found, _, _ = deviation(tiny, Scaled(tiny, **dict.fromkeys(OUTPUTS, 1.5)))
    largest = max(getattr(tiny(fixed_images(32)), name).abs().max().item() for name in OUTPUTS)
    assert largest < SMALL
    assert found <= 0.5 * largest / SMALL


def test_the_fixed_people_differ(network: PearNetwork) -> None:
    """Or people who were confused with each other would be missed."""
    answer = network(fixed_images(32))
    for name in ("body_pose", "betas"):
        rows = getattr(answer, name).flatten(1)
        nearest = (torch.cdist(rows, rows) + 1e9 * torch.eye(32)).min(1).values
        assert (nearest > TOLERANCES["float16"] * rows.norm(dim=1)).all(), name


# --- What fits -----------------------------------------------------------------------------------


def test_engines_that_do_not_fit(path: Path, network: PearNetwork) -> None:
    manifest = json.loads(Path(f"{path}.json").read_text())
    for name in manifest["key"]:
        other = json.loads(json.dumps(manifest))
        other["key"][name] = "another"
        Path(f"{path}.json").write_text(json.dumps(other))
        with pytest.raises(StaleEngineError, match=rf"built for {name} another \(here "):
            open_engine(path, network, CHECKPOINT)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.999])
def test_a_damaged_engine(path: Path, network: PearNetwork, where: float) -> None:
    flip_a_bit(path, where)
    with pytest.raises(StaleEngineError, match="it is damaged"):
        open_engine(path, network, CHECKPOINT)


def test_an_empty_engine(path: Path, network: PearNetwork) -> None:
    path.write_bytes(b"")
    with pytest.raises(StaleEngineError, match="it is damaged"):
        open_engine(path, network, CHECKPOINT)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": {}}', '{"key": 3}'])
def test_a_description_that_is_none(path: Path, network: PearNetwork, text: str) -> None:
    Path(f"{path}.json").write_text(text)
    with pytest.raises(StaleEngineError, match=r"pear\.engine\.json cannot be read"):
        open_engine(path, network, CHECKPOINT)


def test_an_engine_that_tensorrt_does_not_read(fake: Any, path: Path, network: PearNetwork) -> None:
    """As where the driver has changed, of which the key says nothing."""
    fake.gpu = "fake GPU with another driver"
    with pytest.raises(StaleEngineError, match=r"does not read it: .*another version or device"):
        open_engine(path, network, CHECKPOINT)


def test_engines_with_other_outputs(
    path: Path, network: PearNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["pear_ros.network.tensorrt_engine"]
    monkeypatch.setattr(module, "OUTPUTS", (*OUTPUTS, "mood"))
    with pytest.raises(StaleEngineError, match="other inputs and outputs"):
        open_engine(path, network, CHECKPOINT)


# --- What the node does --------------------------------------------------------------------------


def choose(
    path: Path | str, network: PearNetwork, **settings: Any
) -> tuple[Network, list[str], dict[str, int]]:
    told: list[str] = []
    problems = Problems(told.append)
    files = {
        "network.engine": str(path),
        "network.checkpoint": str(CHECKPOINT),
        "network.config": str(SIZES),
    }
    config = Config.of(files | settings)
    return choose_network(network, config, problems), told, problems.counts()


def test_torch_where_no_engine_is_asked_for(network: PearNetwork) -> None:
    assert choose("", network) == (network, [], {})


def test_the_engine_where_it_is_trusted(path: Path, network: PearNetwork) -> None:
    chosen, told, _ = choose(path, network)
    assert chosen.description.startswith("engine of TensorRT")
    assert not told


def test_torch_where_there_is_no_engine(fake: Any, network: PearNetwork, tmp_path: Path) -> None:
    path = tmp_path / "pear.engine"
    chosen, (told,), counts = choose(path, network)
    assert chosen is network
    assert counts == {"engine_not_used": 1}
    assert "it does not exist" in told
    assert (
        f"pear-ros build --checkpoint {CHECKPOINT} --network-config {SIZES} --device cpu "
        f"--dtype float32 --output {path}" in told
    )
    assert not list(tmp_path.iterdir())  # nothing is built unasked


def test_torch_where_the_engine_is_wrong(fake: Any, path: Path, network: PearNetwork) -> None:
    fake.distort = lambda name, x: 1.02 * x if name == "betas" else x
    engine = path.read_bytes()
    chosen, (told,), _ = choose(path, network, **{"network.build_engine": True})
    assert chosen is network
    assert "betas differs from torch's by 2 % (allowed: 0.1 %)" in told
    assert path.read_bytes() == engine  # it would come out the same


@both_versions
@pytest.mark.parametrize("how", ["missing", "damaged", "foreign"])
def test_build_engine(fake: Any, path: Path, network: PearNetwork, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        flip_a_bit(path)
    else:
        manifest = json.loads(Path(f"{path}.json").read_text())
        manifest["key"]["tensorrt"] = "10.2.0"
        Path(f"{path}.json").write_text(json.dumps(manifest))
    assert choose(path, network)[0] is network
    chosen, told, _ = choose(path, network, **{"network.build_engine": True})
    assert chosen.description.startswith("engine of TensorRT")
    assert not told
    assert choose(path, network)[0] is not network  # it stays


def test_torch_where_cuda_fails(
    path: Path, network: PearNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    module = sys.modules["pear_ros.network.tensorrt_engine"]
    monkeypatch.setattr(module, "CudaStream", out_of_memory)
    chosen, (told,), _ = choose(path, network)
    assert chosen is network
    assert "CUDA out of memory" in told


@pytest.mark.parametrize("build", [False, True])
def test_torch_without_tensorrt(
    network: PearNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: bool
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "pear_ros.network.tensorrt_engine", raising=False)
    chosen, (told,), _ = choose(
        tmp_path / "pear.engine", network, **{"network.build_engine": build}
    )
    assert chosen is network
    assert "TensorRT is not installed" in told


@pytest.mark.parametrize("version", ["10.2.0", "8.6.1", "12.0.0"])
def test_torch_with_a_tensorrt_of_another_age(
    network: PearNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    install(monkeypatch, version)
    _, (told,), _ = choose(tmp_path / "pear.engine", network)
    assert f"TensorRT {version} is installed; 10.3 to 11 are supported" in told


def test_torch_without_a_gpu(
    network: PearNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.make_fake("10.3.0"))
    (tmp_path / "pear.engine").touch()
    _, (told,), _ = choose(tmp_path / "pear.engine", network, **{"network.build_engine": True})
    assert "an engine needs an NVIDIA GPU, and the device is cpu" in told


def test_torch_in_bfloat16(fake: Any, network_config: NetworkConfig, tmp_path: Path) -> None:
    network = load_network(CHECKPOINT, network_config, dtype=torch.bfloat16)
    _, (told,), _ = choose(tmp_path / "pear.engine", network, **{"network.build_engine": True})
    assert "there are no engines in bfloat16" in told


def test_the_pipeline_has_it(
    path: Path, small_assets_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.of(
        {
            "network.checkpoint": str(CHECKPOINT),
            "network.config": str(SIZES),
            "body.assets": str(small_assets_path),
            "network.device": "cpu",
            "network.dtype": "float32",
            "network.engine": str(path),
        }
    )
    pipeline = load_pipeline(config, Problems(pytest.fail))
    assert pipeline.description.startswith("engine of TensorRT")


def test_nothing_of_it_is_imported_unasked() -> None:
    command = (
        "import sys, pear_ros.pipeline; "
        "print(sorted({'tensorrt', 'onnx', 'onnxscript'} & {m.split('.')[0] for m in sys.modules}))"
    )
    root = ROOT
    assert subprocess.check_output([sys.executable, "-c", command], cwd=root, text=True) == "[]\n"


# --- Commands ------------------------------------------------------------------------------------

FILES = ["--checkpoint", str(CHECKPOINT), "--network-config", str(SIZES)]


def test_commands(fake: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, engine = tmp_path / "model.onnx", tmp_path / "pear.engine"
    assert main(["export", *FILES, "--dtype", "float32", "--output", str(model)]) == 0
    assert f"wrote {model}" in capsys.readouterr().out
    build = ["build", *FILES, "--device", "cpu", "--dtype", "float32", "--output", str(engine)]
    assert main([*build, "--onnx", str(model)]) == 0
    assert f"wrote {engine}, which agrees with PyTorch" in capsys.readouterr().out
    fake.distort = lambda name, x: 1.02 * x
    assert main(build) == 1
    assert "it is not trusted: " in capsys.readouterr().err


def test_the_export_is_in_float16_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *FILES, "--output", str(tmp_path / "model.onnx")]) == 0
    assert "backbone in float16" in capsys.readouterr().out


MENDABLE = {
    "no checkpoint": (["export", "--checkpoint", "/no/c.pt", "--output", "m"], "no checkpoint at"),
    "another size": (["export", *FILES[:2], "--output", "m"], "does not fit the network"),
    "folder": (["export", *FILES, "--output", "/proc/no/m.onnx"], "cannot be written"),
    "no tensorrt": (["build", *FILES, "--output", "m"], "TensorRT is not installed"),
}


@pytest.mark.parametrize(("arguments", "told"), MENDABLE.values(), ids=MENDABLE)
def test_what_the_user_can_mend(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(arguments) == 1
    assert told in capsys.readouterr().err


def test_every_error_is_one_that_is_told() -> None:
    assert issubclass(EngineError, PearError)
    assert issubclass(ExportError, PearError)
    assert engine_module.TRIED_PEOPLE == (1, 3, 4, 32)
