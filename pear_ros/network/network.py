"""PEAR's network: crops in, EHM parameters out; and how its checkpoint is loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pear_ros.errors import CheckpointError, SettingError
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.network.backbone import Backbone, BackboneConfig
from pear_ros.network.head import Head, HeadConfig
from pear_ros.people import EhmParameters

IMAGE_MEAN = (0.485, 0.456, 0.406)  # RGB of ImageNet
IMAGE_STD = (0.229, 0.224, 0.225)
SLAB_BYTES = 128 << 20  # of a checkpoint that are mapped at a time while it loads
LARGEST_SIZE = 1 << 16  # of a layer; a larger one in a configuration is a slip


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; the defaults are the published PEAR (ViT-H)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)

    @staticmethod
    def from_json(path: Path) -> NetworkConfig:
        """Reads `{"backbone": {...}, "head": {...}}` with the fields' names.

        Raises CheckpointError if the file is not of that form.
        """
        try:
            tree = json.loads(path.read_text())
            backbone, head = dict(tree.pop("backbone")), dict(tree.pop("head"))
            backbone["img_size"] = tuple(backbone.get("img_size", BackboneConfig.img_size))
            config = NetworkConfig(BackboneConfig(**backbone), HeadConfig(**head))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is not a network configuration ({error}); it is a JSON file with the "
                'objects "backbone" and "head", see docs/assets.md'
            ) from error
        sizes = [*config.backbone.img_size, *_sizes(config.backbone, config.head)]
        if tree or not all(type(size) is int and 0 < size <= LARGEST_SIZE for size in sizes):
            raise CheckpointError(
                f"{path}: sizes are whole numbers from 1 to {LARGEST_SIZE}, "
                "in the objects backbone and head only"
            )
        if len(config.backbone.img_size) != 2 or type(config.backbone.qkv_bias) is not bool:
            raise CheckpointError(f"{path}: img_size is [height, width], qkv_bias true or false")
        height, width = config.backbone.img_size
        patch = config.backbone.patch_size
        if height != CROP_SIZE or width > CROP_SIZE or height % patch or width % patch:
            raise CheckpointError(
                f"{path}: img_size is [{CROP_SIZE}, at most {CROP_SIZE}], multiples of patch_size"
            )
        if config.backbone.embed_dim != config.head.context_dim:
            raise CheckpointError(f"{path}: head.context_dim must equal backbone.embed_dim")
        if config.backbone.embed_dim % config.backbone.num_heads:
            raise CheckpointError(f"{path}: backbone.embed_dim must be a multiple of num_heads")
        return config

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def _sizes(*configs: BackboneConfig | HeadConfig) -> list[object]:
    skipped = ("img_size", "qkv_bias")
    fields = ((c, f.name) for c in configs for f in dataclasses.fields(c))
    return [getattr(config, name) for config, name in fields if name not in skipped]


class Network(Protocol):
    """Crops in, parameters out: PearNetwork, or an engine in its place."""

    @property
    def device(self) -> torch.device: ...

    @property
    def description(self) -> str: ...

    @property
    def can_be_recorded(self) -> bool: ...  # its call may become a part of a CUDA graph

    def __call__(self, crops: Tensor) -> EhmParameters: ...  # (N, 256, 256, 3) RGB, uint8


class PearNetwork(nn.Module):
    """Backbone in the chosen dtype, head in float32: it is little work and feeds divisions."""

    can_be_recorded = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.head = Head(config.head)

    def forward(self, crops: Tensor) -> EhmParameters:
        """Of crops (N, 256, 256, 3) RGB uint8, or (N, 256, 192, 3): the columns it sees alone."""
        image = self.normalise(crops).to(self.backbone.pos_embed.dtype)  # (N, 3, 256, 192)
        tokens = self.backbone(image)  # (N, 192, 1280)
        parameters: EhmParameters = self.head(tokens.float())
        return parameters

    @property
    def device(self) -> torch.device:
        return self.backbone.pos_embed.device

    @property
    def precision(self) -> str:
        """Of the backbone: float32, float16 or bfloat16."""
        return str(self.backbone.pos_embed.dtype).removeprefix("torch.")

    @property
    def description(self) -> str:
        """Its size and where it runs, for people."""
        millions = sum(p.numel() for p in self.parameters()) / 1e6
        return f"{millions:.1f} million weights, backbone in {self.precision} on {self.device}"

    def normalise(self, crops: Tensor) -> Tensor:
        """(N, S, S or W, 3) RGB uint8 -> (N, 3, S, W) float32, the W columns in the middle.

        They are what the backbone sees.
        """
        margin = (crops.shape[2] - self.config.backbone.img_size[1]) // 2
        image = crops.float()  # first of all: TensorRT does nothing else with uint8
        image = image[:, :, margin : crops.shape[2] - margin]
        # Numbers, not tensors: those would have to be copied to the device, which a CUDA graph
        # cannot do.
        channels = zip(image.unbind(-1), IMAGE_MEAN, IMAGE_STD, strict=True)
        return torch.stack([(c - 255 * mean) / (255 * std) for c, mean, std in channels], 1)


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises SettingError for an unusable one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
        if (chosen := torch.device(device)).type in ("cpu", "cuda"):
            return chosen
        raise RuntimeError("it is neither the CPU nor CUDA")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"device {device!r} cannot be used here: {reason}; use auto or cpu"
        ) from error


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto`: float16 on CUDA; on a CPU bfloat16 where it computes with them, else float32.

    Raises SettingError for an unknown name.
    """
    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype in names:
        return names[dtype]
    if dtype != "auto":
        raise SettingError(f"dtype {dtype!r} is none of auto, {', '.join(names)}")
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """True where oneDNN multiplies bfloat16 matrices in hardware: elsewhere they are slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def load_network(
    checkpoint: Path,
    config: NetworkConfig | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    fold: bool = True,
) -> PearNetwork:
    """A network in eval mode with the checkpoint's weights, all of them; with `fold` (Head.fold).

    `checkpoint` is `{"backbone": state_dict, "head": state_dict, ...}` as published. The file is
    mapped, never unpickled beyond tensors, and needs little memory besides the weights. Without
    `config` the sizes are those of network.json beside it, or the published ones where none is.

    Raises CheckpointError where the file cannot be read or its keys or shapes differ.
    """
    compute_as_written()
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


def compute_as_written() -> None:
    """float32 is meant where it stands, and sums of float16 are summed up in float32.

    For the whole process, as torch has it; some containers of NVIDIA's allow TF32 from the start.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


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
