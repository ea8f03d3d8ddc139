"""All settings, each defined once; ROS parameters, YAML, options and docs are derived from them.

A setting has the same name in all of them: `group.field`, for example `detection.min_score`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pear_ros.errors import SettingError

DETECTORS = ("nanodet", "topic", "full_frame", "onnx")
FAMILIES = ("auto", "yolox", "rtdetr", "rfdetr")  # of detectors that are ONNX files

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


@dataclass(frozen=True)
class NetworkSettings(Checked):
    group: ClassVar[str] = "network"

    checkpoint: str = setting("", "PEAR's weights, pear_model.pt")
    config: str = setting(
        "",
        "JSON file with the sizes of the network; empty: network.json next to the checkpoint if it "
        "exists, else those of the published PEAR (ViT-H)",
    )
    device: str = setting("auto", "where the network runs: auto, cpu, cuda, cuda:1, ...")
    dtype: str = setting(
        "auto",
        "precision of the backbone; auto: float16 on CUDA, bfloat16 on a CPU that supports "
        "it, else float32",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    engine: str = setting(
        "", "TensorRT engine written by `pear-ros build`; empty: PyTorch runs the network"
    )
    build_engine: bool = setting(
        False,
        "build the engine while configuring if missing or made for another machine; takes minutes",
    )


@dataclass(frozen=True)
class BodySettings(Checked):
    group: ClassVar[str] = "body"

    assets: str = setting("", "body model file written by `pear-ros assets convert`")


@dataclass(frozen=True)
class CameraSettings(Checked):
    group: ClassVar[str] = "camera"

    names: tuple[str, ...] = setting(
        (),
        "names of the cameras if there are several; each has its topics under its name; empty: "
        "one camera without a name",
    )
    image_transport: str = setting(
        "raw",
        "raw: sensor_msgs/Image on `image`; compressed: CompressedImage on `image/compressed`",
        choices=("raw", "compressed"),
    )
    rectified: bool = setting(
        False,
        "true: the images are rectified, use camera_info's matrix P; false: use K and the lens's "
        "distortion",
    )
    max_pixels: int = setting(
        50_000_000, "larger images are refused, undecoded", unit="px", bounds=(1, 170_000_000)
    )
    assumed_fov_deg: float = setting(
        60.0,
        "field of view along the longer image side if there is no calibration",
        unit="deg",
        bounds=(10.0, 170.0),
        live=True,
    )
    info_timeout_s: float = setting(
        1.0,
        "how long images wait for the first camera_info before the field of view is assumed",
        unit="s",
        bounds=(0.0, 60.0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise SettingError(
                    f"camera.names: {name!r} is not a valid name; start with a letter, use only "
                    "letters, digits and _"
                )
        if len(set(self.names)) != len(self.names):
            raise SettingError(f"camera.names: {list(self.names)} has the same name twice")


@dataclass(frozen=True)
class DetectionSettings(Checked):
    group: ClassVar[str] = "detection"

    detector: str = setting(
        "nanodet",
        "nanodet: the detector that is installed with pear_ros; topic: "
        "vision_msgs/Detection2DArray on `detections`, matched by stamp; full_frame: no detector, "
        "the whole image is one person, even if nobody is there; onnx: the file `model`, run by "
        "onnxruntime",
        choices=DETECTORS,
    )
    input_px: int = setting(
        320,
        "longer side of the image that nanodet sees; more finds smaller people and takes longer",
        unit="px",
        bounds=(64, 1920),
    )
    model: str = setting("", "ONNX file of a detector, for the detector onnx")
    family: str = setting(
        "auto",
        "kind of the ONNX file; auto: from its inputs and outputs; rtdetr: RT-DETR, RT-DETRv2 and "
        "D-FINE",
        choices=FAMILIES,
    )
    person_index: int = setting(
        -1,
        "index of the class person of the ONNX file; -1: that of the published weights (COCO)",
        bounds=(-1, 10000),
    )
    person_class: str = setting(
        "", "class_id that a detection on `detections` must have; empty: any", live=True
    )
    min_score: float = setting(
        0.5,
        "people with a lower score are ignored; nanodet's scores are scaled so that 0.5 balances "
        "missed and false people",
        bounds=(0.0, 1.0),
        live=True,
    )
    max_people: int = setting(
        16,
        "maximum number of detected people per image; those with the highest scores are kept",
        bounds=(1, 64),
        live=True,
    )
    every_nth: int = setting(
        1,
        "the detector runs on every n-th image of a camera; in between, the boxes are those of the "
        "people who are followed, so who comes or leaves is noticed up to n - 1 images late; it "
        "also runs if nobody is followed or somebody was lost; without effect on given boxes",
        bounds=(1, 30),
        live=True,
    )
    min_plausibility: float = setting(
        0.2,
        "people whose estimate is less plausible are ignored; this rejects impossible bodies, not "
        "boxes around nothing; 0: nobody is ignored",
        bounds=(0.0, 1.0),
        live=True,
    )
    timeout_s: float = setting(
        1.0,
        "how long an image waits for its detections on `detections` before it is dropped",
        unit="s",
        bounds=(0.0, 60.0),
    )


@dataclass(frozen=True)
class TrackingSettings(Checked):
    group: ClassVar[str] = "tracking"

    confirm_score: float = setting(
        0.6,
        "a new person is published when the detector's scores of its sightings add up to this: a "
        "sure detection at once, an unsure one if it is seen again; 0: everybody at once",
        bounds=(0.0, 20.0),
    )
    predict_s: float = setting(
        1.0,
        "how long a person who is not seen is still published, as predicted; less if the person "
        "was seen for a moment only, or is not hidden by somebody; 0: only who is seen",
        unit="s",
        bounds=(0.0, 10.0),
    )
    timeout_s: float = setting(
        1.8, "a person not seen for this long gets a new id", unit="s", bounds=(0.0, 60.0)
    )
    id_prefix: str = setting(
        "",
        "beginning of all ids, so that those of several nodes differ; empty: the node draws five "
        "characters when it is configured",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)?", self.id_prefix):
            raise SettingError(
                f"tracking.id_prefix: {self.id_prefix!r} must start with a letter and contain only "
                "letters, digits and _"
            )


@dataclass(frozen=True)
class SmoothingSettings(Checked):
    group: ClassVar[str] = "smoothing"

    rotation_cutoff_hz: float = setting(
        0.7,
        "cutoff frequency of the filter for rotations, at rest; lower is smoother and lags more; "
        "0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    rotation_cutoff_per_speed: float = setting(
        2.0,
        "how much the cutoff rises with a joint's angular speed; higher lags less in fast motion",
        unit="Hz/(rad/s)",
        bounds=(0.0, 100.0),
    )
    position_cutoff_hz: float = setting(
        0.5,
        "the same for positions across the ray from the camera; 0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    position_cutoff_per_speed: float = setting(
        6.0, "how much it rises with the speed", unit="Hz/(m/s)", bounds=(0.0, 100.0)
    )
    depth_cutoff_hz: float = setting(
        0.3,
        "the same along the ray, where positions are less certain; 0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    depth_cutoff_per_speed: float = setting(
        4.5, "how much it rises with the speed", unit="Hz/(m/s)", bounds=(0.0, 100.0)
    )
    expression_cutoff_hz: float = setting(
        3.0,
        "cutoff frequency of the filter for expressions and eyelids; 0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    shape: bool = setting(
        True,
        "true: a person's body shape is the mean of all images so far; false: as estimated in each "
        "image",
    )


@dataclass(frozen=True)
class VisualizationSettings(Checked):
    group: ClassVar[str] = "visualization"

    overlay_rate_hz: float = setting(
        10.0,
        "maximum number of overlay images per second and camera",
        unit="Hz",
        bounds=(0.1, 1000.0),
        live=True,
    )


@dataclass(frozen=True)
class Config(Checked):
    """Settings of the node and of the command line."""

    network: NetworkSettings = NetworkSettings()
    body: BodySettings = BodySettings()
    camera: CameraSettings = CameraSettings()
    detection: DetectionSettings = DetectionSettings()
    tracking: TrackingSettings = TrackingSettings()
    smoothing: SmoothingSettings = SmoothingSettings()
    visualization: VisualizationSettings = VisualizationSettings()
    autostart: bool = setting(True, "configure and activate when the node starts")

    @staticmethod
    def of(values: Mapping[str, Any]) -> Config:
        """Returns the defaults with the named settings ("detection.min_score": 0.4) replaced.

        Raises:
            SettingError: If a name is unknown or a value is bad.
        """
        return Config().replaced(values)

    def replaced(self, values: Mapping[str, Any]) -> Config:
        """Returns a copy with the named settings replaced.

        Raises:
            SettingError: If a name is unknown or a value is bad.
        """
        changes: dict[str, Any] = {}
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in settings(Config):
                raise SettingError(f"{name} is not a setting")
            group, _, field = name.rpartition(".")
            (by_group.setdefault(group, {}) if group else changes)[field] = value
        for group, fields in by_group.items():
            changes[group] = dataclasses.replace(getattr(self, group), **fields)
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class SyntheticCameraConfig(Checked):
    """Settings of the synthetic camera."""

    people: int = setting(2, "how many people move in front of the camera", bounds=(1, 8))
    repertoire: str = setting(
        "held_out",
        "what the people do; held_out: motions that the demo's network was not trained on",
        choices=("training", "held_out"),
    )
    seed: int = setting(2, "random seed of people, room and light", bounds=(0, 2**31 - 1))
    rate_hz: float = setting(10.0, "images per second", unit="Hz", bounds=(0.1, 120.0))
    width: int = setting(640, "image width", unit="px", bounds=(64, 3840))
    height: int = setting(480, "image height", unit="px", bounds=(64, 2160))
    assets: str = setting("", "body model file; empty: the stand-in body installed with pear_ros")
    duration_s: float = setting(
        0.0, "stop after this time; 0: run until interrupted", unit="s", bounds=(0.0, 86400.0)
    )
    wait_for_subscriber: bool = setting(False, "start when a node subscribes to `image`")
