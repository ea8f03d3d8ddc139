"""Where the data of an encoded picture ends.

Decoders fill the missing part of a picture with grey and only warn. So its end marker is looked
for where the format says it is, not in the last bytes: a part of the picture, or bytes behind it,
may look like one.
"""

from __future__ import annotations

import re
import struct
import zlib

# A marker of JPEG: not a byte 0xFF of the picture (followed by 0), a restart or a fill byte.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_START, _END = b"\xd8", b"\xd9"


def end_of_jpeg(data: bytes) -> int | None:
    """The index behind the end marker; None if there is none."""
    at = 2
    while match := _MARKER.search(data, at):
        if match[1] == _END:
            return match.end()
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        if match[1] == _START or length < 2:  # another picture begins, or a damaged header
            return None
        at = match.end() + length  # behind the header; a scan's data has no markers
    return None


def end_of_png(data: bytes) -> int | None:
    """The index behind the chunk IEND; None if it or the checksum of a needed chunk is missing."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            return None
        is_needed = not kind[0] & 0x20  # its first letter is upper case
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if is_needed and zlib.crc32(memoryview(data)[at + 4 : end - 4]) != checksum:
            return None
        if kind == b"IEND":
            return end
        at = end
    return None


def end_of_gif(data: bytes) -> int | None:
    """The index behind the trailer; None if there is none."""
    try:
        at = 13 + _palette_bytes(data[10])
        while data[at] != 0x3B:  # the trailer
            if data[at] == 0x2C:  # a picture: descriptor, palette, size of codes
                at += 11 + _palette_bytes(data[at + 9])
            elif data[at] == 0x21:  # an extension
                at += 2
            else:
                return None
            while data[at]:  # blocks, each after its length
                at += 1 + data[at]
            at += 1
    except IndexError:
        return None
    return at + 1


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def end_of_webp(data: bytes) -> int | None:
    """The index behind the RIFF chunk; None if the data is shorter."""
    end = 8 + int.from_bytes(data[4:8], "little")
    return end if end <= len(data) else None
