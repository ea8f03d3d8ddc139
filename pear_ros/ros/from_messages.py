"""Messages -> arrays: functions that need no node."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from pear_ros import msg
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.camera import calibrated_camera
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.images.decode import rgb_from_raw
from pear_ros.images.encoded import rgb_from_compressed
from pear_ros.images.size import DEFAULT_MAX_PIXELS, require_size
from pear_ros.people import (
    DISTANCE_SOURCES,
    NUM_JOINTS,
    Boxes,
    Camera,
    EhmParameters,
    FloatArray,
    ImageArray,
    People,
)
from pear_ros.ros.ehm_fields import COEFFICIENTS, ROTATIONS


def stamp_ns(header: Header) -> int:
    """Returns the stamp in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def rgb_from_message(
    message: Image | CompressedImage, max_pixels: int = DEFAULT_MAX_PIXELS
) -> ImageArray:
    """Returns (H, W, 3) RGB, possibly a view of the message's data.

    Raises:
        ImageError: If the image cannot be decoded or has more than `max_pixels`.
    """
    if isinstance(message, CompressedImage):
        return rgb_from_compressed(message.data, max_pixels)
    require_size(message.width, message.height, max_pixels)
    return rgb_from_raw(
        message.data,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def camera_from_info(
    info: CameraInfo, width: int, height: int, rectified: bool = False
) -> Camera | None:
    """Returns the camera of images of `width` x `height` px, without its lens.

    Uses the matrix K for raw images and P for rectified ones. Both describe the full image, so
    binning and region of interest are applied as sensor_msgs/CameraInfo defines them. Returns None
    if `info` is not a valid calibration for images of this size.
    """
    p = np.asarray(info.p, np.float64).reshape(3, 4)
    k = p[:, :3].copy() if rectified else np.array(info.k, np.float64).reshape(3, 3)
    roi = info.roi
    full_width, full_height = info.width, info.height
    if roi.width and roi.height:
        full_width, full_height = roi.width, roi.height
    bin_x, bin_y = max(info.binning_x, 1), max(info.binning_y, 1)
    if (full_width // bin_x, full_height // bin_y) != (width, height):
        return None
    k[:2, 2] -= (roi.x_offset, roi.y_offset)
    k[:2] /= ((bin_x,), (bin_y,))
    return calibrated_camera(k.reshape(-1))


def boxes_from_detections(detections: Any, person_class: str = "") -> Boxes:
    """Returns the boxes of a vision_msgs/Detection2DArray.

    With `person_class` only detections with that class_id count; upper case and spaces around it
    do not matter. A rotated box is replaced by its axis-aligned bounding box. A detection without
    results gets score 1 if `person_class` is empty.
    """
    xyxy, scores = [], []
    accepted = _class_key(person_class)
    for detection in detections.detections:
        scores_of_class = [
            result.hypothesis.score
            for result in detection.results
            if accepted in ("", _class_key(result.hypothesis.class_id))
        ]
        if not detection.results and not accepted:
            scores_of_class = [1.0]  # the detector gives boxes without scores
        if not scores_of_class:
            continue
        box = detection.bbox
        x, y = box.center.position.x, box.center.position.y
        theta = box.center.theta if math.isfinite(box.center.theta) else math.nan
        cos, sin = abs(math.cos(theta)), abs(math.sin(theta))
        half_x = (cos * box.size_x + sin * box.size_y) / 2
        half_y = (sin * box.size_x + cos * box.size_y) / 2
        xyxy.append((x - half_x, y - half_y, x + half_x, y + half_y))
        scores.append(max(scores_of_class))
    with np.errstate(over="ignore"):  # then infinite, and ignored as a bad box
        return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def classes_of(detections: Any) -> set[str]:
    """Returns the class_ids of a vision_msgs/Detection2DArray."""
    return {
        result.hypothesis.class_id
        for detection in detections.detections
        for result in detection.results
    }


def _class_key(class_id: str) -> str:
    return class_id.strip().casefold()


def people_from_message(
    message: msg.HumanArray, body_model: BodyModel, mesh: bool = False
) -> People:
    """Returns the people of a message, in its frame, on the CPU, posed with `body_model`.

    Fields that the message does not have (crop_xywh, camera_t, flame_global_pose) are zero.

    Raises:
        ValueError: If a `distance_source` is none of those that the message defines.
    """
    humans = message.humans
    if unknown := {h.distance_source for h in humans} - set(range(len(DISTANCE_SOURCES))):
        raise ValueError(f"distance_source {min(unknown)} is none of {DISTANCE_SOURCES}")
    count, zeros = len(humans), msg.EhmParameters()

    def rows(name: str) -> torch.Tensor:
        values = np.array([getattr(human.parameters, name) for human in humans], np.float32)
        return torch.from_numpy(values.reshape(count, len(getattr(zeros, name))))

    def matrices(name: str) -> torch.Tensor:
        return matrix_from_axis_angle(rows(name).unflatten(1, (-1, 3)))

    def of_humans(name: str, *shape: int) -> FloatArray:
        values = np.array([getattr(human, name) for human in humans], np.float32)
        return values.reshape(count, *shape)

    unsent = torch.zeros(count, 3)
    parameters = EhmParameters(
        **{name: matrices(name) for name in ROTATIONS},
        **{field: rows(name) for name, field in COEFFICIENTS.items()},
        flame_global_pose=unsent,
        camera_t=unsent,
    )
    with torch.inference_mode():
        bodies = body_model(parameters, mesh=mesh)
    corners = [
        (r.x_offset, r.y_offset, r.x_offset + r.width, r.y_offset + r.height)
        for r in (human.region for human in humans)
    ]
    return People(
        ids=tuple(human.id for human in humans),
        boxes=Boxes(
            np.array(corners, np.float32).reshape(count, 4),
            np.array([human.score for human in humans], np.float32),
        ),
        crop_xywh=np.zeros((count, 4), np.float32),
        parameters=parameters,
        translation=of_humans("translation", 3),
        joints=bodies.joints.numpy(),
        rotations=bodies.rotations.numpy(),
        vertices=None if bodies.vertices is None else bodies.vertices.numpy(),
        is_metric=all(human.is_metric for human in humans),
        visible=tuple(human.visible for human in humans),
        age_s=np.array([human.age for human in humans], np.float32),
        plausibility=np.array([human.plausibility for human in humans], np.float32),
        shape_confidence=np.array([human.shape_confidence for human in humans], np.float32),
        velocity=of_humans("velocity", 3),
        joint_velocity=of_humans("joint_velocities", NUM_JOINTS, 3),
        contact=of_humans("contacts", 2),
        covariance=of_humans("position_covariance", 3, 3),
        joint_sigma_m=of_humans("joint_standard_deviations", NUM_JOINTS),
        distance_source=tuple(DISTANCE_SOURCES[human.distance_source] for human in humans),
    )
