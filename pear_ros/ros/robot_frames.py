"""An image waits for TF: where its camera is in the robot's frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from pear_ros.config import PlacementSettings
from pear_ros.geometry.transform_tree import TransformError
from pear_ros.problems import Problems
from pear_ros.ros.from_messages import stamp_ns

Job = TypeVar("Job")
Lookup = Callable[[str, str, int], NDArray[np.float64]]
"""(target, source, stamp in ns) -> target_from_source, (4, 4); raises TransformError."""

MOST_WAITING = 16  # images
NO_HEADER = "no header"
ADVICE = {
    NO_HEADER: "set it in the camera driver",
    TransformError.UNKNOWN: "check the setting and the image's frame_id, and that the transforms "
    "are published (ros2 topic echo /tf; ros2 topic echo /tf_static)",
    TransformError.SEPARATE: "publish the transform between them",
    TransformError.TOO_NEW: "check that their publisher is running and has the clock of the "
    "camera; if they arrive later, raise placement.tf_timeout_s",
    TransformError.TOO_OLD: "check that their publisher has the clock of the camera",
    TransformError.LOOP: "each frame has one parent: stop the publisher of one of them",
    TransformError.OTHER: "check TF with ros2 run tf2_tools view_frames",
}


@dataclass(frozen=True)
class CameraPose:
    """Where a camera is at the time of an image; None: not asked for, or not known."""

    world_from_optical: NDArray[np.float64] | None = None  # (4, 4), of placement.output_frame
    floor: NDArray[np.float64] | None = None  # (4,) as in `Frame`, of placement.ground_frame


@dataclass(frozen=True)
class _Waiting(Generic[Job]):
    job: Job
    header: Header
    until_s: float


class RobotFrames(Generic[Job]):
    """Holds the images of one camera, `source`, until TF knows where it was at their stamps.

    An image waits for at most `placement.tf_timeout_s`; then what is missing is counted. If none
    of the frames is set, it does not wait. `now_s` is on any steady clock.
    """

    def __init__(
        self,
        source: str,
        topic: str,
        settings: PlacementSettings,
        lookup: Lookup,
        problems: Problems,
    ) -> None:
        self._source = source
        self._topic = topic
        self._settings = settings
        self._lookup = lookup
        self._problems = problems
        self._waiting: deque[_Waiting[Job]] = deque()  # in the order of arrival

    def put(self, job: Job, header: Header, now_s: float) -> int:
        """Adds an image with its header; returns how many were dropped for it."""
        waits_s = self._settings.tf_timeout_s if _can_be_looked_up(header) else 0.0
        is_full = len(self._waiting) == MOST_WAITING
        if is_full:  # not the oldest: it has waited longest, and would be complete first
            self._waiting.pop()
        self._waiting.append(_Waiting(job, header, now_s + waits_s))
        return int(is_full)

    def drop_all(self) -> int:
        """Drops all images; returns their number."""
        dropped = len(self._waiting)
        self._waiting.clear()
        return dropped

    def release(self, now_s: float) -> tuple[Job, CameraPose, int] | None:
        """Returns the newest image that is complete or waited long enough; None if there is none.

        The number is that of older images, which are dropped. Call it after every put and
        periodically.
        """
        for i in range(len(self._waiting) - 1, -1, -1):
            waiting = self._waiting[i]
            pose, missing = self._pose(waiting.header)
            if missing and now_s < waiting.until_s:
                continue
            self._count_missing(missing, waiting.header)
            for _ in range(i + 1):
                self._waiting.popleft()
            return waiting.job, pose, i
        return None

    def _pose(self, header: Header) -> tuple[CameraPose, dict[str, TransformError]]:
        """What is known at the stamp of an image; for each setting, why it is not known."""
        found: dict[str, NDArray[np.float64] | None] = {}
        missing: dict[str, TransformError] = {}
        for setting in ("output_frame", "ground_frame"):
            frame = getattr(self._settings, setting).lstrip("/")
            try:
                found[setting] = self._found(frame, header) if frame else None
            except TransformError as error:
                found[setting], missing[setting] = None, error
        ground_from_optical = found["ground_frame"]
        # The third row gives the height above the xy plane of the ground's frame.
        floor = None if ground_from_optical is None else ground_from_optical[2]
        return CameraPose(found["output_frame"], floor), missing

    def _count_missing(self, missing: dict[str, TransformError], header: Header) -> None:
        if error := missing.get("output_frame"):
            so = (
                f"people are published in the camera's frame {header.frame_id!r} instead of "
                f"{self._settings.output_frame!r} (placement.output_frame)"
            )
            self._count("transforms_missing", error, so)
        if error := missing.get("ground_frame"):
            so = (
                f"the floor is not known from {self._settings.ground_frame!r} "
                "(placement.ground_frame)"
            )
            self._count("floor_missing", error, so)

    def _count(self, kind: str, error: TransformError, so: str) -> None:
        def message() -> str:
            return f"{self._topic}: {error}, so {so}; {ADVICE[error.kind]}"

        self._problems.count(kind, message, f"{self._source} {error.kind}")

    def _found(self, frame: str, header: Header) -> NDArray[np.float64]:
        if not _can_be_looked_up(header):
            lacking = "frame_id" if stamp_ns(header) else "stamp"
            raise TransformError(NO_HEADER, f"the image's header has no {lacking}")
        return self._lookup(frame, header.frame_id, stamp_ns(header))


def _can_be_looked_up(header: Header) -> bool:
    return bool(header.frame_id) and stamp_ns(header) > 0
