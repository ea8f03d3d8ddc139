"""What a setting is: a dataclass field with a description, whose value is checked."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from pear_ros.errors import SettingError

Value = str | bool | int | float | tuple[str, ...]


def setting(
    default: Value,
    doc: str,
    *,
    unit: str = "",
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A dataclass field with its description; `live`: may change while the node is configured."""
    metadata = {"doc": doc, "unit": unit, "bounds": bounds, "choices": choices, "live": live}
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """Base class of the settings dataclasses.

    Raises:
        SettingError: If a field has a bad value.
    """

    group: ClassVar[str] = ""  # first part of the settings' names

    def __post_init__(self) -> None:
        for name, field in settings(type(self)).items():
            check(f"{self.group}.{name}" if self.group else name, field, value_of(self, name))


def settings(kind: type[Checked]) -> dict[str, dataclasses.Field[Any]]:
    """Returns the dataclass fields of all settings by name, `group.field` for those in a group."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if isinstance(field.default, Checked):
            group = dataclasses.fields(field.default)  # type: ignore[arg-type]
            found |= {f"{field.name}.{inner.name}": inner for inner in group}
        else:
            found[field.name] = field
    return found


def value_of(config: Checked, name: str) -> Any:
    """Returns the value of the setting `name`.

    Raises:
        AttributeError: If there is no such setting.
    """
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def check(name: str, field: dataclasses.Field[Any], value: Value) -> None:
    """Checks the type, choices and bounds of a setting's value.

    Raises:
        SettingError: If `value` is not valid.
    """
    kind = type(field.default)
    if type(value) is not kind:
        raise SettingError(f"{name}: {value!r} is not of type {kind.__name__}")
    choices, bounds = field.metadata["choices"], field.metadata["bounds"]
    if choices and value not in choices:
        raise SettingError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    if bounds is not None:
        assert isinstance(value, int | float)
        if not (math.isfinite(value) and bounds[0] <= value <= bounds[1]):
            raise SettingError(
                f"{name}: {value} is not within {bounds[0]} ... {bounds[1]}"
                + (f" {field.metadata['unit']}" if field.metadata["unit"] else "")
            )
