"""The settings: their checks, and the files written from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from samples import ROOT

from pear_ros.config import Config, SyntheticCameraConfig, settings, value_of
from pear_ros.errors import SettingError
from scripts.config_yaml import as_yaml

CAMERA = SyntheticCameraConfig
FIELDS = settings(Config)
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
        Config.of({name: value})


@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_themselves(name: str, end: int) -> None:
    value = type(FIELDS[name].default)(FIELDS[name].metadata["bounds"][end])
    assert value_of(Config.of({name: value}), name) == value


def test_the_unit_is_told() -> None:
    with pytest.raises(
        SettingError, match=r"^tracking.timeout_s: -1.0 is not within 0.0 ... 3600.0 s$"
    ):
        Config.of({"tracking.timeout_s": -1.0})


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
        Config.of({name: value})


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.metadata["choices"]])
def test_choices(name: str) -> None:
    choices = FIELDS[name].metadata["choices"]
    for choice in choices:
        assert value_of(Config.of({name: choice}), name) == choice
    for other in ("", "x", choices[0].upper(), ", ".join(choices)):
        with pytest.raises(SettingError, match=f"^{name}: '{other}' is none of {choices[0]}, "):
            Config.of({name: other})


@pytest.mark.parametrize("names", [(), ("a",), ("left", "Right_2"), ("a", "A")], ids=str)
def test_cameras(names: tuple[str, ...]) -> None:
    assert Config.of({"camera.names": names}).camera.names == names


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("",), "'' is not a valid name"),
        (("a", "2b"), "'2b' is not a valid name"),
        (("_a",), "'_a' is not a valid name"),
        (("a/b",), "'a/b' is not a valid name"),
        (("a-b",), "'a-b' is not a valid name"),
        (("a b",), "'a b' is not a valid name"),
        (("a\n",), r"'a\\n' is not a valid name"),
        (("é",), "'é' is not a valid name"),
        (("a", "b", "a"), "has the same name twice"),
    ],
)
def test_no_cameras(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(SettingError, match=f"^camera.names: .*{told}"):
        Config.of({"camera.names": names})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().autostart = False  # type: ignore[misc]


# --- Files ---------------------------------------------------------------------------------------


def test_yaml_file_is_up_to_date() -> None:
    assert (ROOT / "config" / "pear.yaml").read_text() == as_yaml()


def test_yaml_holds_the_defaults() -> None:
    yaml = pytest.importorskip("yaml")
    tree = yaml.safe_load(as_yaml())["/**"]["ros__parameters"]
    values = {
        f"{group}.{name}" if isinstance(inner, dict) else group: value
        for group, inner in tree.items()
        for name, value in (inner.items() if isinstance(inner, dict) else [("", inner)])
    }
    assert values.pop("camera.names") == [""]  # ROS has no empty list without a type
    assert values == {n: f.default for n, f in FIELDS.items() if n != "camera.names"}
    for name, value in values.items():
        assert type(value) is type(FIELDS[name].default), name


def test_every_setting_is_explained() -> None:
    assert all(f.metadata["doc"] for f in (FIELDS | settings(CAMERA)).values())


# --- Groups --------------------------------------------------------------------------------------


def test_settings_are_replaced_by_name() -> None:
    config = Config.of({"detection.min_score": 0.25, "autostart": False})
    changed = config.replaced({"detection.max_people": 3, "network.dtype": "float32"})
    assert changed.detection.min_score == 0.25
    assert changed.detection.max_people == 3
    assert changed.network.dtype == "float32"
    assert not changed.autostart
    assert changed.tracking == Config().tracking
    assert config.detection.max_people == Config().detection.max_people


@pytest.mark.parametrize("name", ["min_score", "detection", "detection.x", "x.min_score", ""])
def test_unknown_settings(name: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} is not a setting"):
        Config.of({name: 0.5})
