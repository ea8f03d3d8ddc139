"""Every setting, written once: the ROS parameters, config/pear.yaml and docs/parameters.md follow.

`python -m pear_ros.config yaml` prints the file, `... table` and `... camera-table` the tables.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

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
    """A field; `live` ones may change while the node is configured."""
    metadata = {"doc": doc, "unit": unit, "bounds": bounds, "choices": choices, "live": live}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Settings of the node; checked when made: SettingError names the setting and its bounds."""

    checkpoint: str = setting("", "PEAR's checkpoint, pear_model.pt; see docs/assets.md")
    network_config: str = setting(
        "",
        "JSON file with the sizes of the network; empty: network.json beside the checkpoint, else "
        "the published PEAR (ViT-H)",
    )
    assets: str = setting("", "body model file written by `pear-ros assets convert`")
    device: str = setting("auto", "where the network runs: auto, cpu, cuda, cuda:1, ...")
    dtype: str = setting(
        "auto",
        "precision of the backbone; auto: float16 on CUDA, bfloat16 on a CPU that has it, "
        "else float32",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    engine: str = setting(
        "",
        "TensorRT engine written by `pear-ros build`, see docs/tensorrt.md; empty: torch computes",
    )
    build_engine: bool = setting(
        False,
        "where `engine` is missing or made for another machine, build it before the node starts to "
        "work, which takes minutes",
    )
    cameras: tuple[str, ...] = setting(
        (),
        "names of several cameras, each with topics under its name; empty: one camera, no name",
    )
    image_transport: str = setting(
        "raw",
        "raw: sensor_msgs/Image on `image`; compressed: CompressedImage on `image/compressed`",
        choices=("raw", "compressed"),
    )
    rectified: bool = setting(
        False,
        "the images are rectified: camera_info's matrix P is theirs; false: K, and distortion is "
        "neglected",
    )
    detector: str = setting(
        "full_frame",
        "who finds the people; full_frame: the image is one person; hog: OpenCV's detector; "
        "topic: vision_msgs/Detection2DArray on `detections`, matched by stamp",
        choices=("full_frame", "hog", "topic"),
    )
    person_class: str = setting(
        "", "class_id that a detection on `detections` must have; empty: any", live=True
    )
    min_score: float = setting(
        0.5, "people with a lower score are left out", bounds=(0.0, 1.0), live=True
    )
    max_people: int = setting(
        16, "of one image; those with the highest scores stay", bounds=(1, 64), live=True
    )
    detections_timeout_s: float = setting(
        1.0,
        "an image waits so long for its detections, then it is dropped",
        unit="s",
        bounds=(0.0, 60.0),
    )
    assumed_fov_deg: float = setting(
        60.0,
        "field of view along the longer image side where camera_info has no calibration",
        unit="deg",
        bounds=(10.0, 170.0),
        live=True,
    )
    camera_info_timeout_s: float = setting(
        1.0,
        "images wait so long for the first camera_info, then the field of view is assumed",
        unit="s",
        bounds=(0.0, 60.0),
    )
    track_min_iou: float = setting(
        0.3,
        "overlap (intersection over union) with the last box that makes the same person",
        bounds=(0.0, 1.0),
    )
    track_timeout_s: float = setting(
        1.0, "a person unseen for so long gets a new id", unit="s", bounds=(0.0, 3600.0)
    )
    shape_frames: int = setting(
        0,
        "hold a person's body shape at the mean of so many frames; 0: each frame's own, as PEAR",
        bounds=(0, 1000),
    )
    overlay_rate_hz: float = setting(
        10.0, "most overlay images a second and camera", unit="Hz", bounds=(0.1, 1000.0), live=True
    )
    autostart: bool = setting(True, "configure and activate when the node starts")

    def __post_init__(self) -> None:
        check(self)
        for name in self.cameras:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise SettingError(
                    f"cameras: {name!r} is no name; use letters, digits and _, a letter first"
                )
        if len(set(self.cameras)) != len(self.cameras):
            raise SettingError(f"cameras: {list(self.cameras)} names one camera twice")


@dataclass(frozen=True)
class SyntheticCameraConfig:
    """Settings of the synthetic camera; checked when made, as Config is."""

    people: int = setting(2, "how many people move before the camera", bounds=(1, 8))
    repertoire: str = setting(
        "held_out",
        "what they do; held_out: what the demo's network was not trained on",
        choices=("training", "held_out"),
    )
    seed: int = setting(2, "another number: other people, room and light", bounds=(0, 2**31 - 1))
    rate_hz: float = setting(10.0, "images a second", unit="Hz", bounds=(0.1, 120.0))
    width: int = setting(640, "of the images", unit="px", bounds=(64, 3840))
    height: int = setting(480, "of the images", unit="px", bounds=(64, 2160))
    assets: str = setting("", "body model file; empty: the stand-in body that is installed")
    duration_s: float = setting(
        0.0, "ends after so long; 0: when it is interrupted", unit="s", bounds=(0.0, 86400.0)
    )
    wait_for_subscriber: bool = setting(False, "begin when somebody subscribes to `image`")

    def __post_init__(self) -> None:
        check(self)


def check(config: Config | SyntheticCameraConfig) -> None:
    """Raises SettingError where a setting is of another type or out of its bounds."""
    for field in dataclasses.fields(config):
        _check(field, getattr(config, field.name))


def _check(field: dataclasses.Field[Any], value: Value) -> None:
    kind = type(field.default)
    if type(value) is not kind:
        raise SettingError(f"{field.name}: {value!r} is not of type {kind.__name__}")
    choices, bounds = field.metadata["choices"], field.metadata["bounds"]
    if choices and value not in choices:
        raise SettingError(f"{field.name}: {value!r} is none of {', '.join(choices)}")
    if bounds is not None:
        assert isinstance(value, int | float)
        if not (math.isfinite(value) and bounds[0] <= value <= bounds[1]):
            raise SettingError(
                f"{field.name}: {value} is not within {bounds[0]} ... {bounds[1]}"
                + (f" {field.metadata['unit']}" if field.metadata["unit"] else "")
            )


def as_yaml() -> str:
    """A ROS parameter file with every setting at its default."""
    lines = ["# Written by `python -m pear_ros.config yaml`; docs/parameters.md explains.", "/**:"]
    lines.append("  ros__parameters:")
    for field in dataclasses.fields(Config):
        lines.append(f"    {field.name}: {_yaml(field.default)}")
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    # ROS cannot tell the type of an empty list; the node reads one empty name as none.
    return '[""]' if value == () else str(value)


def as_table(kind: type[Config | SyntheticCameraConfig] = Config) -> str:
    """The settings as a Markdown table."""
    lines = ["| parameter | default | range | live | what |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        bounds, choices, unit = (field.metadata[k] for k in ("bounds", "choices", "unit"))
        span = f"{bounds[0]} ... {bounds[1]} {unit}".strip() if bounds else ", ".join(choices)
        live = "yes" if field.metadata["live"] else ""
        row = (f"`{field.name}`", f"`{_yaml(field.default)}`", span, live)
        lines.append(f"| {' | '.join(row)} | {field.metadata['doc']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    texts: dict[str, Callable[[], str]] = {
        "yaml": as_yaml,
        "table": as_table,
        "camera-table": partial(as_table, SyntheticCameraConfig),
    }
    sys.stdout.write(texts[sys.argv[1]]())
