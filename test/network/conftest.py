"""Exports and engines that several tests share: an export takes up to ten seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import Model, copy_export
from samples import DATA

import pear_ros.network
from pear_ros.network import engine_file, onnx_export
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.checkpoint import load_network
from pear_ros.network.head import HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.network.onnx_export import Onnx, export
from pear_ros.system.files import hash_files

CHECKPOINT = DATA / "network_tiny.pt"
EXPORTS = {"onnx_path", "half_onnx_path", "exported"}  # fixtures that export a network


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need an export are slow."""
    for item in items:
        is_here = Path(__file__).parent in item.path.parents
        if is_here and EXPORTS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def onnx_path(network: PearNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the tiny network in float32; must not be changed."""
    pytest.importorskip("onnxscript")  # not in the modules: it takes seconds to import
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(network, hash_files(CHECKPOINT), path)
    return path


@pytest.fixture
def quick_export(exported: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces exports of the small network by copies of `exported.onnx`."""

    def copy(network: PearNetwork, checkpoint_sha256: str, path: Path) -> Onnx:
        assert copy_export(exported.onnx, path.parent) == path
        onnx = Onnx(**json.loads(Path(f"{path}.json").read_text()))
        assert (onnx.checkpoint, onnx.precision) == (checkpoint_sha256, network.precision)
        return onnx

    for module in (engine_file, onnx_export):
        monkeypatch.setattr(module, "export", copy)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one layer, which is quick to export and to run; its sizes are beside it."""
    sizes = NetworkConfig(
        BackboneConfig(embed_dim=16, depth=1, num_heads=2),
        HeadConfig(context_dim=16, dim=16, depth=1, heads=2, dim_head=8, mlp_dim=16),
    )
    torch.manual_seed(0)
    tree: dict[str, dict[str, torch.Tensor]] = {"backbone": {}, "head": {}}
    for name, values in PearNetwork(sizes).state_dict().items():
        part, rest = name.split(".", 1)
        tree[part][rest] = values + 0.1 * torch.randn_like(values)
    folder = tmp_path_factory.mktemp("small_network")
    torch.save(tree, folder / "model.pt")
    (folder / "network.json").write_text(sizes.to_json())
    return folder / "model.pt"


@pytest.fixture(scope="session")
def exported(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The small network in float32."""
    pytest.importorskip("onnxscript")
    network = load_network(small_checkpoint)
    path = tmp_path_factory.mktemp("small_onnx") / "model.onnx"
    export(network, hash_files(small_checkpoint), path)
    return Model(network, small_checkpoint, path)


@pytest.fixture
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake TensorRT, installed; of the first supported version by default."""
    from engines import VERSIONS, install  # not above: it needs onnx and onnxruntime

    return install(monkeypatch, getattr(request, "param", VERSIONS[0]))


@pytest.fixture
def engine_path(fake: Any, exported: Model, tmp_path: Path) -> Path:
    """An engine of the small network; tests may damage it."""
    path = tmp_path / "pear.engine"
    engine_file.build_engine(
        path, exported.network, exported.checkpoint, exported.tensorrt, exported.onnx
    )
    return path


@pytest.fixture(autouse=True)
def _forget_tensorrt_engine() -> Iterator[None]:
    """The module was imported with a fake: the next test imports it anew."""
    yield
    sys.modules.pop("pear_ros.network.tensorrt_engine", None)
    pear_ros.network.__dict__.pop("tensorrt_engine", None)
