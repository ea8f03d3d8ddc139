"""Depth images of one camera -> metres, if they are registered to the camera's images."""

from __future__ import annotations

from typing import TypeAlias

from sensor_msgs.msg import CompressedImage, Image

from pear_ros.errors import ImageError
from pear_ros.images.depth import depth_from_raw, open_compressed_depth
from pear_ros.people import FloatArray
from pear_ros.problems import Problems

DepthMessage: TypeAlias = "Image | CompressedImage"  # a string: the docs are built without ROS

REGISTER = (
    "connect a depth image that is registered to the camera's image: the driver's aligned depth, "
    "or the output of depth_image_proc's register node"
)


class DepthInput:
    """Reads the depth images of one camera, `source`; counts problems."""

    def __init__(self, source: str, topic: str, problems: Problems) -> None:
        self._source = source
        self._topic = topic
        self._problems = problems

    def __call__(
        self, message: DepthMessage, frame_id: str, size: tuple[int, int], max_pixels: int
    ) -> FloatArray | None:
        """(H, W) m along the optical axis, 0 where nothing was measured.

        Args:
            message: The depth image.
            frame_id: Of the camera's image.
            size: Height and width of the camera's image, px.
            max_pixels: camera.max_pixels.

        Returns:
            None, counted as a problem, if it cannot be read or is not registered to the image.
        """
        depth_frame = message.header.frame_id.lstrip("/")
        if depth_frame != frame_id:
            self._count(
                "depth_frames_differ",
                f"the depth image is in the frame {depth_frame!r}, the image in {frame_id!r}; "
                f"{REGISTER}",
            )
            return None
        try:
            depth_m = self._read(message, size, max_pixels)
        except ImageError as error:
            self._count("bad_depth_images", f"{error}; check the depth camera's driver")
            return None
        if depth_m is not None and not depth_m.any():
            self._count(
                "depth_images_empty",
                "nothing was measured in the whole depth image; check that the depth camera is not "
                "covered, that its projector is on, and that people are within its range",
            )
            return None
        return depth_m

    def _read(
        self, message: DepthMessage, size: tuple[int, int], max_pixels: int
    ) -> FloatArray | None:
        if isinstance(message, CompressedImage):
            compressed = open_compressed_depth(message.data, message.format, max_pixels)
            is_alike = self._is_alike((compressed.height, compressed.width), size)
            return compressed.metres() if is_alike else None
        if not self._is_alike((message.height, message.width), size):
            return None
        return depth_from_raw(
            message.data,
            message.encoding,
            message.height,
            message.width,
            message.step,
            bool(message.is_bigendian),
        )

    def _is_alike(self, size: tuple[int, int], image_size: tuple[int, int]) -> bool:
        """Whether the sizes are the same; counts a problem if not."""
        if size != image_size:
            self._count(
                "depth_sizes_differ",
                f"the depth image has {size[1]}x{size[0]} px, the image {image_size[1]}x"
                f"{image_size[0]}; {REGISTER}",
            )
        return size == image_size

    def _count(self, kind: str, message: str) -> None:
        self._problems.count(
            kind, f"{self._topic}: an image is processed without depth: {message}", self._source
        )
