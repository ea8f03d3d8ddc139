"""`pear-ros infer`: estimate the people in images or videos, without ROS."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pear_ros.cli.arguments import (
    add_device,
    add_model,
    add_settings,
    box,
    config_from,
    intrinsics,
    model_or_demo,
    with_options,
)
from pear_ros.config import DETECTORS
from pear_ros.errors import SettingError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "infer", help="estimate the people in images or videos, without ROS"
    )
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="picture, video, or folder of them; the content decides, not the name",
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
    add_settings(parser, "detection.min_plausibility", "detection.every_nth")
    parser.add_argument(
        "--boxes",
        action="append",
        type=box,
        metavar="x1,y1,x2,y2",
        help="a person's box, px, used in every image instead of a detector; repeat it for several "
        "people; if the first number is negative, write --boxes=-20,0,100,200",
    )
    add_device(parser)
    parser.add_argument(
        "--intrinsics",
        type=intrinsics,
        metavar="fx,fy,cx,cy",
        help="intrinsics of the camera, px (default: from --fov-deg)",
    )
    add_settings(parser, "camera.assumed_fov_deg", "camera.max_pixels")
    add_settings(parser, "placement.body_height_m")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("people.npz"),
        help="the .npz file to write (default: people.npz)",
    )
    parser.add_argument(
        "--overlay",
        type=Path,
        metavar="DIR",
        help="write images with the meshes drawn over them to DIR",
    )
    parser.add_argument("--no-vertices", action="store_true", help="do not store vertices")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from pear_ros.offline.infer import InferOptions, infer

    model = vars(options)
    if model["network.checkpoint"] and not model["body.assets"]:
        raise SettingError(
            "--checkpoint needs --assets, the body model that the network was trained with"
        )
    if model["detection.model"] and model["detection.detector"] != "onnx":
        raise SettingError("--model is the file of --detector onnx; give both")
    detector = {"detection.detector": "topic"} if options.boxes else {}
    config = config_from(options, **model_or_demo(options), **detector)
    code = infer(
        options.inputs,
        config,
        InferOptions(
            output=options.output,
            overlay=options.overlay,
            boxes=options.boxes or [],
            intrinsics=options.intrinsics,
            vertices=not options.no_vertices,
            reword=partial(with_options, options=options),
        ),
    )
    if not model["network.checkpoint"]:
        print("pear-ros: the demo's network, which knows rendered people only", file=sys.stderr)
    if config.detection.detector == "full_frame":
        print("pear-ros: the whole image is one person; see --boxes", file=sys.stderr)
    return code
