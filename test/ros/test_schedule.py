"""The times at which a camera's images are due. Needs no ROS."""

from __future__ import annotations

import pytest

from pear_ros.ros.schedule import Schedule

# Time of the clock, s, after the image of 100.0 s; number of the next image; how many are skipped.
ADVANCES = {
    "at once": (100.0, 1, 0),
    "before the next is due": (100.05, 1, 0),
    "when the next is due": (100.1, 1, 0),
    "half a period late": (100.15, 2, 1),
    "ten periods later": (101.0, 10, 9),
}


@pytest.mark.parametrize(("now_s", "next_number", "left_out"), ADVANCES.values(), ids=ADVANCES)
def test_advance(now_s: float, next_number: int, left_out: int) -> None:
    schedule = Schedule(rate_hz=10.0, start_s=100.0)
    assert schedule.advance(now_s) == schedule.left_out == left_out
    assert schedule.number == next_number
    assert schedule.time_s == pytest.approx(next_number / 10)
    assert schedule.due_s == pytest.approx(100 + next_number / 10)


def test_the_first_image_is_due_at_the_start() -> None:
    schedule = Schedule(rate_hz=30.0, start_s=7.5)
    assert (schedule.time_s, schedule.due_s) == (0.0, 7.5)


@pytest.mark.parametrize("work_s", [0.01, 0.1, 0.17, 0.35], ids="{} s per image".format)
def test_images_are_never_early_and_none_is_forgotten(work_s: float) -> None:
    """With a constant time of work per image at 10 Hz: each period has an image or is skipped."""
    schedule = Schedule(rate_hz=10.0, start_s=100.0)
    now_s, numbers = 100.0, []
    for _ in range(50):
        now_s = max(now_s, schedule.due_s)  # waits until the image is due
        numbers.append(schedule.number)
        now_s += work_s
        schedule.advance(now_s)
        assert schedule.due_s >= now_s - 1e-9
    assert len(numbers) + schedule.left_out == schedule.number
    assert numbers == sorted(set(numbers))
    assert (schedule.left_out == 0) == (work_s <= 0.1)
