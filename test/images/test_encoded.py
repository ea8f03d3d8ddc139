"""Decoding of encoded pictures, which are encoded here by independent code."""

from __future__ import annotations

import struct
import sys
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import chunk, picture, png
from PIL import Image

from pear_ros.errors import ImageError
from pear_ros.images.encoded import PictureFile, read_picture, rgb_from_compressed, turned
from pear_ros.people import ImageArray


def encoded(suffix: str, image: ImageArray | None = None, *options: int) -> bytes:
    """Encodes with OpenCV."""
    image = picture()[..., ::-1] if image is None else image  # OpenCV expects BGR
    return cv2.imencode(suffix, image, options)[1].tobytes()


JPEG, PNG = encoded(".jpg", None, cv2.IMWRITE_JPEG_QUALITY, 95), encoded(".png")


def test_png_is_lossless() -> None:
    np.testing.assert_array_equal(rgb_from_compressed(PNG), picture())
    by_hand = rgb_from_compressed(png(2, 3, bytes((255, 0, 0, 1, 2, 3))))
    np.testing.assert_array_equal(by_hand, [[[255, 0, 0], [1, 2, 3]]] * 3)


@pytest.mark.parametrize("padding", [1, 60, 100, 4096])
def test_bytes_after_the_end_of_a_png(padding: int) -> None:
    np.testing.assert_array_equal(rgb_from_compressed(PNG + bytes(padding)), picture())


def test_jpeg() -> None:
    found = rgb_from_compressed(JPEG)
    assert found.shape == (40, 60, 3)
    assert found.dtype == np.uint8
    # Quality 95 with subsampled colour changes this gradient by 3 levels; libraries differ.
    assert np.abs(found.astype(int) - picture()).max() <= 5


GRAY = picture()[..., 1]
KINDS = {
    "gray png": (encoded(".png", GRAY), 0),
    "gray jpeg": (encoded(".jpg", GRAY, cv2.IMWRITE_JPEG_QUALITY, 100), 2),
    "16-bit png": (encoded(".png", GRAY.astype(np.uint16) * 257), 0),
    "jpeg with bytes after its end": (
        encoded(".jpg", GRAY, cv2.IMWRITE_JPEG_QUALITY, 100) + bytes(9),
        2,
    ),
}


@pytest.mark.parametrize(("data", "tolerance"), KINDS.values(), ids=KINDS)
def test_other_kinds_become_rgb(data: bytes, tolerance: int) -> None:
    found = rgb_from_compressed(data).astype(int)
    assert np.abs(found - GRAY[..., None]).max() <= tolerance


def test_transparency_is_ignored() -> None:
    bgra = np.concatenate((picture()[..., ::-1], GRAY[..., None]), -1)
    np.testing.assert_array_equal(rgb_from_compressed(encoded(".png", bgra)), picture())


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_kinds_of_compressed_data(kind: Callable[[bytes], bytearray]) -> None:
    np.testing.assert_array_equal(rgb_from_compressed(kind(PNG)), picture())


# --- Formats -------------------------------------------------------------------------------------


def by_pillow(
    kind: str, image: ImageArray | None = None, mode: str = "RGB", **options: object
) -> bytes:
    file = BytesIO()
    rgb = Image.fromarray(picture() if image is None else image)
    rgb.convert(mode).save(file, kind, **options)
    return file.getvalue()


# Format -> a file of `picture()`, and the largest difference from it, grey levels. Lossy formats
# change this gradient by 1 to 6 levels.
WHOLE = {
    "jpeg": (JPEG, 5),
    "progressive jpeg": (encoded(".jpg", None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 8),
    "jpeg with restarts": (encoded(".jpg", None, cv2.IMWRITE_JPEG_RST_INTERVAL, 1), 8),
    "cmyk jpeg": (by_pillow("JPEG", mode="CMYK", quality=100), 5),
    "png": (PNG, 0),
    "interlaced png": (by_pillow("PNG", interlace=1), 0),
    "16-bit png": (encoded(".png", picture()[..., ::-1].astype(np.uint16) * 257), 0),
    "tiff": (encoded(".tiff"), 0),
    "raw tiff": (by_pillow("TIFF"), 0),
    "deflated tiff": (by_pillow("TIFF", compression="tiff_deflate"), 0),
    "16-bit tiff": (encoded(".tiff", picture()[..., ::-1].astype(np.uint16) * 257), 0),
    "webp": (encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 101), 0),
    "lossy webp": (encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 95), 10),
    "bmp": (encoded(".bmp"), 0),
    "ppm": (encoded(".ppm"), 0),
    "gif": (by_pillow("GIF"), 16),  # of 256 colours
}


