"""Encoded pictures, bytes or files -> RGB arrays: one reader for the node and for files.

The format is that of the content. A picture must be whole; bytes behind its end are ignored. Its
size is checked before anything is decoded.

Values of 16 bits are divided by 256. Grey becomes three equal channels, palettes are looked up, and
transparency is ignored. Values that are not integers must be within 0 to 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pear_ros.errors import ImageError
from pear_ros.images.size import DEFAULT_MAX_PIXELS, require_size
from pear_ros.images.whole import end_of_gif, end_of_jpeg, end_of_png, end_of_webp
from pear_ros.people import ImageArray
from pear_ros.system.file_kinds import HEAD_BYTES, kind_of
from pear_ros.system.files import open_file
from pear_ros.system.memory import memory_is_short, one_line

# Pillow's names. No others: one of its readers starts a program.
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM", "AVIF", "HEIF")
_ENDS: dict[str, Callable[[bytes], int | None]] = {
    "JPEG": end_of_jpeg,
    "PNG": end_of_png,
    "GIF": end_of_gif,
    "WEBP": end_of_webp,
}  # of other formats, Pillow notices what is missing
_UNTIMED_S = 0.1  # duration of an animation's pictures if the file says 0, as browsers take it
_ORIENTATION, _SUBFILE, _DNG_VERSION = 0x112, 0xFE, 0xC612  # tags of EXIF and TIFF

_TURNS: dict[int, Callable[[ImageArray], ImageArray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}  # the tag's value -> from stored pixels to the upright picture
_TURNED_BACK = {6: 8, 8: 6}  # the others are their own inverses

_Result = TypeVar("_Result")

# Adds these formats to Pillow's first five; adding all fifty takes a second.
Image.preinit()
for _module in ("TiffImagePlugin", "WebPImagePlugin", "AvifImagePlugin"):
    with suppress(ImportError):  # AVIF: Pillow before 11.3
        import_module(f"PIL.{_module}")

# It warns of damaged EXIF, and half way to a limit of its own, above the highest camera.max_pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Picture:
    """One picture of a file."""

    image: ImageArray  # (H, W, 3) RGB
    stamp_s: float  # since the first one


class PictureFile:
    """The pictures in the bytes of a file; iterating decodes them one after the other.

    Args:
        data: The file's content.
        max_pixels: The largest size, px.
        upright: Turn the pictures as their EXIF or TIFF orientation says. Otherwise they are as
            they were stored, as calibrations and boxes refer to them.

    Raises:
        ImageError: If the file is cut or damaged, too large or of another format; iterating, too.
    """

    def __init__(
        self, data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS, upright: bool = False
    ) -> None:
        self._max_pixels = max_pixels
        self._upright = upright
        self._data = data
        self._file = _opened(data, max_pixels)
        require_size(*self._file.size, max_pixels)
        self.format = str(self._file.format).replace("MPO", "JPEG")
        if self.format in _ENDS:
            end = _ENDS[self.format](data)
            if end is None:
                raise ImageError(f"the {self.format} picture is truncated or damaged")
            self._data = data[:end]
        count = decoded(self._count)
        # A JPEG may be followed by its preview, its depth or another view, not by another image.
        self.left_out = count - 1 if self.format == "JPEG" else 0
        self._pages = range(count - self.left_out)

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def is_animation(self) -> bool:
        """Whether the pictures are those of a film; otherwise they are pages."""
        return len(self) > 1 and self.format not in ("TIFF", "HEIF")

    def __iter__(self) -> Iterator[Picture]:
        stamp_s = 0.0
        for page in self._pages:
            yield Picture(decoded(partial(self._page, page)), stamp_s)
            stamp_s += float(self._file.info.get("duration") or 0) / 1000 or _UNTIMED_S

    def _count(self) -> int:
        if self.format == "TIFF" and _is_raw_photo(self._file):
            raise ImageError("a camera's raw photo is not supported: convert it to JPEG or PNG")
        return int(getattr(self._file, "n_frames", 1))

    def _page(self, page: int) -> ImageArray:
        file = self._file
        if self.format == "JPEG":  # OpenCV is faster than Pillow; both give the same pixels
            image = _jpeg(self._data)
            return turned(image, _orientation(file)) if self._upright else image
        if len(self) > 1:
            file.seek(page)
            require_size(*file.size, self._max_pixels)
        stored = _orientation(file)
        file.load()
        orientation = _orientation(file)
        image = _rgb(file)
        if self._upright:
            return turned(image, orientation)
        was_turned = stored != 1 and orientation == 1  # Pillow turns TIFF while it loads
        return turned(image, _TURNED_BACK.get(stored, stored)) if was_turned else image


def rgb_from_compressed(
    data: bytes | bytearray | memoryview | NDArray[np.uint8], max_pixels: int = DEFAULT_MAX_PIXELS
) -> ImageArray:
    """The bytes of a file -> its first picture (H, W, 3) RGB, with the pixels as they are stored.

    Raises:
        ImageError: If the file is cut or damaged, has more than `max_pixels`, or is no picture.
    """
    return next(iter(PictureFile(bytes(data), max_pixels))).image


def read_picture(path: Path) -> ImageArray | None:
    """The first picture (H, W, 3) RGB of a file, upright; None if it cannot be read."""
    try:
        with open_file(path) as file:
            data = file.read()
        return next(iter(PictureFile(data, upright=True))).image
    except (ImageError, OSError):
        return None


def turned(image: ImageArray, orientation: int) -> ImageArray:
    """An image upright, whose tag for the orientation is 1 ... 8; others mean nothing."""
    turn = _TURNS.get(orientation)
    return image if turn is None else np.ascontiguousarray(turn(image))


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """Reads the header."""
    kind = kind_of(data[:HEAD_BYTES])
    if kind.medium != "picture":
        raise ImageError(f"it is {kind.name}")
    if kind.name == "a HEIC picture":
        _add_heif()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        return Image.open(BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(f"it has more pixels than camera.max_pixels, {max_pixels}") from error
    except UnidentifiedImageError as error:
        if kind.name == "an AVIF picture" and "AVIF" not in formats:
            raise ImageError("AVIF needs Pillow 11.3 or newer: pip install -U pillow") from error
        raise ImageError(f"{kind.name}, but truncated or damaged, or of a rare kind") from error
    except Exception as error:
        raise _undecoded(error) from error


def _add_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(
            "HEIC pictures need the library pillow-heif: pip install pillow-heif, or convert them "
            "to JPEG"
        ) from error
    register_heif_opener()


def decoded(decode: Callable[[], _Result]) -> _Result:
    """The result of `decode`; whatever Pillow raises for damaged data becomes an ImageError.

    Raises:
        ImageError: If the data is damaged.
        MemoryError: If memory is short, which Pillow and OpenCV tell in several ways.
    """
    try:
        return decode()
    except ImageError:
        raise
    except Exception as error:
        raise _undecoded(error) from error


def _undecoded(error: Exception) -> ImageError | MemoryError:
    is_opencv = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    if is_opencv or memory_is_short(error):
        return MemoryError(one_line(error))
    return ImageError(f"the picture is truncated or damaged: {one_line(error)}")


def _is_raw_photo(file: Image.Image) -> bool:
    """Raw photos are TIFF files whose first picture is a small preview."""
    tags = file.tag_v2  # type: ignore[attr-defined]
    is_preview = bool(int(tags.get(_SUBFILE, 0)) & 1)
    return _DNG_VERSION in tags or is_preview


def _orientation(file: Image.Image) -> int:
    """The tag's value; 1, which means upright, if there is none or it cannot be read."""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises anything for damaged tags, and the picture may still be good
        return 1


def _jpeg(data: bytes) -> ImageArray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ImageError("the JPEG picture is truncated or damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _rgb(file: Image.Image) -> ImageArray:
    """A loaded picture -> (H, W, 3)."""
    if file.mode == "F" or file.mode.startswith("I"):
        values = np.asarray(file)
        values = values * 255.0 + 0.5 if file.mode == "F" else values // 256
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() < 256):
            raise ImageError("its values are neither of 8 or 16 bits nor within 0 to 1: convert it")
        return np.repeat(values.astype(np.uint8)[..., None], 3, -1)
    return np.array(file.convert("RGB"))
