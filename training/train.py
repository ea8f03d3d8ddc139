"""Trains a small PEAR on rendered people: `python -m training.train --stage 1`.

Stage 1 trains the whole network with losses on parameters and joints. Stage 2 freezes the backbone
and trains the head with a pixel loss in addition. It runs on a CPU or on CUDA (not tested yet) and
needs torch 2.9 or newer for the optimizer Muon. A run continues from `last.pt` in the output
folder, if there is one, and writes to that folder:

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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.errors import PearError, SettingError
from pear_ros.network.backbone import BackboneConfig
from pear_ros.network.checkpoint import load_network
from pear_ros.network.head import INITIAL_POSE, HeadConfig
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.people import NUM_JOINTS, EhmParameters
from pear_ros.synthetic.actions import TRAINING
from pear_ros.synthetic.controls import STANDING, rotations, vector
from pear_ros.synthetic.scene import FACING_CAMERA
from pear_ros.system.device import choose_device
from training.cpu import MatrixPatchEmbed, for_cpu
from training.data import BACKGROUND, PIXELS, TOKENS, Batch, Batches
from training.losses import STAGE_2_WEIGHTS, WEIGHTS, TokenPredictions, stage_1, total
from training.pixel_loss import PixelLoss

SMALL = NetworkConfig(
    BackboneConfig(embed_dim=192, depth=8, num_heads=3),
    HeadConfig(context_dim=192, dim=256, depth=5, heads=4, dim_head=64, mlp_dim=512),
)
PIXEL_WEIGHTS = {"body": 3.0, "left_hand": 1.0, "right_hand": 1.0, "head": 1.0}  # by view
LOG_EVERY = 50  # steps
SAVE_EVERY = 250  # steps
VERTEX_STEP = 20  # every 20th vertex is compared
EMA_DECAY = 0.998  # of the exponential moving average of the weights, which is what is saved


class Student(nn.Module):
    """The network with auxiliary outputs of the backbone, which are only used for training.

    The published PEAR starts from a backbone that was trained to find joints (ViTPose). This one
    starts from random weights, so its tokens also learn which token each joint is in, which part of
    the body they show, the rotation and position of that part, and which points of the body their
    pixels show.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.backbone.embed_dim
        self.network = PearNetwork(config)
        sizes = {
            "heatmaps": NUM_JOINTS,
            "parts": BACKGROUND + 1,
            "turns": 6,
            "places": 3,
            "surface": 3 * PIXELS,
        }
        self.aids = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
        initialise(self.network)

    def forward(
        self, crops: Tensor, kept: Tensor, autocast: bool
    ) -> tuple[EhmParameters, TokenPredictions]:
        """Predicts the parameters of N people and the auxiliary outputs of the tokens.

        Args:
            crops: (N, 256, 192, 3) RGB uint8.
            kept: (N, K) indices of the tokens that are used.
            autocast: Runs the backbone in bfloat16.
        """
        network = self.network
        is_trained = network.backbone.pos_embed.requires_grad
        with (
            torch.autocast(crops.device.type, torch.bfloat16, enabled=autocast),
            torch.set_grad_enabled(is_trained),
        ):
            tokens = some_tokens(network, crops, kept)
        tokens = tokens.float()
        outputs = {name: aid(tokens) for name, aid in self.aids.items()}
        return network.head(tokens), TokenPredictions(kept, **outputs)


def some_tokens(network: PearNetwork, crops: Tensor, kept: Tensor) -> Tensor:
    """Runs the backbone on the tokens `kept` (N, K) of the crops only: (N, K, C)."""
    backbone = network.backbone
    embed = backbone.patch_embed
    positions = backbone.pos_embed[0, 1:] + backbone.pos_embed[0, :1]  # (T, C)
    if isinstance(embed, MatrixPatchEmbed):
        x = embed.embed_crops(crops, kept)
    else:
        x = embed(network.normalise(crops))
        x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
    x = x + positions[kept]
    for block in backbone.blocks:
        x = block(x)
    return backbone.last_norm(x)


def choose_tokens(parts: Tensor, count: int) -> Tensor:
    """Chooses tokens from the labels of their pixels (N, T, S): (N, count) indices in order.

    These are the tokens that show the person, and random ones of the background. Most of a crop is
    background, so with fewer tokens a CPU trains on more crops in the same time. The last steps of
    a training need all tokens (training/README.md).
    """
    is_person = (parts != BACKGROUND).any(-1)
    order = (is_person + torch.rand(is_person.shape, device=parts.device)).argsort(
        1, descending=True
    )
    return order[:, :count].sort(1).values


