"""Late images and stamps that start anew, in any order of arrival."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.ros.stamp_order import Place, StampOrder

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def put(stamps_ms: list[int]) -> list[Place]:
    order = StampOrder()
    return [order.put(START + ms * 1_000_000) for ms in stamps_ms]


def kinds(stamps_ms: list[int]) -> str:
    """A letter an image: i in order, l late, r restart."""
    return "".join("l" if p.is_late else "r" if p.is_restart else "i" for p in put(stamps_ms))


@pytest.mark.parametrize(
    ("stamps_ms", "expected"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([0, 100, 200, 5000, 5100], "iiiii", id="in order, with a gap"),
        pytest.param([0, 0, 100, 100, 100], "iiiii", id="stamps that stand still"),
        pytest.param([0, 100, 50, 200], "iili", id="one late"),
        pytest.param([0, 100, 300, 150, 200, 400], "iiilli", id="two late"),
        pytest.param([0, 1500, 3000, 2100, 4500], "iiili", id="late at a low rate"),
        pytest.param([50, 100, 60, 200, 160, 300, 260], "iililil", id="two cameras on a topic"),
        pytest.param([0, 100, 200, 0, 100, 200, 0], "iiiriir", id="a loop of three"),
        pytest.param([0, 33, 0, 33, 0], "iirir", id="a loop of two"),
        pytest.param([0, 100, 200, 100, 200], "iiiri", id="a loop whose first image was lost"),
        pytest.param([50, 100, 200, 0, 50], "iiiri", id="the first loop began later"),
        pytest.param([0, 600, 1200, 0, 600], "iiiri", id="a loop longer than a second"),
        pytest.param([0, 500, 1500, -2000], "iiir", id="before the beginning"),
        pytest.param([0, 100, 5000, 3999, 4100], "iiiri", id="more than a second back"),
        pytest.param([0, 100, 5000, 4000, 5100], "iiili", id="a second back"),
    ],
)
def test_order(stamps_ms: list[int], expected: str) -> None:
    assert kinds(stamps_ms) == expected


def test_runs_are_numbered_and_distances_are_in_nanoseconds() -> None:
    places = put([0, 100, 70, 0, 100])
    assert [place.run for place in places] == [0, 0, 0, 1, 1]
    assert [place.behind_ns for place in places] == [0, 0, 30_000_000, 100_000_000, 0]


@pytest.mark.parametrize("length", [1, 2, 3, 6, 12, 40])
@pytest.mark.parametrize("period_ms", [5, 33, 100, 700])
def test_each_loop_is_a_run_and_no_image_is_late(length: int, period_ms: int) -> None:
    loops = 5
    places = put([period_ms * i for _ in range(loops) for i in range(length)])
    assert not any(place.is_late for place in places)
    expected = loops - 1 if length > 1 else 0  # a stamp that stands still
    assert places[-1].run == expected
    assert sum(place.is_restart for place in places) == expected


@pytest.mark.parametrize("seed", range(5), ids="seed {}".format)
def test_a_jittery_network_never_restarts(seed: int) -> None:
    """Images of 30 Hz that arrive up to 0.3 s late, but none before the first one."""
    random = np.random.default_rng(seed)
    sent_ms = np.arange(0, 20_000, 33)
    arrival = np.argsort(sent_ms + random.uniform(0, 300, len(sent_ms)) * (sent_ms > 300))
    places = put([int(ms) for ms in sent_ms[arrival]])
    assert {place.run for place in places} == {0}
    assert sum(place.is_late for place in places) > 100


def test_memory_is_bounded() -> None:
    order = StampOrder()
    for i in range(5000):
        order.put(START + i * 10_000_000)
    assert len(order._recent_ns) == 101
