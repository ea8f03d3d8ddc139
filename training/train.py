"""Trains a small PEAR on rendered people: `python -m training.train --stage 1`.

Stage 1 trains the whole network with losses on parameters and joints. Stage 2 freezes the backbone
and trains the head with a pixel loss in addition. It runs on a CPU or on CUDA (not tested yet). A
run continues from `last.pt` in the output folder, if there is one, and writes to that folder:

    last.pt                   the state of the training, to continue from
    model.pt, network.json    the averaged weights in the published layout, float16
    log.csv                   the mean losses of every 50 steps
    curves.png                the same as plots
    options.json              the options of each run
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pear_ros.assets.body_assets import load_assets
from pear_ros.errors import PearError, SettingError
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.checkpoint import load_network
from pear_ros.network.head import HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.system.device import choose_device
from training.cpu import for_cpu
from training.data import TOKENS
from training.loading import samples
from training.losses import total
from training.muon import Float32Muon
from training.objective import Objective, losses_of
from training.student import SMALL, Student, deepened

LOG_EVERY = 50  # steps
SAVE_EVERY = 50  # steps
EMA_DECAY = 0.998  # of the exponential moving average of the weights, which is what is saved


class Training:
    """The state of one stage: networks, optimizers, log, and how they are saved and restored."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Restores `last.pt` of the output folder, or begins with `--start` or random weights.

        Raises:
            SettingError: If the device cannot be used, or if `last.pt` is of another stage.
            CheckpointError: If `--start` cannot be loaded.
            OSError: If the output folder cannot be created.
        """
        self.options = options
        self.device = choose_device(options.device)
        self._last = options.output / "last.pt"
        stored = self._stored() if self._last.exists() else None
        config = _sizes(options.start, stored)
        start = None
        if options.start and not stored:
            start = load_network(options.start, config, self.device, fold=False)
            start = deepened(start, options.deepen)
            config = start.config
        self.student = Student(config).to(self.device)
        if self.device.type == "cpu":
            for_cpu(self.student.network)
        if start:
            self.student.network.load_state_dict(start.state_dict())
        if options.stage == 2:
            self.student.network.backbone.requires_grad_(False)
            self.student.aids.requires_grad_(False)
        self.average = PearNetwork(config).to(self.device).requires_grad_(False)
        self.optimizers = make_optimizers(self.student, options)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["full_lr"] = group["lr"]
        self.step = 0
        self.averaged = 0  # number of steps in the average
        self.rows: list[dict[str, float]] = []
        options.output.mkdir(parents=True, exist_ok=True)
        if stored:
            self._resume(stored)
        else:
            self.average.load_state_dict(self.student.network.state_dict())

    def _stored(self) -> dict[str, Any]:
        """The content of `last.pt`. Raises SettingError if it is of another stage or trainer."""
        state: dict[str, Any] = torch.load(self._last, map_location=self.device, weights_only=True)
        is_compatible = state.get("stage") == self.options.stage and "averaged" in state
        if not is_compatible:
            raise SettingError(
                f"{self._last} is not of stage {self.options.stage} of this trainer: give another "
                "folder as --output"
            )
        return state

    def _resume(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            # Learning rate and weight decay come from the current options.
            current = [{k: group[k] for k in ("full_lr", "weight_decay")}
                       for group in optimizer.param_groups]  # fmt: skip
            optimizer.load_state_dict(stored)
            for group, values in zip(optimizer.param_groups, current, strict=True):
                group.update(values)
        self.step, self.rows = state["step"], state["rows"]
        # With another number of tokens the average starts again: the old weights estimate sizes
        # of people that no longer fit.
        if state["tokens"] == self.options.tokens:
            self.averaged = state["averaged"]
        print(f"{self._last}: continues at step {self.step}, {self.student.network.description}")

    def save(self) -> None:
        """Writes `last.pt`, `model.pt`, `network.json`, `log.csv` and `curves.png`."""
        state = {
            "stage": self.options.stage,
            "sizes": dataclasses.asdict(self.student.network.config),
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "tokens": self.options.tokens,
            "averaged": self.averaged,
            "step": self.step,
            "rows": self.rows,
        }
        part = self._last.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self._last)
        write_model(self.average, self.options.output)
        write_log(self.rows, self.options.output)

    def learning_rate(self) -> float:
        """The learning rate as a fraction of its full value.

        It rises during the warm-up, is constant, and decays to 0 during the cool-down. It does not
        depend on the number of steps before the cool-down, so a run can be extended until then.
        """
        warm = (self.step + 1) / max(self.options.warmup, 1)
        left = (self.options.steps - self.step) / max(self.options.cooldown, 1)
        return max(min(warm, left, 1), 0)

    def update(self, loss: Tensor) -> None:
        """Makes one step of the optimizers and updates the average.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite; the weights are unchanged
                then.
        """
        self.student.zero_grad(set_to_none=True)
        loss.backward()
        gradient = nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for name, value in {"loss": loss, "gradient": gradient}.items():
            if not value.isfinite():
                again = f", and continue from {self._last}" if self._last.exists() else ""
                raise FloatingPointError(
                    f"the {name} is {value.item()} at step {self.step}: lower --muon-lr and "
                    f"--lr{again}"
                )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * self.learning_rate()
            optimizer.step()
        self.step += 1
        self.averaged += 1
        decay = min(EMA_DECAY, self.averaged / (self.averaged + 10))
        with torch.no_grad():
            current = self.student.network.state_dict()
            for name, mean in self.average.state_dict().items():
                mean.lerp_(current[name], 1 - decay)


def _sizes(start: Path | None, stored: dict[str, Any] | None) -> NetworkConfig:
    """The sizes of the stored network, else those of `start`, else SMALL.

    Without a network.json next to `start`, it has the published sizes. Raises CheckpointError if
    that file is not valid.
    """
    if stored:
        sizes = stored["sizes"]
        return NetworkConfig(BackboneConfig(**sizes["backbone"]), HeadConfig(**sizes["head"]))
    if start is None:
        return SMALL
    sizes_file = start.with_name("network.json")
    return NetworkConfig.from_json(sizes_file) if sizes_file.exists() else NetworkConfig()


def make_optimizers(student: nn.Module, options: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformers, AdamW for all other parameters.

    Muon orthogonalises the update of a matrix (Jordan et al., 2024). The published PEAR uses AdamW
    only. Here, after 250 steps, the loss was 10.7 with Muon and 11.2 without.
    """
    named = [(n, p) for n, p in student.named_parameters() if p.requires_grad]
    is_inner = {n: p.ndim == 2 and ("blocks." in n or "layers." in n) for n, p in named}
    inner = [p for n, p in named if is_inner[n]]
    others = [(n, p) for n, p in named if not is_inner[n]]
    decayed = [p for n, p in others if p.ndim > 1 and "pos_embed" not in n]
    not_decayed = [p for n, p in others if p.ndim <= 1 or "pos_embed" in n]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    muon = torch.optim.Muon if options.bfloat16 else Float32Muon
    return [
        muon(inner, lr=options.muon_lr, weight_decay=options.weight_decay),
        torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), fused=True),
    ]


