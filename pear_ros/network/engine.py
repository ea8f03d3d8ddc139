"""Engines of TensorRT or OpenVINO instead of torch: the choice, and the check of their outputs.

An engine is used if it was built for this checkpoint, software and processor, and if its outputs
agree with torch's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    --output, if there is one. If the engine cannot be used, the reason is reported to `problems`,
    with the command that builds a new engine if that helps.
    """
    settings, checkpoint = config.network, Path(config.network.checkpoint)
    if settings.backend == "torch":
        return network
    target = target_of(network, settings)
    path = Path(settings.engine) if settings.engine else path_of_engine(checkpoint, target)
    is_asked_for = settings.engine or settings.build_engine or settings.backend != "auto"
    if not is_asked_for and not os.path.isfile(path):  # unlike Path, also False if not readable
        return network
    try:
        try:
            return open_engine(path, network, checkpoint, target)
        except StaleEngineError:
            if not settings.build_engine:
                raise
        build_engine(path, network, checkpoint, target)
        return open_engine(path, network, checkpoint, target)
    except (PearError, OSError, RuntimeError) as error:  # RuntimeError: CUDA, e.g. out of memory
        message = f"using torch instead of the engine {path}: {error}"
        if isinstance(error, StaleEngineError):
            message += f"; build a new one: {_command(settings, network, target)}"
        problems.count("engine_not_used", message)
        return network


def _command(settings: NetworkSettings, network: PearNetwork, target: Target) -> str:
    """The one that builds this engine."""
    words = ["pear-ros build --backend", target.backend, "--checkpoint", settings.checkpoint]
    if settings.config:
        words += ["--network-config", settings.config]
    words += ["--device", str(network.device), "--dtype", network.precision]
    if target.openvino_device != NetworkSettings().openvino_device:
        words += ["--openvino-device", target.openvino_device]
    if settings.engine:
        words += ["--output", settings.engine]
    return " ".join(words)


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


def open_engine(
    path: Path,
    network: PearNetwork,
    checkpoint: Path,
    target: Target,
    tried: Sequence[int] = TRIED_PEOPLE[:-1],
) -> Network:
    """Loads the engine at `path` and checks that it agrees with `network`.

    `tried` are the numbers of people: those of TRIED_PEOPLE when it was built; 32 people take a CPU
    minutes, so that a start tries fewer.

    Raises:
        StaleEngineError: If building the engine again would help: it is missing, damaged, or was
            built for something else.
        EngineError: If building it again would not help.
    """
    engine = checked_engine(path, target, checkpoint).load_network(path, target)
    if network.device.type != "cpu":
        tried = TRIED_PEOPLE
    require_agreement(network, engine, tried)
    return engine


def require_agreement(
    network: PearNetwork, engine: Network, tried: Sequence[int] = TRIED_PEOPLE
) -> None:
    """Checks that both give the same outputs for fixed inputs, within TOLERANCES.

    Raises:
        EngineError: If they differ; the message has the largest difference.
    """
    allowed = TOLERANCES[network.precision]
    found, output, people = deviation(network, engine, tried)
    if not found <= allowed:  # also if it is NaN
        raise EngineError(
            f"it is not trusted: with {people} people, {output} differs from torch's by "
            f"{100 * found:.3g} % (allowed: {100 * allowed:.3g} %)"
        )


@torch.inference_mode()
def deviation(
    network: Network, engine: Network, tried: Sequence[int] = TRIED_PEOPLE
) -> tuple[float, str, int]:
    """Returns the largest relative difference, the name of that output, and the batch size.

    The maximum is over the batch sizes `tried`, the people and the outputs.
    """
    images = fixed_images(max(tried)).to(network.device)
    expected = network(images)
    found = []
    for people in tried:
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
