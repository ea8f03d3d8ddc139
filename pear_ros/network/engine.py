"""TensorRT engines: which fit, which are trusted, and what happens where none is."""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
import tempfile
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
from pear_ros.system.files import beside, hash_files, write_whole

# An output's root mean square difference to torch's, relative to the output's own root mean
# square, or to SMALL where that is less, which an engine may have for any person: a few roundings
# of the precision, of which torch has made its own.
TOLERANCES = {"float32": 1e-3, "float16": 1e-2}
SMALL = 0.1
TRIED_PEOPLE = (1, 3, PROFILE[1], PROFILE[2])


class EngineBackend(Protocol):
    """What builds engines and runs them: the module `tensorrt_engine`."""

    def require_version(self) -> str:
        """The full version. Raises EngineError for one that is not supported."""

    def describe_gpu(self, device: torch.device) -> dict[str, str]:
        """What an engine depends on besides the version: fields of Key.

        Raises EngineError for a device without engines.
        """

    def build_plan(self, onnx: Path, timings: bytes, device: torch.device) -> tuple[Any, bytes]:
        """The engine as a buffer, and timings that make the next build faster.

        Raises EngineError with the reason.
        """

    def load_network(self, plan: Any, device: torch.device) -> Network:
        """Raises StaleEngineError where another build helps, EngineError where it does not."""


@dataclass(frozen=True)
class Key:
    """What an engine depends on; it is used where all of it is the same."""

    checkpoint: str  # sha256 of the file
    precision: str  # of the backbone
    profile: str  # people: fewest/tuned for/most
    tensorrt: str  # full version
    gpu: str
    compute_capability: str
    cuda: str


@dataclass(frozen=True)
class _Manifest:
    """`<engine>.json`."""

    key: Key
    onnx: str  # sha256 of the graph and the weights that it was built from
    sha256: str  # of the engine


# --- Choice --------------------------------------------------------------------------------------


def choose_network(network: PearNetwork, config: Config, problems: Problems) -> Network:
    """The engine that `config` names if there is one to be trusted, else `network`.

    Why torch computes is told as a problem, with the command that mends it.
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
    except (PearError, OSError, RuntimeError) as error:  # of the file; of CUDA, such as no memory
        sizes = f" --network-config {config.network.config}" if config.network.config else ""
        problems.count(
            "engine_not_used",
            f"torch computes, not the engine {path}: {error}; a new one: pear-ros build "
            f"--checkpoint {checkpoint}{sizes} --device {network.device} "
            f"--dtype {network.precision} --output {path}",
        )
        return network


def open_engine(path: Path, network: PearNetwork, checkpoint: Path) -> Network:
    """The engine, which agrees with `network`.

    Raises StaleEngineError where another build helps, EngineError where it does not.
    """
    tensorrt = _tensorrt()
    if network.precision not in TOLERANCES:
        raise EngineError(
            f"there are no engines in {network.precision}; use {' or '.join(TOLERANCES)}"
        )
    manifest = _read_manifest(path)
    _require_same(manifest.key, _key(tensorrt, network, checkpoint))
    if hash_files(path) != manifest.sha256:
        raise StaleEngineError("it is damaged")
    # Mapped, as it is as large as the weights; TensorRT copies it to the GPU.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan:
        engine = tensorrt.load_network(plan, network.device)
    require_agreement(network, engine)
    return engine


def require_agreement(network: PearNetwork, engine: Network) -> None:
    """Raises EngineError, with by how much, where the two differ on fixed inputs."""
    allowed = TOLERANCES[network.precision]
    found, output, people = deviation(network, engine)
    if not found <= allowed:  # NaN is not
        raise EngineError(
            f"it is not trusted: with {people} people {output} differs from torch's by "
            f"{100 * found:.3g} % (allowed: {100 * allowed:.3g} %)"
        )


@torch.inference_mode()
def deviation(network: Network, engine: Network) -> tuple[float, str, int]:
    """The largest difference of all people and outputs; of which output, and of how many people."""
    images = fixed_images(max(TRIED_PEOPLE)).to(network.device)
    expected = network(images)
    found = []
    for people in TRIED_PEOPLE:
        answer = engine(images[:people])
        for name in OUTPUTS:
            right = getattr(expected, name)[:people].flatten(1)  # (N, K)
            error = _rms(getattr(answer, name).flatten(1) - right)
            relative = error / _rms(right).clamp(min=SMALL)  # (N,)
            found.append((relative.nan_to_num(nan=torch.inf).max().item(), name, people))
    return max(found)


def fixed_images(count: int) -> Tensor:
    """(N, 256, 256, 3) uint8: smooth colours, others for each person, the same every time."""
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
    """Writes `path`, `path`.json (what it is) and `path`.timings (for the next build).

    Without `onnx_path` the network is exported first, into a folder beside `path`.
    Raises EngineError or ExportError.
    """
    tensorrt = _tensorrt()
    key = _key(tensorrt, network, checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        timings = beside(path, ".timings")
        old_timings = timings.read_bytes() if timings.exists() else b""
        with tempfile.TemporaryDirectory(prefix=".pear-ros-", dir=path.parent) as folder:
            if onnx_path is None:
                onnx_path = Path(folder, "model.onnx")
                print(f"pear-ros: exporting to {onnx_path}", file=sys.stderr)
                onnx = export(network, key.checkpoint, onnx_path)
            else:
                onnx = read_onnx(onnx_path)
            if (onnx.checkpoint, onnx.precision) != (key.checkpoint, key.precision):
                raise ExportError(
                    f"{onnx_path} is of another checkpoint or in another precision "
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


# --- What it is ----------------------------------------------------------------------------------


def _tensorrt() -> EngineBackend:
    """The module that imports tensorrt. Raises EngineError where that is not installed."""
    try:
        from pear_ros.network import tensorrt_engine
    except ImportError as error:
        raise EngineError(f"TensorRT is not installed ({error}); see docs/tensorrt.md") from error
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
        tree = json.loads(beside(path, ".json").read_text())
        return _Manifest(Key(**tree.pop("key")), **tree)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StaleEngineError(f"its description {path}.json cannot be read") from error


def _require_same(found: Key, here: Key) -> None:
    others = [
        f"{name} {was} (here {value})"
        for (name, was), value in zip(asdict(found).items(), asdict(here).values(), strict=True)
        if was != value
    ]
    if others:
        raise StaleEngineError(f"it was built for {', '.join(others)}")
