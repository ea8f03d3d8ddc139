"""Converts a camera's messages to frames: decodes, adds the intrinsics and depth."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sensor_msgs.msg import CameraInfo

from pear_ros.config import Config
from pear_ros.errors import ImageError
from pear_ros.geometry.camera import assumed_camera
from pear_ros.geometry.lens import lens_of
from pear_ros.people import Boxes, Camera, Frame, ImageArray
from pear_ros.problems import Problems
from pear_ros.ros.arrivals import Arrival
from pear_ros.ros.depth_input import DepthInput, DepthMessage
from pear_ros.ros.from_messages import camera_from_info, rgb_from_message

MOST_CAUSES = 16  # told for one camera: a sender could invent more


class FrameReader:
    """Reads the images of one camera.

    Calls `forget` with the camera's name, `source`, when its stamps have started anew.
    """

    def __init__(
        self,
        source: str,
        topic: str,
        problems: Problems,
        forget: Callable[[str], None],
        depth_topic: str = "depth",
    ) -> None:
        self._source = source
        self._topic = topic
        self._problems = problems
        self._forget = forget
        self._read_depth = DepthInput(source, depth_topic, problems)
        self._run = 0
        self._causes: set[str] = set()  # that were told

    def __call__(
        self,
        arrival: Arrival,
        info: CameraInfo | None,
        boxes: Boxes | None,
        config: Config,
        depth: DepthMessage | None = None,
    ) -> Frame | None:
        """Returns the image with its camera; None, counted as a problem, if it is unusable.

        If `depth` is unusable, which is counted, too, the frame has no depth.
        """
        if arrival.run > self._run:
            self._run = arrival.run
            self._forget(self._source)
        try:
            image = rgb_from_message(arrival.message, config.camera.max_pixels)
        except ImageError as error:
            self._count(
                "bad_images", f"dropped an image: {error}; check the camera driver", str(error)
            )
            return None
        camera = self._camera(info, image, config)
        depth_m = None
        if depth is not None:
            height, width = image.shape[:2]
            depth_m = self._read_depth(
                depth, arrival.header.frame_id, (height, width), config.camera.max_pixels
            )
        return Frame(image, camera, arrival.taken_ns * 1e-9, self._source, boxes, depth_m=depth_m)

    def _camera(self, info: CameraInfo | None, image: ImageArray, config: Config) -> Camera:
        height, width = image.shape[:2]
        camera = None
        if info is not None:
            camera = camera_from_info(info, width, height, config.camera.rectified)
        if info is not None and camera is not None:
            return camera if config.camera.rectified else self._with_lens(camera, info)
        reason = "no camera_info received"
        if info is not None:
            name, matrix = ("P", info.p) if config.camera.rectified else ("K", info.k)
            reason = (
                f"camera_info ({info.width}x{info.height}, {name} {np.asarray(matrix).tolist()}) "
                f"is not a valid calibration for {width}x{height} images"
            )
        self._count(
            "images_uncalibrated",
            f"{reason}; assuming a field of view of {config.camera.assumed_fov_deg} degrees, with "
            "is_metric false; calibrate the camera or set camera.assumed_fov_deg",
            reason,
        )
        return assumed_camera(width, height, config.camera.assumed_fov_deg)

    def _with_lens(self, camera: Camera, info: CameraInfo) -> Camera:
        """Adds the lens of raw images; an unknown one makes positions not metric."""
        try:
            return replace(camera, lens=lens_of(info.distortion_model, info.d))
        except ValueError as error:
            self._count(
                "lenses_unknown",
                f"camera_info: {error}; people are placed as if the lens did not distort, with "
                "is_metric false; rectify the images and set camera.rectified",
            )
            return replace(camera, is_metric=False)

    def _count(self, kind: str, message: str, cause: str = "") -> None:
        """Counts a problem. Each cause is told once, up to MOST_CAUSES; numbers do not matter."""
        cause = re.sub(r"[-\d.e+]+", "", cause)
        if len(self._causes) < MOST_CAUSES:
            self._causes.add(cause)
        known = cause if cause in self._causes else ""
        self._problems.count(kind, f"{self._topic}: {message}", f"{self._source} {known}")
