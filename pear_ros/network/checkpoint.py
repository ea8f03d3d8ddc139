"""Loads a checkpoint: completely, or an error that names what differs."""

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

SLAB_BYTES = 128 << 20  # of a checkpoint that are mapped at a time while it loads


def load_network(
    checkpoint: Path,
    config: NetworkConfig | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    fold: bool = True,
) -> PearNetwork:
    """A network in eval mode with all of the checkpoint's weights.

    `fold` joins linear maps for inference (ParameterHead.fold).

    `checkpoint` is `{"backbone": state_dict, "head": state_dict, ...}` as published. The file is
    mapped, never unpickled beyond tensors, and needs little memory besides the weights. Without
    `config` the sizes are those of network.json beside it, or the published ones where none is.

    Raises CheckpointError where the file cannot be read or its keys or shapes differ.
    """
    forbid_reduced_precision()
    with torch.device("meta"):
        network = PearNetwork(config or _sizes_beside(checkpoint))
    stored = _flatten(_read(checkpoint, map_location="meta"), checkpoint)
    expected = network.state_dict()
    _check_layout(checkpoint, expected, {name: stored[name].shape for name in stored})

    state = {}
    for slab in _slabs({name: stored[name].nbytes for name in stored}):
        # Mapped pages that were read count as memory until their mapping is closed: map the file
        # anew for every slab, or loading would take twice the size of the checkpoint.
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
            f"no checkpoint at {checkpoint}; download pear_model.pt, see docs/assets.md"
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{checkpoint} cannot be read as a checkpoint ({reason}); it is truncated or not one: "
            "download it again, see docs/assets.md"
        ) from error
    if not isinstance(tree, dict) or not {"backbone", "head"} <= tree.keys():
        raise CheckpointError(f"{checkpoint} is not PEAR's: it has no entries backbone and head")
    return tree


def _flatten(tree: Mapping[str, Any], checkpoint: Path) -> dict[str, Tensor]:
    """`backbone.` and `head.` names of the tensors, without a prefix that all of a part share."""
    flat = {}
    for part in ("backbone", "head"):
        if not isinstance(tree[part], dict):
            raise CheckpointError(f"{checkpoint} is not PEAR's: its {part} is no state_dict")
        state = dict(tree[part])
        for prefix in ("_forward_module.", "module.", "_forward_module."):
            if state and all(str(name).startswith(prefix) for name in state):
                state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
        flat.update({f"{part}.{name}": tensor for name, tensor in state.items()})
    if not all(isinstance(tensor, Tensor) for tensor in flat.values()):
        raise CheckpointError(f"{checkpoint} is not PEAR's: its state_dicts hold more than tensors")
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
        "of another size": misshaped,
    }
    told = [f"{len(names)} {kind}: {_some(names)}" for kind, names in differences.items() if names]
    if told:
        raise CheckpointError(
            f"{checkpoint} does not fit the network ({'; '.join(told)}); "
            "pass the network configuration that belongs to it"
        )


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _slabs(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Names in groups of about SLAB_BYTES."""
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
