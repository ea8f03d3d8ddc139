"""Engines of TensorRT or OpenVINO instead of torch: the choice, and the check of their outputs.

An engine is used if it was built for this checkpoint, software and GPU, and if its outputs agree
with torch's.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pear_ros.config import Config, NetworkSettings
from pear_ros.errors import EngineError, PearError, StaleEngineError
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.network.engine_backend import Target, usual_backend
from pear_ros.network.engine_file import build_engine, checked_engine, path_of_engine
from pear_ros.network.network import Network, PearNetwork
from pear_ros.network.onnx_export import OUTPUTS, PROFILE
from pear_ros.problems import Problems

# Largest error of an output for any person: the RMS difference from torch's output, divided by
# the RMS of torch's output or by SMALL, whichever is larger. It allows for a few rounding errors
# of the precision, as torch's own output has some.
TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}
SMALL = 0.1
TRIED_PEOPLE = (1, 3, PROFILE[1], PROFILE[2])


# --- Choice --------------------------------------------------------------------------------------


def choose_network(network: PearNetwork, config: Config, problems: Problems) -> Network:
    """Returns the engine that `config` names if it can be used, else `network`.

    If `config` names none, it is the one that `pear-ros build` wrote for this checkpoint without
    --output, if there is one. If the engine cannot be used, the reason is reported to `problems`
    together with the command that builds a new engine.
    """
    settings, checkpoint = config.network, Path(config.network.checkpoint)
    if settings.backend == "torch":
        return network
    target = target_of(network, settings)
    usual_path = path_of_engine(checkpoint, target)
    if not settings.engine and not usual_path.exists():
        return network
    path = Path(settings.engine) if settings.engine else usual_path
    try:
        try:
            return open_engine(path, network, checkpoint, target)
        except StaleEngineError:
            if not settings.build_engine:
                raise
        build_engine(path, network, checkpoint, target)
        return open_engine(path, network, checkpoint, target)
    except (PearError, OSError, RuntimeError) as error:  # RuntimeError: CUDA, e.g. out of memory
        sizes = f" --network-config {settings.config}" if settings.config else ""
        output = f" --output {path}" if settings.engine else ""
        problems.count(
            "engine_not_used",
            f"using torch instead of the engine {path}: {error}; build a new one: pear-ros build "
            f"--backend {target.backend} --checkpoint {checkpoint}{sizes} "
            f"--device {network.device} --dtype {network.precision}{output}",
        )
        return network


def backend_name(device: torch.device, settings: NetworkSettings) -> str:
    """What runs an engine file: torch instead of it, or one of BACKENDS."""
    return usual_backend(device) if settings.backend == "auto" else settings.backend


def target_of(network: PearNetwork, settings: NetworkSettings) -> Target:
    """With what and where the engine of a network runs."""
    return Target(
        backend_name(network.device, settings),
        network.device,
        network.precision,
        settings.openvino_device,
        settings.openvino_threads,
    )


def open_engine(path: Path, network: PearNetwork, checkpoint: Path, target: Target) -> Network:
    """Loads the engine at `path` and checks that it agrees with `network`.

    Raises:
        StaleEngineError: If building the engine again would help: it is missing, damaged, or was
            built for something else.
        EngineError: If building it again would not help.
    """
    engine = checked_engine(path, target, checkpoint).load_network(path, target)
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
