"""Damaged and hostile inputs for the readers: `python -m tools.fuzz KIND --seconds N --seed S`.

Prints how many inputs were refused and accepted, and each error with the number of its input; the
exit code is 1 if there was an error. Errors are: an exception that is not a PearError or has more
than one line, a crash of the process, more than HANG_S for one input, more than MEMORY_BYTES more
memory than before. `--only N` repeats one input in this process. `--output FILE` writes the figures
into a JSON file, beside those of other kinds. Without a KIND, all are run.

Kinds of files are here, those of messages and parameters in `fuzz_messages.py` and `fuzz_depth.py`,
those that are sent to a running node in `fuzz_node.py`. A kind is a function, registered by
`@fuzzer("name")`. It gets an empty folder, makes what all inputs share, and returns a function that
makes input `i` from a generator, reads it, and returns None. That function raises PearError if the
input is refused. Accepted inputs that give wrong results should raise AssertionError. If it has an
attribute `pid`, the memory is that of this process. Example:

    @fuzzer("pictures")
    def pictures(folder: Path) -> Try:
        content = Path("photo.jpg").read_bytes()
        return lambda random: decode(damaged(content, random))  # raises ImageError

Inputs run in child processes of BATCH inputs each, so that one costs no start of Python; a child
that crashes or hangs is replaced, and goes on behind its input.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pear_ros.errors import PearError
from tools import fuzz_depth, fuzz_messages, fuzz_node  # their kinds  # noqa: F401
from tools.fuzz_damage import FUZZERS, Random, Try, damaged, fuzzer

HANG_S = 2.0  # of the processor
BLOCKED_S = 20.0  # of the clock, for an input that waits
MEMORY_BYTES = 1 << 30
BATCH = 20_000
START_S = 120.0  # of a child
METHOD = "spawn"  # of starting a child
MOST_PRINTED = 20
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # writing a file takes 1 ms on a disk
ROOT = Path(__file__).resolve().parent.parent


# --- Damage --------------------------------------------------------------------------------------


def rewritten(members: dict[str, bytes], random: Random, path: Path) -> None:
    """Writes a zip with one damaged member and right checksums, or damages the zip itself."""
    name = random.choice(list(members))
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, damaged(content, random) if member == name else content)


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# --- Kinds ---------------------------------------------------------------------------------------


@fuzzer("checkpoints")
def checkpoints(folder: Path) -> Try:
    """Damage of the file: refused, or the same weights. Damage with right checksums: no crash."""
    import torch

    from pear_ros.network.checkpoint import load_network

    source = ROOT / "test/data/network_tiny.pt"
    sizes = (ROOT / "test/data/network_tiny.json").read_bytes()
    path = folder / "c.pt"
    (folder / "network.json").write_bytes(sizes)
    shutil.copy(source, path)
    good = load_network(path).state_dict()
    content, members = source.read_bytes(), members_of(source)
    pickled = next(name for name in members if name.endswith("data.pkl"))

    def one(random: Random) -> None:
        is_plain = random.random() < 0.4
        new_sizes = damaged(sizes, random) if random.random() < 0.1 else sizes
        (folder / "network.json").write_bytes(new_sizes)
        if is_plain:
            path.write_bytes(damaged(content, random))
        else:
            changed = {**members, pickled: damaged(members[pickled], random)}
            rewritten(changed, random, path)
        found = load_network(path).state_dict()
        if is_plain and new_sizes == sizes:
            assert all(torch.equal(found[name], good[name]) for name in good)

    return one


@fuzzer("network-configs")
def network_configs(folder: Path) -> Try:
    from pear_ros.network.network_config import NetworkConfig

    sizes = (ROOT / "test/data/network_tiny.json").read_bytes()

    def one(random: Random) -> None:
        (folder / "network.json").write_bytes(damaged(sizes, random))
        NetworkConfig.from_json(folder / "network.json")

    return one


@fuzzer("bodies")
def bodies(folder: Path) -> Try:
    """Damage of the file: refused, or the same arrays. Damage with right checksums: no crash."""
    import dataclasses

    import numpy as np

    from pear_ros.assets.body_assets import load_assets, save_assets

    path, tiny = folder / "body.npz", folder / "tiny.npz"
    save_assets(_tiny_body(), tiny)
    good = load_assets(tiny)
    content, members = tiny.read_bytes(), members_of(tiny)

    def one(random: Random) -> None:
        is_plain = random.random() < 0.5
        if is_plain:
            path.write_bytes(damaged(content, random))
        else:
            rewritten(members, random, path)
        found = load_assets(path)
        if is_plain:
            for field in dataclasses.fields(good):
                np.testing.assert_array_equal(getattr(found, field.name), getattr(good, field.name))

    return one


def _tiny_body() -> Any:
    """A body of few vertices, so that an input is small."""
    import dataclasses

    import numpy as np

    from pear_ros.assets.body_assets import BodyAssets

    counts = {"V": 12, "F": 8, "U": 6, "G": 4}
    random = np.random.default_rng(0)
    arrays = {}
    for field in dataclasses.fields(BodyAssets):
        shape = [counts.get(size, size) for size in field.metadata["shape"]]
        values = random.uniform(0, 1, shape) if "faces" not in field.name else np.zeros(shape)
        arrays[field.name] = values.astype(field.metadata["dtype"])
    arrays["body_parents"] = np.arange(-1, 54)
    arrays["head_parents"] = np.array([-1, 0, 1, 1, 1])
    return BodyAssets(**arrays)


@fuzzer("arrays")
def arrays(folder: Path) -> Try:
    import io

    import numpy as np

    from pear_ros.assets.arrays import BrokenFileError, read_npy, read_npz
    from pear_ros.errors import AssetError

    buffer = io.BytesIO()
    np.save(buffer, np.arange(24.0).reshape(2, 3, 4))
    content = buffer.getvalue()

    def one(random: Random) -> None:
        try:
            if random.random() < 0.5:
                (folder / "a.npy").write_bytes(damaged(content, random))
                read_npy(folder / "a.npy")
            else:
                method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
                with zipfile.ZipFile(folder / "a.npz", "w", method) as archive:
                    archive.writestr("a.npy", damaged(content, random))
                read_npz(folder / "a.npz", ["a"])
        except BrokenFileError as error:
            raise AssetError(str(error)) from error

    return one


@fuzzer("pickles")
def pickles(folder: Path) -> Try:
    """Damaged pickles, and random programs of the opcodes that a reader knows."""
    import numpy as np
    import scipy.sparse

    from pear_ros.assets.unpickle import load_pickle

    value = {
        "a": np.arange(6.0).reshape(2, 3),
        "m": scipy.sparse.csc_matrix(np.eye(3)),
        "o": scipy.sparse.coo_matrix(np.eye(3)),
        "s": np.float64(3),
        "t": [1, "x", (2.5, None, True), {"y": b"z"}],
    }
    contents = [pickle.dumps(value, protocol=protocol) for protocol in range(6)]
    pieces = [
        *(getattr(pickle, name) for name in dir(pickle) if _is_opcode(name)),
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        b"cchumpy.reordering\nSelect\n",
        b"cscipy.sparse.csc\ncsc_matrix\n",
        b"K\x00",
        b"K\x03",
        b"U\x02f8",
        b"U\x01b",
        b"\x85",
        b"\x86",
        b"R",
        b"b",
        b"h\x00",
        b"q\x00",
        b"\x8b\xc8\x00\x00\x00" + b"\x01" * 200,
    ]

    def one(random: Random) -> None:
        if random.random() < 0.5:
            content = damaged(random.choice(contents), random)
        else:
            program = [random.choice(pieces) for _ in range(random.randrange(1, 200))]
            repeated = random.choice(program) * random.choice((1, 100, 20_000))
            program.insert(random.randrange(len(program)), repeated)
            content = b"\x80\x02}U\x01a" + b"".join(program) + b"s."
        (folder / "model.pkl").write_bytes(content)
        load_pickle(folder / "model.pkl")

    return one


def _is_opcode(name: str) -> bool:
    value = getattr(pickle, name)
    return name.isupper() and isinstance(value, bytes) and len(value) == 1


@fuzzer("c-code")
def c_code(folder: Path) -> Try:
    """The C code of crops, placement and renderer with special numbers; run it with `--sanitize`.

    Sanitizers end the process, which counts as a crash.
    """
    import numpy as np
    import torch

    from pear_ros.geometry.lens import ROW as LENS_ROW
    from pear_ros.images.crop import cut_crop
    from pear_ros.people import NUM_JOINTS, Camera
    from pear_ros.placement.reprojection import place_in_camera
    from pear_ros.rendering.renderer import render

    special = np.array([0, -0.0, 1e-30, 1e30, -1e30, np.inf, -np.inf, np.nan, 0.05, 1e9], "f4")

    def one(random: Random) -> None:
        generator = np.random.default_rng(random.getrandbits(32))
        rate = random.choice((0, 0.02, 0.3))

        def numbers(shape: tuple[int, ...], scale: float) -> Any:
            values = generator.normal(0, scale, shape).astype("f4")
            where = generator.random(shape) < rate
            values[where] = generator.choice(special, int(where.sum()))
            return values

        height, width = random.choice(((48, 64), (1, 1), (300, 7), (2, 900)))
        image = generator.integers(0, 256, (height, width, 3), np.uint8)
        what = random.randrange(3)
        if what == 0:
            xywh = generator.uniform(-2000, 2000, 4).astype("f4")
            side = random.choice((1e-3, 1.0, 90.0, 1e4))
            cut_crop(image, np.array([*xywh[:2] / 10, side, side], "f4"))
        elif what == 1:
            people = random.randrange(4)
            rows = [numbers((people, n), scale) for n, scale in ((3, 3.0), (4, 100.0), (4, 400.0))]
            joints = numbers((people, NUM_JOINTS, 3), 0.5)
            rows += [numbers((people, LENS_ROW), 0.3)] * random.randrange(2)
            place_in_camera(*(torch.from_numpy(x) for x in (joints, *rows)))
        else:
            people, count = random.randrange(3), random.randrange(3, 40)
            vertices = numbers((people, count, 3), 1.0) + np.array([0, 0, 2], "f4")
            faces = generator.integers(0, count, (random.randrange(1, 60), 3))
            fx, fy, cx, cy = generator.uniform(-100, 500, 4).tolist()
            render(image, vertices, faces, numbers((people, 1, 3), 1.0), Camera(fx, fy, cx, cy))

    return one


# --- Running -------------------------------------------------------------------------------------

Result = tuple[int, str, str, int]  # number of the input, result, text, bytes more than before
COUNTED = {"refused": "refused", "accepted": "accepted", "errors": "error"}  # figure: result


def input_of(seed: int, number: int) -> Random:
    return Random(f"{seed} {number}")


def child(kind: str, seed: int, first: int, last: int, pipe: Connection) -> None:
    """Tries inputs and sends the `Result` of each, after one that says "start"."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder, open(os.devnull, "w") as quiet:
        if not os.environ.get("ASAN_OPTIONS"):  # a sanitizer says there what it found
            os.dup2(quiet.fileno(), 2)
        attempt = FUZZERS[kind](Path(folder))
        pid = getattr(attempt, "pid", os.getpid())
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak so far is forgotten
        before, limit = _status("VmRSS", pid), MEMORY_BYTES
        if not os.environ.get("ASAN_OPTIONS"):  # the address sanitizer reserves terabytes
            resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize", pid) + 2 * MEMORY_BYTES,) * 2)
        for number in range(first, last):
            pipe.send((number, "start", "", 0))
            result, text = outcome(attempt, seed, number)
            more = _status("VmHWM", pid) - before
            if more > limit:
                result, text = "error", f"memory: {(more - MEMORY_BYTES) >> 20} MiB too much"
                limit = more
            pipe.send((number, result, text, more))


