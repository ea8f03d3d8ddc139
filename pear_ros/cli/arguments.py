"""Command-line options shared by several subcommands; those of settings come from Config."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

from pear_ros.config import Config, settings, value_of

ENGINE_SETTINGS = ("network.engine", "network.backend", "network.openvino_device")
# Settings whose option differs from the field's name.
OPTIONS = {"network.config": "--network-config", "camera.assumed_fov_deg": "--fov-deg"}


def option_of(name: str) -> str:
    """Returns the option of a setting: `--min-score` for `detection.min_score`."""
    return OPTIONS.get(name, "--" + name.rpartition(".")[2].replace("_", "-"))


def with_options(text: str, options: argparse.Namespace) -> str:
    """A message with the options of this command in place of the settings that they set."""
    for name in settings(Config).keys() & vars(options).keys():
        text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/-]|\.\w)", option_of(name), text)
    return text


def add_settings(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Adds an option for each setting; `changes` override arguments of add_argument."""
    for name in names:
        default = value_of(Config(), name)
        field = settings(Config)[name]
        arguments: dict[str, Any] = {
            "dest": name,
            "default": default,
            "type": type(default),
            "choices": field.metadata["choices"] or None,
            "metavar": option_of(name)[2:].upper().replace("-", "_"),
            "help": f"{field.metadata['doc']} (default: {default})"
            if default != ""
            else field.metadata["doc"],
        }
        if arguments["choices"]:
            del arguments["metavar"]
        parser.add_argument(option_of(name), **arguments | changes)


def config_from(options: argparse.Namespace, **changes: Any) -> Config:
    """Builds the Config from the parsed options; `changes` override settings.

    Raises:
        SettingError: If a value is out of bounds.
    """
    given = {name: value for name, value in vars(options).items() if name in settings(Config)}
    return Config.of(given | changes)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds --checkpoint, --network-config and --assets; the defaults are the demo's files."""
    demo = "default: the small demo network"
    add_settings(parser, "network.checkpoint", help=f"PEAR's weights, pear_model.pt; {demo}")
    add_settings(parser, "network.config")
    body = "default: the stand-in body"
    add_settings(
        parser, "body.assets", help=f"body model file written by `pear-ros assets convert`; {body}"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds --device, --dtype, --engine, --backend and --openvino-device."""
    add_settings(parser, "network.device", "network.dtype", *ENGINE_SETTINGS)


def model_or_demo(options: argparse.Namespace) -> dict[str, str]:
    """Returns the settings of `add_model`, with the demo's files as defaults.

    Raises:
        SettingError: If --network-config is given without --checkpoint.
        AssetError: If the demo's files are not installed.
    """
    from pear_ros.system.installed import checkpoint_or_demo

    given = vars(options)
    checkpoint = checkpoint_or_demo(given["network.checkpoint"], given["network.config"])
    return {"network.checkpoint": checkpoint, "body.assets": body_or_standin(options)}


def body_or_standin(options: argparse.Namespace) -> str:
    """The file of --assets, the stand-in body where none was given.

    Raises:
        AssetError: If the stand-in body is not installed.
    """
    from pear_ros.system.installed import shared_file

    return vars(options)["body.assets"] or str(shared_file("standin/body.npz"))


def four_numbers(text: str) -> tuple[float, ...]:
    """Parses "1,2,3,4"; raises ArgumentTypeError."""
    try:
        numbers = tuple(float(x) for x in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers separated by commas")
    return numbers


def box(text: str) -> tuple[float, ...]:
    """Parses "x1,y1,x2,y2", px; raises ArgumentTypeError."""
    x1, y1, x2, y2 = four_numbers(text)
    if x2 <= x1 or y2 <= y1:
        raise argparse.ArgumentTypeError(f"{text!r}: x2 must exceed x1, and y2 must exceed y1")
    return x1, y1, x2, y2


def intrinsics(text: str) -> tuple[float, ...]:
    """Parses "fx,fy,cx,cy", px; raises ArgumentTypeError."""
    fx, fy, cx, cy = four_numbers(text)
    if fx <= 0 or fy <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: the focal lengths fx and fy must be positive")
    return fx, fy, cx, cy


def image_size(text: str) -> tuple[int, int]:
    """Parses "640x480", width and height, px; raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(64 <= side <= 8192 for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not WIDTHxHEIGHT within 64 ... 8192 px, for example 640x480"
        )
    return sides


def positive_int(text: str) -> int:
    """Parses a whole number above 0; raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def natural_int(text: str) -> int:
    """Parses a whole number, at least 0; raises ArgumentTypeError."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def sizes_of(options: argparse.Namespace) -> Path | None:
    """Returns the file given as --network-config; None if there is none."""
    path = vars(options)["network.config"]
    return Path(path) if path else None
