"""Counting what goes wrong."""

from __future__ import annotations

import threading

import pytest

from pear_ros.problems import Problems


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def problems(told: list[str]) -> Problems:
    return Problems(told.append)


def test_each_kind_and_subject_is_told_once(problems: Problems, told: list[str]) -> None:
    for subject in ("left", "right", "left"):
        problems.count("late", f"{subject} is late", subject)
        problems.count("lost", f"{subject} is lost", subject)
    note = "(told once; counted as"
    assert told == [
        f"left is late {note} late)",
        f"left is lost {note} lost)",
        f"right is late {note} late)",
        f"right is lost {note} lost)",
    ]
    assert problems.counts() == {"late": 3, "lost": 3}


def test_times(problems: Problems, told: list[str]) -> None:
    problems.count("late", "late", times=3)
    problems.count("late", "late", times=2)
    assert problems.counts() == {"late": 5}
    assert len(told) == 1


def test_nothing_went_wrong(problems: Problems, told: list[str]) -> None:
    assert problems.counts() == {}
    assert told == []


def test_forgotten_is_told_again_and_counted_on(problems: Problems, told: list[str]) -> None:
    problems.count("late", "late")
    problems.forget_told()
    problems.count("late", "late")
    assert len(told) == 2
    assert problems.counts() == {"late": 2}


def test_counts_are_a_copy(problems: Problems) -> None:
    problems.count("late", "late")
    problems.counts()["late"] = 9
    assert problems.counts() == {"late": 1}


def test_telling_may_count(told: list[str]) -> None:
    """Told outside of the lock: a logger that fails may be counted."""

    def tell(message: str) -> None:
        told.append(message)
        problems.count("told", "telling")

    problems = Problems(tell)
    worker = threading.Thread(target=problems.count, args=("late", "late"), daemon=True)
    worker.start()
    worker.join(5)
    assert not worker.is_alive()
    assert problems.counts() == {"late": 1, "told": 2}


def test_threads(problems: Problems, told: list[str]) -> None:
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(500):
            problems.count("late", "late")

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert problems.counts() == {"late": 4000}
    assert len(told) == 1