def outcome(attempt: Try, seed: int, number: int) -> tuple[str, str]:
    try:
        attempt(input_of(seed, number))
    except PearError as error:
        if "\n" in str(error):
            return "error", f"more than one line: {str(error)[:300]}"
        return "refused", ""
    except Exception:  # whatever a reader raises is what the fuzzer looks for
        return "error", traceback.format_exc(limit=-3)
    return "accepted", ""


def _status(name: str, pid: int) -> int:
    """A size of a process, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition(f"{name}:")[2].split()[0])


def _cpu_s(pid: int) -> float:
    """The time that a child has computed; 0 after its end."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def results(
    kind: str, seed: int, seconds: float, most: int = sys.maxsize, first: int = 0
) -> Iterator[Result]:
    """The results of inputs `first` to `most`, or until the time is over.

    The time begins with the first input.
    """
    context: Any = multiprocessing.get_context(METHOD)
    end = math.inf  # until the first input
    while time.monotonic() < end and first < most:
        ours, theirs = context.Pipe(duplex=False)
        arguments = (kind, seed, first, min(first + BATCH, most), theirs)
        process = context.Process(target=child, args=arguments, daemon=True)
        process.start()
        theirs.close()
        running, wait, before = None, START_S, first
        started, cpu_s = time.monotonic(), 0.0
        while time.monotonic() < end + HANG_S:
            try:
                message = ours.recv() if ours.poll(wait) else None
            except EOFError:  # the end of the batch, or a crash
                process.join(HANG_S)
                break
            if message is None:
                is_slow = process.is_alive() and _cpu_s(process.pid) < cpu_s + HANG_S
                if is_slow and time.monotonic() < started + BLOCKED_S:  # other processes run
                    continue
                break
            if message[1] == "start":
                end = min(end, time.monotonic() + seconds)
                running, wait = message[0], HANG_S
                started, cpu_s = time.monotonic(), _cpu_s(process.pid)
                continue
            running, wait, first = None, START_S, message[0] + 1
            yield message
            if time.monotonic() > end:
                break
        hangs = process.is_alive()
        process.kill()
        process.join()
        ours.close()
        if time.monotonic() > end:
            return
        if running is not None:
            first = running + 1
            text = "too slow, or blocked" if hangs else f"crash, exit code {process.exitcode}"
            yield running, "error", text, 0
        elif first == before:
            raise SystemExit(f"the child does not start (exit code {process.exitcode})")


