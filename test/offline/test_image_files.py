"""Files and folders -> images in order; what cannot be read is named."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import picture
from PIL import Image

from pear_ros.errors import PearError
from pear_ros.offline.image_files import NamedImage, list_inputs, read_images

PNG = cv2.imencode(".png", picture()[..., ::-1])[1].tobytes()
JPEG = cv2.imencode(".jpg", picture()[..., ::-1])[1].tobytes()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(*paths: Path) -> tuple[list[NamedImage], list[str]]:
    """The images, and what was left out on purpose."""
    inputs = list_inputs(paths)
    unused = list(inputs.unused)
    return list(read_images(inputs.files, tell=unused.append)), unused


@pytest.mark.parametrize("name", ["photo.jfif", "photo", "photo.mp4", "photo.txt", "photo.png"])
def test_the_content_decides(tmp_path: Path, name: str) -> None:
    (found,), unused = read(put(tmp_path / name, JPEG))
    assert found.image is not None
    assert found.image.shape == (40, 60, 3)
    assert found.name == "00000_photo"
    assert found.is_still
    assert unused == []


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b.png", "a", "c.dat", "inner/d.png", ".hidden.png"):
        put(tmp_path / name, PNG)
    put(tmp_path / "notes.txt", b"no picture")
    put(tmp_path / "empty.csv", b"")
    os.mkfifo(tmp_path / "pipe")
    images, unused = read(tmp_path)
    assert [image.name for image in images] == ["00000_a", "00001_b", "00002_c"]
    assert unused == [
        f"{tmp_path}/empty.csv (an empty file)",
        f"{tmp_path}/inner (a folder: name it to read it)",
        f"{tmp_path}/notes.txt (a text file)",
        f"{tmp_path}/pipe cannot be read: is a pipe, not a regular file",
    ]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", JPEG[: len(JPEG) // 2], "truncated or damaged"),
        ("a.png", b"", "an empty file"),
        ("a.jpeg", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.webp", b"<!DOCTYPE html><html></html>", "an HTML page"),
        ("a.mp4", bytes(5000), "a file of zeros"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "pillow-heif|truncated"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        ("a.png", cv2.imencode(".png", picture(1, 40))[1].tobytes(), "40x1 px shows nobody"),
    ],
)
def test_pictures_of_a_folder_that_cannot_be_read(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    """They are told, not left out."""
    put(tmp_path / name, data)
    put(tmp_path / "b.png", PNG)
    (bad, good), unused = read(tmp_path)
    assert bad.image is None
    assert any(part in bad.reason for part in reason.split("|"))
    assert bad.file == str(tmp_path / name)
    assert good.name == "00001_b"
    assert good.image is not None
    assert unused == []


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_pictures_in_a_file(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(np.full((40, 60, 3), 80 * i, np.uint8)) for i in range(3)]
    path = tmp_path / "several"
    times = {} if kind == "TIFF" else {"duration": 200}
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **times)
    images, _ = read(path)
    assert [image.name for image in images] == [f"00000_several_{i:06d}" for i in range(3)]
    assert [int(image.image.mean()) for image in images if image.image is not None] == [0, 80, 160]
    if kind == "TIFF":  # pages: nobody is followed from one to the next
        assert [image.source for image in images] == ["i0", "i0_1", "i0_2"]
        assert all(image.is_still and image.stamp_s == 0 for image in images)
    else:
        assert [image.source for image in images] == ["v0"] * 3
        assert not any(image.is_still for image in images)
        assert [image.stamp_s for image in images] == pytest.approx([0, 0.2, 0.4])


def test_pictures_behind_a_jpeg_are_told(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture()), Image.fromarray(picture())
    first.save(tmp_path / "stereo.jpg", "MPO", save_all=True, append_images=[second])
    images, unused = read(tmp_path / "stereo.jpg")
    assert [image.name for image in images] == ["00000_stereo"]
    assert unused == [
        f"{tmp_path}/stereo.jpg (1 more behind the first picture, as a preview or a depth)"
    ]


def test_files_are_turned_upright(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.tiff", tiffinfo={0x112: 6})
    (found,), _ = read(tmp_path / "a.tiff")
    assert found.image is not None
    np.testing.assert_array_equal(found.image, np.rot90(picture(), -1))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"line\nbreak", "line_break"),
        ("Größe – 人".encode(), "Größe – 人"),
        (b"100%d", "100%d"),
        (b"x" * 250, "x" * 200),
        ("ü".encode() * 120, "ü" * 100),
    ],
    ids=["not UTF-8", "line break", "Unicode", "pattern", "long", "long, two bytes a letter"],
)
@pytest.mark.parametrize("suffix", [b".png", b".avi"])
def test_names(tmp_path: Path, name: bytes, shown: str, suffix: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + suffix))
    if suffix == b".png":
        path.write_bytes(PNG)
        number = ""
    else:
        fourcc = cv2.VideoWriter_fourcc(*"MJPG")  # type: ignore[attr-defined]
        writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), fourcc, 10.0, (60, 40))
        writer.write(picture())
        writer.release()
        (tmp_path / "clip.avi").rename(path)
        number = "_000000"
    (found,), _ = read(path)
    assert found.image is not None
    assert found.name == f"00000_{shown}{number}"
    (tmp_path / f"{found.name}.png").touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (os.mkfifo, "is a pipe, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
        (lambda path: path.symlink_to("nothing"), "does not exist"),
        (lambda path: path.mkdir(), "has no pictures or videos"),
        (lambda path: put(path / "notes.txt", b"text"), "has no pictures or videos"),
    ],
    ids=["nothing", "pipe", "device", "dangling link", "empty folder", "folder of texts"],
)
def test_what_is_refused_at_once(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "input")
    with pytest.raises(PearError, match=f"input {message}|input cannot be read: {message}"):
        list_inputs([tmp_path / "input"])
