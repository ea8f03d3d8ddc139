"""Reader of pictures and videos: files and folders -> images in order."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pear_ros.errors import ImageError, PearError
from pear_ros.images.encoded import PictureFile
from pear_ros.images.size import DEFAULT_MAX_PIXELS
from pear_ros.offline.videos import VideoFile
from pear_ros.people import ImageArray
from pear_ros.system.file_kinds import HEAD_BYTES, FileKind, kind_of
from pear_ros.system.files import open_file

_LEAST_SIDE = 2  # px, of a box that can be cropped
_NAME_BYTES = 200  # of an image's name, so that it fits into a file's name with what is added


@dataclass(frozen=True)
class NamedImage:
    """An image of the input, or the reason why it cannot be read."""

    name: str  # unique, usable as a file name
    image: ImageArray | None  # (H, W, 3) RGB, upright
    stamp_s: float
    source: str = ""  # images of the same source are in order of time
    is_still: bool = False  # not of a video
    reason: str = ""  # if `image` is None
    file: str = ""  # for messages


@dataclass(frozen=True)
class InputFile:
    """A file to read."""

    path: Path
    kind: FileKind
    images: int  # as far as it is known before reading, at least 1


@dataclass(frozen=True)
class Inputs:
    """The files of the inputs, in order."""

    files: Sequence[InputFile]
    unused: Sequence[str]  # other content of the folders, and what it is


def list_inputs(inputs: Iterable[Path]) -> Inputs:
    """Lists files, and the pictures and videos of folders by name; the content decides.

    Hidden files of a folder are ignored. A file of a folder that is neither picture nor video is
    unused, unless its name says that it is one: then it is read, which will say what it is.

    Raises:
        PearError: If a path does not exist or is no file, or a folder has no pictures or videos.
    """
    files: list[InputFile] = []
    unused: list[str] = []
    for path in inputs:
        if not path.is_dir():
            files.append(_input_file(path))
            continue
        found: list[InputFile] = []
        for name in sorted(os.listdir(os.fsencode(path))):
            if name.startswith(b"."):
                continue
            inner = path / os.fsdecode(name)
            if inner.is_dir():
                unused.append(f"{shown(inner)} (a folder: name it to read it)")
                continue
            try:
                file = _input_file(inner)
            except PearError as error:
                unused.append(str(error))
                continue
            if file.kind.medium or _is_named_medium(inner):
                found.append(file)
            else:
                unused.append(f"{shown(inner)} ({file.kind.name})")
        if not found:
            raise PearError(f"{shown(path)} has no pictures or videos")
        files += found
    return Inputs(files, unused)


def read_images(
    files: Iterable[InputFile],
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[NamedImage]:
    """Yields every image of the files; videos and animations frame by frame.

    What cannot be read is an image of None. Where the rest of a file is missing, it follows the
    images before. `tell` is told of pictures that are left out on purpose.
    """
    for index, file in enumerate(files):
        name, frames = f"{index:05d}_{_stem(file.path)}", 0
        try:
            for image in _images(index, name, file, max_pixels, tell):
                yield image
                frames += 1
        except (ImageError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) else None
            if frames:
                name = f"{name}_{frames:06d}"
            yield NamedImage(name, None, 0.0, reason=text or str(error), file=shown(file.path))


def _images(
    index: int, name: str, file: InputFile, max_pixels: int, tell: Callable[[str], None]
) -> Iterator[NamedImage]:
    path = shown(file.path)
    with open_file(file.path) as opened:
        if file.kind.medium == "video":
            for frame, picture in enumerate(VideoFile(opened, max_pixels)):
                yield NamedImage(
                    f"{name}_{frame:06d}", picture.image, picture.stamp_s, f"v{index}", file=path
                )
            return
        pictures = PictureFile(
            opened.read() if file.kind.medium else opened.read(HEAD_BYTES), max_pixels, upright=True
        )
    for page, picture in enumerate(pictures):
        height, width, _ = picture.image.shape
        if min(height, width) < _LEAST_SIDE:
            raise ImageError(f"a picture of {width}x{height} px shows nobody")
        page_name = f"{name}_{page:06d}" if len(pictures) > 1 else name
        if pictures.is_animation:
            yield NamedImage(page_name, picture.image, picture.stamp_s, f"v{index}", file=path)
        else:
            # A source of its own: people are not followed from one picture to the next.
            source = f"i{index}_{page}" if page else f"i{index}"
            yield NamedImage(page_name, picture.image, 0.0, source, is_still=True, file=path)
    if pictures.left_out:
        tell(f"{path} ({pictures.left_out} more behind the first picture, as a preview or a depth)")


def _input_file(path: Path) -> InputFile:
    try:
        with open_file(path) as file:
            kind = kind_of(file.read(HEAD_BYTES))
            images = 1
            if kind.medium == "video":
                try:
                    images = max(1, len(VideoFile(file, DEFAULT_MAX_PIXELS)))
                except ImageError:  # told when it is read
                    images = 1
    except FileNotFoundError as error:
        raise PearError(f"{shown(path)} does not exist") from error
    except OSError as error:
        raise PearError(f"{shown(path)} cannot be read: {error.strerror}") from error
    return InputFile(path, kind, images)


def _is_named_medium(path: Path) -> bool:
    kind = mimetypes.guess_type(path.name)[0] or ""
    suffix = path.suffix.lower()
    return kind.startswith(("image/", "video/")) or suffix in (".heic", ".avif", ".webp", ".jfif")


def shown(path: Path) -> str:
    """A path for messages and names: without control characters, in Unicode."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return re.sub(r"[\x00-\x1f\x7f]", "_", text)


def _stem(path: Path) -> str:
    return shown(Path(path.stem)).encode()[:_NAME_BYTES].decode("utf-8", "ignore")
