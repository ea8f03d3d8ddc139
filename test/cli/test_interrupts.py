"""Ctrl-C and SIGTERM end every command at once, quietly, with the exit code of a shell."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import ROOT

from pear_ros.system.installed import shared_file

LONGEST_S = 2.0  # from the signal to the end; machines that run other tests need some of it
SIGNALS = (signal.SIGINT, signal.SIGTERM)
COMMANDS = {
    "help": ["--help"],
    "infer": ["infer", "PICTURE", "--output", "FOLDER/people.npz", "--detector", "full_frame"],
    "detector": ["infer", "PICTURE", "--output", "FOLDER/people.npz"],
    "assets convert": ["assets", "convert", "DOWNLOADS", "FOLDER/body.npz"],
    "assets check": ["assets", "check", "DOWNLOADS"],
    "export": ["export", "--checkpoint", "CHECKPOINT", "--output", "FOLDER/model.onnx"],
    "build": ["build", "--checkpoint", "CHECKPOINT", "--output", "FOLDER/model.engine"],
    "annotate": ["annotate", "PICTURE", "FOLDER/labels"],
    "evaluate": ["evaluate", "--frames", "64", "--output", "FOLDER/report"],
    "bench": ["bench", "--batches", "1"],
    "node": ["node", "--ros-args", "-p", "autostart:=false"],
    "camera": ["synthetic-camera"],
}


def start(arguments: list[str], **options: object) -> subprocess.Popen[str]:
    """Starts the command, and returns when it has taken over the signals.

    Before, for a twentieth of a second, the interpreter starts, which no program can change.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "pear_ros.cli", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    deadline = time.monotonic() + 30
    while not _handles(process.pid, signal.SIGTERM):
        assert time.monotonic() < deadline
        if process.poll() is not None:
            break
        time.sleep(0.001)
    return process


def _handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; False after its end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.fixture
def places(small_downloads: Path, tmp_path: Path) -> dict[str, str]:
    """What stands for the words in capitals in COMMANDS."""
    (tmp_path / "out").mkdir()
    return {
        "PICTURE": str(ROOT / "docs/evaluation/worst.jpg"),
        "FOLDER": str(tmp_path / "out"),
        "DOWNLOADS": str(small_downloads),
        "CHECKPOINT": str(shared_file("demo/model.pt")),
    }


@pytest.fixture
def small_downloads(small_assets_path: Path) -> Path:
    return small_assets_path.parent


def filled(command: str, places: dict[str, str]) -> list[str]:
    arguments = COMMANDS[command]
    for word, place in places.items():
        arguments = [argument.replace(word, place) for argument in arguments]
    return arguments


def assert_interrupted(process: subprocess.Popen[str], number: signal.Signals, twice: bool) -> bool:
    """Sends the signal; whether it came before the end of the command."""
    process.send_signal(number)
    sent = time.monotonic()
    if twice and process.poll() is None:  # a terminal and `ros2 launch` may both send it
        process.send_signal(number)
    try:
        printed, _ = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    took = time.monotonic() - sent
    assert "Traceback" not in printed, printed
    assert "terminate called" not in printed, printed
    if process.returncode in (0, 1):  # it had ended, with success or one line
        return False
    # While the interpreter ends it has no handlers any more: the signal itself ends it, which a
    # shell reports as the same number.
    assert process.returncode in (128 + number, -number), printed
    assert took < LONGEST_S
    return True


def moments(count: int, seed: int) -> Iterator[tuple[str, signal.Signals, float, bool]]:
    """Command, signal, seconds after the start, whether it is sent twice."""
    generator = random.Random(seed)
    names = sorted(set(COMMANDS) - {"node", "camera"})  # ROS handles signals of its own nodes
    for i in range(count):
        longest = generator.choice((0.05, 0.5, 4.0))
        wait = generator.uniform(0, longest)
        yield names[i % len(names)], generator.choice(SIGNALS), wait, generator.random() < 0.3


@pytest.mark.parametrize(
    ("count", "seed"), [(20, 0), pytest.param(100, 1, marks=pytest.mark.slow)], ids=["20", "100"]
)
def test_interrupts_at_random_moments(places: dict[str, str], count: int, seed: int) -> None:
    interrupted = 0
    for command, number, wait, twice in moments(count, seed):
        process = start(filled(command, places))
        time.sleep(wait)
        interrupted += assert_interrupted(process, number, twice)
        left = [path.name for path in Path(places["FOLDER"]).rglob("*")]
        assert not [name for name in left if name.endswith(".part") or name.startswith(".")], left
    assert interrupted > count / 2


@pytest.mark.ros
@pytest.mark.parametrize("command", ["node", "camera"])
def test_nodes_are_interrupted_while_they_are_imported(
    places: dict[str, str], command: str
) -> None:
    generator = random.Random(2)
    for number in SIGNALS * 3:
        process = start(filled(command, places))
        time.sleep(generator.uniform(0, 0.4))  # rclpy takes longer to import
        assert assert_interrupted(process, number, generator.random() < 0.3)


def python(code: str, **options: object) -> subprocess.Popen[str]:
    """Runs code that prints a line when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, **options
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", SIGNALS)
def test_unfinished_files_are_removed(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "model").write_bytes(b"old")
    process = python(
        "import time\n"
        "from pathlib import Path\n"
        "from pear_ros.system.files import replacing, temporary_folder\n"
        "from pear_ros.system.interrupts import exit_at_signals\n"
        "exit_at_signals()\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with replacing(folder / 'model') as file, temporary_folder(folder) as other:\n"
        "    file.write(b'new')\n"
        "    (other / 'file').write_bytes(b'new')\n"
        "    assert len(list(folder.iterdir())) == 3\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").read_bytes() == b"old"


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """A shell without job control starts background jobs with SIGINT ignored."""
    process = python(
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from pear_ros.system.interrupts import exit_at_signals\n"
        "exit_at_signals()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n",
        stdin=subprocess.PIPE,
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_entry_imports_nothing_slow() -> None:
    code = "import sys, pear_ros.cli.entry; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert not {"numpy", "torch", "argparse", "pear_ros.config", "pear_ros.cli.main"} & {*imported}


@pytest.mark.parametrize("script", ["pear-ros", "pear_node", "synthetic_camera"])
def test_scripts_start_at_the_entry(script: str) -> None:
    text = (ROOT / "scripts" / script).read_text()
    lines = [line for line in text.splitlines() if "import" in line]
    assert lines == ["import sys", "from pear_ros.cli.entry import main"]
    assert os.access(ROOT / "scripts" / script, os.X_OK)


def test_the_console_script_starts_at_the_entry() -> None:
    assert 'pear-ros = "pear_ros.cli.entry:main"' in (ROOT / "pyproject.toml").read_text()
