"""Command-line arguments that several subcommands share; those of settings come from Config."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from pear_ros.config import Config, settings, value_of

# Options that are not simply the field's name.
OPTIONS = {"network.config": "--network-config", "camera.assumed_fov_deg": "--fov-deg"}


def option_of(name: str) -> str:
    """The option of a setting: `detection.min_score` is `--min-score`."""
    return OPTIONS.get(name, "--" + name.rpartition(".")[2].replace("_", "-"))


def add_settings(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """An option for each setting; `changes` replace what add_argument is given."""
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
    """The Config of the options that `add_settings` made.

    Raises SettingError for a value out of bounds.
    """
    given = {name: value for name, value in vars(options).items() if name in settings(Config)}
    return Config.of(given | changes)


def add_model(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --network-config and --assets, by default the demo's."""
    demo = "default: the demo's small network"
    add_settings(parser, "network.checkpoint", help=f"PEAR's weights, pear_model.pt; {demo}")
    add_settings(parser, "network.config")
    body = "default: the stand-in body"
    add_settings(parser, "body.assets", help=f"file of `pear-ros assets convert`; {body}")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device, --dtype and --engine."""
    add_settings(parser, "network.device", "network.dtype", "network.engine")


def model_or_demo(options: argparse.Namespace) -> dict[str, str]:
    """The settings of `add_model`, the demo's files where none were given.

    Raises SettingError where there are only sizes: they would describe no weights.
    """
    from pear_ros.system.installed import checkpoint_or_demo, shared_file

    given = vars(options)
    is_random = given.get("random") is not None
    sizes = "" if is_random else given["network.config"]
    return {
        "network.checkpoint": checkpoint_or_demo(given["network.checkpoint"], sizes),
        "body.assets": given["body.assets"] or str(shared_file("standin/body.npz")),
    }


def four_numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(x) for x in text.split(","))  # argparse reports a ValueError
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers separated by commas")
    return numbers


def intrinsics(text: str) -> tuple[float, ...]:
    fx, fy, cx, cy = four_numbers(text)
    if fx <= 0 or fy <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: the focal lengths fx and fy must be positive")
    return fx, fy, cx, cy


def image_size(text: str) -> tuple[int, int]:
    width, height = (int(side) for side in text.split("x"))  # argparse reports a ValueError
    if not (64 <= width <= 8192 and 64 <= height <= 8192):
        raise argparse.ArgumentTypeError(f"{text!r}: sides are within 64 ... 8192 px")
    return width, height


def positive_int(text: str) -> int:
    number = int(text)  # argparse reports a ValueError
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def natural_int(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative")
    return number


def sizes_of(options: argparse.Namespace) -> Path | None:
    """The file of --network-config, None where it was not given."""
    path = vars(options)["network.config"]
    return Path(path) if path else None
