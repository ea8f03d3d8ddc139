"""What is measured on a body to find its distance: its height, its soles and its skin."""

from __future__ import annotations

import numpy as np

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.stature import Stature
from pear_ros.body.surface_points import SurfacePoints
from pear_ros.people import JOINT, FloatArray

FEET = tuple(JOINT[name] for name in ("left_ankle", "right_ankle", "left_foot", "right_foot"))


class BodyMeasures:
    """The measures of a body model; `soles_m` (4,) are the heights of FEET above the floor."""

    def __init__(self, assets: BodyAssets) -> None:
        self.stature = Stature(assets)
        self.surface = SurfacePoints(assets)
        template = assets.body_template.astype(np.float64)
        rest = assets.body_joint_regressor[list(FEET)] @ template  # (4, 3) m
        self.soles_m: FloatArray = (rest[:, 1] - template[:, 1].min()).astype(np.float32)
