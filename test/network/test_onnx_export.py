"""The ONNX graph against torch, and what an export says of itself."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import DATA, ROOT, golden

from pear_ros.errors import ExportError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.network.onnx_export import OPSET, OUTPUTS, Onnx, export, read_onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CHECKPOINT = DATA / "network_tiny.pt"


@pytest.fixture(scope="module")
def half(network_config: NetworkConfig) -> PearNetwork:
    return load_network(CHECKPOINT, network_config, dtype=torch.float16)


@pytest.fixture(scope="module")
def path(network: PearNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export(network, "checkpoint's hash", path)
    return path


@pytest.fixture(scope="module")
def half_path(half: PearNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export_half") / "model.onnx"
    export(half, "checkpoint's hash", path)
    return path


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"crops": images}), strict=True))


# --- Numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [1, 3])
def test_graph_agrees_with_torch(path: Path, network: PearNetwork, people: int) -> None:
    images = golden("network_tiny")["images"][:people]
    expected = network(torch.from_numpy(images))
    for name, values in run(path, images).items():
        right = getattr(expected, name).numpy()
        assert values.shape == right.shape, name
        np.testing.assert_allclose(values, right, rtol=0, atol=1e-4, err_msg=name)


def test_float16_graph_agrees_with_torch(half_path: Path, network: PearNetwork) -> None:
    images = golden("network_tiny")["images"]
    expected = network(torch.from_numpy(images))
    for name, values in run(half_path, images).items():
        assert values.dtype == np.float32, name
        right = getattr(expected, name).numpy()
        assert np.linalg.norm(values - right) <= 2e-3 * np.linalg.norm(right), name


def test_layer_norm_in_an_export_is_torchs(half: PearNetwork) -> None:
    """Tokens like a trained network's: a few are large, where statistics in float16 overflow."""
    norm = half.backbone.blocks[0].norm1
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(50, 64, generator=random)
    tokens[:, 3] += 700  # its square is beyond 65504, float16's largest
    exported = torch.export.export(norm, (tokens.half(),)).module()
    torch.testing.assert_close(exported(tokens.half()), norm(tokens.half()), rtol=2e-3, atol=1e-3)


# --- The graph -----------------------------------------------------------------------------------


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_precisions_stand_in_the_graph(half_path: Path) -> None:
    model = onnx.load(half_path)
    types = types_of(model)
    kinds = Counter(
        (node.op_type, types[node.input[0]]) for node in model.graph.node if node.input[0]
    )
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert not kinds["LayerNormalization", half]
    assert kinds["LayerNormalization", single]
    assert kinds["Conv", half] == 1
    assert kinds["MatMul", half] >= 4  # the backbone's
    for exact in ("Reciprocal", "ReduceL2", "Div"):  # of the camera, of the rotations, of the image
        assert kinds[exact, single]
        assert not kinds[exact, half], exact


def test_interface(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(path)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [OPSET]
    assert [entry.name for entry in model.graph.input] == ["crops"]
    assert [entry.name for entry in model.graph.output] == list(OUTPUTS)
    for entry in (*model.graph.input, *model.graph.output):
        batch, *rest = entry.type.tensor_type.shape.dim
        assert batch.dim_param
        assert all(d.dim_value > 0 for d in rest)
    (use,) = [node for node in model.graph.node if "crops" in node.input]
    assert use.op_type == "Cast"  # all that TensorRT does with uint8


# --- Files ---------------------------------------------------------------------------------------


def test_the_hash_is_the_models(path: Path, network: PearNetwork, tmp_path: Path) -> None:
    again = export(network, "checkpoint's hash", tmp_path / "deep" / "model.onnx")
    assert again == read_onnx(path)
    assert again.precision == "float32"
    assert str(ROOT).encode() not in path.read_bytes()


def test_weights_lie_beside_the_graph(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
        "model.onnx.json",
    ]
    assert path.stat().st_size < path.with_name("model.onnx.data").stat().st_size


def copied(path: Path, folder: Path) -> Path:
    for file in path.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / path.name


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "model.onnx.json"])
def test_a_file_that_is_missing(path: Path, tmp_path: Path, name: str) -> None:
    path = copied(path, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ExportError, match=r"not a complete export.*pear-ros export"):
        read_onnx(path)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_a_file_that_has_changed(path: Path, tmp_path: Path, name: str) -> None:
    path = copied(path, tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ExportError, match="have changed since the export"):
        read_onnx(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": "x"}'])
def test_a_description_that_is_none(path: Path, tmp_path: Path, text: str) -> None:
    path = copied(path, tmp_path)
    (tmp_path / "model.onnx.json").write_text(text)
    with pytest.raises(ExportError, match="not a complete export"):
        read_onnx(path)


def test_a_folder_that_is_none(network: PearNetwork, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"):
        export(network, "", tmp_path / "file" / "model.onnx")


def test_an_export_that_breaks_off(
    network: PearNetwork, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(path, tmp_path)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.onnx.ONNXProgram.save", full)
    with pytest.raises(ExportError, match="No space left"):
        export(network, "", path)
    with pytest.raises(ExportError, match="not a complete export"):
        read_onnx(path)


def test_without_the_exporters_packages(
    network: PearNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "onnxscript"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("torch.onnx._internal.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match="pip install onnx onnxscript"):
        export(network, "", tmp_path / "model.onnx")


def test_bfloat16_is_not_in_the_opset(network_config: NetworkConfig, tmp_path: Path) -> None:
    network = load_network(CHECKPOINT, network_config, dtype=torch.bfloat16)
    with pytest.raises(ExportError, match="bfloat16 cannot be exported; use float16 or float32"):
        export(network, "", tmp_path / "model.onnx")


def test_description_round_trip(path: Path) -> None:
    onnx_ = read_onnx(path)
    assert isinstance(onnx_, Onnx)
    assert onnx_.checkpoint == "checkpoint's hash"
