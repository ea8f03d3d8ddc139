"""What a file is, by its first bytes, whatever its name says."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pear_ros.system.files import open_file

HEAD_BYTES = 4096  # of a file, enough for `kind_of`

Medium = Literal["picture", "video", ""]


@dataclass(frozen=True)
class FileKind:
    """What a file is, for a message, and whether it is a picture or a video."""

    name: str  # "a PNG picture", "a zip archive: unpack it"
    medium: Medium = ""


_NEVER_WEIGHTS = (
    "a Git LFS",
    "an HTML",
    "an empty",
    "a file of zeros",
    "a PDF",
    "an XML",
    "a ROS bag",
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# Start of the file -> its kind; the first that matches. `.` is any byte.
_MAGIC: tuple[tuple[bytes, FileKind], ...] = (
    (rb"\xff\xd8\xff", FileKind("a JPEG picture", "picture")),
    (rb"\x89PNG\r\n\x1a\n", FileKind("a PNG picture", "picture")),
    (rb"GIF8[79]a", FileKind("a GIF picture", "picture")),
    (rb"RIFF....WEBP", FileKind("a WebP picture", "picture")),
    (rb"RIFF....AVI ", FileKind("an AVI video", "video")),
    (rb"RIFF....WAVE|ID3|fLaC", FileKind("a sound file")),
    (rb"(II[*+]\0|MM\0[*+])", FileKind("a TIFF picture", "picture")),
    (rb"BM....\0\0\0\0", FileKind("a BMP picture", "picture")),
    (rb"P[1-6]\s", FileKind("a PPM picture", "picture")),
    (rb"\x1aE\xdf\xa3", FileKind("a Matroska or WebM video", "video")),
    (rb"....(moov|mdat|wide|free|skip|pnot)", FileKind("a QuickTime video", "video")),
    (rb"FLV\x01", FileKind("an FLV video", "video")),
    (rb"0&\xb2u\x8ef\xcf\x11", FileKind("a Windows Media video", "video")),
    (rb"\0\0\x01[\xb3\xba]", FileKind("an MPEG video", "video")),
    (rb"G.{187}G.{187}G|.{4}G.{191}G.{191}G", FileKind("an MPEG transport stream", "video")),
    (rb"OggS", FileKind("an Ogg video", "video")),
    (rb"YUV4MPEG2 |DKIF", FileKind("a video", "video")),
    (
        rb"\0\0\0\x0cjP  |\xffO\xffQ",
        FileKind("a JPEG 2000 picture, which is not supported: convert it to PNG"),
    ),
    (
        rb"8BPS|gimp xcf|\x76\x2f\x31\x01|\xff\x0a|\0\0\0\x0cJXL ",
        FileKind("a picture of a format that is not supported: convert it to PNG"),
    ),
    (
        rb"version https://git-lfs",
        FileKind("a Git LFS pointer, not the file itself: run `git lfs pull`"),
    ),
    (rb"PK\x03\x04.{26}[^/]*\.npyPK|\x93NUMPY", FileKind("a NumPy file")),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!|\x1f\x8b|BZh|\xfd7zXZ", FileKind("an archive: unpack it")),
    (rb"SQLite format 3\0|\x89MCAP", FileKind("a ROS bag: play it to the node")),
    (rb"%PDF", FileKind("a PDF document: export its pictures")),
    (
        rb"\s*<(!doctype html|html)",
        FileKind("an HTML page, not the file itself: download it again, logged in if needed"),
    ),
    (rb"\s*<(\?xml|svg)", FileKind("an XML or SVG file")),
)
_PATTERNS = tuple((re.compile(start, re.DOTALL | re.IGNORECASE), kind) for start, kind in _MAGIC)


def kind_of(head: bytes) -> FileKind:
    """What a file is whose first bytes, at most HEAD_BYTES, are `head`."""
    if not head:
        return FileKind("an empty file")
    if head[4:8] == b"ftyp":
        return _base_media(head)
    for pattern, kind in _PATTERNS:
        if pattern.match(head):
            return kind
    if not head.strip(b"\0"):
        return FileKind("a file of zeros, as a failed copy or a full disk leaves it")
    return FileKind("a text file" if _is_text(head) else "a file of no known format")


def what_else(path: Path) -> str:
    """What a file is that was taken for weights or a body, if that helps; empty if not."""
    try:
        with open_file(path) as file:
            kind = kind_of(file.read(HEAD_BYTES))
    except OSError:
        return ""
    is_wrong = kind.medium or kind.name.startswith(_NEVER_WEIGHTS)
    return kind.name if is_wrong else ""


def _base_media(head: bytes) -> FileKind:
    """HEIC, AVIF and MP4 are containers of the same kind; the brands tell them apart."""
    (size,) = struct.unpack(">I", head[:4])
    listed = head[8:12] + head[16 : max(size, 16)]
    brands = [listed[i : i + 4] for i in range(0, len(listed), 4)]
    if brands[0] in (b"avif", b"avis") or (b"avif" in brands and brands[0] == b"mif1"):
        return FileKind("an AVIF picture", "picture")
    if brands[0] in _HEIF_BRANDS:
        return FileKind("a HEIC picture", "picture")
    return FileKind("an MP4 or QuickTime video", "video")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < max(1, len(head) - 3):  # not a character that HEAD_BYTES has cut
            return False
        text = head[: error.start].decode()
    return not re.search(r"[\x00-\x08\x0e-\x1a]", text)
