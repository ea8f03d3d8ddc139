"""What each image says about the distances of the people in it, beside the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pear_ros.body.measures import FEET, BodyMeasures
from pear_ros.config import PlacementSettings
from pear_ros.estimation.estimator import Estimates
from pear_ros.images.crop import Squares
from pear_ros.people import JOINT, Frame
from pear_ros.placement.depth import measured_distance
from pear_ros.placement.ground_plane import floor_ratios
from pear_ros.tracking.body_size import Measured


def measured(
    frames: Sequence[Frame],
    squares: Squares,
    estimates: Estimates,
    measures: BodyMeasures | None,
    settings: PlacementSettings,
) -> Measured:
    """The heights of N estimated bodies, and their distances from the floor and depth images.

    Without `measures` all bodies count as equally tall, and frames must not have floor or depth.
    """
    if measures is None:
        assert all(frame.floor is None and frame.depth_m is None for frame in frames)
        return Measured.from_image(np.ones(len(estimates.translation)))
    found = Measured.from_image(measures.stature(estimates.parameters))
    translation = estimates.translation.numpy()  # (N, 3) m
    joints, rotations = estimates.bodies.joints.numpy(), estimates.bodies.rotations.numpy()
    for i, frame in enumerate(frames):
        rows = np.flatnonzero((squares.frame_index == i) & np.isfinite(translation).all(1))
        if not len(rows):
            continue
        if frame.floor is not None:
            feet = joints[rows][:, FEET] + translation[rows, None]
            found.log_ratio[rows, 0], found.sigma[rows, 0] = floor_ratios(
                feet,
                measures.soles_m,
                frame.floor,
                frame.camera,
                _size(frame),
                settings.ground_sigma_deg,
            )
        if frame.depth_m is not None:
            pelvis = joints[rows, JOINT["pelvis"]]
            skin = measures.surface(joints[rows], rotations[rows])
            by_depth = measured_distance(
                *skin, pelvis, translation[rows], frame.depth_m, frame.camera
            )
            distance_m, depth_m = (
                np.linalg.norm(pelvis + placed, axis=1).astype(np.float64)
                for placed in (translation[rows], by_depth.translation)
            )
            sigma = np.hypot(by_depth.sigma_m / depth_m, settings.depth_sigma)
            found.log_ratio[rows, 1] = np.log(depth_m / distance_m)
            found.sigma[rows, 1] = np.where(by_depth.is_measured, sigma, np.inf)
    return found


def _size(frame: Frame) -> tuple[int, int]:
    """Height and width, px."""
    height, width = frame.image.shape[:2]
    return height, width
