"""Loads all weights of a checkpoint, or raises an error that names the differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from pear_ros.errors import CheckpointError
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.network.records import DamagedRecordError, checked_records
from pear_ros.system.device import forbid_reduced_precision
from pear_ros.system.file_kinds import what_else
from pear_ros.system.memory import NO_MEMORY, memory_is_short, one_line

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST_WEIGHT = 1e6  # trained weights stay far below
_AGAIN = "download it again, see docs/how_to/get_weights.md"
SLAB_BYTES = 128 << 20  # copied from one mapping of the checkpoint before it is mapped again


def load_network(
    checkpoint: Path,
    config: NetworkConfig | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    fold: bool = True,
) -> PearNetwork:
    """Loads a network in eval mode with all weights of a checkpoint.

    The file is memory-mapped, and nothing but tensors is unpickled. Loading needs little memory
    in addition to the weights.

    Args:
        checkpoint: File with `{"backbone": state_dict, "head": state_dict, ...}`, as published.
        config: Sizes of the network. By default they are read from network.json in the
            checkpoint's folder; without that file they are the published sizes.
        device: Device of the weights.
        dtype: Precision of the backbone. The head is always float32.
        fold: Merges linear maps for inference (`ParameterHead.fold`).

    Raises:
        CheckpointError: If the file cannot be read, a checksum or a value in it is wrong, or its
            keys or shapes differ from those of the network. The message names the differences.
    """
    forbid_reduced_precision()
    with torch.device("meta"):
        network = PearNetwork(config or _sizes_beside(checkpoint))
    expected = network.state_dict()
    try:
        with checked_records(checkpoint) as sizes:
            state = _read_state(checkpoint, sizes, expected, device, dtype)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no checkpoint at {checkpoint}; download pear_model.pt, see docs/how_to/get_weights.md"
        ) from error
    except Exception as error:  # torch raises many types of exception for a damaged file
        if memory_is_short(error):
            raise CheckpointError(f"{checkpoint}: {NO_MEMORY} ({one_line(error)})") from error
        raise CheckpointError(_unreadable(checkpoint, error)) from error
    network.load_state_dict(state, assign=True)
    if fold:
        network.head.fold()
    return network.eval().requires_grad_(False)


def _unreadable(checkpoint: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{checkpoint} cannot be read as a checkpoint: {error.strerror}"
    if what := what_else(checkpoint):
        return f"{checkpoint} is not a checkpoint but {what}"
    if isinstance(error, UnpicklingError):
        # torch's own text recommends to run the code in the file.
        return (
            f"{checkpoint} holds something else than weights, or its pickle has a protocol other "
            "than 2, which is the default of torch.save: save the state_dicts of backbone and head "
            f"again, or {_AGAIN}"
        )
    reason = f"it {error}" if isinstance(error, DamagedRecordError) else one_line(error)
    return (
        f"{checkpoint} cannot be read as a checkpoint ({reason}); it is truncated, damaged or not "
        f"a checkpoint: {_AGAIN}"
    )


def _read_state(
    checkpoint: Path,
    record_sizes: Counter[int],
    expected: Mapping[str, Tensor],
    device: torch.device | str,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """All weights, on `device`, those of the backbone in `dtype`.

    Args:
        checkpoint: The file.
        record_sizes: How many records of each size in bytes the file has.
        expected: The weights that the network needs.
        device: Device of the result.
        dtype: Precision of the backbone.
    """
    stored = _flatten(_read(checkpoint, map_location="meta"), checkpoint)
    _check_layout(checkpoint, expected, {name: stored[name].shape for name in stored})
    sizes = {name: tensor.nbytes for name, tensor in stored.items()}
    storages = {s._cdata: s.nbytes() for s in (t.untyped_storage() for t in stored.values())}
    # torch reads on behind a record that is too short.
    if sum(sizes.values()) > sum(storages.values()) or Counter(storages.values()) - record_sizes:
        raise CheckpointError(f"{checkpoint} has fewer numbers than its weights: {_AGAIN}")

    state = {}
    for slab in _slabs(sizes):
        # Pages that were read count as used memory until their mapping is closed. With a single
        # mapping, loading would need twice the checkpoint's size, so map the file for each slab.
        mapped = _flatten(_read(checkpoint, map_location="cpu"), checkpoint)
        for name in slab:
            to = dtype if name.startswith("backbone.") else torch.float32
            state[name] = mapped[name].to(device=device, dtype=to, copy=True)
            _check_values(checkpoint, name, state[name])
        del mapped
    return state


def _check_values(checkpoint: Path, name: str, tensor: Tensor) -> None:
    least, most = (value.item() for value in torch.aminmax(tensor))
    if not -LARGEST_WEIGHT <= least <= most <= LARGEST_WEIGHT:  # also if one is NaN
        raise CheckpointError(
            f"{checkpoint} has weights in {name} from {least:g} to {most:g}, which cannot be "
            f"right in {str(tensor.dtype).removeprefix('torch.')}: {_AGAIN}"
        )


def _sizes_beside(checkpoint: Path) -> NetworkConfig:
    path = checkpoint.parent / "network.json"
    return NetworkConfig.from_json(path) if path.is_file() else NetworkConfig()


def _read(checkpoint: Path, map_location: str) -> Mapping[str, Any]:
    tree = torch.load(checkpoint, map_location=map_location, weights_only=True, mmap=True)
    if not isinstance(tree, dict) or not {"backbone", "head"} <= tree.keys():
        raise CheckpointError(
            f"{checkpoint} is not a PEAR checkpoint: it has no entries backbone and head"
        )
    return tree


def _flatten(tree: Mapping[str, Any], checkpoint: Path) -> dict[str, Tensor]:
    """Tensors by full name (`backbone.*`, `head.*`), without prefixes such as `module.`.

    A prefix is removed only if all names of a part have it.
    """
    flat = {}
    for part in ("backbone", "head"):
        if not isinstance(tree[part], dict):
            raise CheckpointError(
                f"{checkpoint} is not a PEAR checkpoint: its {part} is not a state_dict"
            )
        state = dict(tree[part])
        for prefix in ("_forward_module.", "module.", "_forward_module."):
            if state and all(str(name).startswith(prefix) for name in state):
                state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
        flat.update({f"{part}.{name}": tensor for name, tensor in state.items()})
    for name, tensor in flat.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{checkpoint} is not a PEAR checkpoint: its state_dicts hold values that are not "
                "tensors"
            )
        if not _is_plain(tensor):
            raise CheckpointError(
                f"{checkpoint} is not a PEAR checkpoint: {name} is not an ordinary tensor of "
                "16, 32 or 64-bit floats"
            )
    return flat


def _is_plain(tensor: Tensor) -> bool:
    is_dense = tensor.layout is torch.strided and not tensor.is_nested
    return type(tensor) in (Tensor, nn.Parameter) and is_dense and tensor.dtype in DTYPES


def _check_layout(
    checkpoint: Path, expected: Mapping[str, Tensor], found: Mapping[str, torch.Size]
) -> None:
    misshaped = [
        f"{name} is {tuple(found[name])}, not {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name] != expected[name].shape
    ]
    differences = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": misshaped,
    }
    summary = [
        f"{len(names)} {kind}: {_first_of(names)}" for kind, names in differences.items() if names
    ]
    if summary:
        raise CheckpointError(
            f"{checkpoint} does not fit the network ({'; '.join(summary)}); "
            "pass the network configuration of this checkpoint"
        )


def _first_of(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _slabs(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Groups of names; the tensors of a group have at most SLAB_BYTES, unless it is only one."""
    slab: list[str] = []
    total = 0
    for name, size in sizes.items():
        if slab and total + size > SLAB_BYTES:
            yield slab
            slab, total = [], 0
        slab.append(name)
        total += size
    if slab:
        yield slab
