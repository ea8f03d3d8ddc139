"""The fuzzer finds what it looks for, and the readers hold a few seconds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pear_ros.errors import AssetError
from tools import fuzz
from tools.fuzz_damage import FUZZERS, NEEDS_ROS, Random, Try, damaged

MOST_S = 60.0  # of each kind
# A number of inputs rather than a time: the same inputs on every machine.
INPUTS = {"checkpoints": 10, "detections": 10, "cdr": 50, "cdr-compressed": 50}


def _kind(folder: Path) -> Try:
    """Inputs that are refused, accepted, and wrong in each way."""
    count = iter(range(1000))

    def one(random: Random) -> object:
        number = next(count)
        if number == 1:
            raise AssetError("refused")
        if number == 2:
            raise AssetError("two\nlines")
        if number == 3:
            raise ValueError("not an error that a user can fix")
        return None

    return one


def test_outcomes(tmp_path: Path) -> None:
    one = _kind(tmp_path)
    found = [fuzz.outcome(one, 0, number) for number in range(4)]
    assert [result for result, _ in found] == ["accepted", "refused", "error", "error"]
    assert "more than one line" in found[2][1]
    assert "ValueError: not an error that a user can fix" in found[3][1]


def test_inputs_are_the_same_for_a_seed() -> None:
    content = bytes(range(200))
    first = [damaged(content, fuzz.input_of(3, number)) for number in range(50)]
    assert first == [damaged(content, fuzz.input_of(3, number)) for number in range(50)]
    assert first != [damaged(content, fuzz.input_of(4, number)) for number in range(50)]
    assert len(set(first)) > 40


def test_going_on_adds_to_the_figures() -> None:
    """In two parts, the inputs are the same as in one."""
    at_once = fuzz.run("network-configs", seed=3, seconds=MOST_S, most=40)
    part = fuzz.run("network-configs", seed=3, seconds=MOST_S, most=15)
    both = fuzz.run("network-configs", seed=3, seconds=MOST_S, most=40, before=part)
    for name in ("seed", "inputs", "refused", "accepted", "errors"):
        assert both[name] == at_once[name]
    assert both["seconds"] > part["seconds"]


class _Child:
    """Stands for `fuzz.child`: crashes at input 3, hangs at input 5."""

    def __call__(self, kind: str, seed: int, first: int, last: int, pipe: fuzz.Connection) -> None:
        for number in range(first, min(last, 8)):
            pipe.send((number, "start", "", 0))
            if number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == 5:
                time.sleep(60)
            pipe.send((number, "accepted", "", 1000))
        time.sleep(60)


def test_crashes_and_hangs_are_found_and_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "child", _Child())
    monkeypatch.setattr(fuzz, "HANG_S", 0.5)
    monkeypatch.setattr(fuzz, "BLOCKED_S", 1.0)
    monkeypatch.setattr(fuzz, "METHOD", "fork")  # the child is this test's
    found = {}
    for number, result, text, _ in fuzz.results("any", 0, 20):
        found[number] = (result, text)
        if number == 7:
            break
    assert sorted(found) == list(range(8))
    assert found[3] == ("error", "crash, exit code -9")
    assert found[5] == ("error", "too slow, or blocked")
    assert all(found[number] == ("accepted", "") for number in (0, 1, 2, 4, 6, 7))


KINDS = [
    pytest.param(kind, marks=[pytest.mark.ros] if kind in NEEDS_ROS else [])
    for kind in sorted(FUZZERS)
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_readers_hold(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """For a moment: `make fuzz` tries many inputs."""
    inputs = INPUTS.get(kind, 150)
    figures = fuzz.run(kind, seed=5, seconds=MOST_S, most=inputs)
    assert figures["inputs"] == inputs
    assert figures["errors"] == 0, capfd.readouterr().out
