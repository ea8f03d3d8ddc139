"""SIGINT and SIGTERM end a command without a traceback and without unfinished files.

Imported before everything else, so it imports nothing that is slow.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_unfinished: set[str] = set()  # files and folders to remove


def exit_at_signals() -> None:
    """Lets SIGINT and SIGTERM end the process, with the exit code that a shell expects.

    The handler raises no exception: libraries in C++ abort if one comes while they are imported,
    and Python prints and ignores one in a destructor. A signal that is ignored stays ignored, as in
    jobs that a script starts in the background.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit)


def hand_over() -> None:
    """Ends `exit_at_signals` before a program with handlers of its own starts.

    rclpy calls the handler of SIGTERM that it finds. SIGINT keeps ours until it is replaced.
    """
    if signal.getsignal(signal.SIGTERM) is _exit:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def received_signals(raises: bool = False) -> Iterator[list[int]]:
    """The numbers of SIGINT and SIGTERM that came in the block; the second one ends the program.

    It does so by SystemExit, so that who has a file open can say what is kept.

    Args:
        raises: The first one raises KeyboardInterrupt. Otherwise the block has to ask the list.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        received.append(number)
        if len(received) > 1:
            raise SystemExit(128 + number)
        if raises:
            raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def removed_at_exit(path: str) -> Iterator[None]:
    """The file or folder `path` is removed if a signal ends the process in this block."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


def _exit(number: int, _: object) -> None:
    remove_unfinished()
    os._exit(128 + number)


def remove_unfinished() -> None:
    """Removes what `removed_at_exit` names; to be called by who ends the process by itself."""
    for path in list(_unfinished):
        if os.path.isdir(path) and not os.path.islink(path):
            import shutil  # only here, as it is slow; who made the folder has imported it

            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(path)
