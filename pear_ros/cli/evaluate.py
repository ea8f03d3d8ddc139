"""`pear-ros evaluate`: errors on rendered people, on a public dataset, or on marked pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pear_ros.cli.arguments import (
    add_device,
    add_model,
    add_settings,
    config_from,
    model_or_demo,
    natural_int,
    positive_int,
)
from pear_ros.config import DETECTORS
from pear_ros.errors import SettingError

PAGE = "docs/how_to/evaluate_on_my_data.md"
# Options that only some of the evaluations have, and their value if they are not given.
OPTIONS = {
    "frames": None,
    "seed": None,
    "models": None,
    "joints_only": False,
    "every": 1,
    "detector": None,
    "detection.model": "",
    "overlays": None,
}
ALLOWED = {
    "": ("frames", "seed"),
    "--3dpw": ("models", "joints_only", "every"),
    "--ehf": ("models",),
    "--placement": ("frames", "seed"),
    "--real": ("detector", "detection.model", "overlays"),
}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure the errors on people rendered by the synthetic camera, or on your data",
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--3dpw",
        type=Path,
        metavar="DIR",
        dest="three_dpw",
        help="evaluate on the test split of 3DPW: the folder with imageFiles and sequenceFiles",
    )
    data.add_argument(
        "--ehf", type=Path, metavar="DIR", help="evaluate on EHF: the folder with 01_img.jpg"
    )
    data.add_argument(
        "--real",
        type=Path,
        metavar="DIR",
        help=f"evaluate on pictures marked by hand: the folder with images and truth.json ({PAGE})",
    )
    data.add_argument(
        "--placement",
        action="store_true",
        help="measure positions in metres, velocities and stated errors on the synthetic camera",
    )
    add_model(parser)
    parser.add_argument(
        "--frames",
        type=positive_int,
        help="rendered people and --placement: number of images (default: as for the results in "
        "the docs)",
    )
    parser.add_argument(
        "--seed",
        type=natural_int,
        help="rendered people and --placement: random seed (default: as for the results in the "
        "docs)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help=f"3DPW and EHF: the folder with the files that {PAGE} names "
        "(default: the folder `models` of the dataset)",
    )
    parser.add_argument(
        "--joints-only",
        action="store_true",
        help="3DPW: compare the body's joints only, which needs no files in --models",
    )
    parser.add_argument(
        "--every",
        type=positive_int,
        default=1,
        metavar="N",
        help="3DPW: take every N-th image of each sequence (default: 1)",
    )
    parser.add_argument(
        "--detector",
        choices=[name for name in DETECTORS if name != "topic"],
        help="marked pictures: find the people with a detector (default: the marked boxes)",
    )
    add_settings(parser, "detection.model", help="the ONNX file of --detector onnx")
    parser.add_argument(
        "--overlays",
        type=Path,
        metavar="DIR",
        help="marked pictures: write the pictures with meshes and marks to DIR",
    )
    add_device(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write the results to DIR: evaluation.json and worst.jpg, 3dpw.json, ehf.json, "
        "real.json or placement.json",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    given = {"--3dpw": options.three_dpw, "--ehf": options.ehf, "--real": options.real}
    data = next((name for name, folder in given.items() if folder is not None), "")
    data = "--placement" if options.placement else data
    _check(options, data)
    config = config_from(options, **model_or_demo(options))
    if data == "--3dpw":
        from pear_ros.evaluation.three_dpw import evaluate_3dpw

        models = None if options.joints_only else _models(options, options.three_dpw)
        return evaluate_3dpw(options.three_dpw, models, config, options.every, options.output)
    if data == "--ehf":
        from pear_ros.evaluation.ehf import evaluate_ehf

        return evaluate_ehf(options.ehf, _models(options, options.ehf), config, options.output)
    if data == "--real":
        from pear_ros.evaluation.real_pictures import evaluate_real

        if options.detector is not None:
            config = config.replaced({"detection.detector": options.detector})
        return evaluate_real(
            options.real, config, options.detector, options.output, options.overlays
        )
    if data == "--placement":
        from pear_ros.evaluation import placement

        seed = placement.SEED if options.seed is None else options.seed
        frames = options.frames or placement.FRAMES
        return placement.evaluate_placement(config, frames, seed, options.output)
    from pear_ros.evaluation.accuracy import FRAMES, SEED, evaluate

    seed = SEED if options.seed is None else options.seed
    return evaluate(config, options.frames or FRAMES, seed, options.output)


def _check(options: argparse.Namespace, data: str) -> None:
    """Raises SettingError if an option is given that this evaluation does not have."""
    values = vars(options)
    for name, unset in OPTIONS.items():
        if values[name] != unset and name not in ALLOWED[data]:
            option = "--" + name.rpartition(".")[2].replace("_", "-")
            owners = [kind or "rendered people" for kind in ALLOWED if name in ALLOWED[kind]]
            raise SettingError(f"{option} is for {' and '.join(owners)}; leave it out")
    if values["detection.model"] and options.detector != "onnx":
        raise SettingError("--model is the file of --detector onnx; give both")


def _models(options: argparse.Namespace, folder: Path) -> Path:
    models: Path = options.models or folder / "models"
    return models
