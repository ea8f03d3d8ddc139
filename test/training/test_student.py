"""The network while it is trained: more blocks, tokens, and what a few steps teach."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from labelled_people import pictures_of, rendered_labels, write_folder
from tiny_network import TINY

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import Landmarks
from pear_ros.errors import SettingError
from pear_ros.network.network import PearNetwork
from pear_ros.synthetic.scene import Cast
from training import train
from training.labelled import LabelledCrops
from training.losses import LABELLED_WEIGHTS, labelled, total
from training.student import Student, choose_tokens, deepened

DEEP = dataclasses.replace(TINY, backbone=dataclasses.replace(TINY.backbone, depth=3))


def student(seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(DEEP)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_deeper_network_begins_with_the_same_output(count: int) -> None:
    network = student().network
    deeper = deepened(network, count)
    assert deeper.config.backbone.depth == len(deeper.backbone.blocks) == 3 + count
    assert deeper.config.head == network.config.head
    crops = torch.randint(0, 256, (2, 256, 192, 3), dtype=torch.uint8)
    with torch.no_grad():
        tokens = [n.backbone(n.normalise(crops)) for n in (network, deeper)]
        outputs = [vars(n.head(t)) for n, t in zip((network, deeper), tokens, strict=True)]
    torch.testing.assert_close(tokens[1], tokens[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-6)
    assert deepened(network, 0) is network


def test_every_block_of_a_deeper_network_is_trained() -> None:
    deeper = deepened(student().network, 2)
    before = {name: value.clone() for name, value in deeper.state_dict().items()}
    crops = torch.randint(0, 256, (2, 256, 192, 3), dtype=torch.uint8)
    optimizer = torch.optim.AdamW(deeper.backbone.parameters(), lr=1e-3)
    for _ in range(2):  # in the first step, only what the new blocks add gets a gradient
        optimizer.zero_grad()
        tokens = deeper.backbone(deeper.normalise(crops))
        (tokens - torch.linspace(-1, 1, tokens.shape[-1])).square().mean().backward()
        optimizer.step()
    for name, value in deeper.backbone.named_parameters():
        if "blocks." in name and name.endswith("weight"):
            moved = (value - before[f"backbone.{name}"]).abs().max()
            assert moved > 1e-4, name


def test_the_blocks_are_inserted_evenly() -> None:
    network = student().network
    for i, block in enumerate(network.backbone.blocks):
        block.norm1.bias.data.fill_(i)
    origin = [int(block.norm1.bias[0]) for block in deepened(network, 3).backbone.blocks]
    assert origin == [0, 0, 1, 1, 2, 2]
    assert [int(b.norm1.bias[0]) for b in deepened(network, 1).backbone.blocks] == [0, 1, 2, 2]


def test_more_new_blocks_than_old_ones_are_refused() -> None:
    with pytest.raises(SettingError, match="--deepen 4 adds more blocks than the 3 there are"):
        deepened(PearNetwork(DEEP), 4)


def test_tokens_of_people_are_chosen_first() -> None:
    is_person = torch.zeros(3, 192, dtype=torch.bool)
    is_person[0, 50:90] = True
    is_person[1, ::2] = True
    kept = choose_tokens(is_person, 60)
    assert kept.shape == (3, 60)
    assert (kept.diff() > 0).all()
    assert is_person.gather(1, kept).sum(1).tolist() == [40, 60, 0]
    assert not torch.equal(choose_tokens(is_person, 60)[2], kept[2])  # the others are random


@pytest.mark.slow
def test_labelled_people_are_learned(
    standin: BodyAssets, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The loss of a few crops falls by a third."""
    cast, landmarks = Cast(standin), Landmarks.of(standin)
    labels = rendered_labels(cast, landmarks, 4, seed=2)
    folder = tmp_path_factory.mktemp("labels") / "out"
    write_folder(folder, labels, pictures_of(cast, labels))
    batch = LabelledCrops(folder, seed=1).batch(8)
    body_model = BodyModel(standin, vertex_ids=landmarks.vertex_ids)
    learner = student(3)
    options = train.parse_options(["--muon-lr", "0.01", "--lr", "0.003"])
    optimizers = train.make_optimizers(learner, options)
    everywhere = torch.arange(192).expand(8, -1)
    history: list[dict[str, float]] = []
    for _ in range(25):
        predicted, _ = learner(batch.crops, everywhere, autocast=False)
        losses = labelled(predicted, batch, body_model, landmarks)
        learner.zero_grad(set_to_none=True)
        total(losses, LABELLED_WEIGHTS).backward()
        for optimizer in optimizers:
            optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    first, last = history[0], history[-1]
    sums = [sum(LABELLED_WEIGHTS[n] * v for n, v in row.items()) for row in history]
    assert sums[-1] < 0.7 * sums[0], (first, last)  # measured: 0.61
    for name in ("real_landmarks", "real_joints_3d", "real_orientation"):
        assert last[name] < 0.9 * first[name], (name, first, last)
