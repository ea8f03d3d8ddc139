"""The mean of networks' weights: `python -m training.mean FIRST.pt SECOND.pt ... --output FOLDER`.

Of networks that come from one another, such as one after each fall of its learning rate, the mean
is often better than each (Wortsman et al., Model soups, 2022). Takes and writes what
`training.train` writes, `model.pt` with its `network.json`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

Layout = dict[str, dict[str, Tensor]]  # the published: names by part, backbone and head


def mean(layouts: Sequence[Layout]) -> Layout:
    """Computed in float32; float16, as the weights it is the mean of."""
    return {
        part: {
            name: torch.stack([layout[part][name].float() for layout in layouts]).mean(0).half()
            for name in names
        }
        for part, names in layouts[0].items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.mean", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="model.pt, of networks of one size")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    options = parser.parse_args(arguments)
    if options.output.resolve() in {path.parent.resolve() for path in options.models}:
        parser.error("--output: a folder of its own, not one of the models'")
    if len({path.with_name("network.json").read_text() for path in options.models}) > 1:
        parser.error("these are networks of different sizes: their network.json differ")
    layouts = [torch.load(path, weights_only=True) for path in options.models]
    options.output.mkdir(parents=True, exist_ok=True)
    torch.save(mean(layouts), options.output / "model.pt")
    shutil.copy(options.models[0].with_name("network.json"), options.output)


if __name__ == "__main__":
    main()
