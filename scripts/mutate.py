"""Changes the source in small ways, one at a time, and checks that a test fails each time.

`make mutate` runs all of `scripts/mutations.py`; `make mutate ONLY="placement launch"` those whose
path or text contains one of the words. It works on a copy of the tree, runs only the tests
that a mutation names, and takes about half an hour. A mutation that no test notices survives: add a
test, or say in the table why none can notice it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2  # noqa: F401 - imported once, for all tests
import pytest
import scipy.optimize
import scipy.spatial.transform  # noqa: F401
import torch  # noqa: F401

from scripts.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300  # of the tests of a mutation; one that never ends has been noticed
# As in CMakeLists.txt. A library in the source tree is found before the installed one.
COMPILE = ("cc", "-shared", "-fPIC", "-std=gnu11", "-O3", "-fno-math-errno", "-ffp-contract=off")
FAILED = 1  # pytest's exit code


def mutated(mutation: Mutation, text: str) -> str:
    """Returns the text of the mutated file.

    Raises:
        ValueError: If `text` does not contain the old text exactly once, or the new text is the
            same.
    """
    count = text.count(mutation.old)
    if count != 1 or mutation.old == mutation.new:
        raise ValueError(
            f"{mutation.file}: {mutation.old!r} occurs {count} times; change the table"
        )
    return text.replace(mutation.old, mutation.new)


def copy_of_the_tree(folder: Path) -> None:
    """Copies what git tracks, and new files that it does not ignore."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)


def write_anew(path: Path, text: str) -> None:
    """Writes a file with another time, in seconds, so that Python compiles it again."""
    seconds = int(path.stat().st_mtime) + 1
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Runs tests in a copy of the tree; returns pytest's exit code and its output.

    They run in a fork, because importing torch takes longer than most of them.
    """
    log = folder / "tests.log"
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(folder, tests, log))
    process.start()
    process.join(TIMEOUT_S * (1 + len(tests) // 10))
    if process.exitcode is None:
        process.kill()
        process.join()
        return FAILED, "the tests do not end"
    return process.exitcode, log.read_text()


def _pytest(folder: Path, tests: Sequence[str], log: Path) -> None:
    os.chdir(folder)
    with log.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ["PYTHONPATH"] = str(folder)  # for processes that tests start
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry).resolve() != ROOT)]
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    os._exit(code)


def is_noticed(folder: Path, mutation: Mutation) -> bool:
    """Applies a mutation to the copy, runs its tests and restores the file.

    Raises:
        ValueError: If the mutation does not apply.
        SyntaxError: If it makes no valid Python.
        subprocess.CalledProcessError: If it makes no valid C.
    """
    path = folder / mutation.file
    original = path.read_text()
    text = mutated(mutation, original)
    library = folder / f"pear_ros/_{path.stem}.so"
    write_anew(path, text)
    try:
        if path.suffix == ".c":
            subprocess.run((*COMPILE, path, "-o", library, "-lm"), check=True)
        else:
            compile(text, mutation.file, "exec")
        code, _ = run_tests(folder, mutation.tests.split())
    finally:
        write_anew(path, original)
        if path.suffix == ".c":
            library.unlink(missing_ok=True)
    return code != 0


def main() -> int:
    """Returns 1 if a mutation survives that the table does not expect to, or cannot be tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "words", nargs="*", help="only mutations whose path or text contains one of these"
    )
    words = parser.parse_args().words
    chosen = [m for m in MUTATIONS if not words or any(word in str(m) for word in words)]
    states: Counter[str] = Counter()
    passes: dict[str, bool] = {}  # by tests: whether they do without a mutation
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pear-ros-mutate-") as name:
        folder = Path(name, "tree")
        copy_of_the_tree(folder)
        Path(name, "shared").symlink_to(ROOT.parent / "shared")  # pictures that some tests read
        for number, mutation in enumerate(chosen, 1):
            tests = mutation.tests
            if tests not in passes:
                code, output = run_tests(folder, tests.split())
                passes[tests] = code == 0
                if code:
                    print(f"{output}\n{tests} fail without a mutation")
            if not passes[tests]:
                state = "NOT TRIED"
            elif is_noticed(folder, mutation):
                state = "killed"
            else:
                state = "survives, as expected" if mutation.survives else "SURVIVES"
            states[state] += 1
            took_s = time.monotonic() - started_s
            print(f"{number}/{len(chosen)} {took_s:.0f} s {state}: {mutation}", flush=True)
    print(f"of {len(chosen)} mutations: {dict(states)}")
    return 1 if states["SURVIVES"] or states["NOT TRIED"] else 0


if __name__ == "__main__":
    sys.exit(main())
