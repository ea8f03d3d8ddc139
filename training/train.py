"""Trains a small PEAR on rendered people: `python -m training.train --stage 1`.

Stage 1 learns parameters and joints with all of the network; stage 2 keeps the backbone and
corrects the head with what the pixels show. Runs on a CPU or on CUDA with torch 2.9 or newer, which
brings Muon, goes on where it stopped (`last.pt` in the output folder), and writes

    model.pt, network.json    the averaged weights in the published layout, float16
    log.csv                   a row every so many steps
    curves.png                the same as a picture
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
from training.data import NOBODY, PIXELS, TOKENS, Batch, Batches
from training.losses import STAGE_2_WEIGHTS, WEIGHTS, TokenAnswers, stage_1, total
from training.pixel_loss import PixelLoss

SMALL = NetworkConfig(
    BackboneConfig(embed_dim=192, depth=8, num_heads=3),
    HeadConfig(context_dim=192, dim=256, depth=5, heads=4, dim_head=64, mlp_dim=512),
)
PIXEL_WEIGHTS = {"body": 3.0, "left_hand": 1.0, "right_hand": 1.0, "head": 1.0}  # by view
LOG_EVERY = 50  # steps
SAVE_EVERY = 250
VERTEX_STEP = 20  # every so many vertices are compared
AVERAGE = 0.998  # of the weights that are kept: their running mean over the last steps


class Student(nn.Module):
    """The network, and what helps its backbone to learn and is thrown away.

    The published PEAR begins with a backbone that was taught to find joints (ViTPose); this one
    learns along the way which token each joint is in, which part of the body a token shows, how
    and where that part is, and which points of the body its pixels show.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.backbone.embed_dim
        self.network = PearNetwork(config)
        sizes = {
            "heatmaps": NUM_JOINTS,
            "parts": NOBODY + 1,
            "turns": 6,
            "places": 3,
            "surface": 3 * PIXELS,
        }
        self.aids = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
        initialise(self.network)

    def forward(
        self, crops: Tensor, kept: Tensor, autocast: bool
    ) -> tuple[EhmParameters, TokenAnswers]:
        """Of crops (N, 256, 192, 3) uint8, from the tokens `kept` (N, K) alone."""
        network = self.network
        is_learning = network.backbone.pos_embed.requires_grad
        with (
            torch.autocast(crops.device.type, torch.bfloat16, enabled=autocast),
            torch.set_grad_enabled(is_learning),
        ):
            tokens = some_tokens(network, crops, kept)
        tokens = tokens.float()
        answers = {name: aid(tokens) for name, aid in self.aids.items()}
        return network.head(tokens), TokenAnswers(kept, **answers)


def some_tokens(network: PearNetwork, crops: Tensor, kept: Tensor) -> Tensor:
    """The backbone where it sees the tokens `kept` (N, K) of a crop alone: (N, K, C)."""
    backbone = network.backbone
    embed = backbone.patch_embed
    positions = backbone.pos_embed[0, 1:] + backbone.pos_embed[0, :1]  # (T, C)
    if isinstance(embed, MatrixPatchEmbed):
        x = embed.of_crops(crops, kept)
    else:
        x = embed(network.normalise(crops))
        x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
    x = x + positions[kept]
    for block in backbone.blocks:
        x = block(x)
    return backbone.last_norm(x)


def choose_tokens(parts: Tensor, count: int) -> Tensor:
    """(N, T, S) -> (N, count) tokens in order: the person's, and some of what is around.

    Most of a crop is background: with fewer tokens a CPU learns from more crops in the same time.
    At the end a network needs a while with all of them (docs/training.md).
    """
    is_person = (parts != NOBODY).any(-1)
    order = (is_person + torch.rand(is_person.shape, device=parts.device)).argsort(
        1, descending=True
    )
    return order[:, :count].sort(1).values


