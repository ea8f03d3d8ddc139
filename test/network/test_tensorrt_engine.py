"""Building and running TensorRT engines. All of it runs against a fake of TensorRT."""

from __future__ import annotations

import json
import operator
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import fake_tensorrt
from engines import GPU, both_versions
from exports import Model, copy_export

from pear_ros.errors import EngineError, ExportError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.engine import fixed_images, open_engine
from pear_ros.network.engine_file import build_engine
from pear_ros.network.onnx_export import OUTPUTS
from pear_ros.people import EhmParameters, map_tensors
from pear_ros.system.files import hash_files

# --- Building ------------------------------------------------------------------------------------


@both_versions
def test_build(fake: Any, engine_path: Path) -> None:
    assert fake.last_build == {
        "strongly typed": True,
        "TF32": False,
        "shapes": {"crops": tuple((n, 256, 256, 3) for n in (1, 4, 32))},
        "GPU of the timings": "fake GPU",
    }
    names = [p.name for p in sorted(engine_path.parent.iterdir())]
    assert names == ["pear.engine", "pear.engine.json", "pear.engine.timings"]


def test_progress_is_shown(
    fake: Any,
    exported: Model,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    build_engine(
        tmp_path / "pear.engine",
        exported.network,
        exported.checkpoint,
        exported.tensorrt,
        exported.onnx,
    )
    shown = capfd.readouterr().err
    assert "Building Engine" in shown
    assert "2/2" in shown
    assert "Timing" not in shown  # an inner phase


@both_versions
def test_manifest_of_an_engine(fake: Any, engine_path: Path, exported: Model) -> None:
    manifest = json.loads(Path(f"{engine_path}.json").read_text())
    assert manifest["key"] == {
        "checkpoint": hash_files(exported.checkpoint),
        "precision": "float32",
        "profile": "1/4/32",
        "backend": "tensorrt",
        "version": fake.__version__,
        "hardware": GPU,
    }
    assert manifest["onnx"] == hash_files(exported.onnx, Path(f"{exported.onnx}.data"))
    assert manifest["sha256"] == hash_files(engine_path)


@both_versions
@pytest.mark.parametrize(
    "timings",
    [
        pytest.param(b"rubbish", id="damaged"),
        pytest.param(fake_tensorrt.TIMINGS + b"another GPU", id="of another GPU"),
        pytest.param(b"", id="empty"),
    ],
)
def test_unusable_timings_are_replaced(
    fake: Any, engine_path: Path, exported: Model, timings: bytes
) -> None:
    Path(f"{engine_path}.timings").write_bytes(timings)
    build_engine(
        engine_path, exported.network, exported.checkpoint, exported.tensorrt, exported.onnx
    )
    assert Path(f"{engine_path}.timings").read_bytes() == fake_tensorrt.TIMINGS + b"fake GPU"
    assert fake.last_build["GPU of the timings"] == "fake GPU"


def test_without_a_model_the_network_is_exported(
    fake: Any, exported: Model, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "pear.engine"
    build_engine(path, exported.network, exported.checkpoint, exported.tensorrt)
    assert (
        open_engine(path, exported.network, exported.checkpoint, exported.tensorrt).device
        == exported.network.device
    )
    assert len(list(path.parent.iterdir())) == 3  # the exported model is deleted


@pytest.mark.parametrize(
    ("method", "message"),
    [
        pytest.param(
            "build_serialized_network",
            "no implementation found for node 7",
            id="no engine",
        ),
        pytest.param("add_optimization_profile", "the profile is not valid", id="profile refused"),
    ],
)
def test_a_failed_build_changes_no_file(
    fake: Any,
    exported: Model,
    engine_path: Path,
    method: str,
    message: str,
) -> None:
    before = {p.name: p.read_bytes() for p in engine_path.parent.iterdir()}
    fake.fails.add(method)
    with pytest.raises(EngineError, match=message):
        build_engine(
            engine_path, exported.network, exported.checkpoint, exported.tensorrt, exported.onnx
        )
    assert {p.name: p.read_bytes() for p in engine_path.parent.iterdir()} == before


def test_a_model_that_tensorrt_cannot_parse(
    fake: Any,
    exported: Model,
    engine_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake_tensorrt, "unsupported_part", lambda model: "no operator Foo")
    with pytest.raises(EngineError, match=r"cannot read .*model\.onnx: no operator Foo"):
        build_engine(
            engine_path, exported.network, exported.checkpoint, exported.tensorrt, exported.onnx
        )


def test_a_model_of_another_checkpoint(fake: Any, exported: Model, tmp_path: Path) -> None:
    other = copy_export(exported.onnx, tmp_path / "other")
    manifest = Path(f"{other}.json")
    described = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(described | {"checkpoint": "another hash"}))
    with pytest.raises(ExportError, match="another checkpoint"):
        build_engine(
            tmp_path / "pear.engine",
            exported.network,
            exported.checkpoint,
            exported.tensorrt,
            other,
        )


def test_a_model_in_another_precision(fake: Any, exported: Model, tmp_path: Path) -> None:
    half = load_network(exported.checkpoint, dtype=torch.float16)
    target = replace(exported.tensorrt, precision="float16")
    with pytest.raises(ExportError, match="float32, not float16"):
        build_engine(tmp_path / "pear.engine", half, exported.checkpoint, target, exported.onnx)


def test_a_folder_that_cannot_be_made(fake: Any, exported: Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="cannot be written"):
        build_engine(
            tmp_path / "file" / "pear.engine",
            exported.network,
            exported.checkpoint,
            exported.tensorrt,
            exported.onnx,
        )


# --- Running -------------------------------------------------------------------------------------


def assert_same(a: EhmParameters, b: EhmParameters) -> None:
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4)


