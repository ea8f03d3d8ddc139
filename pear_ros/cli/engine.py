"""`pear-ros export` and `pear-ros build`: convert the network to ONNX or to an engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pear_ros.cli.arguments import add_settings, config_from, sizes_of

if TYPE_CHECKING:  # importing torch takes a second, and --help does not need it
    from pear_ros.network.network import PearNetwork


def add_parser(commands: Any) -> None:
    export = commands.add_parser("export", help="export the network to ONNX")
    add_settings(export, "network.checkpoint", required=True)
    add_settings(export, "network.config")
    choices, text = ("float16", "float32"), "precision of the backbone (default: float16)"
    add_settings(export, "network.dtype", default="float16", choices=choices, help=text)
    export.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the .onnx file to write; the weights go to .onnx.data",
    )
    export.set_defaults(run=run_export)

    build = commands.add_parser(
        "build", help="build an engine for this machine, of OpenVINO or TensorRT"
    )
    add_settings(build, "network.checkpoint", required=True)
    add_settings(build, "network.config", "network.device", "network.dtype")
    text = "what to build an engine of (default: TensorRT on CUDA, else OpenVINO)"
    add_settings(build, "network.backend", choices=("auto", "openvino", "tensorrt"), help=text)
    add_settings(build, "network.openvino_device")
    build.add_argument(
        "--onnx",
        type=Path,
        help="file written by `pear-ros export`; default: export the checkpoint first",
    )
    text = "the .engine file to write (default: one in ~/.cache/pear_ros that is found by itself)"
    build.add_argument("--output", type=Path, help=text)
    build.set_defaults(run=run_build)


def run_export(options: argparse.Namespace) -> int:
    from pear_ros.network.onnx_export import export
    from pear_ros.system.files import hash_files

    network, checkpoint = _load(options, "cpu")
    onnx = export(network, hash_files(checkpoint), options.output)
    print(f"wrote {options.output}, {network.description}, sha256 {onnx.sha256}")
    return 0


def run_build(options: argparse.Namespace) -> int:
    from pear_ros.errors import EngineError
    from pear_ros.network.engine import TRIED_PEOPLE, open_engine, target_of
    from pear_ros.network.engine_file import build_engine, path_of_engine
    from pear_ros.system.files import beside

    network, checkpoint = _load(options, vars(options)["network.device"])
    target = target_of(network, config_from(options).network)
    output = options.output or path_of_engine(checkpoint, target)
    build_engine(output, network, checkpoint, target, options.onnx)
    try:
        engine = open_engine(output, network, checkpoint, target, TRIED_PEOPLE)
    except EngineError:  # it would be found, and refused, at every start
        for path in (beside(output, ".json"), output):
            path.unlink(missing_ok=True)
        raise
    print(f"wrote {output}, whose outputs agree with PyTorch's: {engine.description}")
    return 0


def _load(options: argparse.Namespace, device_name: str) -> tuple[PearNetwork, Path]:
    from pear_ros.network.checkpoint import load_network
    from pear_ros.network.network_config import NetworkConfig
    from pear_ros.system.device import choose_device, choose_dtype

    device = choose_device(device_name)
    dtype = choose_dtype(vars(options)["network.dtype"], device)
    path = sizes_of(options)
    sizes = NetworkConfig.from_json(path) if path else None
    checkpoint = Path(vars(options)["network.checkpoint"])
    return load_network(checkpoint, sizes, device, dtype), checkpoint
