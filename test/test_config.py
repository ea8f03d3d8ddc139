"""The settings: their checks, and the files written from them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pear_ros.config import Config, SyntheticCameraConfig, as_table, as_yaml
from pear_ros.errors import SettingError

ROOT = Path(__file__).parents[1]
CAMERA = SyntheticCameraConfig
FIELDS = {f.name: f for f in dataclasses.fields(Config)}
BOUNDED = [name for name, f in FIELDS.items() if f.metadata["bounds"]]
NAN, INF = float("nan"), float("inf")


# --- Checks --------------------------------------------------------------------------------------


def outside(name: str) -> list[Any]:
    low, high = FIELDS[name].metadata["bounds"]
    step = 1 if isinstance(FIELDS[name].default, int) else 1e-6
    values = [low - step, high + step]
    return values if step == 1 else [*values, NAN, INF, -INF]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BOUNDED for value in outside(name)]
)
def test_outside_of_the_bounds(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=rf"^{name}: .* is not within .* \.\.\. "):
        Config(**{name: value})


@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_themselves(name: str, end: int) -> None:
    value = type(FIELDS[name].default)(FIELDS[name].metadata["bounds"][end])
    assert getattr(Config(**{name: value}), name) == value


def test_the_unit_is_told() -> None:
    with pytest.raises(
        SettingError, match=r"^track_timeout_s: -1.0 is not within 0.0 ... 3600.0 s$"
    ):
        Config(track_timeout_s=-1.0)


@pytest.mark.parametrize("values", [{"people": 0}, {"people": 9}, {"repertoire": "x"}], ids=str)
def test_the_synthetic_camera_has_bounds_too(values: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"^{next(iter(values))}: "):
        CAMERA(**values)


OF_TYPES: dict[type, Any] = {str: "x", bool: True, int: 3, float: 3.5, tuple: ("a",), list: ["a"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n, f in FIELDS.items() for t, v in OF_TYPES.items() if t is not type(f.default)]
    + [(n, None) for n in FIELDS],
)
def test_other_types(name: str, value: object) -> None:
    kind = type(FIELDS[name].default).__name__
    with pytest.raises(SettingError, match=rf"^{name}: .* is not of type {kind}$"):
        Config(**{name: value})


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.metadata["choices"]])
def test_choices(name: str) -> None:
    choices = FIELDS[name].metadata["choices"]
    for choice in choices:
        assert getattr(Config(**{name: choice}), name) == choice
    for other in ("", "x", choices[0].upper(), ", ".join(choices)):
        with pytest.raises(SettingError, match=f"^{name}: '{other}' is none of {choices[0]}, "):
            Config(**{name: other})


@pytest.mark.parametrize("names", [(), ("a",), ("left", "Right_2"), ("a", "A")], ids=str)
def test_cameras(names: tuple[str, ...]) -> None:
    assert Config(cameras=names).cameras == names


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("",), "'' is no name"),
        (("a", "2b"), "'2b' is no name"),
        (("_a",), "'_a' is no name"),
        (("a/b",), "'a/b' is no name"),
        (("a-b",), "'a-b' is no name"),
        (("a b",), "'a b' is no name"),
        (("a\n",), r"'a\\n' is no name"),
        (("é",), "'é' is no name"),
        (("a", "b", "a"), "names one camera twice"),
    ],
)
def test_no_cameras(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(SettingError, match=f"^cameras: .*{told}"):
        Config(cameras=names)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().min_score = 2.0  # type: ignore[misc]


# --- Files ---------------------------------------------------------------------------------------


def test_yaml_file_is_up_to_date() -> None:
    assert (ROOT / "config" / "pear.yaml").read_text() == as_yaml()


def test_yaml_holds_the_defaults() -> None:
    yaml = pytest.importorskip("yaml")
    values = yaml.safe_load(as_yaml())["/**"]["ros__parameters"]
    assert values.pop("cameras") == [""]  # ROS has no empty list without a type
    assert values == {n: f.default for n, f in FIELDS.items() if n != "cameras"}
    for name, value in values.items():
        assert type(value) is type(FIELDS[name].default), name


@pytest.mark.parametrize(("name", "kind"), [("table", Config), ("camera table", CAMERA)])
def test_documented_table_is_up_to_date(name: str, kind: type) -> None:
    text = (ROOT / "docs" / "parameters.md").read_text()
    _, table = text.split(f"<!-- {name} begin -->\n")
    assert table.split(f"<!-- {name} end -->")[0] == as_table(kind)


def test_table_has_every_setting() -> None:
    rows = [line.split(" | ")[0] for line in as_table().splitlines()[2:]]
    assert rows == [f"| `{name}`" for name in FIELDS]
    assert all(f.metadata["doc"] for f in FIELDS.values())
    assert {line.count("|") for line in as_table().splitlines()} == {6}


@pytest.mark.parametrize(
    ("what", "expected"),
    [("yaml", as_yaml()), ("table", as_table()), ("camera-table", as_table(CAMERA))],
)
def test_command(what: str, expected: str) -> None:
    command = [sys.executable, "-m", "pear_ros.config", what]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert printed.stdout == expected
