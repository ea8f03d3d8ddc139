"""A tree of coordinate frames over time, as tf2 keeps it; without ROS.

`target_from_source` is the transform that takes points from `source` to `target`.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.rotation import interpolated

HISTORY_NS = 10_000_000_000  # as tf2
RESTART_NS = 1_000_000_000  # no transform is later than this: time starts anew
MOST_MOVING = 1000  # frames that move; those of people come and go
MOST_SAMPLES = 10_000  # of a frame: 10 s at 1 kHz
MOST_STATIC = 10_000  # frames
FARTHEST_M = 1e8  # between two frames; the earth's circumference is less than half of it
MOST_NAMED = 5  # frames named in a message
LENGTH_TOLERANCE = 0.005  # of quaternions, as tf2


class TransformError(Exception):
    """A transform is not known; `kind` is one of UNKNOWN, SEPARATE, TOO_NEW, TOO_OLD and LOOP."""

    UNKNOWN = "unknown"  # a frame
    SEPARATE = "separate"  # the frames are in different trees
    TOO_NEW = "too new"  # the stamp is after the last transform
    TOO_OLD = "too old"  # the stamp is before the first transform that is kept
    LOOP = "loop"
    OTHER = "other"

    def __init__(self, kind: str, message: str | Callable[[], str]) -> None:
        """A function makes the message when it is read: most errors are only waited for."""
        super().__init__(message)
        self.kind = kind

    def __str__(self) -> str:
        message = self.args[0]
        return message if isinstance(message, str) else str(message())


class _Sample(NamedTuple):
    """The pose of a frame in its parent."""

    parent: str
    translation: tuple[float, ...]  # (3,) m
    quat_xyzw: tuple[float, ...]  # (4,)


class _Pose(NamedTuple):
    """The same as a matrix."""

    parent: str
    parent_from_frame: NDArray[np.float64]  # (4, 4)


class TransformTree:
    """Keeps the last 10 s of each frame. Not thread-safe.

    As in tf2, a frame has one parent at a time: the last one that was told. A transform that is
    more than 1 s older than the one before of its frame means that time starts anew, as in a bag
    that is played in a loop; then the frame's history is forgotten.
    """

    def __init__(self) -> None:
        self._static: dict[str, _Pose] = {}  # by child
        # By child, the one told last at the end: stamps, rising, and samples.
        self._moving: OrderedDict[str, tuple[list[int], list[_Sample]]] = OrderedDict()

    def put(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: Sequence[float],  # (3,) m
        quat_xyzw: Sequence[float],  # (4,)
        is_static: bool = False,
    ) -> None:
        """Adds the pose of `child` in `parent`.

        Raises:
            ValueError: If it is no transform: an empty name, a frame in itself, numbers that are
                not finite, a translation of more than FARTHEST_M, a quaternion that is not of
                length 1. Or if there are too many static frames.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child:
            raise ValueError(f"the frame {child!r} in {parent!r}: a name is empty")
        if parent == child:
            raise ValueError(f"the frame {child!r} is its own parent")
        translation, quat_xyzw = tuple(map(float, translation)), tuple(map(float, quat_xyzw))
        length = math.hypot(*quat_xyzw)
        if not (all(map(math.isfinite, translation)) and abs(length - 1) < LENGTH_TOLERANCE):
            raise ValueError(
                f"the frame {child!r} in {parent!r} has the translation {list(translation)} and "
                f"the quaternion {list(quat_xyzw)}, which must be finite and of length 1"
            )
        if max(map(abs, translation)) > FARTHEST_M:
            raise ValueError(
                f"the frame {child!r} is {math.hypot(*translation):.3g} m from {parent!r}, farther "
                "than any place on earth"
            )
        sample = _Sample(parent, translation, tuple(value / length for value in quat_xyzw))
        if is_static:
            if len(self._static) >= MOST_STATIC and child not in self._static:
                raise ValueError(
                    f"the frame {child!r} is one of more than {MOST_STATIC} static ones"
                )
            self._moving.pop(child, None)
            self._static[child] = _pose(sample)
        else:
            self._static.pop(child, None)
            self._put_moving(child, stamp_ns, sample)

    def _put_moving(self, child: str, stamp_ns: int, sample: _Sample) -> None:
        if child in self._moving and stamp_ns < self._moving[child][0][-1] - RESTART_NS:
            del self._moving[child]
        stamps, samples = self._moving.setdefault(child, ([], []))
        self._moving.move_to_end(child)
        if len(self._moving) > MOST_MOVING:
            self._moving.popitem(last=False)
        i = bisect_left(stamps, stamp_ns)
        if i < len(stamps) and stamps[i] == stamp_ns:
            samples[i] = sample
            return
        stamps.insert(i, stamp_ns)
        samples.insert(i, sample)
        outdated = max(bisect_left(stamps, stamps[-1] - HISTORY_NS), len(stamps) - MOST_SAMPLES)
        del stamps[:outdated], samples[:outdated]

    def clear(self) -> None:
        """Forgets all frames but the static ones."""
        self._moving.clear()

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """Returns target_from_source at a time, (4, 4), interpolated but never extrapolated.

        Raises:
            TransformError: If it is not known; the message says why.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        if target == source:
            return np.eye(4)
        for name in (target, source):
            self._require_known(name)
        above_target, end_of_target = self._ancestors(target, stamp_ns)
        above_source, end_of_source = self._ancestors(source, stamp_ns)
        ends = [end for end in (end_of_source, end_of_target) if end is not None]
        for end in ends:  # of a loop, one transform is wrong, and nobody knows which
            if end.kind == TransformError.LOOP:
                raise end
        common = next((name for name in above_source if name in above_target), None)
        if common is not None:
            target_from_source: NDArray[np.float64] = (
                _inverse(above_target[common]) @ above_source[common]
            )
            return target_from_source
        if ends:
            raise ends[0]
        raise TransformError(
            TransformError.SEPARATE,
            f"TF does not connect {source!r} with {target!r}: the tree of {source!r} ends at "
            f"{list(above_source)[-1]!r}, that of {target!r} at {list(above_target)[-1]!r}",
        )

    def _ancestors(
        self, frame: str, stamp_ns: int
    ) -> tuple[dict[str, NDArray[np.float64]], TransformError | None]:
        """ancestor_from_frame of the frame itself, its parent and so on, and why they end.

        None: at the root of the tree.
        """
        above = {frame: np.eye(4)}
        here = frame
        while here in self._static or here in self._moving:
            try:
                parent, parent_from_here = self._static.get(here) or _pose(
                    self._moving_at(here, stamp_ns)
                )
            except TransformError as error:
                return above, error
            if parent in above:
                names = list(above)
                loop = [*names[names.index(parent) :], parent]
                return above, TransformError(
                    TransformError.LOOP, f"TF has a loop, each in the next: {' in '.join(loop)}"
                )
            above[parent] = parent_from_here @ above[here]
            here = parent
        return above, None

    def _moving_at(self, frame: str, stamp_ns: int) -> _Sample:
        """The pose of a frame at a time: between two samples, or at one.

        Raises:
            TransformError: If the time is not within the history.
        """
        stamps, samples = self._moving[frame]
        newer = bisect_left(stamps, stamp_ns)  # the first that is not older
        if newer == len(stamps):
            behind_s = (stamp_ns - stamps[-1]) * 1e-9
            raise TransformError(
                TransformError.TOO_NEW,
                f"the transforms of {frame!r} in {samples[-1].parent!r} end {behind_s:.3f} s "
                "before the stamp",
            )
        if stamps[newer] == stamp_ns:
            return samples[newer]
        if newer == 0:
            ahead_s = (stamps[0] - stamp_ns) * 1e-9
            raise TransformError(
                TransformError.TOO_OLD,
                f"the transforms of {frame!r} in {samples[0].parent!r} begin {ahead_s:.3f} s "
                "after the stamp",
            )
        a, b = samples[newer - 1], samples[newer]
        if a.parent != b.parent:
            return a  # as tf2: the frame has this parent until it is told another
        weight = (stamp_ns - stamps[newer - 1]) / (stamps[newer] - stamps[newer - 1])
        between = interpolated(np.array(a.quat_xyzw), np.array(b.quat_xyzw), np.array([weight]))
        return _Sample(
            a.parent,
            tuple(
                (1 - weight) * x + weight * y
                for x, y in zip(a.translation, b.translation, strict=True)
            ),
            tuple(between.tolist()),
        )

    def _require_known(self, frame: str) -> None:
        if not (frame in self._static or frame in self._moving or frame in self._names()):
            raise TransformError(TransformError.UNKNOWN, lambda: self._why_unknown(frame))

    def _names(self) -> set[str]:
        """Of all frames."""
        parents = {pose.parent for pose in self._static.values()}
        parents |= {samples[-1].parent for _, samples in self._moving.values()}
        return parents | set(self._static) | set(self._moving)

    def _why_unknown(self, frame: str) -> str:
        known = self._names()
        if not known:
            return f"no transform was received, so {frame!r} is not known"
        similar = difflib.get_close_matches(frame, known, MOST_NAMED)
        names = ", ".join(map(repr, similar or sorted(known)[:MOST_NAMED]))
        told = "similar names are" if similar else f"it has {len(known)} frames, such as"
        return f"TF has no frame {frame!r}; {told} {names}"


def _pose(sample: _Sample) -> _Pose:
    """Plain numbers: for one quaternion, numpy takes 20 times as long."""
    x, y, z, w = sample.quat_xyzw
    tx, ty, tz = sample.translation
    matrix = np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), tx),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), ty),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), tz),
            (0.0, 0.0, 0.0, 1.0),
        )
    )
    return _Pose(sample.parent, matrix)


def _inverse(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a rotation and translation, (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse
