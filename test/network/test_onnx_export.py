"""The ONNX graph against torch, and the files of an export."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import copy_export
from samples import DATA, ROOT, golden

from pear_ros.errors import ExportError
from pear_ros.network import onnx_export
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.network.onnx_export import OPSET, OUTPUTS, Onnx, export, read_onnx
from pear_ros.system.files import hash_files

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CHECKPOINT = DATA / "network_tiny.pt"


@pytest.fixture(scope="module")
def half(network_config: NetworkConfig) -> PearNetwork:
    return load_network(CHECKPOINT, network_config, dtype=torch.float16)


@pytest.fixture(scope="module")
def half_onnx_path(half: PearNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("export_half") / "model.onnx"
    export(half, "hash of the checkpoint", path)
    return path


def run_graph(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"crops": images}), strict=True))


# --- Numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [1, 3], ids="{} people".format)
def test_graph_agrees_with_torch(onnx_path: Path, network: PearNetwork, people: int) -> None:
    images = golden("network_tiny")["images"][:people]
    expected = network(torch.from_numpy(images))
    for name, values in run_graph(onnx_path, images).items():
        right = getattr(expected, name).numpy()
        assert values.shape == right.shape, name
        np.testing.assert_allclose(values, right, rtol=0, atol=1e-4, err_msg=name)


def test_float16_graph_agrees_with_torch(half_onnx_path: Path, network: PearNetwork) -> None:
    images = golden("network_tiny")["images"]
    expected = network(torch.from_numpy(images))
    for name, values in run_graph(half_onnx_path, images).items():
        assert values.dtype == np.float32, name
        right = getattr(expected, name).numpy()
        assert np.linalg.norm(values - right) <= 2e-3 * np.linalg.norm(right), name


def test_exported_layer_norm_agrees_with_torch(half: PearNetwork) -> None:
    """For tokens like those of a trained network: a few are so large that float16 sums overflow."""
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


def test_precisions_in_the_graph(half_onnx_path: Path) -> None:
    model = onnx.load(half_onnx_path)
    types = types_of(model)
    kinds = Counter(
        (node.op_type, types[node.input[0]]) for node in model.graph.node if node.input[0]
    )
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert not kinds["LayerNormalization", half]
    assert kinds["LayerNormalization", single]
    assert kinds["Conv", half] == 1
    assert kinds["MatMul", half] >= 4  # those of the backbone
    for exact in ("Reciprocal", "ReduceL2", "Div"):  # camera, rotations, normalised image
        assert kinds[exact, single]
        assert not kinds[exact, half], exact


def test_interface(onnx_path: Path) -> None:
    model = onnx.load(onnx_path, load_external_data=False)
    onnx.checker.check_model(onnx_path)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [OPSET]
    assert [entry.name for entry in model.graph.input] == ["crops"]
    assert [entry.name for entry in model.graph.output] == list(OUTPUTS)
    for entry in (*model.graph.input, *model.graph.output):
        batch, *rest = entry.type.tensor_type.shape.dim
        assert batch.dim_param
        assert all(d.dim_value > 0 for d in rest)
    (use,) = [node for node in model.graph.node if "crops" in node.input]
    assert use.op_type == "Cast"  # the only operation of TensorRT on uint8 inputs


# --- Files ---------------------------------------------------------------------------------------


def test_a_second_export_has_the_same_hash(
    onnx_path: Path, network: PearNetwork, tmp_path: Path
) -> None:
    again = export(network, hash_files(CHECKPOINT), tmp_path / "deep" / "model.onnx")
    assert again == read_onnx(onnx_path)


def test_the_graph_names_no_files_of_this_machine(onnx_path: Path) -> None:
    assert str(ROOT).encode() not in onnx_path.read_bytes()


def test_weights_are_in_a_file_beside_the_graph(onnx_path: Path) -> None:
    assert sorted(p.name for p in onnx_path.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
        "model.onnx.json",
    ]
    assert onnx_path.stat().st_size < onnx_path.with_name("model.onnx.data").stat().st_size


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "model.onnx.json"])
def test_missing_files(onnx_path: Path, tmp_path: Path, name: str) -> None:
    path = copy_export(onnx_path, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ExportError, match=r"not a complete export.*pear-ros export"):
        read_onnx(path)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_changed_files(onnx_path: Path, tmp_path: Path, name: str) -> None:
    path = copy_export(onnx_path, tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ExportError, match="have changed since the export"):
        read_onnx(path)


UNREADABLE_MANIFESTS = {
    "empty": "",
    "truncated": "{",
    "list": "[]",
    "missing entries": '{"sha256": "x"}',
}


@pytest.mark.parametrize("text", UNREADABLE_MANIFESTS.values(), ids=UNREADABLE_MANIFESTS)
def test_unreadable_manifests(onnx_path: Path, tmp_path: Path, text: str) -> None:
    path = copy_export(onnx_path, tmp_path)
    (tmp_path / "model.onnx.json").write_text(text)
    with pytest.raises(ExportError, match="not a complete export"):
        read_onnx(path)


class FullDisk:
    """A program whose graph cannot be written."""

    def save(self, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_made(
    network: PearNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_program", lambda network: FullDisk())
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"):
        export(network, "", tmp_path / "file" / "model.onnx")


def test_an_interrupted_export_is_not_complete(
    network: PearNetwork, onnx_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_export(onnx_path, tmp_path)
    monkeypatch.setattr(onnx_export, "_program", lambda network: FullDisk())
    with pytest.raises(ExportError, match="No space left"):
        export(network, "", path)
    with pytest.raises(ExportError, match="not a complete export"):
        read_onnx(path)


def test_without_the_packages_of_the_exporter(
    network: PearNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "onnxscript"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("torch.onnx._internal.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match="pip install onnx onnxscript"):
        export(network, "", tmp_path / "model.onnx")


def test_bfloat16_cannot_be_exported(network_config: NetworkConfig, tmp_path: Path) -> None:
    network = load_network(CHECKPOINT, network_config, dtype=torch.bfloat16)
    with pytest.raises(ExportError, match="bfloat16 cannot be exported; use float16 or float32"):
        export(network, "", tmp_path / "model.onnx")


def test_the_manifest_is_read_back(onnx_path: Path) -> None:
    onnx_ = read_onnx(onnx_path)
    assert isinstance(onnx_, Onnx)
    assert onnx_.checkpoint == hash_files(CHECKPOINT)
    assert onnx_.precision == "float32"