@pytest.mark.parametrize(("data", "tolerance"), WHOLE.values(), ids=WHOLE)
def test_formats(data: bytes, tolerance: int) -> None:
    found = rgb_from_compressed(data)
    assert found.shape == (40, 60, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - picture()).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes(kind: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    indices = np.arange(256, dtype=np.uint8).reshape(8, 32)
    image, file = Image.fromarray(indices, "P"), BytesIO()
    image.putpalette(colours.tobytes())
    image.save(file, kind)
    np.testing.assert_array_equal(rgb_from_compressed(file.getvalue()), colours[indices])


@pytest.mark.parametrize("behind", [bytes(1), bytes(96), b"\xff" * 5000, JPEG[:300], PNG], ids=repr)
@pytest.mark.parametrize("data", [data for data, _ in WHOLE.values()], ids=WHOLE)
def test_bytes_behind_the_end(data: bytes, behind: bytes) -> None:
    np.testing.assert_array_equal(rgb_from_compressed(data + behind), rgb_from_compressed(data))


@pytest.mark.parametrize("kept", [0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("data", [data for data, _ in WHOLE.values()], ids=WHOLE)
def test_cut(data: bytes, kept: float) -> None:
    with pytest.raises(ImageError):
        rgb_from_compressed(data[: int(kept * len(data))])


@pytest.mark.parametrize("fill", [b"\0", b"\xff"], ids=["zeros", "ones"])
@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "png", "webp", "gif"])
def test_a_file_whose_second_half_was_never_written(kind: str, fill: bytes) -> None:
    data = WHOLE[kind][0]
    half = len(data) // 2
    with pytest.raises(ImageError):
        rgb_from_compressed(data[:half] + fill * (len(data) - half))


def test_an_end_marker_inside_is_not_the_end() -> None:
    """A thumbnail in the header has its own; a cut file may not pass because of it."""
    thumbnail = encoded(".jpg", picture(8, 8))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = JPEG[:2] + segment + JPEG[2:]
    np.testing.assert_array_equal(rgb_from_compressed(whole), rgb_from_compressed(JPEG))
    with pytest.raises(ImageError, match="truncated"):
        rgb_from_compressed(whole[: len(whole) - len(JPEG) // 4])
    with pytest.raises(ImageError, match="truncated"):  # nor by the picture that follows it
        rgb_from_compressed(JPEG[: len(JPEG) // 2] + JPEG)


def _damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 255,)) + data[at + 1 :]


NO_IMAGES = {
    "nothing": (b"", "an empty file"),
    "one byte": (b"\xff", "no known format"),
    "text": (b"not an image, but long enough to be one", "a text file"),
    "zeros": (bytes(1000), "a file of zeros"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html>", "an HTML page"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(12), "video"),
    "only start and end": (b"\xff\xd8\xff\xd9", "truncated or damaged"),
    "only a png's signature": (PNG[:8], "truncated or damaged"),
    "jpeg without its last byte": (JPEG[:-1], "truncated or damaged"),
    "png without its end": (PNG[:-12], "truncated or damaged"),
    "gif of zeros": (b"GIF89a" + bytes(100), "truncated or damaged|empty"),
    "damaged png": (_damaged(PNG, len(PNG) // 2), "truncated or damaged"),
    "png of no pixels": (png(0, 0, b""), "truncated or damaged|empty"),
}


@pytest.mark.parametrize(("data", "message"), NO_IMAGES.values(), ids=NO_IMAGES)
def test_data_that_is_no_image(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        rgb_from_compressed(data)


def test_heic_needs_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="pip install pillow-heif"):
        rgb_from_compressed(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


class OpenCVError(cv2.error):
    code = cv2.Error.StsNoMem  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("where", "error"),
    [("PIL.Image.open", MemoryError()), ("cv2.imdecode", OpenCVError("Failed to allocate"))],
    ids=["Pillow", "OpenCV"],
)
def test_short_memory_is_not_called_damage(
    monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(MemoryError):
        rgb_from_compressed(JPEG)


def test_damage_without_words_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EOFError

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(ImageError, match="truncated or damaged: EOFError"):
        rgb_from_compressed(JPEG)


# --- Size ----------------------------------------------------------------------------------------


def png_bomb(side: int) -> bytes:
    """A PNG of one bit a pixel, all of them equal."""
    row = bytes(1 + (side + 7) // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row * 64) for _ in range(side // 64)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("side", [8192, 32704], ids=["large", "larger than Pillow's limit"])
def test_the_size_is_refused_before_decoding(side: int) -> None:
    data = png_bomb(side)
    began = time.process_time()
    with pytest.raises(ImageError, match=r"more pixels than camera.max_pixels, 50000000"):
        rgb_from_compressed(data)
    assert time.process_time() - began < 0.1  # decoding takes seconds


@pytest.mark.parametrize("data", [data for data, _ in WHOLE.values()], ids=WHOLE)
def test_every_format_has_a_limit(data: bytes) -> None:
    assert rgb_from_compressed(data, max_pixels=40 * 60).shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"60x40 px has more pixels than camera.max_pixels, 2399"):
        rgb_from_compressed(data, max_pixels=40 * 60 - 1)


def test_every_page_has_a_limit() -> None:
    file = BytesIO()
    large = Image.fromarray(picture(400, 600))
    Image.fromarray(picture()).save(file, "TIFF", save_all=True, append_images=[large])
    pages = iter(PictureFile(file.getvalue(), max_pixels=5000))
    assert next(pages).image.shape == (40, 60, 3)
    with pytest.raises(ImageError, match="600x400 px has more"):
        next(pages)


# --- Orientation ---------------------------------------------------------------------------------


def exif(orientation: int) -> bytes:
    tag = b"\x01\x12\0\x03\0\0\0\x01" + struct.pack(">H", orientation)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0\0\0"


LYING = {
    "jpeg": lambda tag: by_pillow("JPEG", quality=95, exif=exif(tag)),
    "png": lambda tag: by_pillow("PNG", exif=exif(tag)),
    "webp": lambda tag: by_pillow("WEBP", quality=95, exif=exif(tag)),
    "tiff": lambda tag: by_pillow("TIFF", tiffinfo={0x112: tag}),
}


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", LYING)
def test_orientation(kind: str, tag: int) -> None:
    """Files are turned upright; for the node the pixels stay those of the calibration."""
    data = LYING[kind](tag)
    # Where EXIF says that the stored row 0 and column 0 are.
    row0 = {
        1: "top",
        2: "top",
        3: "bottom",
        4: "bottom",
        5: "left",
        6: "right",
        7: "right",
        8: "left",
    }
    stored = rgb_from_compressed(data).astype(int)
    assert np.abs(stored - picture()).max() <= 12
    (upright,) = PictureFile(data, upright=True)
    assert upright.image.shape == ((40, 60, 3) if tag < 5 else (60, 40, 3))
    edge = {
        "top": upright.image[0],
        "bottom": upright.image[-1],
        "left": upright.image[:, 0],
        "right": upright.image[:, -1],
    }[row0[tag]].astype(int)
    is_reversed = tag in (2, 3, 7, 8)
    assert np.abs(edge[:: -1 if is_reversed else 1] - picture()[0]).max() <= 12


@pytest.mark.parametrize("tag", [0, 9, 65535])
def test_an_orientation_that_does_not_exist(tag: int) -> None:
    np.testing.assert_array_equal(turned(picture(), tag), picture())


# --- More than one picture -----------------------------------------------------------------------


def several(kind: str, **options: object) -> bytes:
    """Three pictures of one colour."""
    images = [Image.fromarray(np.full((40, 60, 3), 80 * i, np.uint8)) for i in range(3)]
    file = BytesIO()
    images[0].save(file, kind, save_all=True, append_images=images[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "is_animation", "stamps"),
    [
        pytest.param(several("GIF", duration=[100, 50, 70]), True, [0, 0.1, 0.15], id="gif"),
        pytest.param(several("PNG", duration=[100, 50, 70]), True, [0, 0.1, 0.15], id="apng"),
        pytest.param(
            several("WEBP", duration=[100, 50, 70], lossless=True), True, [0, 0.1, 0.15], id="webp"
        ),
        pytest.param(several("GIF"), True, [0, 0.1, 0.2], id="gif without times"),
        pytest.param(several("TIFF"), False, None, id="tiff"),
    ],
)
def test_all_pictures_are_read(data: bytes, is_animation: bool, stamps: list[float] | None) -> None:
    file = PictureFile(data)
    pictures = list(file)
    assert len(file) == len(pictures) == 3
    assert file.is_animation is is_animation
    assert [int(one.image.mean()) for one in pictures] == [0, 80, 160]
    if stamps is not None:
        assert [one.stamp_s for one in pictures] == pytest.approx(stamps)
    assert not rgb_from_compressed(data).any()  # a message is one image, the first


def test_pictures_behind_a_jpeg_are_counted() -> None:
    file = PictureFile(several("MPO"))
    assert len(list(file)) == 1
    assert file.left_out == 2


def test_raw_photos_are_refused() -> None:
    """Their first picture is a small preview."""
    with pytest.raises(ImageError, match="raw photo"):
        rgb_from_compressed(by_pillow("TIFF", tiffinfo={0xFE: 1}))


# --- Values --------------------------------------------------------------------------------------


def test_grey_values() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for data in (encoded(".png", grey * 257), encoded(".tiff", grey * 257)):
        np.testing.assert_array_equal(rgb_from_compressed(data), grey[..., None].repeat(3, -1))
    share = BytesIO()
    Image.fromarray(grey.astype(np.float32) / 255).save(share, "TIFF")
    np.testing.assert_array_equal(rgb_from_compressed(share.getvalue())[..., 0], grey)
    metres = BytesIO()
    Image.fromarray(grey.astype(np.float32)).save(metres, "TIFF")
    with pytest.raises(ImageError, match="convert it"):
        rgb_from_compressed(metres.getvalue())


# --- Files ---------------------------------------------------------------------------------------


def test_read_picture(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_bytes(LYING["png"](6))
    (tmp_path / "cut.jpg").write_bytes(JPEG[:-2])
    found = read_picture(tmp_path / "good.txt")
    assert found is not None
    assert found.shape == (60, 40, 3)
    assert read_picture(tmp_path / "cut.jpg") is None
    assert read_picture(tmp_path / "missing.jpg") is None
