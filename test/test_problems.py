"""Problems are counted, and each is reported once."""

from __future__ import annotations

import threading

import pytest

from pear_ros.problems import Problems


@pytest.fixture
def messages() -> list[str]:
    """The messages that were reported."""
    return []


@pytest.fixture
def problems(messages: list[str]) -> Problems:
    return Problems(messages.append)


def test_each_kind_and_subject_is_reported_once(problems: Problems, messages: list[str]) -> None:
    for subject in ("left", "right", "left"):
        problems.count("late", f"{subject} is late", subject)
        problems.count("lost", f"{subject} is lost", subject)
    note = "(reported once; counted as"
    assert messages == [
        f"left is late {note} late)",
        f"left is lost {note} lost)",
        f"right is late {note} late)",
        f"right is lost {note} lost)",
    ]
    assert problems.counts() == {"late": 3, "lost": 3}


def test_several_times_in_one_call(problems: Problems, messages: list[str]) -> None:
    problems.count("late", "late", times=3)
    problems.count("late", "late", times=2)
    assert problems.counts() == {"late": 5}
    assert len(messages) == 1


def test_a_message_is_made_only_if_it_is_reported(problems: Problems, messages: list[str]) -> None:
    made = []
    for i in range(3):
        problems.count("late", lambda i=i: made.append(i) or f"late {i}")  # type: ignore[misc]
    assert made == [0]
    assert [message.split(" (")[0] for message in messages] == ["late 0"]
    assert problems.counts() == {"late": 3}


def test_without_problems(problems: Problems, messages: list[str]) -> None:
    assert problems.counts() == {}
    assert messages == []


def test_after_forgetting_a_problem_is_reported_again(
    problems: Problems, messages: list[str]
) -> None:
    problems.count("late", "late")
    problems.forget_reported()
    problems.count("late", "late")
    assert len(messages) == 2
    assert problems.counts() == {"late": 2}


def test_counts_are_a_copy(problems: Problems) -> None:
    problems.count("late", "late")
    problems.counts()["late"] = 9
    assert problems.counts() == {"late": 1}


def test_reporting_may_count_a_problem(messages: list[str]) -> None:
    """Messages are reported without the lock, so that a failing logger can be counted."""

    def report(message: str) -> None:
        messages.append(message)
        problems.count("reports", "a report")

    problems = Problems(report)
    worker = threading.Thread(target=problems.count, args=("late", "late"), daemon=True)
    worker.start()
    worker.join(5)
    assert not worker.is_alive()
    assert problems.counts() == {"late": 1, "reports": 2}


def test_counting_in_several_threads(problems: Problems, messages: list[str]) -> None:
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
    assert len(messages) == 1
