"""The command `pear-ros`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pear_ros.config import Config
from pear_ros.errors import PearError

if TYPE_CHECKING:  # torch takes a second to import, and --help needs none of it
    from pear_ros.network.network import PearNetwork

HELP = (["-h"], ["--help"])
SIZES_HELP = "JSON; default: network.json beside the checkpoint, else the published sizes"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; 1 with one line on stderr where the user has something to mend."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["node"], ["synthetic-camera"]) and arguments[1:2] not in HELP:
        return _run_node(*arguments)  # ROS reads the rest by itself
    options = _parser().parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()  # here, where a reader that has gone is met
        return code
    except PearError as error:
        print(f"pear-ros: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pear-ros", description="People in images as whole-body EHM parameters (PEAR)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_infer(commands.add_parser("infer", help="people in images or videos, without ROS"))

    commands.add_parser(
        "node",
        help="the ROS node",
        usage="pear-ros node --ros-args -p checkpoint:=FILE -p assets:=FILE ...",
        description="The ROS node; docs/parameters.md lists its parameters.",
    )

    commands.add_parser(
        "synthetic-camera",
        help="a camera for ROS that sees people who do not exist, and knows the truth",
        usage="pear-ros synthetic-camera --ros-args -p people:=3 -p seed:=7 ...",
        description="A ROS node; docs/parameters.md lists its parameters.",
    )

    _add_export(commands.add_parser("export", help="the network as ONNX"))
    _add_build(commands.add_parser("build", help="a TensorRT engine for this machine's GPU"))

    assets = commands.add_parser("assets", help="the body model's files")
    actions = assets.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="what is there, what is missing, where to get it")
    check.add_argument("directory", type=Path)
    check.set_defaults(run=_check_assets)
    convert = actions.add_parser("convert", help="read the downloaded files once, write one file")
    convert.add_argument("directory", type=Path)
    convert.add_argument("output", type=Path, help="the .npz file to write")
    convert.set_defaults(run=_convert_assets)

    _add_evaluate(commands.add_parser("evaluate", help="errors on people of the synthetic camera"))

    _add_bench(commands.add_parser("bench", help="how fast it is here, and as PEAR was published"))

    toy = commands.add_parser("toy", help="write a toy network and body to try an installation")
    toy.add_argument("directory", type=Path)
    toy.set_defaults(run=_toy)
    return parser


def _add_infer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT", help="image, folder of images, or video"
    )
    parser.add_argument("--checkpoint", required=True, help="PEAR's weights")
    parser.add_argument("--network-config", default="", help=SIZES_HELP)
    parser.add_argument("--assets", required=True, help="file of `pear-ros assets convert`")
    parser.add_argument("--detector", default="full_frame", choices=("full_frame", "hog"))
    parser.add_argument(
        "--boxes",
        action="append",
        type=_four_numbers,
        metavar="x1,y1,x2,y2",
        help="a person's box, px, in every image; repeatable; in place of a detector; a negative "
        "number first wants an =: --boxes=-20,0,100,200",
    )
    parser.add_argument("--device", default=Config.device)
    parser.add_argument("--dtype", default=Config.dtype, help="of the backbone: auto, float32, ...")
    parser.add_argument("--engine", default="", help="TensorRT engine; default: torch computes")
    parser.add_argument(
        "--intrinsics",
        type=_intrinsics,
        metavar="fx,fy,cx,cy",
        help="px; default: an assumed field of view",
    )
    parser.add_argument("--fov-deg", type=float, default=Config.assumed_fov_deg)
    parser.add_argument("--min-score", type=float, default=Config.min_score)
    parser.add_argument("--output", type=Path, default=Path("people.npz"))
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write pictures of the meshes")
    parser.add_argument("--no-vertices", action="store_true", help="leave the meshes out")
    parser.set_defaults(run=_infer)


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    parser.add_argument(
        "--dtype",
        default="float16",
        choices=("float16", "float32"),
        help="of the backbone",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="the .onnx file; the weights lie in .onnx.data"
    )
    parser.set_defaults(run=_export)


def _add_build(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    parser.add_argument("--device", default=Config.device)
    parser.add_argument("--dtype", default=Config.dtype, help="of the backbone: auto, float16, ...")
    parser.add_argument(
        "--onnx", type=Path, help="file of `pear-ros export`; default: the checkpoint is exported"
    )
    parser.add_argument("--output", type=Path, required=True, help="the .engine file")
    parser.set_defaults(run=_build)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="PEAR's weights")
    parser.add_argument("--network-config", type=Path, help=SIZES_HELP)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="", help="weights; default: the demo's network")
    parser.add_argument(
        "--network-config", default="", help=f"of the checkpoint that is given: {SIZES_HELP}"
    )
    parser.add_argument("--assets", default="", help="the body; default: the stand-in")
    parser.add_argument("--frames", type=_positive, help="default: as many as the docs' numbers")
    parser.add_argument("--seed", type=_natural, help="default: that of the docs' numbers")
    parser.add_argument("--device", default=Config.device)
    parser.add_argument("--dtype", default=Config.dtype, help="of the backbone: auto, float32, ...")
    parser.add_argument("--engine", default="", help="TensorRT engine; default: torch computes")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write evaluation.json and worst.jpg"
    )
    parser.set_defaults(run=_evaluate)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", default="", help="weights; default: the demo's network")
    weights.add_argument(
        "--random",
        nargs="?",
        const="",
        metavar="FILE",
        help="weights drawn at random, of the published size or --network-config's; kept in FILE, "
        "for `pear-ros build` say, else in a temporary one",
    )
    parser.add_argument("--network-config", default="", help="JSON, of those weights")
    parser.add_argument("--assets", default="", help="the body; default: the stand-in")
    parser.add_argument("--device", default=Config.device)
    parser.add_argument(
        "--dtype",
        nargs="+",
        default=[Config.dtype],
        help="of the backbone: auto, float32, ...; several are measured one after the other",
    )
    parser.add_argument("--engine", default="", help="TensorRT engine; default: torch computes")
    parser.add_argument(
        "--batches", type=_positive, nargs="+", default=[1, 2, 4, 8, 16], help="people in a step"
    )
    parser.add_argument(
        "--image", type=image_size, default=(640, 480), metavar="WIDTHxHEIGHT", help="px"
    )
    parser.add_argument("--repeats", type=_positive, default=50, help="steps that are timed")
    parser.add_argument("--mesh", action="store_true", help="vertices, too, not joints alone")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.set_defaults(run=_bench)


def image_size(text: str) -> tuple[int, int]:
    width, height = (int(side) for side in text.split("x"))  # argparse reports a ValueError
    if not (64 <= width <= 8192 and 64 <= height <= 8192):
        raise argparse.ArgumentTypeError(f"{text!r}: sides are within 64 ... 8192 px")
    return width, height


def _positive(text: str) -> int:
    number = int(text)  # argparse reports a ValueError
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative")
    return number


def _evaluate(options: argparse.Namespace) -> int:
    from pear_ros.evaluation.accuracy import FRAMES, SEED, evaluate
    from pear_ros.system.installed import checkpoint_or_demo, shared_file

    config = Config(
        checkpoint=checkpoint_or_demo(options.checkpoint, options.network_config),
        network_config=options.network_config,
        assets=options.assets or str(shared_file("standin/body.npz")),
        device=options.device,
        dtype=options.dtype,
        engine=options.engine,
    )
    seed = SEED if options.seed is None else options.seed
    return evaluate(config, options.frames or FRAMES, seed, options.output)


def _bench(options: argparse.Namespace) -> int:
    from pear_ros.benchmark.measure import BenchOptions, bench
    from pear_ros.system.installed import checkpoint_or_demo, shared_file

    checkpoint = options.checkpoint
    if options.random is None:
        checkpoint = checkpoint_or_demo(checkpoint, options.network_config)
    config = Config(
        checkpoint=checkpoint,
        network_config=options.network_config,
        assets=options.assets or str(shared_file("standin/body.npz")),
        device=options.device,
        engine=options.engine,
    )
    asked = BenchOptions(
        config,
        random=options.random,
        dtypes=tuple(options.dtype),
        batches=tuple(options.batches),
        image_size=options.image,
        repeats=options.repeats,
        mesh=options.mesh,
    )
    return bench(asked, options.output)


def _export(options: argparse.Namespace) -> int:
    from pear_ros.network.onnx_export import export
    from pear_ros.system.files import hash_files

    network = _load_network(options, "cpu")
    onnx = export(network, hash_files(options.checkpoint), options.output)
    print(f"wrote {options.output}, {network.description}, sha256 {onnx.sha256}")
    return 0


def _build(options: argparse.Namespace) -> int:
    from pear_ros.network.engine import build_engine, open_engine

    network = _load_network(options, options.device)
    build_engine(options.output, network, options.checkpoint, options.onnx)
    engine = open_engine(options.output, network, options.checkpoint)
    print(f"wrote {options.output}, which agrees with torch: {engine.description}")
    return 0


def _load_network(options: argparse.Namespace, device_name: str) -> PearNetwork:
    from pear_ros.network.network import NetworkConfig, choose_device, choose_dtype, load_network

    device = choose_device(device_name)
    dtype = choose_dtype(options.dtype, device)
    sizes = NetworkConfig.from_json(options.network_config) if options.network_config else None
    return load_network(options.checkpoint, sizes, device, dtype)


def _four_numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(x) for x in text.split(","))  # argparse reports a ValueError
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers with commas between")
    return numbers


def _intrinsics(text: str) -> tuple[float, ...]:
    fx, fy, cx, cy = _four_numbers(text)
    if fx <= 0 or fy <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: focal lengths fx and fy are positive")
    return fx, fy, cx, cy


def _infer(options: argparse.Namespace) -> int:
    from pear_ros.offline.infer import InferOptions, infer

    config = Config(
        checkpoint=options.checkpoint,
        network_config=options.network_config,
        assets=options.assets,
        device=options.device,
        dtype=options.dtype,
        engine=options.engine,
        detector="topic" if options.boxes else options.detector,
        min_score=options.min_score,
        assumed_fov_deg=options.fov_deg,
    )
    return infer(
        options.inputs,
        config,
        InferOptions(
            output=options.output,
            overlay=options.overlay,
            boxes=options.boxes or [],
            intrinsics=options.intrinsics,
            vertices=not options.no_vertices,
        ),
    )


def _run_node(command: str, *arguments: str) -> int:
    try:
        if command == "node":
            from pear_ros.ros.node import main as node_main
        else:
            from pear_ros.ros.synthetic_camera import main as node_main
    except ImportError as error:
        print(f"pear-ros: the {command} needs ROS 2: {error}; see README.md", file=sys.stderr)
        return 1
    return node_main(list(arguments))


def _check_assets(options: argparse.Namespace) -> int:
    from pear_ros.assets.downloads import check_assets

    report = check_assets(options.directory)
    print(report)
    return 0 if report.is_complete else 1


def _convert_assets(options: argparse.Namespace) -> int:
    from pear_ros.assets.downloads import convert_assets

    convert_assets(options.directory, options.output)
    print(f"wrote {options.output}")
    return 0


def _toy(options: argparse.Namespace) -> int:
    from pear_ros.synthetic.toy_files import write_toy

    files = write_toy(options.directory)
    print(
        "Wrote a toy network, which recognises nothing, and a toy body. Try them with\n"
        f"  pear-ros infer IMAGE --checkpoint {files.checkpoint} "
        f"--network-config {files.network_config} --assets {files.assets} --overlay pictures"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
