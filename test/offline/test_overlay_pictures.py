"""The pictures that `pear-ros infer --overlay` writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pear_ros.config import Config
from pear_ros.offline.infer import InferOptions, infer

BLUE = (255, 0, 0)  # OpenCV's order


def test_colors_of_the_picture_stay_where_nobody_is(config: Config, tmp_path: Path) -> None:
    picture = np.full((60, 80, 3), BLUE, np.uint8)
    assert cv2.imwrite(str(tmp_path / "blue.png"), picture)
    options = InferOptions(tmp_path / "people.npz", overlay=tmp_path / "drawn")
    assert infer([tmp_path / "blue.png"], config, options) == 0
    (path,) = (tmp_path / "drawn").iterdir()
    is_blue = (cv2.imread(str(path)) == BLUE).all(-1)
    assert 0.05 < is_blue.mean() < 1
