"""SIGINT and SIGTERM end the node quietly and at once, whatever it does at that moment."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from pear_ros.system.interrupts import remove_unfinished

Result = TypeVar("Result")
POLL_S = 0.05
CLEANUP_S = 1.0  # longest time for taking leave of DDS


class InterruptError(Exception):
    """The node was asked to end."""


class Signals:
    """Remembers that SIGINT or SIGTERM has arrived; who waits for something asks `have_arrived`.

    The handler raises nothing: an exception at any moment would also come in destructors, which
    print and ignore it, and in callbacks of C++ code, which turn it into another one.
    """

    def __init__(self) -> None:
        self._have_arrived = False

    def watch(self) -> None:
        """Replaces the handlers of this process; only in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def _remember(self, *_: object) -> None:
        self._have_arrived = True

    def have_arrived(self) -> bool:
        return self._have_arrived


def run_unless(is_interrupted: Callable[[], bool], work: Callable[[], Result]) -> Result:
    """Runs `work` in a thread and returns its result.

    Raises:
        InterruptError: As soon as `is_interrupted()`; the thread works on until the process ends.
        Exception: Whatever `work` raises.
    """
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="pear loader", daemon=True).start()
    while not wait((future,), POLL_S).done:
        if is_interrupted():
            raise InterruptError
    result: Result = future.result()
    return result


def end_process(clean_up: Callable[[], object]) -> None:
    """Ends with exit code 0 after `clean_up`, which gets CLEANUP_S.

    Threads that compute cannot be stopped, and would crash in an interpreter that shuts down.
    """
    watchdog = threading.Timer(CLEANUP_S, _exit)
    watchdog.daemon = True
    watchdog.start()
    try:
        clean_up()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        _exit()


def _exit() -> None:
    remove_unfinished()  # an engine that was being built, for example
    os._exit(0)