def initialise(network: PearNetwork) -> None:
    """Small random weights; a person who stands before the camera is the first answer."""
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
    """One stage's state: what a checkpoint holds, and how it goes on."""

    def __init__(self, options: argparse.Namespace) -> None:
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
        self.averaged = 0  # steps that are in the average
        self.rows: list[dict[str, float]] = []
        options.output.mkdir(parents=True, exist_ok=True)
        if stored:
            self._resume(stored)
        else:
            self.average.load_state_dict(self.student.network.state_dict())

    def _stored(self) -> dict[str, Any]:
        """Raises SettingError where another stage left it."""
        state: dict[str, Any] = torch.load(self._last, map_location=self.device, weights_only=True)
        is_ours = state.get("stage") == self.options.stage and "averaged" in state
        if not is_ours:
            raise SettingError(
                f"{self._last} is not of stage {self.options.stage} of this trainer: give another "
                "folder as --output"
            )
        return state

    def _resume(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            # These are of this command, not of the last.
            ours = [{k: group[k] for k in ("full_lr", "weight_decay")}
                    for group in optimizer.param_groups]  # fmt: skip
            optimizer.load_state_dict(stored)
            for group, own in zip(optimizer.param_groups, ours, strict=True):
                group.update(own)
        self.step, self.rows = state["step"], state["rows"]
        # Weights that knew other tokens are no part of the mean: they see people of another size.
        if state["tokens"] == self.options.tokens:
            self.averaged = state["averaged"]
        print(f"{self._last}: goes on after step {self.step}, {self.student.network.description}")

    def save(self) -> None:
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
        """Of its full value: rises over the warm-up, stays, falls to 0 over the cool-down.

        It does not depend on the end until the cool-down begins: a run may be made longer.
        """
        warm = (self.step + 1) / max(self.options.warmup, 1)
        left = (self.options.steps - self.step) / max(self.options.cooldown, 1)
        return max(min(warm, left, 1), 0)

    def update(self, loss: Tensor) -> None:
        """One step of the optimizers.

        Raises FloatingPointError, the weights unchanged, where loss or gradient are not finite.
        """
        self.student.zero_grad(set_to_none=True)
        loss.backward()
        gradient = nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for name, value in {"loss": loss, "gradient": gradient}.items():
            if not value.isfinite():
                again = f", and go on from {self._last}" if self._last.exists() else ""
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
        keep = min(AVERAGE, self.averaged / (self.averaged + 10))
        with torch.no_grad():
            now = self.student.network.state_dict()
            for name, mean in self.average.state_dict().items():
                mean.lerp_(now[name], 1 - keep)


def _sizes(start: Path | None, stored: dict[str, Any] | None) -> NetworkConfig:
    """Those of the network to go on with; CheckpointError where --start has none beside it."""
    if stored:
        sizes = stored["sizes"]
        return NetworkConfig(BackboneConfig(**sizes["backbone"]), HeadConfig(**sizes["head"]))
    return NetworkConfig.from_json(start.with_name("network.json")) if start else SMALL


def make_optimizers(student: nn.Module, options: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside of the transformers, AdamW for all else.

    Muon makes a matrix's step orthogonal (Jordan et al., 2024). The published PEAR uses AdamW
    alone; here, after 250 steps, the loss was 10.7 with Muon and 11.2 without.
    """
    named = [(n, p) for n, p in student.named_parameters() if p.requires_grad]
    is_inner = {n: p.ndim == 2 and ("blocks." in n or "layers." in n) for n, p in named}
    inner = [p for n, p in named if is_inner[n]]
    others = [(n, p) for n, p in named if not is_inner[n]]
    decays = [p for n, p in others if p.ndim > 1 and "pos_embed" not in n]
    stays = [p for n, p in others if p.ndim <= 1 or "pos_embed" in n]
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": options.weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    return [
        torch.optim.Muon(inner, lr=options.muon_lr, weight_decay=options.weight_decay),
        torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), fused=True),
    ]


def write_model(network: PearNetwork, folder: Path) -> None:
    """`model.pt` in the published layout, float16, and its sizes, `network.json`."""
    half = {n: t.half().cpu().clone() for n, t in network.state_dict().items()}
    layout = {
        part: {n.removeprefix(f"{part}."): t for n, t in half.items() if n.startswith(f"{part}.")}
        for part in ("backbone", "head")
    }
    torch.save(layout, folder / "model.pt.part")
    os.replace(folder / "model.pt.part", folder / "model.pt")
    (folder / "network.json").write_text(network.config.to_json())


def write_log(rows: list[dict[str, float]], folder: Path) -> None:
    """log.csv and curves.png: each column against the steps, its axis logarithmic."""
    if not rows:
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)

    from matplotlib.figure import Figure  # here, as it takes a second to import

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
    """Endless batches, drawn by worker processes."""
    make_target = pixel_loss.make_target if pixel_loss else None
    dataset = Batches(assets, TRAINING, options.batch_size, seed, make_target)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )


def write_options(options: argparse.Namespace, after_step: int) -> None:
    """Adds this run's to those of the runs before it: options.json, a list."""
    path = options.output / "options.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    given = {name: str(value) for name, value in vars(options).items()}
    path.write_text(json.dumps([*runs, {"after_step": after_step, **given}], indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains; 1 with one line on stderr where the user has something to mend."""
    options = parse_options(arguments)
    try:
        run(options)
    except (PearError, OSError, FloatingPointError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
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
    summed = 0  # steps since the last row
    started_s = time.monotonic()
    seconds = training.rows[-1]["seconds"] if training.rows else 0.0
    progress = tqdm(total=options.steps, initial=training.step, unit="step", mininterval=10)
    for drawn in batches(options, assets, pixel_loss, options.seed + training.step):
        if training.step >= options.steps:
            break
        batch = drawn.to(device)
        kept = choose_tokens(batch.parts, options.tokens)
        predicted, tokens = training.student(batch.crops, kept, autocast)
        aids = None if pixel_loss else tokens
        losses = stage_1(predicted, batch, body_model, aids, pixel_loss is not None)
        weights = WEIGHTS
        if pixel_loss is not None and batch.target is not None:
            pixels = pixel_loss(predicted, batch.target, batch.cameras)
            of_pixels = {
                name: options.pixel_weight * PIXEL_WEIGHTS[name.rsplit("_", 1)[0]]
                for name in pixels
            }
            weights = STAGE_2_WEIGHTS | of_pixels
            losses |= pixels
        loss = total(losses, weights)
        training.update(loss)
        for name, value in {"loss": loss, **losses}.items():
            sums[name] += value.item()
        summed += 1
        progress.update()
        if training.step % LOG_EVERY == 0:
            now_s = seconds + time.monotonic() - started_s
            means = {name: value / summed for name, value in sums.items()}
            share = training.learning_rate()
            row = {"step": training.step, "seconds": now_s, "lr_share": share, **means}
            training.rows.append(row)
            progress.set_postfix_str(" ".join(f"{k} {v:.4f}" for k, v in means.items()))
            sums.clear()
            summed = 0
        if training.step % SAVE_EVERY == 0:
            training.save()
    training.save()


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=1)
    parser.add_argument("--assets", type=Path, default=Path("assets/standin/body.npz"))
    parser.add_argument("--output", type=Path, help="default: out/stage1 or out/stage2")
    parser.add_argument(
        "--start",
        type=Path,
        help="a model.pt to begin with, its network.json beside it; stage 2 needs one; not read "
        "where the output folder has a last.pt",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=192, help="of a crop that are looked at")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--muon-lr", type=float, default=0.0015)
    parser.add_argument("--warmup", type=int, default=300, help="steps")
    parser.add_argument("--cooldown", type=int, default=1500, help="steps")
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--pixel-weight", type=float, default=0.3, help="of stage 2's pictures")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--threads", type=int, default=0, help="of the network, on a CPU")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU that multiplies it")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if not 1 <= options.tokens <= TOKENS:
        parser.error(f"--tokens: a crop has {TOKENS}; look at 1 to {TOKENS} of them")
    options.output = options.output or Path(f"out/stage{options.stage}")
    if options.stage == 2 and not options.start and not (options.output / "last.pt").exists():
        parser.error("--stage 2 corrects a network: give the first stage's model.pt as --start")
    return options


if __name__ == "__main__":
    sys.exit(main())
