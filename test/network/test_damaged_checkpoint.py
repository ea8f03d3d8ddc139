"""Damaged and hostile checkpoints are refused with one line, or load the right weights."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import DATA
from special_files import SPECIAL, within

from pear_ros.errors import CheckpointError
from pear_ros.network import checkpoint as checkpoint_module
from pear_ros.network import records
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import LARGEST_DEPTH, NetworkConfig
from pear_ros.system.installed import shared_file

CHECKPOINT = DATA / "network_tiny.pt"
Tree = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the tiny network's checkpoint, with its sizes beside it."""
    shutil.copy(DATA / "network_tiny.json", tmp_path / "network.json")
    return Path(shutil.copy(CHECKPOINT, tmp_path / "c.pt"))


def refusal(path: Path) -> str:
    """The text of the error, which is one line, in time."""
    with within(5), pytest.raises(CheckpointError) as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# --- Damage --------------------------------------------------------------------------------------


def assert_damage_is_refused(
    path: Path, good: dict[str, torch.Tensor], count: int, seed: int
) -> None:
    """Changes a byte anywhere, or in the directory and headers, where damage differs."""
    content = path.read_bytes()
    generator = np.random.default_rng(seed)
    directory_at = content.index(b"PK\x01\x02")
    headers = [i for i in range(len(content)) if content.startswith(b"PK\x03\x04", i)]
    refused = 0
    for i in range(count):
        damaged = bytearray(content)
        where = (
            generator.integers(len(content)),
            generator.integers(directory_at, len(content)),
            generator.choice(headers) + generator.integers(80),
        )[i % 3]
        damaged[where] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = load_network(path).state_dict()
        except CheckpointError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
            continue
        assert found.keys() == good.keys()
        assert all(torch.equal(found[name], good[name]) for name in good), f"byte {where}"
    assert refused > count / 3


def test_a_damaged_byte_changes_no_weight(path: Path, network: PearNetwork) -> None:
    assert_damage_is_refused(path, network.state_dict(), 60, seed=0)


@pytest.mark.slow
def test_a_damaged_byte_changes_no_weight_of_the_demo(tmp_path: Path) -> None:
    demo = shared_file("demo/model.pt")
    shutil.copy(demo.with_name("network.json"), tmp_path)
    path = Path(shutil.copy(demo, tmp_path / "c.pt"))
    assert_damage_is_refused(path, load_network(demo).state_dict(), 150, seed=1)


def test_a_damaged_weight_is_named(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content[largest.header_offset + 1000] ^= 1
    path.write_bytes(content)
    record = largest.filename.partition("/")[2]
    assert f"it has a damaged record '{record}'" in refusal(path)


def rezip(
    path: Path,
    change: Callable[[str, bytes], bytes] = lambda name, content: content,
    compression: int = zipfile.ZIP_STORED,
    again: str = "",
) -> None:
    """Writes the archive again, with other contents, compressed, or with a record twice."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of the record that is there twice
        for name, content in members.items():
            archive.writestr(name, change(name.partition("/")[2], content))
            if name.partition("/")[2] == again:
                archive.writestr(name, content)


def test_an_archive_that_was_written_again_loads(path: Path, network: PearNetwork) -> None:
    rezip(path)
    found = load_network(path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def replaced(record: str, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, content: new if name == record else content


def no_pickle(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"data.pkl", b"other.pk"))


# bytearray(1 << 33), which torch allows
BYTES = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06" + struct.pack("<q", 1 << 33)[:6] + b"\x85R."
NESTED = b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s."  # a key that overflows the stack


def overlapping(path: Path) -> None:
    """A record of 4 MB that has 1,000 names in the directory."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("c/0", bytes(records.MAX_PICKLE_BYTES))
        for i in range(1, 1000):
            again = copy.copy(archive.infolist()[-1])
            again.filename = f"c/{i}"
            archive.filelist.append(again)


ARCHIVES: dict[str, tuple[Callable[[Path], None], str]] = {
    "big-endian": (
        lambda path: rezip(path, replaced("byteorder", b"big")),
        "was written on a machine with another byte order",
    ),
    "no such byte order": (
        lambda path: rezip(path, replaced("byteorder", b"middle")),
        "was written on a machine with another byte order",
    ),
    "compressed": (
        lambda path: rezip(path, compression=zipfile.ZIP_DEFLATED),
        "was compressed or encrypted",
    ),
    "the pickle twice": (lambda path: rezip(path, again="data.pkl"), "two records of the same"),
    "a tensor twice": (lambda path: rezip(path, again="data/0"), "two records of the same"),
    "one content for many": (overlapping, "has records that overlap"),
    "no pickle": (no_pickle, "has no record data.pkl"),
    "a deep key": (lambda path: rezip(path, replaced("data.pkl", NESTED)), "far more in it"),
    "a large pickle": (
        lambda path: rezip(path, replaced("data.pkl", bytes(records.MAX_PICKLE_BYTES + 1))),
        "has a record 'data.pkl' of 4194305 bytes",
    ),
    "many opcodes": (
        lambda path: rezip(path, replaced("data.pkl", b"\x80\x02" + b"N0" * 200_000 + b"}.")),
        "far more in it",
    ),
    "an empty pickle": (lambda path: rezip(path, replaced("data.pkl", b"")), "cannot be read"),
    "a bomb of bytes": (
        lambda path: rezip(path, replaced("data.pkl", BYTES)),
        "uses 'builtins bytearray', which weights do not need",
    ),
    "a cut tensor": (
        lambda path: rezip(path, lambda name, old: old[:-4] if name == "data/1" else old),
        "has fewer numbers than its weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_that_torch_does_not_write(
    path: Path, change: Callable[[Path], None], message: str
) -> None:
    change(path)
    assert message in refusal(path)


# --- Tensors -------------------------------------------------------------------------------------

NAME = "blocks.0.attn.proj.weight"
ODD: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "sparse": (lambda w: w.to_sparse(), "_rebuild_sparse_tensor', which"),
    "sparse rows": (lambda w: w.to_sparse_csr(), "_rebuild_sparse_tensor', which"),
    "without data": (lambda w: w.to("meta"), "_rebuild_meta_tensor_no_storage', which"),
    "quantized": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "_rebuild_qtensor"),
    "integers": (lambda w: w.to(torch.int32), "not an ordinary tensor"),
    "truth values": (lambda w: w > 0, "not an ordinary tensor"),
    "complex": (lambda w: w.to(torch.complex64), "not an ordinary tensor"),
    "8 bits": (lambda w: w.to(torch.float8_e4m3fn), "UntypedStorage', which"),
    "nested": (lambda w: torch.nested.nested_tensor([w, w]), "_rebuild_nested_tensor"),
    "NaN": (lambda w: changed(w, float("nan")), "from nan to nan"),
    "infinite": (lambda w: changed(w, float("inf")), "to inf, which cannot be right in float32"),
    "minus infinite": (lambda w: changed(w, float("-inf")), "from -inf to"),
    "a large exponent": (lambda w: changed(w, 1e30), "to 1e+30, which cannot be right"),
}  # fmt: skip


