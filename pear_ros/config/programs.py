"""The settings of whole programs: of the node and the command line, and of the synthetic camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pear_ros.config.groups import (
    BodySettings,
    CameraSettings,
    DetectionSettings,
    NetworkSettings,
    PlacementSettings,
    SmoothingSettings,
    TrackingSettings,
    VisualizationSettings,
)
from pear_ros.config.setting import Checked, setting, settings
from pear_ros.errors import SettingError


@dataclass(frozen=True)
class Config(Checked):
    """Settings of the node and of the command line."""

    network: NetworkSettings = NetworkSettings()
    body: BodySettings = BodySettings()
    camera: CameraSettings = CameraSettings()
    detection: DetectionSettings = DetectionSettings()
    tracking: TrackingSettings = TrackingSettings()
    smoothing: SmoothingSettings = SmoothingSettings()
    placement: PlacementSettings = PlacementSettings()
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
        choices=("training", "held_out", "standing"),
    )
    seed: int = setting(2, "random seed of people, room and light", bounds=(0, 2**31 - 1))
    rate_hz: float = setting(10.0, "images per second", unit="Hz", bounds=(0.1, 120.0))
    width: int = setting(640, "image width", unit="px", bounds=(64, 3840))
    height: int = setting(480, "image height", unit="px", bounds=(64, 2160))
    fov_deg: float = setting(
        0.0,
        "horizontal field of view; 0: random, 47 to 67 degrees, without a lens",
        unit="deg",
        bounds=(0.0, 140.0),
    )
    lens: str = setting(
        "pinhole",
        "distortion of the lens, as camera_info names it; all but pinhole need fov_deg",
        choices=("pinhole", "plumb_bob", "rational_polynomial", "equidistant"),
    )
    depth: bool = setting(False, "true: publish depth images, registered to the images")
    depth_noise: float = setting(
        0.02, "standard deviation of depths, as a fraction of the depth", bounds=(0.0, 0.5)
    )
    depth_holes: float = setting(
        0.2, "fraction of a depth image's pixels without a value", bounds=(0.0, 0.9)
    )
    base: str = setting(
        "still",
        "what the robot base does that carries the camera; circle: it drives on a small circle "
        "with 0.5 m/s and turns back and forth with up to 20 deg/s",
        choices=("still", "circle"),
    )
    assets: str = setting("", "body model file; empty: the stand-in body installed with pear_ros")
    duration_s: float = setting(
        0.0, "stop after this time; 0: run until interrupted", unit="s", bounds=(0.0, 86400.0)
    )
    wait_for_subscriber: bool = setting(False, "start when a node subscribes to `image`")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lens != "pinhole" and not self.fov_deg:
            raise SettingError(f"lens: {self.lens} needs a field of view; set fov_deg, such as 90")
