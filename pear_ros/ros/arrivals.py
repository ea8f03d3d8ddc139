"""Checks the headers of a camera's images when they arrive: frame, stamp and order."""

from __future__ import annotations

from dataclasses import dataclass

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from pear_ros.problems import Problems
from pear_ros.ros.from_messages import stamp_ns
from pear_ros.ros.stamp_order import StampOrder

NS_A_SECOND = 1_000_000_000
FAR_NS = 10_000_000_000  # tf2 keeps transforms for 10 s
FAR_IMAGES = 10  # the clock of a simulation may jump a little earlier or later than the stamps
NEED_FRAME = frozenset({"tf", "markers", "skeletons", "points"})


@dataclass(frozen=True)
class Arrival:
    """An image with what its header is good for."""

    message: Image | CompressedImage
    header: Header  # of the results
    taken_ns: int  # the stamp; the time of arrival if there is none
    run: int  # rises when the stamps start anew


class Arrivals:
    """Checks the images of one camera, `source`; counts problems."""

    def __init__(self, source: str, topic: str, problems: Problems) -> None:
        self._source = source
        self._topic = topic
        self._problems = problems
        self._order = StampOrder()
        self._far_images = 0  # in a row

    def __call__(
        self, message: Image | CompressedImage, now_ns: int, needs_stamp: bool
    ) -> Arrival | None:
        """Returns the image; None, counted as a problem, if it is late or cannot be used.

        Args:
            message: The image.
            now_ns: The node's clock; 0 if it has no time yet.
            needs_stamp: True: the image is to be matched by its stamp.
        """
        header = self._checked_frame(message.header)
        stamp = stamp_ns(header)
        if stamp <= 0 or header.stamp.nanosec >= NS_A_SECOND:
            self._count_unset(stamp, needs_stamp)
            header.stamp = Time()
            return None if needs_stamp else Arrival(message, header, now_ns, run=0)
        self._check_clock(stamp, now_ns)
        place = self._order.put(stamp)
        if place.is_late:
            self._count(
                "stamps_backwards",
                f"dropped an image that is {place.behind_ns * 1e-9:.3f} s older than the one "
                "before; check that only one camera publishes on this topic",
            )
            return None
        if place.is_restart:
            self._count(
                "clock_restarts",
                f"stamps jumped back by {place.behind_ns * 1e-9:.1f} s, so tracking restarts and "
                "people get new ids; if no bag or simulation has restarted, check the camera's "
                "clock, and that only one camera publishes on this topic",
            )
        return Arrival(message, header, stamp, place.run)

    def _checked_frame(self, header: Header) -> Header:
        """The header, without leading slashes of its frame: tf2 stores frames without them."""
        frame = header.frame_id.lstrip("/")
        if not frame:
            self._count(
                "frame_ids_empty",
                "header.frame_id is empty, so nothing that needs a frame is published: no TF, "
                "markers, skeletons and points; set it in the camera driver",
            )
        elif frame != header.frame_id:
            self._count(
                "frame_ids_with_slash",
                f"header.frame_id {header.frame_id!r} starts with a slash, which tf2 refuses; the "
                f"results have {frame!r}; set it so in the camera driver",
            )
        return Header(stamp=header.stamp, frame_id=frame)

    def _count_unset(self, stamp: int, needs_stamp: bool) -> None:
        effect = (
            "so it cannot be matched to detections and is dropped"
            if needs_stamp
            else "so no TF is published"
        )
        what = "is 0" if stamp == 0 else "is no time (negative, or nanosec of a second or more)"
        self._count("stamps_unset", f"header.stamp {what}, {effect}; set it in the camera driver")

    def _check_clock(self, stamp: int, now_ns: int) -> None:
        ahead_ns = stamp - now_ns
        is_far = now_ns > 0 and abs(ahead_ns) > FAR_NS
        self._far_images = self._far_images + 1 if is_far else 0
        if self._far_images >= FAR_IMAGES:
            distance = f"{abs(ahead_ns) * 1e-9:.0f} s {'ahead of' if ahead_ns > 0 else 'behind'}"
            self._count(
                "stamps_far_from_clock",
                f"stamps are {distance} the node's clock, so TF cannot relate people to the robot; "
                "for a bag or a simulation publish /clock (ros2 bag play --clock) and set "
                "use_sim_time, otherwise check the camera's clock",
            )

    def _count(self, kind: str, message: str) -> None:
        self._problems.count(kind, f"{self._topic}: {message}", self._source)


def publishable(outputs: set[str], header: Header) -> set[str]:
    """Those of the outputs that a consumer can use with this header.

    TF needs frame and stamp. RViz needs a frame; a stamp of 0 means the latest transform to it.
    """
    outputs = outputs if header.frame_id else outputs - NEED_FRAME
    return outputs if stamp_ns(header) else outputs - {"tf"}
