"""Settings: checks, groups, and the files that are written from them."""

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
    """Values outside the bounds of a setting."""
    low, high = FIELDS[name].metadata["bounds"]
    step = 1 if isinstance(FIELDS[name].default, int) else 1e-6
    values = [low - step, high + step]
    return values if step == 1 else [*values, NAN, INF, -INF]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BOUNDED for value in outside(name)]
)
def test_values_outside_the_bounds(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=rf"^{name}: .* is not within .* \.\.\. "):
        Config.of({name: value})


@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
@pytest.mark.parametrize("name", BOUNDED)
def test_the_bounds_are_allowed(name: str, end: int) -> None:
    value = type(FIELDS[name].default)(FIELDS[name].metadata["bounds"][end])
    assert value_of(Config.of({name: value}), name) == value


def test_errors_name_the_unit() -> None:
    low, high = FIELDS["tracking.timeout_s"].metadata["bounds"]
    with pytest.raises(
        SettingError, match=rf"^tracking\.timeout_s: -1\.0 is not within {low} \.\.\. {high} s$"
    ):
        Config.of({"tracking.timeout_s": -1.0})


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"people": 0}, id="too few people"),
        pytest.param({"people": 9}, id="too many people"),
        pytest.param({"repertoire": "x"}, id="unknown repertoire"),
        pytest.param({"fov_deg": 150.0}, id="too wide"),
        pytest.param({"lens": "mercator", "fov_deg": 90.0}, id="unknown lens"),
        pytest.param({"lens": "equidistant"}, id="a lens without a field of view"),
        pytest.param({"base": "legs"}, id="unknown base"),
        pytest.param({"depth_holes": 1.0}, id="nothing but holes"),
    ],
)
def test_the_synthetic_camera_has_bounds_too(values: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"^{next(iter(values))}: "):
        CAMERA(**values)


VALUES: dict[type, Any] = {str: "x", bool: True, int: 3, float: 3.5, tuple: ("a",), list: ["a"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n, f in FIELDS.items() for t, v in VALUES.items() if t is not type(f.default)]
    + [(n, None) for n in FIELDS],
    ids=str,
)
def test_values_of_other_types(name: str, value: object) -> None:
    kind = type(FIELDS[name].default).__name__
    with pytest.raises(SettingError, match=rf"^{name}: .* is not of type {kind}$"):
        Config.of({name: value})


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.metadata["choices"]])
def test_choices(name: str) -> None:
    choices = FIELDS[name].metadata["choices"]
    for choice in choices:
        assert value_of(Config.of({name: choice}), name) == choice
    for other in ("", "x", choices[0].swapcase(), ", ".join(choices)):
        with pytest.raises(SettingError, match=f"^{name}: '{other}' is not one of {choices[0]}, "):
            Config.of({name: other})


@pytest.mark.parametrize("names", [(), ("a",), ("left", "Right_2"), ("a", "A")], ids=str)
def test_names_of_cameras(names: tuple[str, ...]) -> None:
    assert Config.of({"camera.names": names}).camera.names == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(("",), "'' is not a valid name", id="empty"),
        pytest.param(("a", "2b"), "'2b' is not a valid name", id="digit first"),
        pytest.param(("_a",), "'_a' is not a valid name", id="underscore first"),
        pytest.param(("a/b",), "'a/b' is not a valid name", id="slash"),
        pytest.param(("a-b",), "'a-b' is not a valid name", id="hyphen"),
        pytest.param(("a b",), "'a b' is not a valid name", id="space"),
        pytest.param(("a\n",), r"'a\\n' is not a valid name", id="newline"),
        pytest.param(("é",), "'é' is not a valid name", id="not ASCII"),
        pytest.param(("a", "b", "a"), "has the same name twice", id="twice"),
    ],
)
def test_bad_names_of_cameras(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError, match=f"^camera.names: .*{message}"):
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


def test_every_setting_is_described() -> None:
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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("min_score", id="no group"),
        pytest.param("detection", id="a group"),
        pytest.param("detection.x", id="unknown field"),
        pytest.param("x.min_score", id="unknown group"),
        pytest.param("", id="empty"),
    ],
)
def test_unknown_settings(name: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} is not a setting"):
        Config.of({name: 0.5})
