"""Which depth image belongs to an image, and when waiting for one ends and begins."""

from __future__ import annotations

import pytest

from pear_ros.ros.depth_matcher import MISSING_S, MOST_KEPT, MOST_MISSED, DepthMatcher

NS = 1_000_000_000
TOLERANCE_S, TIMEOUT_S = 0.02, 0.1


@pytest.fixture
def depths() -> DepthMatcher[str]:
    return DepthMatcher(TOLERANCE_S, TIMEOUT_S)


def delays_s(
    depths: DepthMatcher[str],
    seconds: float,
    rate_hz: float = 30.0,
    depth_rate_hz: float = 0.0,
    latency_s: float = 0.0,
    offset_s: float = 0.0,
    start_s: float = 0.0,
) -> list[tuple[float, str | None]]:
    """How long each image of a camera waits, and its depth.

    Args:
        depths: Matches.
        seconds: How long the camera runs.
        rate_hz: Of the images.
        depth_rate_hz: Of the depth images; 0: the depth camera is off.
        latency_s: Of the depth images.
        offset_s: Between the stamps of both.
        start_s: Stamp of the first image.
    """
    step_s = 0.001
    to_take: list[tuple[int, float]] = []
    results = []
    for step in range(round(seconds / step_s)):
        now_s = start_s + step * step_s
        taken_s = now_s - latency_s
        if (
            depth_rate_hz
            and taken_s >= start_s
            and is_due(taken_s - start_s, depth_rate_hz, step_s)
        ):
            stamp_ns = round((taken_s + offset_s) * NS)
            depths.put(stamp_ns, f"{stamp_ns}", now_s)
        if is_due(now_s - start_s, rate_hz, step_s):
            to_take.append((round(now_s * NS), now_s))
        for stamp_ns, arrived_s in list(to_take):
            if not depths.is_awaited(stamp_ns, arrived_s, now_s):
                to_take.remove((stamp_ns, arrived_s))
                results.append((now_s - arrived_s, depths.take(stamp_ns, arrived_s)))
    return results


def is_due(since_s: float, rate_hz: float, step_s: float) -> bool:
    return round(since_s / step_s) % round(1 / rate_hz / step_s) == 0


def test_depth_that_is_off_delays_images_for_a_second_only(depths: DepthMatcher[str]) -> None:
    results = delays_s(depths, 5.0)
    assert not any(depth for _, depth in results)
    delayed = sum(delay > 0.001 for delay, _ in results)
    assert delayed == pytest.approx(30 * (MISSING_S + TIMEOUT_S), abs=3)
    assert all(delay == 0 for delay, _ in results[delayed:])


def test_images_of_a_slow_camera_wait_at_least_five_times(depths: DepthMatcher[str]) -> None:
    results = delays_s(depths, 10.0, rate_hz=1.0)
    assert [delay > 0 for delay, _ in results] == [True] * MOST_MISSED + [False] * 5


@pytest.mark.parametrize("latency_s", [0.0, 0.03, 0.09])
def test_images_wait_again_when_depth_comes_back(
    depths: DepthMatcher[str], latency_s: float
) -> None:
    delays_s(depths, 2.0)
    results = delays_s(depths, 2.0, depth_rate_hz=30.0, latency_s=latency_s, start_s=2.0)
    without = sum(depth is None for _, depth in results)
    assert without <= 4  # those that came before the first depth image
    assert all(depth for _, depth in results[without:])
    assert max(delay for delay, _ in results) <= latency_s + 0.002


def test_depth_that_is_always_too_late_delays_nobody(depths: DepthMatcher[str]) -> None:
    results = delays_s(depths, 5.0, depth_rate_hz=30.0, latency_s=0.15)
    assert not any(depth for _, depth in results)
    assert all(delay == 0 for delay, _ in results[40:])


@pytest.mark.parametrize("offset_s", [-0.5, 5.0])
def test_depth_of_another_clock_delays_nobody(depths: DepthMatcher[str], offset_s: float) -> None:
    results = delays_s(depths, 4.0, depth_rate_hz=30.0, offset_s=offset_s)
    assert not any(depth for _, depth in results)
    assert all(delay == 0 for delay, _ in results[40:])


