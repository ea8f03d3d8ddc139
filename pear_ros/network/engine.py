"""TensorRT engines: building, checking, and torch as the fallback.

An engine is used if it was built for this checkpoint, software and GPU, and if its outputs agree
with torch's.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pear_ros.config import Config
from pear_ros.errors import EngineError, ExportError, PearError, StaleEngineError
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.network.network import Network, PearNetwork
from pear_ros.network.onnx_export import OUTPUTS, PROFILE, export, read_onnx
from pear_ros.problems import Problems
from pear_ros.system.files import (
    beside,
    hash_files,
    open_file,
    read_file,
    read_json,
    require_file,
    temporary_folder,
    write_whole,
)

# Largest error of an output for any person: the RMS difference from torch's output, divided by
# the RMS of torch's output or by SMALL, whichever is larger. It allows for a few rounding errors
# of the precision, as torch's own output has some.
TOLERANCES = {"float32": 1e-3, "float16": 1e-2}
SMALL = 0.1
MAX_MANIFEST_BYTES = 1 << 16
MAX_TIMINGS_BYTES = 1 << 28
TRIED_PEOPLE = (1, 3, PROFILE[1], PROFILE[2])


class EngineBackend(Protocol):
    """The interface of the module `tensorrt_engine`, which builds and runs engines."""

    def require_version(self) -> str:
        """Returns TensorRT's full version.

        Raises:
            EngineError: If the version is not supported.
        """

    def describe_gpu(self, device: torch.device) -> dict[str, str]:
        """Returns the fields of Key that describe the GPU and CUDA.

        Raises:
            EngineError: If the device cannot run engines.
        """

    def build_plan(self, onnx: Path, timings: bytes, device: torch.device) -> tuple[Any, bytes]:
        """Returns the engine as a buffer, and timings that make the next build faster.

        Raises:
            EngineError: If the build fails; the message has the reason.
        """

    def load_network(self, plan: Any, device: torch.device) -> Network:
        """Loads an engine from a buffer.

        Raises:
            StaleEngineError: If building the engine again would help.
            EngineError: If it would not help.
        """


@dataclass(frozen=True)
class Key:
    """Everything that an engine depends on. An engine is used only if all fields are equal."""

    checkpoint: str  # sha256 of the file
    precision: str  # of the backbone
    profile: str  # number of people: minimum/optimum/maximum
    tensorrt: str  # full version
    gpu: str
    compute_capability: str
    cuda: str


@dataclass(frozen=True)
class _Manifest:
    """The content of `<engine>.json`."""

    key: Key
    onnx: str  # sha256 of the graph and the weights that it was built from
    sha256: str  # of the engine


# --- Choice --------------------------------------------------------------------------------------


def choose_network(network: PearNetwork, config: Config, problems: Problems) -> Network:
    """Returns the engine that `config` names if it can be used, else `network`.

    If the engine cannot be used, the reason is reported to `problems` together with the command
    that builds a new engine.
    """
    if not config.network.engine:
        return network
    path, checkpoint = Path(config.network.engine), Path(config.network.checkpoint)
    try:
        try:
            return open_engine(path, network, checkpoint)
        except StaleEngineError:
            if not config.network.build_engine:
                raise
        build_engine(path, network, checkpoint)
        return open_engine(path, network, checkpoint)
    except (PearError, OSError, RuntimeError) as error:  # RuntimeError: CUDA, e.g. out of memory
        sizes = f" --network-config {config.network.config}" if config.network.config else ""
        problems.count(
            "engine_not_used",
            f"using torch instead of the engine {path}: {error}; build a new one: pear-ros build "
            f"--checkpoint {checkpoint}{sizes} --device {network.device} "
            f"--dtype {network.precision} --output {path}",
        )
        return network


def open_engine(path: Path, network: PearNetwork, checkpoint: Path) -> Network:
    """Loads the engine at `path` and checks that it agrees with `network`.

    Raises:
        StaleEngineError: If building the engine again would help: it is missing, damaged, or was
            built for something else.
        EngineError: If building it again would not help.
    """
    tensorrt = _tensorrt()
    if network.precision not in TOLERANCES:
        raise EngineError(
            f"engines do not support {network.precision}; use {' or '.join(TOLERANCES)}"
        )
    manifest = _read_manifest(path)
    _require_same(manifest.key, _key(tensorrt, network, checkpoint))
    if hash_files(path) != manifest.sha256 or path.stat().st_size == 0:
        raise StaleEngineError("it is damaged")
    # Mapped, because an engine is as large as the weights; TensorRT copies it to the GPU.
    with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan:
        engine = tensorrt.load_network(plan, network.device)
    require_agreement(network, engine)
    return engine


def require_agreement(network: PearNetwork, engine: Network) -> None:
    """Checks that both give the same outputs for fixed inputs, within TOLERANCES.

    Raises:
        EngineError: If they differ; the message has the largest difference.
    """
    allowed = TOLERANCES[network.precision]
    found, output, people = deviation(network, engine)
    if not found <= allowed:  # also if it is NaN
        raise EngineError(
            f"it is not trusted: with {people} people, {output} differs from torch's by "
            f"{100 * found:.3g} % (allowed: {100 * allowed:.3g} %)"
        )


@torch.inference_mode()
def deviation(network: Network, engine: Network) -> tuple[float, str, int]:
    """Returns the largest relative difference, the name of that output, and the batch size.

    The maximum is over the batch sizes TRIED_PEOPLE, the people and the outputs.
    """
    images = fixed_images(max(TRIED_PEOPLE)).to(network.device)
    expected = network(images)
    found = []
    for people in TRIED_PEOPLE:
        outputs = engine(images[:people])
        for name in OUTPUTS:
            reference = getattr(expected, name)[:people].flatten(1)  # (N, K)
            error = _rms(getattr(outputs, name).flatten(1) - reference)
            relative = error / _rms(reference).clamp(min=SMALL)  # (N,)
            found.append((relative.nan_to_num(nan=torch.inf).max().item(), name, people))
    return max(found)


def fixed_images(count: int) -> Tensor:
    """Crops (N, 256, 256, 3) uint8 of smooth colours, different for each person.

    The same `count` always gives the same crops.
    """
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=random)
    smooth = F.interpolate(coarse, size=(CROP_SIZE, CROP_SIZE), mode="bilinear")
    return (255 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _rms(values: Tensor) -> Tensor:  # (N, K) -> (N,)
    return values.double().square().mean(1).sqrt()


# --- Build ---------------------------------------------------------------------------------------


def build_engine(
    path: Path, network: PearNetwork, checkpoint: Path, onnx_path: Path | None = None
) -> None:
    """Writes the engine `path`, its manifest `path`.json, and `path`.timings for the next build.

    Without `onnx_path` the network is first exported to a temporary folder next to `path`.

    Raises:
        EngineError: If TensorRT cannot build the engine, or if a file cannot be written.
        ExportError: If the network cannot be exported, or if `onnx_path` is damaged or of another
            checkpoint or precision.
    """
    tensorrt = _tensorrt()
    key = _key(tensorrt, network, checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        timings = beside(path, ".timings")
        old_timings = read_file(timings, MAX_TIMINGS_BYTES) if timings.exists() else b""
        with temporary_folder(path.parent) as folder:
            if onnx_path is None:
                onnx_path = folder / "model.onnx"
                print(f"pear-ros: exporting to {onnx_path}", file=sys.stderr)
                onnx = export(network, key.checkpoint, onnx_path)
            else:
                onnx = read_onnx(onnx_path)
            if (onnx.checkpoint, onnx.precision) != (key.checkpoint, key.precision):
                raise ExportError(
                    f"{onnx_path} was exported from another checkpoint or in another precision "
                    f"({onnx.precision}, not {key.precision}); export it again"
                )
            plan, new_timings = tensorrt.build_plan(onnx_path, old_timings, network.device)
        manifest = _Manifest(key, onnx.sha256, hashlib.sha256(plan).hexdigest())
        beside(path, ".json").unlink(missing_ok=True)
        write_whole(path, plan)
        write_whole(beside(path, ".json"), json.dumps(asdict(manifest), indent=1).encode())
        write_whole(timings, new_timings)
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error}") from error


# --- Key and manifest ----------------------------------------------------------------------------


def _tensorrt() -> EngineBackend:
    """The module that imports tensorrt. Raises EngineError if tensorrt is not installed."""
    try:
        from pear_ros.network import tensorrt_engine
    except ImportError as error:
        raise EngineError(
            f"TensorRT is not installed ({error}); see docs/how_to/tensorrt.md"
        ) from error
    tensorrt_engine.require_version()
    return tensorrt_engine


def _key(tensorrt: EngineBackend, network: PearNetwork, checkpoint: Path) -> Key:
    gpu = tensorrt.describe_gpu(network.device)
    return Key(
        checkpoint=hash_files(checkpoint),
        precision=network.precision,
        profile="/".join(map(str, PROFILE)),
        tensorrt=tensorrt.require_version(),
        **gpu,
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
        return _Manifest(Key(**tree.pop("key")), **tree)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StaleEngineError(f"its manifest {path}.json cannot be read") from error


def _require_same(found: Key, here: Key) -> None:
    differences = [
        f"{name} {was} (here {value})"
        for (name, was), value in zip(asdict(found).items(), asdict(here).values(), strict=True)
        if was != value
    ]
    if differences:
        raise StaleEngineError(f"it was built for {', '.join(differences)}")
