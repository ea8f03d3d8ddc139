"""Images wait for their calibration, boxes and depth; each is released or counted."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.people import Boxes
from pear_ros.ros import synchronizer as synchronizer_module
from pear_ros.ros.depth_matcher import DepthMatcher
from pear_ros.ros.synchronizer import Released, Synchronizer

NOTHING: Released[str, str] = Released()


def boxes(left: float = 0.0) -> Boxes:
    return Boxes(np.array([[left, 0, 10, 20]], np.float32), np.ones(1, np.float32))


def make(needs_boxes: bool = False) -> Synchronizer[str, str]:
    """A synchronizer that waits 2 s for a calibration and 1 s for boxes."""
    return Synchronizer(calibration_timeout_s=2, needs_boxes=needs_boxes, boxes_timeout_s=1)


def calibrated(needs_boxes: bool = False) -> Synchronizer[str, str]:
    synchronizer = make(needs_boxes)
    synchronizer.put_calibration()
    return synchronizer


# --- Calibration ---------------------------------------------------------------------------------


def test_nothing_to_release() -> None:
    assert make().release(0) == NOTHING
    assert make().release(100) == NOTHING
    assert calibrated().release(0) == NOTHING


def test_calibrated_images_pass_at_once() -> None:
    synchronizer = calibrated()
    for stamp, image in enumerate("abc"):
        synchronizer.put_image(stamp, image, 10.0 + stamp)
        assert synchronizer.release(10.0 + stamp) == Released(image)
        assert synchronizer.release(10.0 + stamp) == NOTHING


def test_images_wait_for_the_calibration() -> None:
    synchronizer = make()
    synchronizer.put_image(1, "a", 10.0)
    assert synchronizer.release(11.9) == NOTHING
    synchronizer.put_calibration()
    assert synchronizer.release(11.9) == Released("a")


def test_waiting_for_a_calibration_has_a_timeout() -> None:
    synchronizer = make()
    synchronizer.put_image(1, "a", 10.0)
    synchronizer.put_image(2, "b", 11.5)  # the time counts from the first image
    assert synchronizer.release(11.9) == NOTHING
    assert synchronizer.release(12.0) == Released("b", superseded=1)
    synchronizer.put_image(3, "c", 12.1)
    assert synchronizer.release(12.1) == Released("c")


def test_the_timeout_starts_with_the_first_image() -> None:
    synchronizer = make()
    assert synchronizer.release(0) == NOTHING
    assert synchronizer.release(50) == NOTHING
    synchronizer.put_image(1, "a", 50.0)
    assert synchronizer.release(51) == NOTHING


def test_without_boxes_images_are_never_late() -> None:
    synchronizer = make()
    synchronizer.put_image(1, "a", 10.0)
    synchronizer.put_calibration()
    assert synchronizer.release(99) == Released("a")


# --- Boxes ---------------------------------------------------------------------------------------

FIRST, SECOND = boxes(1), boxes(2)


@pytest.mark.parametrize("boxes_first", [True, False], ids=["boxes first", "image first"])
def test_image_and_boxes_meet_in_any_order(boxes_first: bool) -> None:
    synchronizer = calibrated(needs_boxes=True)
    if boxes_first:
        synchronizer.put_boxes(5, FIRST)
    else:
        synchronizer.put_image(5, "a", 0)
    assert synchronizer.release(0) == NOTHING
    if boxes_first:
        synchronizer.put_image(5, "a", 0)
    else:
        synchronizer.put_boxes(5, FIRST)
    assert synchronizer.release(0) == Released("a", FIRST)
    assert synchronizer.release(99) == NOTHING


def test_boxes_are_matched_by_stamp() -> None:
    synchronizer = calibrated(needs_boxes=True)
    synchronizer.put_image(5, "a", 0)
    synchronizer.put_boxes(6, FIRST)
    assert synchronizer.release(0.5) == NOTHING
    synchronizer.put_image(6, "b", 0.5)
    assert synchronizer.release(0.5) == Released("b", FIRST, superseded=1)


def test_images_before_a_complete_one_are_superseded_those_after_it_wait() -> None:
    synchronizer = calibrated(needs_boxes=True)
    for stamp, image in enumerate("abc"):
        synchronizer.put_image(stamp, image, 0)
    synchronizer.put_boxes(1, FIRST)
    assert synchronizer.release(0) == Released("b", FIRST, superseded=1)
    synchronizer.put_boxes(0, FIRST)  # too late
    assert synchronizer.release(0) == NOTHING
    synchronizer.put_boxes(2, SECOND)
    assert synchronizer.release(0) == Released("c", SECOND)


def test_the_newer_of_two_complete_images_is_released() -> None:
    synchronizer = calibrated(needs_boxes=True)
    for stamp, image in enumerate("ab"):
        synchronizer.put_image(stamp, image, 0)
    synchronizer.put_boxes(0, FIRST)
    synchronizer.put_boxes(1, SECOND)
    assert synchronizer.release(0) == Released("b", SECOND, superseded=1)
    assert synchronizer.release(0) == NOTHING


def test_images_without_boxes_in_time_are_dropped() -> None:
    synchronizer = calibrated(needs_boxes=True)
    synchronizer.put_image(1, "a", 10.0)
    synchronizer.put_image(2, "b", 10.5)
    assert synchronizer.release(11.0) == NOTHING
    assert synchronizer.release(11.1) == Released(without_boxes=1)
    synchronizer.put_boxes(1, FIRST)
    synchronizer.put_boxes(2, SECOND)
    assert synchronizer.release(11.2) == Released("b", SECOND)


def test_a_complete_and_a_late_image_at_the_same_time() -> None:
    synchronizer = calibrated(needs_boxes=True)
    synchronizer.put_image(1, "a", 10.0)
    synchronizer.put_image(2, "b", 10.0)
    synchronizer.put_boxes(1, FIRST)
    assert synchronizer.release(12.0) == Released("a", FIRST, without_boxes=1)


def test_a_stamp_that_comes_twice() -> None:
    synchronizer = calibrated(needs_boxes=True)
    synchronizer.put_image(1, "a", 0)
    synchronizer.put_image(1, "b", 0)
    synchronizer.put_boxes(1, FIRST)
    assert synchronizer.release(0) == Released("b", FIRST, superseded=1)


def test_the_number_of_waiting_images_is_limited() -> None:
    synchronizer = calibrated(needs_boxes=True)
    for stamp in range(synchronizer_module.MOST_HELD + 1):
        synchronizer.put_image(stamp, str(stamp), 0)
        synchronizer.put_boxes(1000 + stamp, FIRST)
    dropped = synchronizer_module.MOST_HELD - 1  # the newest but one
    synchronizer.put_boxes(dropped, FIRST)
    assert synchronizer.release(0) == Released(without_boxes=1)
    synchronizer.put_boxes(0, FIRST)  # the one that has waited longest
    assert synchronizer.release(0.5) == Released("0", FIRST)
    synchronizer.put_image(1000, "x", 0.5)  # its boxes were dropped
    assert synchronizer.release(0.5).image is None
    synchronizer.put_image(1005, "y", 0.5)
    assert synchronizer.release(0.5).image == "y"


def test_until_the_calibration_comes_the_newest_images_wait() -> None:
    synchronizer = make(needs_boxes=True)
    for stamp in range(synchronizer_module.MOST_HELD + 10):
        synchronizer.put_image(stamp, str(stamp), 0)
    synchronizer.put_calibration()
    synchronizer.put_boxes(synchronizer_module.MOST_HELD + 8, FIRST)
    released = synchronizer.release(0)
    assert released.image == str(synchronizer_module.MOST_HELD + 8)
    assert released.without_boxes == 10


@pytest.mark.parametrize("timeout_s", [0.1, 2.0])
@pytest.mark.parametrize("rate_hz", [100.0, 700.0])
def test_fast_images_that_wait_for_depth_are_released(timeout_s: float, rate_hz: float) -> None:
    """Depth never comes; more images wait than are kept. All of them are accounted for."""
    depths: DepthMatcher[str] = DepthMatcher(0.02, timeout_s)
    synchronizer: Synchronizer[str, str] = Synchronizer(2, False, 1, depths)
    synchronizer.put_calibration()
    released, superseded, delays = 0, 0, []
    count = round(4 * timeout_s * rate_hz)
    for i in range(count):
        now_s = i / rate_hz
        synchronizer.put_image(round(now_s * 1e9), f"{now_s}", now_s)
        found = synchronizer.release(now_s)
        released += found.image is not None
        superseded += found.superseded
        if found.image is not None:
            delays.append(now_s - float(found.image))
    assert released >= 3
    assert max(delays) <= timeout_s + 0.1
    assert released + superseded + synchronizer.drop_all() == count


def test_one_image_waits_for_the_calibration() -> None:
    synchronizer = make()
    for stamp in range(5):
        synchronizer.put_image(stamp, str(stamp), 0)
    synchronizer.put_calibration()
    assert synchronizer.release(0) == Released("4", superseded=4)
    assert synchronizer.drop_all() == 0


@pytest.mark.parametrize("needs_boxes", [True, False], ids=["boxes", "no boxes"])
@pytest.mark.parametrize("count", [0, 1, 10, synchronizer_module.MOST_HELD + 10])
def test_dropping_all_counts_those_that_no_release_returned(count: int, needs_boxes: bool) -> None:
    synchronizer = make(needs_boxes)
    for stamp in range(count):
        synchronizer.put_image(stamp, str(stamp), 0)
        assert synchronizer.release(0) == NOTHING
    assert synchronizer.drop_all() == count
    assert synchronizer.drop_all() == 0
    synchronizer.put_calibration()
    assert synchronizer.release(99) == NOTHING


def test_an_image_with_the_stamp_of_a_waiting_one_is_the_newest() -> None:
    synchronizer = calibrated(needs_boxes=True)
    for stamp, image in ((1, "a"), (2, "b"), (1, "c")):
        synchronizer.put_image(stamp, image, 0)
    synchronizer.put_boxes(2, FIRST)
    synchronizer.put_boxes(1, SECOND)
    assert synchronizer.release(0) == Released("c", SECOND, superseded=2)


# --- Depth ---------------------------------------------------------------------------------------

MS = 1_000_000  # ns


def with_depth(needs_boxes: bool = False) -> Synchronizer[str, str]:
    """Depth within 20 ms, for which images wait 0.1 s."""
    synchronizer: Synchronizer[str, str] = Synchronizer(2, needs_boxes, 1, DepthMatcher(0.02, 0.1))
    synchronizer.put_calibration()
    return synchronizer


def test_an_image_whose_depth_is_there_passes_at_once() -> None:
    synchronizer = with_depth()
    for i, image in enumerate("abc"):
        synchronizer.put_depth(33 * i * MS, f"depth of {image}", 33e-3 * i)
        assert synchronizer.release(33e-3 * i) == NOTHING
        synchronizer.put_image(33 * i * MS, image, 33e-3 * i)
        released = synchronizer.release(33e-3 * i)
        assert (released.image, released.depth) == (image, f"depth of {image}")


def test_an_image_waits_for_its_depth() -> None:
    synchronizer = with_depth()
    synchronizer.put_image(100 * MS, "a", 10.0)
    assert synchronizer.release(10.05) == NOTHING
    synchronizer.put_depth(121 * MS, "too far", 10.06)
    assert synchronizer.release(10.06) == NOTHING
    synchronizer.put_depth(85 * MS, "near", 10.07)
    released = synchronizer.release(10.07)
    assert (released.image, released.depth, released.superseded) == ("a", "near", 0)


def test_without_depth_in_time_an_image_is_released_without() -> None:
    synchronizer = with_depth()
    synchronizer.put_image(100 * MS, "a", 10.0)
    synchronizer.put_depth(130 * MS, "of a later image", 10.03)
    synchronizer.put_image(130 * MS + 1, "b", 10.3)  # its depth is there
    assert synchronizer.release(10.3).image == "b"

    synchronizer.put_image(500 * MS, "c", 20.0)
    assert synchronizer.release(20.09) == NOTHING
    assert synchronizer.release(20.1) == Released("c")  # the last depth image was that of "b"

    synchronizer.put_depth(470 * MS, "too early", 30.0)
    synchronizer.put_image(500 * MS, "d", 30.0)
    assert synchronizer.release(30.1) == Released("d", depth_gap_s=pytest.approx(0.03))


def test_images_whose_depth_does_not_come_are_released_one_by_one() -> None:
    synchronizer = with_depth()
    released = []
    for i in range(12):
        now_s = i / 30
        synchronizer.put_image(round(now_s * 1e9), str(i), now_s)
        out = synchronizer.release(now_s + 1e-6)
        released += [out.image] if out.image else []
        assert out.superseded == 0
    assert released == [str(i) for i in range(9)]


def test_of_two_depth_images_the_nearer_one_is_taken() -> None:
    synchronizer = with_depth()
    for stamp in (85, 95, 111):
        synchronizer.put_depth(stamp * MS, str(stamp), 10.0)
    synchronizer.put_image(100 * MS, "a", 10.0)
    assert synchronizer.release(10.0).depth == "95"


def test_depth_and_boxes_may_come_in_any_order() -> None:
    for depth_first in (True, False):
        synchronizer = with_depth(needs_boxes=True)
        synchronizer.put_image(5, "a", 0.0)
        if depth_first:
            synchronizer.put_depth(5, "depth", 0.01)
        else:
            synchronizer.put_boxes(5, FIRST)
        assert synchronizer.release(0.02) == NOTHING
        if depth_first:
            synchronizer.put_boxes(5, FIRST)
        else:
            synchronizer.put_depth(5, "depth", 0.01)
        released = synchronizer.release(0.03)
        assert (released.image, released.boxes, released.depth) == ("a", FIRST, "depth")


def test_an_image_with_boxes_is_not_late_while_it_waits_for_depth() -> None:
    synchronizer: Synchronizer[str, str] = Synchronizer(2, True, 1, DepthMatcher(0.02, 5))
    synchronizer.put_calibration()
    synchronizer.put_image(5, "a", 0.0)
    synchronizer.put_boxes(5, FIRST)
    assert synchronizer.release(2.0) == NOTHING
    assert synchronizer.release(5.0) == Released("a", FIRST)


def test_images_without_a_stamp_get_no_depth() -> None:
    synchronizer = with_depth()
    synchronizer.put_depth(5, "depth", 0.0)
    synchronizer.put_image(5, "a", 0.0, has_stamp=False)
    assert synchronizer.release(0.0) == Released("a")


# --- Counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8), ids="seed {}".format)
@pytest.mark.parametrize("needs_depth", [True, False], ids=["depth", "no depth"])
@pytest.mark.parametrize("needs_boxes", [True, False], ids=["boxes", "no boxes"])
def test_every_image_is_released_superseded_late_or_waiting(
    seed: int, needs_boxes: bool, needs_depth: bool
) -> None:
    random = np.random.default_rng(seed)
    depths: DepthMatcher[str] | None = DepthMatcher(1e-9, 0.3) if needs_depth else None
    synchronizer: Synchronizer[str, str] = Synchronizer(2, needs_boxes, 1, depths)
    put, released, superseded, late, with_depth = 0, [], 0, 0, 0
    for step in range(400):
        now_s, stamp = step / 20, int(step / 2 + random.integers(-3, 4))
        match random.integers(5):
            case 0 | 1:
                synchronizer.put_image(stamp, str(put), now_s, bool(random.random() < 0.9))
                put += 1
            case 2:
                synchronizer.put_boxes(stamp, boxes())
            case 3:
                synchronizer.put_depth(stamp, "depth", now_s)
            case _ if random.random() < 0.1:
                synchronizer.put_calibration()
        out = synchronizer.release(now_s)
        released += [out.image] if out.image is not None else []
        superseded += out.superseded
        late += out.without_boxes
        with_depth += out.depth is not None
    out = synchronizer.release(1e9)  # all waiting images are late now
    released += [out.image] if out.image is not None else []
    superseded += out.superseded
    late += out.without_boxes
    assert len(released) + superseded + late == put
    assert len(set(released)) == len(released) > 10
    assert late == 0 or needs_boxes
    assert (with_depth > 0) == needs_depth