def sanitized(arguments: list[str]) -> int:
    """Runs this again with C libraries that check addresses and undefined behaviour."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "pear_ros")
        package.mkdir()
        for source in sorted((ROOT / "src").glob("*.c")):
            output = package / f"_{source.stem}.so"
            flags = ["-shared", "-fPIC", "-O1", "-g", "-std=c11", "-fno-math-errno"]
            flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
            subprocess.run(["cc", *flags, str(source), "-o", str(output), "-lm"], check=True)
        found = subprocess.run(
            ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        )
        environment = {
            **os.environ,
            "LD_PRELOAD": found.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",
            "PEAR_FUZZ_LIBRARIES": str(package),
        }
        command = [sys.executable, "-m", "tools.fuzz", *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


def use_libraries() -> None:
    """Finds the C libraries of `sanitized` before the installed ones."""
    import pear_ros

    if folder := os.environ.get("PEAR_FUZZ_LIBRARIES"):
        pear_ros.__path__.insert(0, folder)


def run(
    kind: str,
    seed: int,
    seconds: float,
    most: int = sys.maxsize,
    before: dict[str, float] | None = None,
) -> dict[str, float]:
    """Tries inputs of a kind, prints the errors, returns the figures, with those of `before`."""
    before = before or dict.fromkeys(("seconds", "inputs", "most_memory_mb", *COUNTED), 0)
    counts = Counter({result: int(before[name]) for name, result in COUNTED.items()})
    peak_bytes = 1e6 * before["most_memory_mb"]
    start = time.monotonic()
    first, known_errors = int(before["inputs"]), counts["error"]
    for number, result, text, more_bytes in results(kind, seed, seconds, most, first):
        counts[result] += 1
        peak_bytes = max(peak_bytes, more_bytes)
        if result == "error" and counts["error"] - known_errors <= MOST_PRINTED:
            print(f"{kind}, input {number} of seed {seed}: {text}", flush=True)
    return {
        "seed": seed,
        # With the start of processes.
        "seconds": round(before["seconds"] + time.monotonic() - start, 1),
        "inputs": sum(counts.values()),
        **{name: counts[result] for name, result in COUNTED.items()},
        "most_memory_mb": round(peak_bytes / 1e6),  # beyond that before the first input
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(sorted(FUZZERS)))
    parser.add_argument("--seconds", type=float, default=60.0, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="repeat one input")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument(
        "--most", type=int, default=sys.maxsize, metavar="N", help="inputs of a kind"
    )
    parser.add_argument(
        "--continue",
        action="store_true",
        dest="continues",
        help="go on behind the inputs that are in the figures of --output, with the same seed",
    )
    parser.add_argument("--sanitize", action="store_true", help="build the C code with sanitizers")
    options = parser.parse_args()
    kinds = options.kinds or sorted(FUZZERS)
    if unknown := set(kinds) - set(FUZZERS):
        parser.error(f"{', '.join(unknown)}: none of {', '.join(sorted(FUZZERS))}")
    if options.continues and not options.output:
        parser.error("--continue needs the figures of --output")
    if options.sanitize:
        return sanitized([argument for argument in sys.argv[1:] if argument != "--sanitize"])
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            found = outcome(FUZZERS[kinds[0]](Path(folder)), options.seed, options.only)
        print(*found)
        return int(found[0] == "error")
    all_figures = {}
    if options.output and options.output.exists():
        all_figures = json.loads(options.output.read_text())
    errors = 0.0
    for kind in kinds:
        before = all_figures.get(kind) if options.continues else None
        if before is not None and before["seed"] != options.seed:
            parser.error(f"{kind}: its figures are those of seed {before['seed']}")
        if before is not None and not {"inputs", "seconds", *COUNTED} <= set(before):
            parser.error(f"{kind}: its figures in {options.output} are incomplete")
        figures = run(kind, options.seed, options.seconds, options.most, before)
        errors += figures["errors"] - (before["errors"] if before else 0)
        print(f"{kind}: {', '.join(f'{name} {value}' for name, value in figures.items())}")
        if options.output:
            all_figures[kind] = figures
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(all_figures, indent=1, sort_keys=True) + "\n")
    return int(errors > 0)


use_libraries()
if __name__ == "__main__":
    sys.exit(main())
