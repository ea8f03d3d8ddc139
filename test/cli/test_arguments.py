"""Options of the command line: those of settings come from Config."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import pytest

from pear_ros.cli.arguments import (
    OPTIONS,
    add_settings,
    box,
    config_from,
    four_numbers,
    image_size,
    intrinsics,
    natural_int,
    option_of,
    positive_int,
    with_options,
)
from pear_ros.cli.main import make_parser
from pear_ros.config import Config, settings
from pear_ros.errors import SettingError

FIELDS = settings(Config)
# A switch and a list of names are no options: argparse would need other types for them.
AS_OPTIONS = [name for name, field in FIELDS.items() if type(field.default) in (str, int, float)]
COMMANDS = ("infer", "evaluate", "bench", "export", "build")


def parser_of(*names: str, **changes: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_settings(parser, *names, **changes)
    return parser


# --- Options of settings -------------------------------------------------------------------------


@pytest.mark.parametrize("name", AS_OPTIONS)
def test_the_default_of_an_option_is_that_of_the_setting(name: str) -> None:
    options = parser_of(name).parse_args([])
    assert vars(options) == {name: FIELDS[name].default}
    assert config_from(options) == Config()


@pytest.mark.parametrize("name", AS_OPTIONS)
def test_an_option_sets_its_setting(name: str) -> None:
    field = FIELDS[name]
    bounds, choices = field.metadata["bounds"], field.metadata["choices"]
    given = type(field.default)(bounds[0] if bounds else choices[-1] if choices else "x")
    assert given != field.default or bounds
    options = parser_of(name).parse_args([option_of(name), str(given)])
    assert config_from(options) == Config.of({name: given})


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("detection.min_score", "--min-score"),
        ("network.device", "--device"),
        ("network.config", "--network-config"),
        ("camera.assumed_fov_deg", "--fov-deg"),
    ],
)
def test_names_of_options(name: str, option: str) -> None:
    assert option_of(name) == option


MESSAGES = {
    "at the start": ("detection.min_score: 2.0 is too much", "--min-score: 2.0 is too much"),
    "with a name of its own": ("set network.config.", "set --network-config."),
    "twice": ("network.config, network.config", "--network-config, --network-config"),
    "not of this command": ("more than camera.max_pixels, 5", "more than camera.max_pixels, 5"),
    "a file": ("/a/network.config network.config.json network.config/b", ""),
    "a longer name": ("my_network.config network.configs network.config-b", ""),
}


@pytest.mark.parametrize(("text", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_messages_name_options(text: str, expected: str) -> None:
    options = parser_of("detection.min_score", "network.config").parse_args([])
    assert with_options(text, options) == (expected or text)


def test_exceptions_are_settings() -> None:
    assert OPTIONS.keys() <= FIELDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_a_command_are_different(command: str) -> None:
    """Two settings whose fields have the same name would share an option."""
    (action,) = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    used = [a.dest for a in action.choices[command]._actions if a.dest in FIELDS]
    assert used
    assert len({option_of(name) for name in used}) == len(used)


@pytest.mark.parametrize("name", AS_OPTIONS)
def test_the_help_describes_the_setting(name: str) -> None:
    text = " ".join(parser_of(name).format_help().split())
    assert " ".join(FIELDS[name].metadata["doc"].split()) in text
    if FIELDS[name].default != "":
        assert f"(default: {FIELDS[name].default})" in text


def test_changes_override_the_setting() -> None:
    parser = parser_of(
        "detection.detector", choices=("full_frame", "nanodet"), default="full_frame"
    )
    assert config_from(parser.parse_args([])).detection.detector == "full_frame"
    with pytest.raises(SystemExit):
        parser.parse_args(["--detector", "topic"])


def test_changes_override_options() -> None:
    options = parser_of("detection.min_score", "detection.max_people").parse_args(
        ["--min-score", "0.3", "--max-people", "5"]
    )
    config = config_from(options, **{"detection.max_people": 7})
    assert (config.detection.min_score, config.detection.max_people) == (0.3, 7)


def test_other_options_are_no_settings() -> None:
    parser = parser_of("detection.min_score")
    parser.add_argument("--output")
    assert config_from(parser.parse_args(["--output", "x"])) == Config()


# --- Bad values ----------------------------------------------------------------------------------

BOUNDED = [name for name in AS_OPTIONS if FIELDS[name].metadata["bounds"]]
CHOSEN = [name for name in AS_OPTIONS if FIELDS[name].metadata["choices"]]


@pytest.mark.parametrize("name", BOUNDED)
def test_a_value_out_of_bounds_names_the_setting(name: str) -> None:
    too_much = type(FIELDS[name].default)(FIELDS[name].metadata["bounds"][1] + 1)
    options = parser_of(name).parse_args([option_of(name), str(too_much)])
    with pytest.raises(SettingError, match=f"^{name}: "):
        config_from(options)


@pytest.mark.parametrize("name", BOUNDED)
def test_a_value_of_another_type_names_the_option(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser_of(name).parse_args([option_of(name), "many"])
    assert f"argument {option_of(name)}: invalid" in capsys.readouterr().err


@pytest.mark.parametrize("name", CHOSEN)
def test_an_unknown_choice_names_the_option_and_the_choices(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser_of(name).parse_args([option_of(name), "none of them"])
    message = capsys.readouterr().err
    assert f"argument {option_of(name)}: invalid choice" in message
    assert all(choice in message for choice in FIELDS[name].metadata["choices"])


# --- Numbers -------------------------------------------------------------------------------------

GOOD: dict[str, tuple[Callable[[str], Any], str, Any]] = {
    "four numbers": (four_numbers, "1,-2,3.5,4e2", (1.0, -2.0, 3.5, 400.0)),
    "four numbers with spaces": (four_numbers, " 1, 2, 3, 4 ", (1.0, 2.0, 3.0, 4.0)),
    "box": (box, "10,5,40,70", (10.0, 5.0, 40.0, 70.0)),
    "box that begins outside": (box, "-5,-9.5,90,60", (-5.0, -9.5, 90.0, 60.0)),
    "intrinsics": (intrinsics, "600,610,-5,0", (600.0, 610.0, -5.0, 0.0)),
    "image size": (image_size, "640x480", (640, 480)),
    "smallest image": (image_size, "64x64", (64, 64)),
    "largest image": (image_size, "8192x8192", (8192, 8192)),
    "positive number": (positive_int, "1", 1),
    "natural number": (natural_int, "0", 0),
}


@pytest.mark.parametrize(("parse", "text", "expected"), GOOD.values(), ids=GOOD)
def test_numbers(parse: Callable[[str], Any], text: str, expected: Any) -> None:
    assert parse(text) == expected


BAD: dict[str, tuple[Callable[[str], Any], str]] = {
    "three numbers": (four_numbers, "1,2,3"),
    "five numbers": (four_numbers, "1,2,3,4,5"),
    "words": (four_numbers, "a,b,c,d"),
    "empty": (four_numbers, ""),
    "NaN": (four_numbers, "1,2,nan,4"),
    "infinite": (four_numbers, "1,2,inf,4"),
    "box of three numbers": (box, "10,5,40"),
    "box without width": (box, "10,5,10,70"),
    "box without height": (box, "10,5,40,5"),
    "box from right to left": (box, "40,5,10,70"),
    "box upside down": (box, "10,70,40,5"),
    "focal length of zero": (intrinsics, "0,600,320,240"),
    "negative focal length": (intrinsics, "600,-600,320,240"),
    "image size of one number": (image_size, "640"),
    "image size of three numbers": (image_size, "640x480x3"),
    "narrow image": (image_size, "63x480"),
    "high image": (image_size, "640x8193"),
    "positive number of zero": (positive_int, "0"),
    "positive fraction": (positive_int, "1.5"),
    "word for a positive number": (positive_int, "many"),
    "negative natural number": (natural_int, "-1"),
}


@pytest.mark.parametrize(("parse", "text"), BAD.values(), ids=BAD)
def test_bad_numbers(parse: Callable[[str], Any], text: str) -> None:
    """Errors name the text; argparse turns them into a usage message."""
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(text))):
        parse(text)
