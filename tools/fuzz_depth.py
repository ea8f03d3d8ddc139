"""A kind of inputs of `tools.fuzz`: depth images."""

from __future__ import annotations

import array
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pear_ros.errors import ImageError
from tools.fuzz_damage import Random, Try, damaged, fuzzer, hostile_text
from tools.fuzz_messages import changed_field, with_checksums


@fuzzer("depth-images", needs_ros=True)
def depth_images(folder: Path) -> Try:
    """Fields of raw depth images, of which up to three are changed, and damaged compressedDepth."""
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

    from pear_ros.problems import Problems
    from pear_ros.ros.depth_input import DepthInput

    problems = Problems(lambda text: None)
    read = DepthInput("", "/depth", problems)
    header = Header(frame_id="camera")

    def one(random: Random) -> None:
        is_changed = random.random() < 0.9
        if random.random() < 0.4:
            fields = _depth_fields(random)
            for name in random.choices(list(fields), k=random.randrange(1, 4) * is_changed):
                fields[name] = changed_field(name, fields[name], random)
            fields["data"] = array.array("B", fields["data"])
            message = Image(header=header, **fields)
            size = message.height, message.width
        else:
            size = random.randrange(1, 25), random.randrange(1, 33)
            data, format_ = _compressed_depth(size, random)
            if is_changed and random.random() < 0.2:
                format_ = random.choice((hostile_text(random).replace("\0", ""), format_[:-1]))
            elif is_changed:
                data = damaged(data, random)
                if random.random() < 0.5:
                    data = data[:12] + with_checksums(data[12:])
            message = CompressedImage(header=header, format=format_, data=array.array("B", data))
        before = sum(problems.counts().values())
        depth_m = read(message, header.frame_id, size, 10_000)
        if depth_m is None:
            assert sum(problems.counts().values()) == before + 1
            assert is_changed, "a valid depth image is refused"
            raise ImageError("refused and counted")
        assert depth_m.shape == size
        assert depth_m.dtype == np.float32
        assert ((depth_m >= 0) & (depth_m < np.inf)).all()

    return one


def _depth_fields(random: Random) -> dict[str, Any]:
    """The fields of a small raw depth image; its values may be anything, but not all 0."""
    encoding = random.choice(("16UC1", "mono16", "32FC1"))
    height, width = random.randrange(1, 25), random.randrange(1, 33)
    step = width * (4 if encoding == "32FC1" else 2) + random.choice((0, 0, 1, 64))
    return {
        "encoding": encoding,
        "height": height,
        "width": width,
        "step": step,
        "is_bigendian": 0,
        "data": b"\x01\x02\x40\x3f" + random.randbytes(height * step),
    }


def _compressed_depth(size: tuple[int, int], random: Random) -> tuple[bytes, str]:
    """The data and the format of a valid message."""
    encoding, codec = random.choice(("16UC1", "32FC1")), random.choice(("png", "rvl"))
    header = struct.pack("<iff", 0, 10100.0, -1009.0)
    values = np.full(size, random.randrange(1, 8), np.uint16)
    if codec == "png":
        values[0, 0] = random.randrange(1, 65536)
        return header + cv2.imencode(".png", values)[
            1
        ].tobytes(), f"{encoding}; compressedDepth png"
    # No zeros; the first difference is 2 v, the others are 0.
    height, width = size
    count = f"{height * width:o}"[::-1]
    others = [int(digit) | 8 for digit in count[:-1]] + [int(count[-1])]
    first = 2 * int(values[0, 0])
    nibbles = [0, *others, *([first] if first < 8 else [first & 7 | 8, first >> 3])]
    nibbles += [0] * (height * width + 8)
    words = ["".join(f"{n:x}" for n in nibbles[i : i + 8]) for i in range(0, len(nibbles) - 7, 8)]
    data = struct.pack(f"<{2 + len(words)}I", width, height, *(int(word, 16) for word in words))
    return header + data, f"{encoding}; compressedDepth rvl"
