"""Checkpoints that are loaded or refused, and the memory that loading needs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import DATA

from pear_ros.errors import CheckpointError
from pear_ros.network import checkpoint as checkpoint_module
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig

CHECKPOINT = DATA / "network_tiny.pt"
Tree = dict[str, Any]


@pytest.fixture
def tree() -> Tree:
    return torch.load(CHECKPOINT, weights_only=True)


# --- Checkpoints that fit ------------------------------------------------------------------------


def _prefixed(prefix: str, *parts: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        for part in parts:
            tree[part] = {prefix + name: tensor for name, tensor in tree[part].items()}

    return change


FITTING = {
    "as published": lambda tree: None,
    "module.": _prefixed("module.", "backbone", "head"),
    "_forward_module.": _prefixed("_forward_module.", "backbone", "head"),
    "_forward_module.module.": _prefixed("_forward_module.module.", "backbone", "head"),
    "module._forward_module.": _prefixed("module._forward_module.", "backbone", "head"),
    "one part with a prefix": _prefixed("module.", "head"),
    "other entries": lambda tree: tree.update(
        meta_cfg={"lr": 1e-5}, global_iter=7, optimizer={"state": {0: {"step": torch.ones(3)}}}
    ),
}


@pytest.mark.parametrize("change", FITTING.values(), ids=FITTING)
def test_checkpoint_fits(
    tmp_path: Path,
    network_config: NetworkConfig,
    network: PearNetwork,
    tree: Tree,
    change: Callable[[Tree], None],
) -> None:
    change(tree)
    torch.save(tree, tmp_path / "c.pt")
    loaded = load_network(tmp_path / "c.pt", network_config).state_dict()
    assert loaded.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "slab_bytes", [1, 10_000, 1 << 40], ids=["one tensor", "some tensors", "all tensors"]
)
def test_slabs_do_not_change_the_weights(
    monkeypatch: pytest.MonkeyPatch,
    network_config: NetworkConfig,
    network: PearNetwork,
    slab_bytes: int,
) -> None:
    monkeypatch.setattr(checkpoint_module, "SLAB_BYTES", slab_bytes)
    loaded = load_network(CHECKPOINT, network_config).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_network_outlives_its_file(tmp_path: Path, network_config: NetworkConfig) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(CHECKPOINT.read_bytes())
    loaded = load_network(path, network_config)
    before = loaded.backbone.pos_embed.clone()
    with path.open("r+b") as file:  # a mapped weight would change with the file
        file.write(b"\0" * path.stat().st_size)
    assert torch.equal(loaded.backbone.pos_embed, before)


# --- Checkpoints that do not ---------------------------------------------------------------------


def _without(part: str, name: str) -> Callable[[Tree], None]:
    return lambda tree: tree[part].pop(name)


def _with(part: str, name: str, value: object) -> Callable[[Tree], None]:
    return lambda tree: tree[part].update({name: value})


def _replaced(part: str, value: object) -> Callable[[Tree], None]:
    return lambda tree: tree.update({part: value})


MISFITS = {
    "missing": (_without("head", "cam_decoder.bias"), "1 missing: head.cam_decoder.bias"),
    "missing buffer": (_without("head", "init_cam"), "1 missing: head.init_cam"),
    "extra": (_with("backbone", "cls_token", torch.zeros(1)), "1 unknown: backbone.cls_token"),
    "misshaped": (
        _with("backbone", "pos_embed", torch.zeros(1, 192, 64)),
        "backbone.pos_embed is (1, 192, 64), not (1, 193, 64)",
    ),
    "transposed": (
        _with("head", "transformer.to_token_embedding.weight", torch.zeros(1, 48)),
        "head.transformer.to_token_embedding.weight is (1, 48), not (48, 1)",
    ),
    "prefix of some keys only": (
        _with("head", "module.init_cam", torch.zeros(1, 3)),
        "1 unknown: head.module.init_cam",
    ),
    "foreign prefix": (_prefixed("model.", "head"), "unknown: head.model.init_body_pose"),
    "empty part": (_replaced("head", {}), "missing: head.init_body_pose"),
    "part missing": (lambda tree: tree.pop("head"), "no entries backbone and head"),
    "part is a tensor": (_replaced("head", torch.zeros(3)), "its head is not a state_dict"),
    "part is None": (_replaced("backbone", None), "its backbone is not a state_dict"),
    "not a tensor": (_with("head", "init_cam", 3.0), "hold values that are not tensors"),
}


@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_checkpoint_does_not_fit(
    tmp_path: Path,
    network_config: NetworkConfig,
    tree: Tree,
    change: Callable[[Tree], None],
    message: str,
) -> None:
    change(tree)
    torch.save(tree, tmp_path / "c.pt")
    with pytest.raises(CheckpointError) as error:
        load_network(tmp_path / "c.pt", network_config)
    assert message in str(error.value)
    assert str(tmp_path / "c.pt") in str(error.value)


def test_a_checkpoint_of_another_size() -> None:
    with pytest.raises(CheckpointError, match=r"missing: backbone.blocks.3.*of another shape"):
        load_network(CHECKPOINT)  # as if it were the published size


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), "text", {}], ids=["list", "tensor", "text", "empty"]
)
def test_other_objects_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="no entries backbone and head"):
        load_network(tmp_path / "c.pt")


SIZE = CHECKPOINT.stat().st_size


@pytest.mark.parametrize(
    "length", [0, 1, 100, SIZE // 2, SIZE - 1000, SIZE - 22, SIZE - 1], ids="{} bytes".format
)
def test_truncated(tmp_path: Path, network_config: NetworkConfig, length: int) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(CHECKPOINT.read_bytes()[:length])
    said = "truncated, damaged or not a checkpoint" if length else "an empty file"
    with pytest.raises(CheckpointError, match=said):
        load_network(path, network_config)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*c\.pt; download"):
        load_network(tmp_path / "c.pt")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_network(tmp_path)


def test_legacy_file(tmp_path: Path, tree: Tree) -> None:
    torch.save(tree, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_network(tmp_path / "c.pt")


class Reducer:
    """Creates a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"mkdir '{self.path}'",)


