"""The mailbox passes the newest image of each camera to another thread."""

from __future__ import annotations

import threading

import pytest

from pear_ros.ros.mailbox import Mailbox

PATIENCE_S = 10


@pytest.fixture
def mailbox() -> Mailbox[int]:
    return Mailbox()


def test_the_newest_of_each_camera_wins(mailbox: Mailbox[int]) -> None:
    for item in (1, 2, 3):
        mailbox.put("left", item)
    mailbox.put("right", 4)
    assert mailbox.take() == {"left": 3, "right": 4}
    assert mailbox.take_dropped("left") == 2
    assert mailbox.take_dropped("right") == 0


def test_dropped_items_are_counted_since_the_last_call(mailbox: Mailbox[int]) -> None:
    mailbox.put("left", 1)
    mailbox.put("left", 2)
    mailbox.drop("left", 3)
    mailbox.drop("right")
    assert mailbox.take_dropped("left") == 4
    assert mailbox.take_dropped("left") == 0
    assert mailbox.take_dropped("right") == 1
    assert mailbox.take() == {"left": 2}


def test_taken_items_are_gone(mailbox: Mailbox[int]) -> None:
    mailbox.put("left", 1)
    assert mailbox.take() == {"left": 1}
    mailbox.put("right", 2)
    assert mailbox.take() == {"right": 2}
    assert mailbox.take_dropped("left") == 0


def test_items_may_be_falsy(mailbox: Mailbox[int]) -> None:
    mailbox.put("left", 0)
    mailbox.put("left", 0)
    assert mailbox.take() == {"left": 0}
    assert mailbox.take_dropped("left") == 1


@pytest.mark.parametrize("put_before", [True, False], ids=["with items", "empty"])
def test_a_closed_mailbox_gives_nothing(mailbox: Mailbox[int], put_before: bool) -> None:
    if put_before:
        mailbox.put("left", 1)
    mailbox.close()
    assert mailbox.take() is None
    mailbox.put("left", 2)
    assert mailbox.take() is None


def test_items_that_are_not_taken_are_dropped(mailbox: Mailbox[int]) -> None:
    for item in (1, 2):
        mailbox.put("left", item)
    mailbox.put("right", 3)
    mailbox.close()
    assert mailbox.total_dropped == 3
    assert mailbox.take_dropped("left") == 2
    assert mailbox.total_dropped == 3
    mailbox.open()
    mailbox.put("left", 4)
    assert mailbox.take() == {"left": 4}


class Taker(threading.Thread):
    """Takes once; `waits` is set before it waits."""

    def __init__(self, mailbox: Mailbox[int]) -> None:
        super().__init__(daemon=True)
        self.mailbox = mailbox
        self.waits = threading.Event()
        self.taken: list[object] = []
        wait_for = mailbox._condition.wait_for

        def announced(predicate: object) -> object:
            self.waits.set()  # the lock is held, so a put comes while the thread waits
            return wait_for(predicate)

        mailbox._condition.wait_for = announced

    def run(self) -> None:
        self.taken.append(self.mailbox.take())

    def result(self) -> object:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.taken[0]


def test_take_waits_for_an_item(mailbox: Mailbox[int]) -> None:
    taker = Taker(mailbox)
    taker.start()
    assert taker.waits.wait(PATIENCE_S)
    mailbox.put("left", 1)
    assert taker.result() == {"left": 1}


def test_close_ends_waiting(mailbox: Mailbox[int]) -> None:
    taker = Taker(mailbox)
    taker.start()
    assert taker.waits.wait(PATIENCE_S)
    mailbox.close()
    assert taker.result() is None


def test_every_item_is_taken_or_dropped(mailbox: Mailbox[int]) -> None:
    cameras, count = ("a", "b", "c"), 300
    taken: dict[str, list[int]] = {camera: [] for camera in cameras}

    def put(camera: str) -> None:
        for item in range(count):
            mailbox.put(camera, item)

    def take() -> None:
        while any(not items or items[-1] != count - 1 for items in taken.values()):
            for camera, item in (mailbox.take() or {}).items():
                taken[camera].append(item)

    workers = [threading.Thread(target=put, args=(c,), daemon=True) for c in cameras]
    workers.append(threading.Thread(target=take, daemon=True))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_S)
        assert not worker.is_alive()
    for camera, items in taken.items():
        assert items == sorted(set(items))
        assert len(items) + mailbox.take_dropped(camera) == count
