"""Videos: what is there is read, what is missing is told, healthy files are not suspected."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from pear_ros.errors import ImageError
from pear_ros.offline.videos import VideoFile, is_cut

HEIGHT, WIDTH, FRAMES, RATE_HZ = 72, 96, 10, 10.0
CONTAINERS = [("avi", "MJPG"), ("avi", "XVID"), ("mp4", "mp4v"), ("mkv", "MJPG"), ("mkv", "mp4v"),
              ("mov", "mp4v"), ("webm", "VP80")]  # fmt: skip
IDS = [" ".join(names) for names in CONTAINERS]


def write(path: Path, codec: str, frames: int = FRAMES, rate_hz: float = RATE_HZ) -> Path:
    """Grey frames that become lighter; their left half is black."""
    fourcc = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), fourcc, rate_hz, (WIDTH, HEIGHT))
    assert writer.isOpened()
    random = np.random.default_rng(0)
    for i in range(frames):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[:, WIDTH // 2 :] = 20 * (i % 10) + 40
        frame[:8] = random.integers(0, 256, (8, WIDTH, 3))  # so that a frame has a few kB
        writer.write(frame)
    writer.release()
    return path


def read(path: Path, max_pixels: int = 10**6) -> tuple[list[float], str]:
    """The stamps of the frames, and why reading ended early."""
    stamps = []
    with path.open("rb") as file:
        try:
            for picture in VideoFile(file, max_pixels):
                stamps.append(picture.stamp_s)
        except ImageError as error:
            return stamps, str(error)
    return stamps, ""


@pytest.mark.parametrize("frames", [1, 2, 10, 47])
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS, ids=IDS)
def test_whole_videos(tmp_path: Path, suffix: str, codec: str, frames: int) -> None:
    stamps, problem = read(write(tmp_path / f"clip.{suffix}", codec, frames))
    assert problem == ""
    np.testing.assert_allclose(stamps, np.arange(frames) / RATE_HZ, atol=1e-3)


@pytest.mark.parametrize("rate_hz", [29.97, 12.5, 60.0])
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS, ids=IDS)
def test_rates(tmp_path: Path, suffix: str, codec: str, rate_hz: float) -> None:
    stamps, problem = read(write(tmp_path / f"clip.{suffix}", codec, 20, rate_hz))
    assert problem == ""
    # Matroska and WebM round times to 1 ms.
    np.testing.assert_allclose(stamps, np.arange(20) / rate_hz, atol=1.1e-3)


@pytest.mark.parametrize("kept", [0.5, 0.8, 0.97])
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS, ids=IDS)
def test_cut_videos(tmp_path: Path, suffix: str, codec: str, kept: float) -> None:
    path = write(tmp_path / f"clip.{suffix}", codec, 40)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    stamps, problem = read(path)
    if suffix in ("mp4", "mov"):  # their index is at the end
        assert stamps == []
        assert "its index is missing" in problem
    else:
        assert 0.5 * kept * 40 <= len(stamps) <= 40
        assert f"ends early, after {len(stamps)}" in problem


def test_a_cut_mp4_whose_index_is_first(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", "mp4v", 40)
    data = path.read_bytes()
    at, boxes = 0, {}
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        boxes[kind] = data[at : at + size]
        at += size
    assert list(boxes)[-1] == b"moov"
    index = bytearray(boxes[b"moov"])  # chunks move back by its length
    table = index.index(b"stco") + 8
    (chunks,) = struct.unpack_from(">I", index, table)
    for i in range(chunks):
        (offset,) = struct.unpack_from(">I", index, table + 4 + 4 * i)
        struct.pack_into(">I", index, table + 4 + 4 * i, offset + len(index))
    rest = b"".join(box for kind, box in boxes.items() if kind not in (b"ftyp", b"moov"))
    first = boxes[b"ftyp"] + bytes(index) + rest
    path.write_bytes(first)
    assert read(path) == (pytest.approx(np.arange(40) / RATE_HZ, abs=1e-3), "")
    path.write_bytes(first[: len(first) - len(rest) // 2])
    stamps, problem = read(path)
    assert 10 < len(stamps) < 35
    assert f"after {len(stamps)} of 40 frames" in problem


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("mkv", "MJPG")], ids=str)
def test_a_video_whose_second_half_was_never_written(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write(tmp_path / f"clip.{suffix}", codec, 40)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))
    stamps, problem = read(path)
    assert 10 < len(stamps) < 30
    assert f"ends early, after {len(stamps)}" in problem


@pytest.mark.parametrize("behind", [bytes(100), b"free space"], ids=repr)
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS, ids=IDS)
def test_bytes_behind_a_video(tmp_path: Path, suffix: str, codec: str, behind: bytes) -> None:
    path = write(tmp_path / f"clip.{suffix}", codec)
    path.write_bytes(path.read_bytes() + behind)
    stamps, problem = read(path)
    assert (len(stamps), problem) == (FRAMES, "")


def test_a_recording_whose_writer_could_not_go_back(tmp_path: Path) -> None:
    """Sizes are then 0 (AVI) or unknown (Matroska): nothing is known to be missing."""
    path = write(tmp_path / "clip.avi", "MJPG")
    data = bytearray(path.read_bytes())
    data[4:8] = bytes(4)
    path.write_bytes(data)
    assert len(read(path)[0]) == FRAMES
    with path.open("rb") as file:
        assert not is_cut(file)
    path = write(tmp_path / "clip.mkv", "MJPG")
    data = bytearray(path.read_bytes())
    segment = data.index(b"\x18\x53\x80\x67") + 4
    data[segment : segment + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(data)
    assert read(path)[1] == ""


def test_rotation(tmp_path: Path) -> None:
    """As phones write it: the track's matrix turns the picture by 90 degrees."""
    path = write(tmp_path / "clip.mp4", "mp4v")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    numbers = (0, one, 0, -one, 0, 0, one * HEIGHT, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *numbers)
    path.write_bytes(data)
    with path.open("rb") as file:
        image = next(iter(VideoFile(file, 10**6))).image
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert image[: WIDTH // 2 - 8, : HEIGHT - 16].mean() < 10  # the left half is on top
    assert image[WIDTH // 2 + 8 :, : HEIGHT - 16].mean() > 30


def test_the_size_is_limited(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.avi", "MJPG")
    assert len(read(path, HEIGHT * WIDTH)[0]) == FRAMES
    stamps, problem = read(path, HEIGHT * WIDTH - 1)
    assert stamps == []
    assert "96x72 px has more pixels than camera.max_pixels" in problem


def test_a_sound_without_pictures(tmp_path: Path) -> None:
    head = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    sound = b"RIFF" + struct.pack("<I", 36 + 800) + b"WAVEfmt " + head
    (tmp_path / "sound.wav").write_bytes(sound + b"data" + struct.pack("<I", 800) + bytes(800))
    assert "no picture track" in read(tmp_path / "sound.wav")[1]


def test_a_trimmed_movie_is_whole(tmp_path: Path) -> None:
    """Phones trim by an edit list, and keep the frames that are not shown any more."""
    path = write(tmp_path / "clip.mp4", "mp4v", 40)
    data = bytearray(path.read_bytes())
    edit, movie = data.index(b"elst") + 4, data.index(b"mvhd") + 4
    for at in (edit + 8, movie + 16):
        (duration,) = struct.unpack_from(">I", data, at)
        assert duration == 4000
        struct.pack_into(">I", data, at, duration // 2)
    path.write_bytes(data)
    stamps, problem = read(path)
    assert (len(stamps), problem) == (20, "")


def test_a_movie_whose_frames_cannot_be_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", "mp4v", 40)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    frames = data.index(b"moov") - 4 - start
    half = start + frames // 2
    path.write_bytes(data[:half] + bytes(start + frames - half) + data[start + frames :])
    stamps, problem = read(path)
    assert 10 < len(stamps) < 30
    assert f"after {len(stamps)} of 40 frames" in problem