@both_versions
def test_an_engine_agrees_with_the_network(fake: Any, engine_path: Path, exported: Model) -> None:
    """Also for no people, for padded batches, and for more people than one call takes."""
    engine = open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)
    images = fixed_images(70)
    expected = exported.network(images)
    for people in (slice(0), slice(1), slice(3, 4), slice(2), slice(3), slice(32), slice(70)):
        right = map_tensors(expected, operator.itemgetter(people))
        assert_same(engine(images[people]), right)


def test_the_next_call_does_not_change_an_answer(engine_path: Path, exported: Model) -> None:
    engine = open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)
    first = engine(fixed_images(2)[:1])
    kept = map_tensors(first, torch.clone)
    engine(fixed_images(2)[1:])
    assert_same(first, kept)


def test_outputs_are_aligned(engine_path: Path, exported: Model) -> None:
    """TensorRT needs addresses that are multiples of 256 bytes from the start of the buffer."""
    engine: Any = open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)
    for people, recording in engine._recordings.items():
        start = recording.outputs.data_ptr()
        addresses = [recording.context.get_tensor_address(name) for name in OUTPUTS]
        assert all((address - start) % 256 == 0 for address in addresses), people
        assert len(set(addresses)) == len(OUTPUTS)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        pytest.param("create_execution_context", "out of memory", id="no context"),
        pytest.param("execute_async_v3", "fallen off the bus", id="not executed"),
    ],
)
def test_errors_of_tensorrt_are_reported(
    fake: Any, engine_path: Path, exported: Model, method: str, message: str
) -> None:
    fake.fails.add(method)
    with pytest.raises(EngineError, match=message):
        open_engine(engine_path, exported.network, exported.checkpoint, exported.tensorrt)


@both_versions
def test_the_fake_refuses_incomplete_calls(fake: Any, engine_path: Path) -> None:
    """As the real TensorRT does."""
    logger = sys.modules["pear_ros.network.tensorrt_engine"].LOGGER  # type: ignore[attr-defined]
    engine = fake.Runtime(logger).deserialize_cuda_engine(engine_path.read_bytes())
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
