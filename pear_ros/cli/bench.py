"""`pear-ros bench`: speed and memory of a step on this machine, compared with the baseline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pear_ros.cli.arguments import (
    ENGINE_SETTINGS,
    add_settings,
    body_or_standin,
    config_from,
    image_size,
    model_or_demo,
    positive_int,
)
from pear_ros.config import Config


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure speed and memory on this machine, compared with a reference implementation "
        "of the published code",
    )
    weights = parser.add_mutually_exclusive_group()
    text = "PEAR's weights; default: the small demo network"
    add_settings(weights, "network.checkpoint", help=text)
    weights.add_argument(
        "--random",
        nargs="?",
        const="",
        metavar="FILE",
        help="use random weights, of the published size or of the size in --network-config; with "
        "FILE, also write them to it",
    )
    add_settings(parser, "network.config")
    add_settings(parser, "body.assets", help="the body model; default: the stand-in body")
    add_settings(parser, "network.device", *ENGINE_SETTINGS)
    parser.add_argument(
        "--dtype",
        nargs="+",
        default=[Config().network.dtype],
        help="precision of the backbone: auto, float32, float16 or bfloat16; several are measured "
        "one after another (default: auto)",
    )
    parser.add_argument(
        "--batches",
        type=positive_int,
        nargs="+",
        default=[1, 2, 4, 8, 16],
        help="people per step (default: 1 2 4 8 16)",
    )
    parser.add_argument(
        "--image",
        type=image_size,
        default=(640, 480),
        metavar="WIDTHxHEIGHT",
        help="size of the images, px (default: 640x480)",
    )
    parser.add_argument(
        "--repeats", type=positive_int, default=50, help="number of timed steps (default: 50)"
    )
    parser.add_argument("--mesh", action="store_true", help="compute vertices as well as joints")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from pear_ros.benchmark.measure import bench
    from pear_ros.benchmark.options import BenchOptions

    if options.random is None:
        files = model_or_demo(options)
    else:  # --network-config describes the random weights
        files = {"network.checkpoint": "", "body.assets": body_or_standin(options)}
    bench_options = BenchOptions(
        config_from(options, **files),
        random=options.random,
        dtypes=tuple(options.dtype),
        batches=tuple(options.batches),
        image_size=options.image,
        repeats=options.repeats,
        mesh=options.mesh,
    )
    return bench(bench_options, options.output)
