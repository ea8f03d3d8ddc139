"""Loads all weights of a checkpoint, or raises an error that names the differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pear_ros.errors import CheckpointError
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.system.device import forbid_reduced_precision

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
        CheckpointError: If the file cannot be read, or if its keys or shapes differ from those
            of the network. The message names the differences.
    """
    forbid_reduced_precision()
    with torch.device("meta"):
        network = PearNetwork(config or _sizes_beside(checkpoint))
    stored = _flatten(_read(checkpoint, map_location="meta"), checkpoint)
    expected = network.state_dict()
    _check_layout(checkpoint, expected, {name: stored[name].shape for name in stored})

    state = {}
    for slab in _slabs({name: stored[name].nbytes for name in stored}):
        # Pages that were read count as used memory until their mapping is closed. With a single
        # mapping, loading would need twice the checkpoint's size, so map the file for each slab.
        mapped = _flatten(_read(checkpoint, map_location="cpu"), checkpoint)
        for name in slab:
            to = dtype if name.startswith("backbone.") else torch.float32
            state[name] = mapped[name].to(device=device, dtype=to, copy=True)
        del mapped
    network.load_state_dict(state, assign=True)
    if fold:
        network.head.fold()
    return network.eval().requires_grad_(False)


def _sizes_beside(checkpoint: Path) -> NetworkConfig:
    path = checkpoint.parent / "network.json"
    return NetworkConfig.from_json(path) if path.is_file() else NetworkConfig()


def _read(checkpoint: Path, map_location: str) -> Mapping[str, Any]:
    try:
        tree = torch.load(checkpoint, map_location=map_location, weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no checkpoint at {checkpoint}; download pear_model.pt, see docs/how_to/get_weights.md"
        ) from error
    except Exception as error:  # torch raises many types of exception for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{checkpoint} cannot be read as a checkpoint ({reason}); it is truncated or not a "
            "checkpoint: download it again, see docs/how_to/get_weights.md"
        ) from error
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
    if not all(isinstance(tensor, Tensor) for tensor in flat.values()):
        raise CheckpointError(
            f"{checkpoint} is not a PEAR checkpoint: its state_dicts hold values that are not "
            "tensors"
        )
    return flat


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