def changed(weight: torch.Tensor, value: float) -> torch.Tensor:
    weight = weight.clone()
    weight[3, 5] = value
    return weight


@pytest.mark.parametrize(("change", "message"), ODD.values(), ids=ODD)
@pytest.mark.filterwarnings("ignore")  # of torch, which calls some of these tensors beta
def test_odd_tensors(path: Path, change: Callable[[torch.Tensor], Any], message: str) -> None:
    tree = torch.load(CHECKPOINT, weights_only=True)
    tree["backbone"][NAME] = change(tree["backbone"][NAME])
    torch.save(tree, path)
    assert message in refusal(path)


def test_one_number_for_all_weights(path: Path) -> None:
    """A small file would take much memory."""
    tree = torch.load(CHECKPOINT, weights_only=True)
    for part in ("backbone", "head"):
        for name, weight in tree[part].items():
            tree[part][name] = weight.flatten()[:1].clone().expand(weight.shape)
    torch.save(tree, path)
    assert path.stat().st_size < CHECKPOINT.stat().st_size / 2
    assert "has fewer numbers than its weights" in refusal(path)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_load(path: Path, network: PearNetwork, stored: torch.dtype) -> None:
    tree = torch.load(CHECKPOINT, weights_only=True)
    for part in ("backbone", "head"):
        tree[part] = {name: weight.to(stored) for name, weight in tree[part].items()}
    torch.save(tree, path)
    found = load_network(path).backbone.state_dict()
    for name, weight in network.backbone.state_dict().items():
        assert torch.equal(found[name], weight.to(stored).float()), name


def test_a_weight_beyond_the_precision(path: Path) -> None:
    """It is right as it is stored, and infinite in float16."""
    tree = torch.load(CHECKPOINT, weights_only=True)
    tree["backbone"][NAME] = changed(tree["backbone"][NAME], 1e5)
    torch.save(tree, path)
    assert load_network(path).backbone.state_dict()[NAME].max() == 1e5
    with pytest.raises(CheckpointError, match="which cannot be right in float16"):
        load_network(path, dtype=torch.float16)


def test_many_layers_take_no_time(path: Path) -> None:
    """The sizes beside a checkpoint come with it."""
    sizes = path.with_name("network.json")
    sizes.write_text('{"backbone": {"depth": 65536}, "head": {"depth": 65536}}')
    with within(2), pytest.raises(CheckpointError, match=f"at most {LARGEST_DEPTH}"):
        NetworkConfig.from_json(sizes)


# --- Files and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_special_files(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "special")
    assert "cannot be read as a checkpoint: " in refusal(tmp_path / "special")
    with within(2), pytest.raises(CheckpointError, match="is not a network configuration"):
        NetworkConfig.from_json(tmp_path / "special")


def test_a_link_is_followed(path: Path) -> None:
    link = path.with_name("link.pt")
    link.symlink_to(path)
    load_network(link)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("unable to mmap 9 bytes from file <c.pt>: Cannot allocate memory (12)"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_short_memory_is_not_called_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint_module.torch, "load", fail)
    message = refusal(path)
    assert "not enough free memory: close other programs" in message
    assert "damaged" not in message


def test_code_in_the_pickle_does_not_run(path: Path) -> None:
    code = pickle.dumps({"backbone": Opens(path.with_name("made"))}, protocol=2)
    rezip(path, replaced("data.pkl", code))
    assert "cannot be read" in refusal(path)
    assert not path.with_name("made").exists()


class Opens:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return io.open, (str(self.path), "w")
