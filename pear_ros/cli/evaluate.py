"""`pear-ros evaluate`: errors on people rendered by the synthetic camera."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pear_ros.cli.arguments import (
    add_device,
    add_model,
    config_from,
    model_or_demo,
    natural_int,
    positive_int,
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate", help="measure the errors on people rendered by the synthetic camera"
    )
    add_model(parser)
    parser.add_argument(
        "--frames",
        type=positive_int,
        help="number of images (default: as for the results in the docs)",
    )
    parser.add_argument(
        "--seed", type=natural_int, help="random seed (default: as for the results in the docs)"
    )
    add_device(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write evaluation.json and worst.jpg to DIR"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from pear_ros.evaluation.accuracy import FRAMES, SEED, evaluate

    config = config_from(options, **model_or_demo(options))
    seed = SEED if options.seed is None else options.seed
    return evaluate(config, options.frames or FRAMES, seed, options.output)
