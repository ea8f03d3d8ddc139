"""The losses of a step: of rendered people, of labelled ones, of pairs of frames."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import Landmarks
from pear_ros.people import map_tensors
from training.appearance import AppearanceLoss
from training.data import BACKGROUND
from training.loading import Sample
from training.losses import LABELLED_WEIGHTS, STAGE_2_WEIGHTS, WEIGHTS, labelled, stage_1
from training.pixel_loss import PixelLoss
from training.student import Student, choose_tokens

APPEARANCE_WEIGHTS = {"appearance": 10.0, "outline": 1.0}
PIXEL_WEIGHTS = {"body": 3.0, "left_hand": 1.0, "right_hand": 1.0, "head": 1.0}  # by view
VERTEX_STEP = 20  # every 20th vertex is compared


@dataclass(frozen=True)
class Objective:
    """What predictions are compared by."""

    body_model: BodyModel  # with some vertices
    landmarks: Landmarks
    landmark_model: BodyModel  # with the vertices of the landmarks
    pixel_loss: PixelLoss | None  # in stage 2
    pixel_weight: float
    appearance: AppearanceLoss  # for pairs of frames
    tokens: int
    autocast: bool

    @staticmethod
    def of(assets: BodyAssets, options: argparse.Namespace, device: torch.device) -> Objective:
        """The objective of the options' stage."""
        some = np.arange(0, len(assets.body_template), VERTEX_STEP)
        landmarks = Landmarks.of(assets).to(device)
        return Objective(
            BodyModel(assets, device, some),
            landmarks,
            BodyModel(assets, device, landmarks.vertex_ids),
            PixelLoss(assets, device) if options.stage == 2 else None,
            options.pixel_weight,
            AppearanceLoss(assets, device),
            options.tokens,
            autocast=device.type == "cuda" or options.bfloat16,
        )


def losses_of(
    student: Student, sample: Sample, objective: Objective
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The losses of all people of a sample by name, and their weights."""
    batch, real, pairs = sample.rendered, sample.labelled, sample.pairs
    crops = [batch.crops]
    is_person = [(batch.parts != BACKGROUND).any(-1)]  # (N, T) each
    for others in (real, pairs):
        if others is not None:
            crops.append(others.crops)
            is_person.append(others.is_near)
    kept = choose_tokens(torch.cat(is_person), objective.tokens)
    everybody, tokens = student(torch.cat(crops), kept, objective.autocast)
    ends = np.cumsum([len(part) for part in crops])

    rendered = slice(0, ends[0])
    predicted = map_tensors(everybody, lambda values: values[rendered])
    pixel_loss = objective.pixel_loss
    is_stage_2 = pixel_loss is not None
    auxiliary = None if is_stage_2 else map_tensors(tokens, lambda values: values[rendered])
    losses = stage_1(predicted, batch, objective.body_model, auxiliary, is_stage_2)
    weights = STAGE_2_WEIGHTS if is_stage_2 else WEIGHTS
    if pixel_loss is not None and batch.target is not None:
        pixel_losses = pixel_loss(predicted, batch.target, batch.cameras)
        weights = weights | {
            name: objective.pixel_weight * PIXEL_WEIGHTS[name.rsplit("_", 1)[0]]
            for name in pixel_losses
        }
        losses |= pixel_losses
    if real is not None:
        rows = slice(ends[0], ends[1])
        of_real = map_tensors(everybody, lambda values: values[rows])
        losses |= labelled(of_real, real, objective.landmark_model, objective.landmarks)
        weights = weights | LABELLED_WEIGHTS
    if pairs is not None:
        last = slice(ends[-2], ends[-1])
        of_pairs = map_tensors(everybody, lambda values: values[last])
        losses |= objective.appearance(of_pairs, pairs)
        weights = weights | APPEARANCE_WEIGHTS
    return losses, weights
