"""Averages the weights of networks: `python -m training.mean A.pt B.pt ... --output FOLDER`.

The mean of networks from one training, such as one after each decay of the learning rate, is often
better than each of them (Wortsman et al., Model soups, 2022). Inputs and output are `model.pt` with
`network.json`, as written by `training.train`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

Layout = dict[str, dict[str, Tensor]]  # the published layout: weights of backbone and head


def mean(layouts: Sequence[Layout]) -> Layout:
    """The mean of the weights, computed in float32 and returned in float16 like the inputs."""
    return {
        part: {
            name: torch.stack([layout[part][name].float() for layout in layouts]).mean(0).half()
            for name in names
        }
        for part, names in layouts[0].items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m training.mean", description=__doc__)
    parser.add_argument(
        "models", type=Path, nargs="+", help="model.pt files of networks of the same sizes"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the new model.pt and network.json"
    )
    options = parser.parse_args(arguments)
    if options.output.resolve() in {path.parent.resolve() for path in options.models}:
        parser.error("--output must not be the folder of one of the models")
    if len({path.with_name("network.json").read_text() for path in options.models}) > 1:
        parser.error("the networks have different sizes: their network.json files differ")
    layouts = [torch.load(path, weights_only=True) for path in options.models]
    options.output.mkdir(parents=True, exist_ok=True)
    torch.save(mean(layouts), options.output / "model.pt")
    shutil.copy(options.models[0].with_name("network.json"), options.output)


if __name__ == "__main__":
    main()
