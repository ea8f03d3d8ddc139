"""Makes the folder of background pictures for `python -m training.train --photos DIR`.

    python -m training.photos WHEEL/skimage/data SAMPLE_VIDEOS OUT

takes pictures without people from folders that are already on this machine: `skimage/data` of the
unpacked wheel of scikit-image 0.26 (CC0, public domain or freely distributed with scikit-image) and
a clone of github.com/intel-iot-devkit/sample-videos (CC BY 4.0, Intel). See
assets/demo/MODEL_CARD.md for the attribution.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from pear_ros.errors import PearError, SettingError

LONGEST_PX = 640
PICTURES = ("brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
            "hubble_deep_field.jpg", "motorcycle_left.png", "page.png", "rocket.jpg")  # fmt: skip
FRAMES = {  # by video: numbers of frames in which nobody is seen
    "bottle-detection.mp4": (0, 60, 120),
    "car-detection.mp4": (0, 70, 140, 210, 280),
    "preview/bolt-multi-size-detection.gif": (0, 8, 16, 30),
    "preview/fruit-and-vegetable-detection.gif": (0, 20, 40, 60, 80, 95),
    "preview/person-bicycle-car-detection.gif": (0,),
}
CUT_TOP_PX = {"preview/person-bicycle-car-detection.gif": 40}  # where a person walks


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns 1, after one line on stderr, if a file is missing or damaged."""
    parser = argparse.ArgumentParser(
        prog="python -m training.photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scikit_image", type=Path, help="folder skimage/data of the wheel")
    parser.add_argument("sample_videos", type=Path, help="clone of sample-videos")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for name in PICTURES:
            _write(options.out / f"{Path(name).stem}.jpg", _picture(options.scikit_image / name))
        for name, numbers in FRAMES.items():
            frames = _frames(options.sample_videos / name, numbers)
            for number, frame in zip(numbers, frames, strict=True):
                path = options.out / f"{Path(name).stem}_{number}.jpg"
                _write(path, frame[CUT_TOP_PX.get(name, 0) :])
    except (PearError, OSError) as error:
        print(f"photos: {error}", file=sys.stderr)
        return 1
    return 0


def _picture(path: Path) -> cv2.typing.MatLike:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SettingError(f"{path} is missing or not a picture")
    zoom = LONGEST_PX / max(picture.shape[:2])
    if zoom < 1:
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return picture


def _frames(path: Path, numbers: tuple[int, ...]) -> list[cv2.typing.MatLike]:
    video = cv2.VideoCapture(str(path))
    frames = []
    for number in range(max(numbers) + 1):
        is_read, frame = video.read()
        if not is_read:
            raise SettingError(f"{path} is missing, or not a video of {max(numbers) + 1} frames")
        if number in numbers:
            frames.append(frame)
    return frames


def _write(path: Path, picture: cv2.typing.MatLike) -> None:
    if not cv2.imwrite(str(path), picture):
        raise SettingError(f"{path} cannot be written")


if __name__ == "__main__":
    sys.exit(main())
