"""Pictures of real people from ../shared/real, which are not in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from samples import ROOT

from pear_ros.people import ImageArray

REAL = Path(os.environ.get("PEAR_ROS_SHARED", ROOT.parent / "shared")) / "real"


def read_rgb(name: str) -> ImageArray:
    """An image of the folder images/; skips the test where the folder is missing."""
    path = REAL / "images" / name
    if not path.is_file():
        pytest.skip(f"{REAL} is missing: pictures of real people are not in the repository")
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
