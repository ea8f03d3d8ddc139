"""`pear-ros annotate`: make training labels from images and videos of people."""

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
)
from pear_ros.config import DETECTORS
from pear_ros.errors import SettingError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "annotate", help="make training labels from images and videos of people"
    )
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT", help="image, folder of images, or video"
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--keypoints",
        type=Path,
        metavar="FILE",
        help="COCO-WholeBody's JSON with keypoints, instead of MediaPipe's models",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="annotate inputs again that are complete in OUT"
    )
    add_model(parser)
    add_settings(
        parser,
        "detection.detector",
        choices=[name for name in DETECTORS if name != "topic"],
        help="nanodet: the detector that is installed with pear_ros (default); full_frame: the "
        "whole image is one person; onnx: the file of --model",
    )
    add_settings(parser, "detection.model", "detection.family", "detection.person_index")
    add_settings(parser, "detection.input_px", "detection.min_score", "detection.max_people")
    add_device(parser)
    add_settings(parser, "camera.assumed_fov_deg")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from pear_ros.annotation.annotate import annotate
    from pear_ros.annotation.experts import Experts, MediaPipeExperts
    from pear_ros.annotation.keypoint_files import KeypointFile

    model = vars(options)
    if model["network.checkpoint"] and not model["body.assets"]:
        raise SettingError(
            "--checkpoint needs --assets, the body model that the network was trained with"
        )
    if model["detection.model"] and model["detection.detector"] != "onnx":
        raise SettingError("--model is the file of --detector onnx; give both")
    # The gate judges people later, with more evidence than the estimate's plausibility.
    config = config_from(options, **model_or_demo(options), **{"detection.min_plausibility": 0.0})

    def load_experts() -> Experts:
        return KeypointFile(options.keypoints) if options.keypoints else MediaPipeExperts.load()

    return annotate(options.inputs, options.output, config, load_experts, options.overwrite)