def write_model(network: PearNetwork, folder: Path) -> None:
    """Writes `model.pt`, in the published layout and float16, and its sizes, `network.json`."""
    half = {n: t.half().cpu().clone() for n, t in network.state_dict().items()}
    layout = {
        part: {n.removeprefix(f"{part}."): t for n, t in half.items() if n.startswith(f"{part}.")}
        for part in ("backbone", "head")
    }
    torch.save(layout, folder / "model.pt.part")
    os.replace(folder / "model.pt.part", folder / "model.pt")
    (folder / "network.json").write_text(network.config.to_json())


def write_log(rows: list[dict[str, float]], folder: Path) -> None:
    """Writes log.csv and curves.png, where each column is plotted on a logarithmic axis."""
    if not rows:
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)

    from matplotlib.figure import Figure  # imported here because it takes a second

    names = [name for name in columns if name not in ("step", "seconds")]
    width = 4
    height = -(-len(names) // width)
    figure = Figure(figsize=(3 * width, 2.2 * height), layout="constrained")
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(height, width, place)
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_yscale("log")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.savefig(folder / "curves.png", dpi=80)


def write_options(options: argparse.Namespace, after_step: int) -> None:
    """Appends the options of this run to the list in options.json."""
    path = options.output / "options.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    given = {name: str(value) for name, value in vars(options).items()}
    path.write_text(json.dumps([*runs, {"after_step": after_step, **given}], indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 1, after one line on stderr, for errors that the user can fix."""
    options = parse_options(arguments)
    try:
        run(options)
    except (PearError, OSError, FloatingPointError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Trains one stage.

    Raises:
        PearError: If a setting, a checkpoint or the assets cannot be used.
        OSError: If a file cannot be read or written.
        FloatingPointError: If the loss or the gradient is not finite.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    training = Training(options)
    device = training.device
    assets = load_assets(options.assets)
    write_options(options, training.step)
    sums: dict[str, float] = defaultdict(float)
    summed = 0  # steps since the last row of the log
    started_s = time.monotonic()
    seconds = training.rows[-1]["seconds"] if training.rows else 0.0
    objective = Objective.of(assets, options, device)
    drawn = samples(options, assets, objective.pixel_loss, options.seed + training.step)
    progress = tqdm(total=options.steps, initial=training.step, unit="step", mininterval=10)
    for sample in drawn:
        if training.step >= options.steps:
            break
        losses, weights = losses_of(training.student, sample.to(device), objective)
        loss = total(losses, weights)
        training.update(loss)
        for name, value in {"loss": loss, **losses}.items():
            sums[name] += value.item()
        summed += 1
        progress.update()
        if training.step % LOG_EVERY == 0:
            elapsed_s = seconds + time.monotonic() - started_s
            means = {name: value / summed for name, value in sums.items()}
            lr_share = training.learning_rate()
            row = {"step": training.step, "seconds": elapsed_s, "lr_share": lr_share, **means}
            training.rows.append(row)
            progress.set_postfix_str(" ".join(f"{k} {v:.4f}" for k, v in means.items()))
            sums.clear()
            summed = 0
        if training.step % SAVE_EVERY == 0:
            training.save()
    training.save()


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; exits with a message if an option cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = "(default: %(default)s)"
    parser.add_argument(
        "--stage",
        type=int,
        choices=(1, 2),
        default=1,
        help=f"1 trains the whole network, 2 the head with the pixel loss {default}",
    )
    parser.add_argument(
        "--assets",
        type=Path,
        default=Path("assets/standin/body.npz"),
        help=f"body model {default}",
    )
    parser.add_argument(
        "--output", type=Path, help="output folder (default: out/stage1 or out/stage2)"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="model.pt to start from, with its network.json in the same folder, or PEAR's weights, "
        "without one; required by stage 2; ignored if the output folder has a last.pt",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder with labels of real people that `pear-ros annotate` wrote",
    )
    parser.add_argument(
        "--labelled",
        type=int,
        default=16,
        help=f"crops of real people per step, in addition, with --labels {default}",
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=0,
        help="pairs of frames of one person per step, in addition, for the appearance loss of "
        f"stage 2; rendered, or from --clips {default}",
    )
    parser.add_argument(
        "--clips",
        type=Path,
        metavar="DIR",
        help="folder that `pear-ros annotate` wrote from videos, for --pairs; its labels are "
        "not used",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="folder of pictures without people, for backgrounds and clothes",
    )
    parser.add_argument(
        "--deepen",
        type=int,
        default=0,
        metavar="N",
        help=f"blocks that are added to the backbone of --start {default}",
    )
    parser.add_argument("--device", default="auto", help=f"auto, cpu or cuda {default}")
    parser.add_argument(
        "--steps",
        type=int,
        default=6000,
        help=f"number of steps, including those of earlier runs {default}",
    )
    parser.add_argument("--batch-size", type=int, default=32, help=f"crops per step {default}")
    parser.add_argument(
        "--tokens",
        type=int,
        default=192,
        help=f"tokens of a crop that the backbone processes {default}",
    )
    parser.add_argument("--lr", type=float, default=4e-4, help=f"learning rate of AdamW {default}")
    parser.add_argument(
        "--muon-lr", type=float, default=0.0015, help=f"learning rate of Muon {default}"
    )
    parser.add_argument(
        "--warmup",
        type=int,
        default=300,
        help=f"first steps, in which the learning rates rise {default}",
    )
    parser.add_argument(
        "--cooldown",
        type=int,
        default=1500,
        help=f"last steps, in which the learning rates decay to 0 {default}",
    )
    parser.add_argument(
        "--weight-decay",
        type=float,
        default=0.02,
        help=f"weight decay of both optimizers {default}",
    )
    parser.add_argument(
        "--pixel-weight",
        type=float,
        default=0.3,
        help=f"weight of the pixel loss in stage 2 {default}",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help=f"processes that render crops {default}"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help=f"CPU threads of the network; 0 is torch's default {default}",
    )
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="run the backbone in bfloat16 on a CPU, for CPUs with bfloat16 instructions",
    )
    parser.add_argument("--seed", type=int, default=1, help=f"seed of the random numbers {default}")
    options = parser.parse_args(arguments)
    if not 1 <= options.tokens <= TOKENS:
        parser.error(f"--tokens must be from 1 to {TOKENS}, the number of tokens of a crop")
    if options.labelled < 1:
        parser.error("--labelled must be at least 1")
    if options.pairs < 0:
        parser.error("--pairs must not be negative")
    if options.pairs and options.stage == 1:
        parser.error("--pairs are for the appearance loss of stage 2: give --stage 2")
    if options.clips and not options.pairs:
        parser.error("--clips needs --pairs N, the number of pairs per step")
    if options.deepen < 0:
        parser.error("--deepen must not be negative")
    options.output = options.output or Path(f"out/stage{options.stage}")
    if options.stage == 2 and not options.start and not (options.output / "last.pt").exists():
        parser.error("--stage 2 needs a trained network: give the model.pt of stage 1 as --start")
    return options


if __name__ == "__main__":
    sys.exit(main())