def initialise(network: PearNetwork) -> None:
    """Sets small random weights, which predict a person who stands facing the camera."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(network.backbone.pos_embed, std=0.02)
    nn.init.trunc_normal_(network.head.transformer.pos_embedding, std=0.02)
    standing = rotations(vector(STANDING)[None])
    body = np.concatenate((FACING_CAMERA.as_matrix()[None], standing.body_pose[0]))  # (22, 3, 3)
    hands = np.concatenate((standing.left_hand_pose[0], standing.right_hand_pose[0]))
    head = network.head
    with torch.no_grad():
        head.init_body_pose[:, INITIAL_POSE] = _six_d(body)
        head.smplx_poses_decoder.bias[INITIAL_POSE.stop :] = _six_d(hands)
        head.smplx_scale_decoder.bias.fill_(1)
        head.cam_decoder.bias[2] = 0.94 - 1.5  # a person of 1.7 m fills a crop


def _six_d(matrices: np.ndarray) -> Tensor:
    """(J, 3, 3) -> (6 J,): the first two columns of each."""
    return torch.from_numpy(matrices[..., :2].swapaxes(-1, -2).reshape(-1).astype(np.float32))


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
        self.student = Student(config).to(self.device)
        if self.device.type == "cpu":
            for_cpu(self.student.network)
        if options.start and not stored:
            start = load_network(options.start, config, self.device, fold=False)
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
    """The sizes of the stored network, else those next to `start`, else SMALL.

    Raises CheckpointError if `start` has no valid network.json next to it.
    """
    if stored:
        sizes = stored["sizes"]
        return NetworkConfig(BackboneConfig(**sizes["backbone"]), HeadConfig(**sizes["head"]))
    return NetworkConfig.from_json(start.with_name("network.json")) if start else SMALL


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
    return [
        torch.optim.Muon(inner, lr=options.muon_lr, weight_decay=options.weight_decay),
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


def batches(
    options: argparse.Namespace, assets: BodyAssets, pixel_loss: PixelLoss | None, seed: int
) -> Iterable[Batch]:
    """Endless batches, rendered by worker processes."""
    make_target = pixel_loss.make_target if pixel_loss else None
    dataset = Batches(assets, TRAINING, options.batch_size, seed, make_target)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )


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
    body_model = BodyModel(assets, device, np.arange(0, len(assets.body_template), VERTEX_STEP))
    pixel_loss = PixelLoss(assets, device) if options.stage == 2 else None
    autocast = device.type == "cuda" or options.bfloat16
    write_options(options, training.step)
    sums: dict[str, float] = defaultdict(float)
    summed = 0  # steps since the last row of the log
    started_s = time.monotonic()
    seconds = training.rows[-1]["seconds"] if training.rows else 0.0
    progress = tqdm(total=options.steps, initial=training.step, unit="step", mininterval=10)
    for cpu_batch in batches(options, assets, pixel_loss, options.seed + training.step):
        if training.step >= options.steps:
            break
        batch = cpu_batch.to(device)
        kept = choose_tokens(batch.parts, options.tokens)
        predicted, tokens = training.student(batch.crops, kept, autocast)
        auxiliary = None if pixel_loss else tokens
        losses = stage_1(predicted, batch, body_model, auxiliary, pixel_loss is not None)
        weights = WEIGHTS
        if pixel_loss is not None and batch.target is not None:
            pixel_losses = pixel_loss(predicted, batch.target, batch.cameras)
            pixel_weights = {
                name: options.pixel_weight * PIXEL_WEIGHTS[name.rsplit("_", 1)[0]]
                for name in pixel_losses
            }
            weights = STAGE_2_WEIGHTS | pixel_weights
            losses |= pixel_losses
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
        help="model.pt to start from, with its network.json in the same folder; required by stage "
        "2; ignored if the output folder has a last.pt",
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
    options.output = options.output or Path(f"out/stage{options.stage}")
    if options.stage == 2 and not options.start and not (options.output / "last.pt").exists():
        parser.error("--stage 2 needs a trained network: give the model.pt of stage 1 as --start")
    return options


if __name__ == "__main__":
    sys.exit(main())