@pytest.mark.parametrize("save", ["pickle", "torch", "torch legacy"])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, tree: Tree, save: str) -> None:
    victim = tmp_path / "victim"
    tree["optimizer"] = Reducer(victim)
    if save == "pickle":
        (tmp_path / "c.pt").write_bytes(pickle.dumps(Reducer(victim)))
    else:
        torch.save(tree, tmp_path / "c.pt", _use_new_zipfile_serialization=save == "torch")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_network(tmp_path / "c.pt")
    assert not victim.exists()
    # Unpickled on purpose, to prove that the payload works: it creates a directory in tmp_path.
    pickle.loads(pickle.dumps(Reducer(victim)))
    assert victim.exists()


# --- Network configurations ----------------------------------------------------------------------


def test_published_sizes_are_the_default(tmp_path: Path) -> None:
    backbone, head = NetworkConfig().backbone, NetworkConfig().head
    assert (backbone.embed_dim, backbone.depth, backbone.num_heads) == (1280, 32, 16)
    assert (head.dim, head.depth, head.heads, head.dim_head, head.mlp_dim) == (1024, 6, 8, 64, 1024)


def test_sizes_beside_the_checkpoint_are_used(
    tmp_path: Path, network_config: NetworkConfig
) -> None:
    checkpoint = Path(shutil.copy(CHECKPOINT, tmp_path))
    with pytest.raises(CheckpointError, match="does not fit the network"):
        load_network(checkpoint)
    shutil.copy(DATA / "network_tiny.json", tmp_path / "network.json")
    assert load_network(checkpoint).config == network_config
    (tmp_path / "network.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"network\.json is not a network configuration"):
        load_network(checkpoint)
    assert load_network(checkpoint, network_config).config == network_config


def test_config_round_trip(tmp_path: Path, network_config: NetworkConfig) -> None:
    (tmp_path / "c.json").write_text(network_config.to_json())
    assert NetworkConfig.from_json(tmp_path / "c.json") == network_config
    assert network_config.backbone.embed_dim == 64


TINY = json.loads((DATA / "network_tiny.json").read_text())


def _config(part: str = "backbone", **values: object) -> str:
    return json.dumps({**TINY, part: {**TINY[part], **values}})


BROKEN_CONFIGS = {
    "empty": "",
    "no JSON": "backbone: {}",
    "truncated": json.dumps(TINY)[:-20],
    "not UTF-8": b"\xff\xfe\x00",
    "list": "[]",
    "null": "null",
    "number": "3",
    "too deep": "[" * 100_000,
    "no head": json.dumps({"backbone": TINY["backbone"]}),
    "head is a list": json.dumps({**TINY, "head": [1]}),
    "head is null": json.dumps({**TINY, "head": None}),
    "another object": json.dumps({**TINY, "tail": {}}),
    "unknown size": _config(colour=3),
    "size is text": _config(depth="3"),
    "size is a fraction": _config(depth=2.5),
    "size is true": _config(depth=True),
    "size is NaN": _config("head", heads=float("nan")),
    "size is null": _config("head", mlp_dim=None),
    "zero": _config(depth=0),
    "negative": _config("head", dim=-1),
    "huge": _config("head", dim=10**30),
    "large": _config("head", dim=10**12),
    "img_size is a number": _config(img_size=256),
    "img_size of one": _config(img_size=[256]),
    "img_size of three": _config(img_size=[256, 192, 3]),
    "img_size higher than a crop": _config(img_size=[512, 192]),
    "img_size wider than a crop": _config(img_size=[256, 272]),
    "img_size of no whole patches": _config(img_size=[256, 200]),
    "img_size is text": _config(img_size="256"),
    "img_size of text": _config(img_size=["256", "192"]),
    "context is another size": _config("head", context_dim=32),
    "heads do not divide": _config(num_heads=5),
    "qkv_bias is text": _config(qkv_bias="no"),
}


@pytest.mark.parametrize("text", BROKEN_CONFIGS.values(), ids=BROKEN_CONFIGS)
def test_broken_config(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=r"c\.json"):
        NetworkConfig.from_json(path)


@pytest.mark.parametrize("path", ["missing.json", "."], ids=["missing", "folder"])
def test_configs_that_are_no_file(tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointError, match="is not a network configuration"):
        NetworkConfig.from_json(tmp_path / path)


# --- Memory --------------------------------------------------------------------------------------

MEMORY_SCRIPT = """
import sys
from pathlib import Path
import torch
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network_config import NetworkConfig

def peak_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

config = NetworkConfig.from_json(Path(sys.argv[2]))
load_network(Path(sys.argv[4]), NetworkConfig.from_json(Path(sys.argv[5])))  # lazy imports
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
before = peak_bytes()
network = load_network(Path(sys.argv[1]), config, dtype=getattr(torch, sys.argv[3]))
print(peak_bytes() - before)
"""


@pytest.fixture(scope="module")
def large_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A few layers of the published width, 0.5 GB."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "c.json").write_text(json.dumps({"backbone": {"depth": 4}, "head": {}}))
    config = NetworkConfig.from_json(folder / "c.json")
    with torch.device("meta"):
        network = PearNetwork(config)
    tree: Tree = {"backbone": {}, "head": {}}
    for name, tensor in network.state_dict().items():
        part, rest = name.split(".", 1)
        tree[part][rest] = torch.zeros(tensor.shape)
    torch.save(tree, folder / "c.pt")
    yield folder / "c.pt"
    (folder / "c.pt").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_needs_little_more_memory_than_the_file(large_checkpoint: Path, dtype: str) -> None:
    size = large_checkpoint.stat().st_size
    assert size > 300e6
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(large_checkpoint)]
    command += [str(large_checkpoint.with_suffix(".json")), dtype]
    command += [str(CHECKPOINT), str(DATA / "network_tiny.json")]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    weights = size if dtype == "float32" else size / 2
    assert 0.9 * weights < peak < 1.3 * size
    print(f"{dtype}: peak {peak / size:.2f} of the file's {size / 1e6:.0f} MB")
