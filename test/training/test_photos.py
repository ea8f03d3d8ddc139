"""Background pictures are taken from folders that are already on the machine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training import photos
from training.loading import read_pictures

VIDEO = "clips/belt.gif"
PICTURES = ("wall.png", "cat.jpg")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments: two pictures, a video of six frames that get brighter, an output folder."""
    monkeypatch.setattr(photos, "PICTURES", PICTURES)
    monkeypatch.setattr(photos, "FRAMES", {VIDEO: (1, 4), "street.avi": (0,)})
    monkeypatch.setattr(photos, "CUT_TOP_PX", {"street.avi": 16})
    (tmp_path / "images").mkdir()
    (tmp_path / "videos/clips").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/wall.png"), np.full((300, 1280, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "images/cat.jpg"), np.full((50, 40), 200, np.uint8))
    for name in (VIDEO, "street.avi"):
        # MJPEG, whatever the name ends in
        part = tmp_path / "videos/part.avi"
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
        for i in range(6):
            writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
        writer.release()
        part.rename(tmp_path / "videos" / name)
    return [str(tmp_path / name) for name in ("images", "videos", "out")]


def test_all_pictures_are_written(folders: list[str], tmp_path: Path) -> None:
    assert photos.main(folders) == 0
    written = {path.name: cv2.imread(str(path)) for path in sorted((tmp_path / "out").iterdir())}
    sizes = {
        "belt_1.jpg": (48, 64, 3),
        "belt_4.jpg": (48, 64, 3),
        "cat.jpg": (50, 40, 3),
        "street_0.jpg": (32, 64, 3),  # without its top
        "wall.jpg": (150, 640, 3),  # smaller
    }
    assert {name: picture.shape for name, picture in written.items()} == sizes
    for name, grey in {"belt_1.jpg": 40, "belt_4.jpg": 160, "wall.jpg": 90}.items():
        assert np.abs(written[name].astype(int) - grey).max() < 6, name
    assert len(read_pictures(tmp_path / "out")) == len(sizes)  # as a training reads them


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(f"videos/{VIDEO}", None, "not a video of 5 frames", id="no video"),
        pytest.param(f"videos/{VIDEO}", b"GIF89a", "not a video of 5 frames", id="damaged video"),
        pytest.param("images/cat.jpg", None, "is missing or not a picture", id="no picture"),
        pytest.param("images/cat.jpg", b"x", "is missing or not a picture", id="damaged picture"),
        pytest.param("out", b"a file", "File exists", id="no folder"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    folders: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    assert photos.main(folders) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("photos: ")
    assert str(path) in line
    assert message in line


def test_a_video_that_is_too_short(
    folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(photos, "FRAMES", {VIDEO: (0, 6)})
    assert photos.main(folders) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("belt.gif is missing, or not a video of 7 frames")