def test_a_slow_depth_camera_is_waited_for(depths: DepthMatcher[str]) -> None:
    """5 depth images and 25 images a second: four of five images time out."""
    results = delays_s(depths, 4.0, rate_hz=25.0, depth_rate_hz=5.0, latency_s=0.05)
    with_depth = [delay for delay, depth in results if depth]
    assert len(with_depth) >= 0.19 * len(results)


@pytest.mark.parametrize("rate_hz", [50.0, 100.0])
def test_fast_cameras_wait_for_the_depth_of_the_same_time(
    depths: DepthMatcher[str], rate_hz: float
) -> None:
    """That before is within the tolerance, too."""
    results = delays_s(depths, 2.0, rate_hz, depth_rate_hz=rate_hz, latency_s=0.008)
    stamps = [round(i / rate_hz * NS) for i in range(len(results))]
    # The first two images come before it is known how often depth images come.
    assert [depth for _, depth in results[2:]] == [str(stamp) for stamp in stamps[2:]]
    assert max(delay for delay, _ in results) <= 0.01


def test_a_fast_camera_uses_each_image_of_a_slow_depth_camera_several_times(
    depths: DepthMatcher[str],
) -> None:
    results = delays_s(depths, 2.0, rate_hz=100.0, depth_rate_hz=20.0, latency_s=0.0)
    assert all(depth for _, depth in results)
    assert sum(delay > 0 for delay, _ in results) <= 0.4 * len(results) + 2


@pytest.mark.parametrize("stamps_ms", [(0, 40, 80, 95), (0, 33, 66, 76)])
@pytest.mark.parametrize("image_ms", [10, 14, 16])
def test_nobody_waits_for_depth_that_has_arrived(
    depths: DepthMatcher[str], stamps_ms: tuple[int, ...], image_ms: int
) -> None:
    for stamp_ms in stamps_ms:
        depths.put(stamp_ms * 1_000_000, str(stamp_ms), 0.0)
    assert not depths.is_awaited(image_ms * 1_000_000, 0.1, 0.1)


def test_an_image_whose_next_depth_does_not_come_gets_the_one_before(
    depths: DepthMatcher[str],
) -> None:
    for stamp_ns in (0, 10_000_000):
        depths.put(stamp_ns, str(stamp_ns), 0.0)
    image_ns = 19_000_000
    assert depths.is_awaited(image_ns, 0.02, 0.02)
    assert not depths.is_awaited(image_ns, 0.02, 0.02 + TIMEOUT_S)
    assert depths.take(image_ns, 0.02) == "10000000"


def test_the_gap_to_the_nearest_depth_image(depths: DepthMatcher[str]) -> None:
    assert depths.gap_s(NS) is None
    for stamp_ns in (NS // 2, 3 * NS // 2 + 1):
        depths.put(stamp_ns, "depth", 0.0)
    assert depths.gap_s(NS) == pytest.approx(0.5)
    assert depths.take(NS // 2, 0.0) == "depth"
    assert depths.gap_s(NS) == pytest.approx(0.5 + 1e-9)  # that of another image does not count


def test_the_number_of_kept_depth_images_is_limited(depths: DepthMatcher[str]) -> None:
    for i in range(MOST_KEPT + 1):
        depths.put(i * NS // 10, str(i), 0.0)
    assert depths.take(0, 0.0) is None
    assert depths.take(NS // 10, 0.0) == "1"


def test_stamps_that_start_anew(depths: DepthMatcher[str]) -> None:
    """A bag in a loop: depth of the end does not stay until the stamps come again."""
    depths.put(50 * NS, "end", 0.0)
    depths.put(10 * NS, "begin", 0.1)
    assert depths.take(10 * NS, 0.1) == "begin"
    assert depths.take(50 * NS, 0.1) is None


def test_one_depth_image_serves_several_images() -> None:
    depths: DepthMatcher[str] = DepthMatcher(0.05, TIMEOUT_S)
    depths.put(NS, "depth", 0.0)
    assert [depths.take(NS + i * NS // 50, 0.0) for i in range(4)] == ["depth"] * 3 + [None]
