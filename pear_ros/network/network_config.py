"""Sizes of the network, and their JSON file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from pear_ros.errors import CheckpointError
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.head import HeadConfig
from pear_ros.system.file_kinds import what_else
from pear_ros.system.files import read_json

MAX_FILE_BYTES = 1 << 16
LARGEST_SIZE = 1 << 16  # limit of every size, to catch mistakes in a configuration
LARGEST_DEPTH = 128  # limit of the layers, each of which takes a millisecond to make


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; the defaults are the published PEAR (ViT-H)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)

    @staticmethod
    def from_json(path: Path) -> NetworkConfig:
        """Reads `{"backbone": {...}, "head": {...}}`, with the names of the fields as keys.

        Raises:
            CheckpointError: If the file cannot be read, has another form, or has sizes that do
                not fit each other or the crop.
        """
        try:
            tree = read_json(path, MAX_FILE_BYTES)
            backbone, head = dict(tree.pop("backbone")), dict(tree.pop("head"))
            backbone["img_size"] = tuple(backbone.get("img_size", BackboneConfig.img_size))
            config = NetworkConfig(BackboneConfig(**backbone), HeadConfig(**head))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if what := what_else(path):
                raise CheckpointError(
                    f"{path} is not a network configuration but {what}"
                ) from error
            raise CheckpointError(
                f"{path} is not a network configuration ({error}); it must be a JSON file with "
                'the objects "backbone" and "head", see docs/how_to/get_weights.md'
            ) from error
        sizes = [*config.backbone.img_size, *_sizes(config.backbone, config.head)]
        if tree or not all(type(size) is int and 0 < size <= LARGEST_SIZE for size in sizes):
            raise CheckpointError(
                f"{path}: sizes must be whole numbers from 1 to {LARGEST_SIZE}, and there must be "
                "no objects besides backbone and head"
            )
        if max(config.backbone.depth, config.head.depth) > LARGEST_DEPTH:
            raise CheckpointError(f"{path}: depth must be at most {LARGEST_DEPTH}")
        if len(config.backbone.img_size) != 2 or type(config.backbone.qkv_bias) is not bool:
            raise CheckpointError(
                f"{path}: img_size must be [height, width] and qkv_bias true or false"
            )
        height, width = config.backbone.img_size
        patch = config.backbone.patch_size
        if height != CROP_SIZE or width > CROP_SIZE or height % patch or width % patch:
            raise CheckpointError(
                f"{path}: img_size must be [{CROP_SIZE}, at most {CROP_SIZE}], both multiples of "
                "patch_size"
            )
        if config.backbone.embed_dim != config.head.context_dim:
            raise CheckpointError(f"{path}: head.context_dim must equal backbone.embed_dim")
        if config.backbone.embed_dim % config.backbone.num_heads:
            raise CheckpointError(f"{path}: backbone.embed_dim must be a multiple of num_heads")
        return config

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)


def _sizes(*configs: BackboneConfig | HeadConfig) -> list[object]:
    skipped = ("img_size", "qkv_bias")
    fields = ((c, f.name) for c in configs for f in dataclasses.fields(c))
    return [getattr(config, name) for config, name in fields if name not in skipped]
