"""Reader of videos."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np

from pear_ros.errors import ImageError
from pear_ros.images.encoded import Picture
from pear_ros.images.size import require_size

_ANY_RATE_HZ = 30.0  # of a video that names none
# The number of frames in a header is often an estimate. Fewer are a loss if this share is missing,
# and as much of the time.
_MISSING_SHARE = 0.1


class VideoFile:
    """The frames of a video; iterating decodes them one after the other, once.

    Turned upright as the video says.

    Args:
        file: Open, and so until all frames are read. Its name does not matter.
        max_pixels: The largest frame, px.

    Raises:
        ImageError: If it cannot be opened or its frames are too large; iterating, if it has none,
            or at the end if some are missing.
    """

    def __init__(self, file: BinaryIO, max_pixels: int) -> None:
        self._file = file
        # FFmpeg looks at the content. Without its name OpenCV takes no part of it for a pattern,
        # and bytes that are not UTF-8 do no harm.
        self._video = cv2.VideoCapture(f"/proc/self/fd/{file.fileno()}", cv2.CAP_FFMPEG)
        if not self._video.isOpened():
            raise ImageError(
                "the video cannot be opened: it has no picture track, or its index is missing, as "
                "in a recording that was cut; copy it again"
            )
        size = (int(self._get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._get(cv2.CAP_PROP_FRAME_HEIGHT)))
        require_size(*size, max_pixels)
        rate_hz = self._get(cv2.CAP_PROP_FPS)
        self._rate_hz = rate_hz if 0 < rate_hz < 10000 else _ANY_RATE_HZ
        self._expected = max(0, int(self._get(cv2.CAP_PROP_FRAME_COUNT)))

    def __len__(self) -> int:
        """The number of frames as the header says or lets guess; 0 if it does not."""
        return self._expected

    def __iter__(self) -> Iterator[Picture]:
        first_s, stamp_s, frames = 0.0, 0.0, 0
        while True:
            is_read, image = self._video.read()
            if not is_read:
                break
            time_s = self._get(cv2.CAP_PROP_POS_MSEC) / 1000
            if frames == 0:
                first_s = time_s
            else:  # frames without a time follow at the video's rate
                after_s = time_s - first_s
                stamp_s = after_s if after_s > stamp_s else stamp_s + 1 / self._rate_hz
            yield Picture(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), stamp_s)
            frames += 1
        if frames == 0:
            raise ImageError("the video has no frame that can be decoded")
        self._require_end(frames, stamp_s)

    def _require_end(self, frames: int, last_s: float) -> None:
        share = 1 - _MISSING_SHARE
        expected_s = min(self._expected / self._rate_hz, _movie_s(self._file))
        is_short = frames + 1 < share * self._expected and last_s < share * expected_s
        if is_short or is_cut(self._file):
            of = f" of {self._expected}" if self._expected > frames else ""
            raise ImageError(
                f"the video ends early, after {frames}{of} frames ({last_s:.1f} s), which were "
                "used; copy it again"
            )

    def _get(self, number: int) -> float:
        value = float(self._video.get(number))
        return value if np.isfinite(value) else 0.0


def is_cut(file: BinaryIO) -> bool:
    """Whether a video file is shorter than its parts say (AVI, MP4, QuickTime, Matroska, WebM)."""
    length = os.fstat(file.fileno()).st_size
    head = _at(file, 0, 12)
    if head[:4] == b"RIFF":
        return _end_of_riff(file, length) > length
    if head[:4] == b"\x1aE\xdf\xa3":
        return _end_of_matroska(file) > length
    return _end_of_boxes(file, length) > length


def _end_of_riff(file: BinaryIO, length: int) -> int:
    """An AVI file of more than 1 GB has several RIFF chunks."""
    end = 0
    while end + 8 <= length and _at(file, end, 4) == b"RIFF":
        size = int.from_bytes(_at(file, end + 4, 4), "little")
        if size in (0, 0xFFFFFFFF):  # written by who could not go back to it
            return 0
        end += 8 + size
    return end


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    return max((start + size for _, start, size in _boxes(file, length)), default=0)


def _movie_s(file: BinaryIO) -> float:
    """The duration of an MP4 or QuickTime movie, s; inf if it is unknown, and of other files.

    A trimmed movie is shorter than its frames: players and FFmpeg skip those that are cut off.
    """
    for kind, start, _ in _boxes(file, os.fstat(file.fileno()).st_size):
        if kind == b"moov":
            head = _at(file, start + 8, 64).ljust(64, b"\0")  # it begins with the movie's header
            is_long = head[8:9] == b"\1"
            scale, duration = struct.unpack_from(
                *((">IQ", head, 28) if is_long else (">II", head, 20))
            )
            return duration / scale if head[4:8] == b"mvhd" and scale and duration else math.inf
    return math.inf


_BOXES = (
    *(b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"ssix", b"meta", b"uuid"),
    *(b"free", b"skip", b"wide", b"pnot", b"udta", b"pdin", b"prft", b"emsg"),
)


def _boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, index and size of the outer boxes of an MP4 or QuickTime file."""
    start = 0
    while start + 8 <= length:
        size, kind = struct.unpack(">I4s", _at(file, start, 8))
        if size == 1:
            size = int.from_bytes(_at(file, start + 8, 8), "big")
        if size < 8 or kind not in _BOXES:  # 0: up to the end of the file
            return
        yield kind, start, size
        start += size


def _end_of_matroska(file: BinaryIO) -> int:
    """The end of the segment, behind the header; 0 if it is unknown, as in live recordings."""
    header, start = _matroska_size(file, 4)
    segment, start = _matroska_size(file, start + header + 4)
    return start + segment if segment else 0


def _matroska_size(file: BinaryIO, at: int) -> tuple[int, int]:
    """The size at the index `at`, 0 if it is unknown (all ones), and the index behind it."""
    data = _at(file, at, 8)
    length = 9 - data[0].bit_length() if data and data[0] else 8
    value = int.from_bytes(data[:length], "big") & ((1 << 7 * length) - 1)
    return 0 if value == (1 << 7 * length) - 1 else value, at + length


def _at(file: BinaryIO, start: int, count: int) -> bytes:
    return os.pread(file.fileno(), count, start)
