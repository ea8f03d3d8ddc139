"""All settings, each defined once; ROS parameters, YAML, options and docs are derived from them.

setting.py   what a setting is: a field with a description, whose value is checked
groups.py    the settings of each group
programs.py  the settings of the node and the command line, and of the synthetic camera
"""

from pear_ros.config.groups import (
    DETECTORS,
    FAMILIES,
    BodySettings,
    CameraSettings,
    DetectionSettings,
    NetworkSettings,
    PlacementSettings,
    SmoothingSettings,
    TrackingSettings,
    VisualizationSettings,
)
from pear_ros.config.programs import Config, SyntheticCameraConfig
from pear_ros.config.setting import Checked, Value, check, setting, settings, value_of

__all__ = [
    "DETECTORS",
    "FAMILIES",
    "BodySettings",
    "CameraSettings",
    "Checked",
    "Config",
    "DetectionSettings",
    "NetworkSettings",
    "PlacementSettings",
    "SmoothingSettings",
    "SyntheticCameraConfig",
    "TrackingSettings",
    "Value",
    "VisualizationSettings",
    "check",
    "setting",
    "settings",
    "value_of",
]
