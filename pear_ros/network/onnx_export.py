"""Exports the network to ONNX: crops in, every field of EhmParameters out.

The precisions of backbone and head are part of the graph.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pear_ros.errors import ExportError
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.network.network import PearNetwork
from pear_ros.people import EhmParameters
from pear_ros.system.files import (
    beside,
    hash_files,
    read_json,
    temporary_folder,
    write_whole,
)

OPSET = 20  # the newest that TensorRT 10.3 supports; TensorRT 11 supports up to 25
PRECISIONS = ("float16", "float32")  # opset 20 has no convolution in bfloat16
MAX_MANIFEST_BYTES = 1 << 16
INPUT = "crops"
OUTPUTS = tuple(f.name for f in fields(EhmParameters))
PROFILE = (1, 4, 32)  # people in one call: minimum, optimum, maximum
INSTALL = "pip install onnx onnxscript"


@dataclass(frozen=True)
class Onnx:
    """The content of the manifest `<file>.json` of an exported model."""

    sha256: str  # of graph and weights
    checkpoint: str  # sha256 of the file that its weights come from
    precision: str  # of the backbone


def export(network: PearNetwork, checkpoint_sha256: str, path: Path) -> Onnx:
    """Writes the graph `path`, the weights `path`.data and the manifest `path`.json.

    Raises:
        ExportError: If the precision cannot be exported, a package is missing, or the files
            cannot be written.
    """
    if network.precision not in PRECISIONS:
        raise ExportError(f"{network.precision} cannot be exported; use {' or '.join(PRECISIONS)}")
    try:
        program = _program(network)
    except ImportError as error:
        raise ExportError(f"the export needs a missing package ({error}): {INSTALL}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside(path, ".json").unlink(missing_ok=True)  # its presence marks a complete export
        with temporary_folder(path.parent) as folder:  # never writes through links at `path`
            program.save(folder / path.name, external_data=True)
            for name in (path.name, beside(path, ".data").name):
                os.replace(folder / name, path.with_name(name))
        onnx = Onnx(hash_files(path, beside(path, ".data")), checkpoint_sha256, network.precision)
        write_whole(beside(path, ".json"), json.dumps(asdict(onnx), indent=1).encode())
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error}") from error
    return onnx


def read_onnx(path: Path) -> Onnx:
    """Reads the manifest of an export and checks the files against it.

    Raises:
        ExportError: If a file is missing, or if the graph or the weights have changed.
    """
    command = f"export it again: pear-ros export --checkpoint ... --output {path}"
    try:
        onnx = Onnx(**read_json(beside(path, ".json"), MAX_MANIFEST_BYTES))
        found = hash_files(path, beside(path, ".data"))
    except (OSError, ValueError, TypeError) as error:
        raise ExportError(f"{path} is not a complete export ({error}); {command}") from error
    if found != onnx.sha256:
        raise ExportError(f"{path} or its weights have changed since the export; {command}")
    return onnx


class _Tuple(nn.Module):
    """Wraps the network to return a tuple of tensors."""

    def __init__(self, network: PearNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        parameters = self.network(crops)
        return tuple(getattr(parameters, name) for name in OUTPUTS)


def _program(network: PearNetwork) -> Any:
    # Two people, because torch.export treats a size of 0 or 1 as a constant.
    crops = torch.zeros(2, CROP_SIZE, CROP_SIZE, 3, dtype=torch.uint8, device=network.device)
    people = torch.export.Dim("people", min=PROFILE[0], max=PROFILE[2])
    with _quiet():
        program: Any = torch.onnx.export(
            _Tuple(network),
            (crops,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes=({0: people},),
            verbose=False,
        )
    graph = program.model.graph
    # A cast is the only operation that TensorRT has for a uint8 input: let the others, such as
    # reading its size, use the result of the cast.
    uses = tuple(graph.inputs[0].uses())
    (cast,) = (use.node for use in uses if use.node.op_type == "Cast")
    for use in uses:
        if use.node is not cast:
            use.node.replace_input_with(use.idx, cast.outputs[0])
    graph.sort()
    for node in graph:
        node.metadata_props.clear()  # has paths of local files, which would change the hash
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the exporter's log messages and warnings; its errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
