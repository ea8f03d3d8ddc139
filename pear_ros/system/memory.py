"""What an error says: whether memory is short, and its first line.

Python, the operating system and torch tell short memory with different errors.
"""

from __future__ import annotations

import errno

NO_MEMORY = "there is not enough free memory: close other programs"

# Parts of messages, of torch's allocators and of the dynamic linker, which cannot map a library.
_MESSAGES = (
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "not enough memory",
    "out of memory",
    "unable to mmap",
    "bad_alloc",
)


def memory_is_short(error: BaseException) -> bool:
    """Whether the error, or the one that it came from, means that an allocation failed."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, (ImportError, OSError, RuntimeError)):
            text = str(error).lower()
            if any(message in text for message in _MESSAGES):
                return True
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context or error
    return False


def one_line(error: BaseException) -> str:
    """The first line of an error's text, which says something in any case."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
