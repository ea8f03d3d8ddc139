"""What the kinds of inputs of `tools.fuzz` share: their registry, damage, hostile numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

Random = random.Random
Try = Callable[[Random], object]
FUZZERS: dict[str, Callable[[Path], Try]] = {}
NEEDS_ROS: set[str] = set()  # kinds

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
INTEGERS = (0, 1, 2, 3, 255, 256, 2**15, 2**15 + 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, 1e-30, 1e-6, 1e6, 1e9, 1e30, -1e30, 1e38, 1e39),
    *(1e154, 1e300, -1e300, math.nan, math.inf, -math.inf),
)


def fuzzer(
    name: str, needs_ros: bool = False
) -> Callable[[Callable[[Path], Try]], Callable[[Path], Try]]:
    """Registers a kind of inputs."""

    def register(make: Callable[[Path], Try]) -> Callable[[Path], Try]:
        FUZZERS[name] = make
        if needs_ros:
            NEEDS_ROS.add(name)
        return make

    return register


def damaged(content: bytes, random: Random) -> bytes:
    """Some bytes changed, cut out, repeated, or the end cut off."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at = random.randrange(len(data) + 1)
        what = random.randrange(8)
        if not data or what == 0:
            data[at:] = b""
        elif what == 1:
            del data[at : at + random.choice((1, 2, 8, 100))]
        elif what == 2:
            start = random.randrange(len(data))
            data[at:at] = data[start : start + random.choice((1, 8, 64))]
        elif what == 3:
            size = random.choice((1, 2, 4, 8))
            data[at : at + size] = bytes([random.choice(INTERESTING)]) * size
        elif what == 4:
            data[at : at + 8] = random.getrandbits(64).to_bytes(8, "little")
        else:
            at = min(at, len(data) - 1)
            data[at] ^= 1 << random.randrange(8)
    return bytes(data)


def hostile_int(random: Random, bits: int = 32) -> int:
    """An unsigned number that is a limit, small, or anything."""
    kinds = (random.choice(INTEGERS), random.randrange(100), random.getrandbits(bits))
    return random.choice(kinds) % 2**bits


def hostile_float(random: Random) -> float:
    """A number that is special, near 0, or of any size."""
    sign = random.choice((-1, 1))
    kinds = (random.choice(FLOATS), random.gauss(0, 1), sign * 10 ** random.uniform(-310, 308))
    return random.choice(kinds)


def hostile_text(random: Random) -> str:
    """A string that is empty, strange or long."""
    letters = "a_/ ~\n\t\0{}$%'\"é人\U0001f600"
    return "".join(random.choices(letters, k=random.choice((0, 1, 5, 200))))
