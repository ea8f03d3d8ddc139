"""What files are, by their first bytes."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from pear_ros.system.file_kinds import HEAD_BYTES, kind_of


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, joints=np.zeros(3))
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("photos/a.jpg", b"picture")
    return file.getvalue()


def base_media(brand: bytes, *others: bytes) -> bytes:
    content = brand + bytes(4) + b"".join(others)
    return (8 + len(content)).to_bytes(4, "big") + b"ftyp" + content + b"\0\0\0\x08free"


RIFF = b"RIFF\x10\0\0\0"
KINDS = {
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture", "picture"),
    "png": (b"\x89PNG\r\n\x1a\n", "a PNG picture", "picture"),
    "gif": (b"GIF87a", "a GIF picture", "picture"),
    "webp": (RIFF + b"WEBPVP8 ", "a WebP picture", "picture"),
    "little tiff": (b"II*\0\x08\0\0\0", "a TIFF picture", "picture"),
    "big tiff": (b"MM\0*\0\0\0\x08", "a TIFF picture", "picture"),
    "tiff of 64 bits": (b"II+\0\x08\0\0\0", "a TIFF picture", "picture"),
    "bmp": (b"BM\x10\0\0\0\0\0\0\0", "a BMP picture", "picture"),
    "heic": (base_media(b"heic", b"mif1", b"heic"), "a HEIC picture", "picture"),
    "heic of mif1": (base_media(b"mif1", b"mif1", b"heic"), "a HEIC picture", "picture"),
    "avif": (base_media(b"avif", b"mif1"), "an AVIF picture", "picture"),
    "avif of mif1": (base_media(b"mif1", b"avif"), "an AVIF picture", "picture"),
    "mp4": (base_media(b"isom", b"avc1"), "an MP4 or QuickTime video", "video"),
    "quicktime": (base_media(b"qt  "), "an MP4 or QuickTime video", "video"),
    "old quicktime": (b"\0\0\0\x08wide\0\0\0\x10mdat", "a QuickTime video", "video"),
    "avi": (RIFF + b"AVI LIST", "an AVI video", "video"),
    "mkv": (b"\x1aE\xdf\xa3\x9f", "a Matroska or WebM video", "video"),
    "transport": ((b"G" + bytes(187)) * 3, "an MPEG transport stream", "video"),
    "m2ts": ((bytes(4) + b"G" + bytes(187)) * 3, "an MPEG transport stream", "video"),
    "mpeg": (b"\0\0\x01\xba\x44", "an MPEG video", "video"),
    "sound": (RIFF + b"WAVEfmt ", "a sound file", ""),
    "npz": (npz(), "a NumPy file", ""),
    "npy": (b"\x93NUMPY\x01\0", "a NumPy file", ""),
    "zip": (archive(), "an archive", ""),
    "bag": (b"SQLite format 3\0", "a ROS bag", ""),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", ""),
    "html": (b"\r\n <!doctype html>", "an HTML page", ""),
    "svg": (b"<svg xmlns=", "an XML or SVG file", ""),
    "text": ("Größe\tlauf\n".encode(), "a text file", ""),
    "text cut within a letter": (("a" + "ü" * 2048).encode()[:HEAD_BYTES], "a text file", ""),
    "nothing": (b"", "an empty file", ""),
    "zeros": (bytes(100), "a file of zeros", ""),
    "unknown": (b"\xfe\x01\x02\x03" * 9, "a file of no known format", ""),
}


@pytest.mark.parametrize(("head", "name", "medium"), KINDS.values(), ids=KINDS)
def test_kinds(head: bytes, name: str, medium: str) -> None:
    kind = kind_of(head[:HEAD_BYTES])
    assert kind.name.startswith(name)
    assert kind.medium == medium
