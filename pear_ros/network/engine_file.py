"""Engine files: what they were built for, and how they are built."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pear_ros.errors import EngineError, ExportError, StaleEngineError
from pear_ros.network.engine_backend import EngineBackend, Target, backend_of
from pear_ros.network.network import PearNetwork
from pear_ros.network.onnx_export import PROFILE, export, read_onnx
from pear_ros.system.files import (
    beside,
    hash_files,
    read_file,
    read_json,
    require_file,
    temporary_folder,
    write_whole,
)

MAX_MANIFEST_BYTES = 1 << 16
MAX_TIMINGS_BYTES = 1 << 28


@dataclass(frozen=True)
class Key:
    """Everything that an engine depends on. An engine is used only if all fields are equal."""

    backend: str  # of BACKENDS
    version: str  # of the backend, in full
    checkpoint: str  # sha256 of the file
    precision: str  # of the backbone
    profile: str  # number of people: minimum/optimum/maximum
    hardware: dict[str, str]

    @property
    def fields(self) -> dict[str, str]:
        """All of them, by name."""
        values = asdict(self)
        hardware: dict[str, str] = values.pop("hardware")
        return values | hardware


@dataclass(frozen=True)
class _Manifest:
    """The content of `<engine>.json`."""

    key: Key
    onnx: str  # sha256 of the graph and the weights that it was built from
    sha256: str  # of the engine


def path_of_engine(checkpoint: Path, target: Target) -> Path:
    """Where `pear-ros build` writes an engine, and where it is found without a setting.

    In the user's cache folder (XDG). The name is that of the checkpoint's path, not of its content:
    to read a large checkpoint takes seconds, and the engine's key has the content.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # XDG: ignore it
        cache = os.path.expanduser("~/.cache")
    place = hashlib.sha256(os.fsencode(checkpoint.resolve())).hexdigest()[:8]
    parts = (checkpoint.stem[:80], place, target.backend, target.openvino_device, target.precision)
    name = "-".join(parts if target.backend == "openvino" else (*parts[:3], parts[4]))
    return Path(cache, "pear_ros", f"{name}.engine")


def checked_engine(path: Path, target: Target, checkpoint: Path) -> EngineBackend:
    """The backend of the engine at `path`, which was built for this.

    Raises:
        StaleEngineError: If building the engine again would help: it is missing, damaged, or was
            built for something else.
        EngineError: If building it again would not help.
    """
    backend = backend_of(target.backend)
    backend.exported_precision(target)
    manifest = _read_manifest(path)
    _require_same(manifest.key, _key(backend, target, checkpoint))
    if hash_files(path) != manifest.sha256 or path.stat().st_size == 0:
        raise StaleEngineError("it is damaged")
    return backend


def build_engine(
    path: Path,
    network: PearNetwork,
    checkpoint: Path,
    target: Target,
    onnx_path: Path | None = None,
) -> None:
    """Writes the engine `path`, its manifest `path`.json, and `path`.timings for the next build.

    Without `onnx_path` the network is first exported to a temporary folder next to `path`.

    Raises:
        EngineError: If the engine cannot be built, or if a file cannot be written.
        ExportError: If the network cannot be exported, or if `onnx_path` is damaged or of another
            checkpoint or precision.
    """
    backend = backend_of(target.backend)
    precision = backend.exported_precision(target)
    key = _key(backend, target, checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        timings = beside(path, ".timings")
        old_timings = read_file(timings, MAX_TIMINGS_BYTES) if timings.exists() else b""
        with temporary_folder(path.parent) as folder:
            if onnx_path is None:
                onnx_path = folder / "model.onnx"
                print(f"pear-ros: exporting to {onnx_path}", file=sys.stderr)
                onnx = export(_in_precision(network, precision), key.checkpoint, onnx_path)
            else:
                onnx = read_onnx(onnx_path)
            if (onnx.checkpoint, onnx.precision) != (key.checkpoint, precision):
                raise ExportError(
                    f"{onnx_path} was exported from another checkpoint or in another precision "
                    f"({onnx.precision}, not {precision}); export it again"
                )
            plan, new_timings = backend.build_plan(onnx_path, old_timings, target)
        manifest = _Manifest(key, onnx.sha256, hashlib.sha256(plan).hexdigest())
        beside(path, ".json").unlink(missing_ok=True)
        write_whole(path, plan)
        write_whole(beside(path, ".json"), json.dumps(asdict(manifest), indent=1).encode())
        if new_timings:
            write_whole(timings, new_timings)
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error}") from error


def _in_precision(network: PearNetwork, precision: str) -> PearNetwork:
    """The network, or a copy with the backbone in another precision."""
    if network.precision == precision:
        return network
    other = copy.deepcopy(network)
    other.backbone.to(getattr(torch, precision))
    return other


def _key(backend: EngineBackend, target: Target, checkpoint: Path) -> Key:
    return Key(
        backend=target.backend,
        version=backend.require_version(),
        checkpoint=hash_files(checkpoint),
        precision=target.precision,
        profile="/".join(map(str, PROFILE)),
        hardware=backend.describe_hardware(target),
    )


def _read_manifest(path: Path) -> _Manifest:
    if not path.exists():
        raise StaleEngineError("it does not exist")
    try:
        require_file(path)
    except OSError as error:  # building it again would be refused, too
        raise EngineError(f"it cannot be read: {error.strerror}") from error
    try:
        tree = read_json(beside(path, ".json"), MAX_MANIFEST_BYTES)
        manifest = _Manifest(Key(**tree.pop("key")), **tree)
        if not isinstance(manifest.key.hardware, dict):
            raise ValueError("no key")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StaleEngineError(f"its manifest {path}.json cannot be read") from error
    return manifest


def _require_same(found: Key, here: Key) -> None:
    was, values = found.fields, here.fields
    differences = [
        f"{name} {was.get(name)} (here {values.get(name)})"
        for name in {**values, **was}
        if was.get(name) != values.get(name)
    ]
    if differences:
        raise StaleEngineError(f"it was built for {', '.join(differences)}")
