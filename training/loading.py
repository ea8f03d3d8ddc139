"""What a step is trained on, drawn by worker processes."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.errors import SettingError
from pear_ros.people import ImageArray
from pear_ros.synthetic.actions import TRAINING, Repertoire
from training.appearance import Pairs
from training.data import BACKGROUND, Batch, CropMaker
from training.labelled import LabelledBatch, LabelledCrops, LabelledPairs
from training.pixel_loss import PixelLoss, TargetMaker


@dataclass(frozen=True)
class Sample:
    """What one step is trained on."""

    rendered: Batch
    labelled: LabelledBatch | None = None
    pairs: Pairs | None = None

    def to(self, device: torch.device) -> Sample:
        """The sample on `device`."""
        real, pairs = self.labelled, self.pairs
        return Sample(
            self.rendered.to(device),
            None if real is None else real.to(device),
            None if pairs is None else pairs.to(device),
        )


def samples(
    options: argparse.Namespace, assets: BodyAssets, pixel_loss: PixelLoss | None, seed: int
) -> Iterator[Sample]:
    """Endless samples, drawn by worker processes.

    Raises:
        PearError: If photographs, labels or clips cannot be used.
    """
    photos = read_pictures(options.photos) if options.photos else []
    make_target = pixel_loss.make_target if pixel_loss and options.pixel_weight else None
    rendered = Batches(assets, TRAINING, options.batch_size, seed, make_target, photos)
    real: IterableDataset[LabelledBatch] | None = None
    pairs: IterableDataset[Pairs] | None = None
    if options.labels:
        real = LabelledBatches(options.labels, options.labelled, seed)
    if options.clips:
        pairs = LabelledPairBatches(options.clips, options.pairs, seed)
    elif options.pairs:
        pairs = RenderedPairBatches(assets, TRAINING, options.pairs, seed, photos)
    workers = options.workers
    few = min(workers, 1)
    loaders = [_loaded(rendered, workers), _loaded(real, few), _loaded(pairs, few)]
    return (Sample(*parts) for parts in zip(*loaders, strict=True))


def _loaded(dataset: IterableDataset[Any] | None, workers: int) -> Iterable[Any]:
    if dataset is None:
        return itertools.repeat(None)
    prefetch = 4 if workers else None
    return DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=prefetch)


def read_pictures(folder: Path) -> list[ImageArray]:
    """All pictures of a folder, (H, W, 3) RGB each, in the order of their names.

    Raises:
        SettingError: If there is none, or if a file is not a picture.
    """
    pictures: list[ImageArray] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise SettingError(f"{path} is not a picture: --photos takes a folder of pictures")
        pictures.append(np.ascontiguousarray(picture[..., ::-1], np.uint8))
    if not pictures:
        raise SettingError(f"{folder} has no pictures, see --photos")
    return pictures


def _begin_worker() -> int:
    """Limits this process to one thread; returns its number among the workers."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    worker = torch.utils.data.get_worker_info()
    if worker is None:
        return 0
    os.nice(10)  # on a CPU, the training process has priority over the workers
    return worker.id


class Batches(IterableDataset[Batch]):
    """Endless batches; each worker process renders different ones."""

    def __init__(
        self,
        assets: BodyAssets,
        repertoire: Repertoire,
        size: int,
        seed: int,
        make_target: TargetMaker | None = None,
        photos: list[ImageArray] | None = None,
    ) -> None:
        self._photos = photos or []
        self._assets, self._repertoire, self._size, self._seed = assets, repertoire, size, seed
        self._make_target = make_target

    def __iter__(self) -> Iterator[Batch]:
        number = _begin_worker()
        maker = CropMaker(
            self._assets,
            self._repertoire,
            self._seed * 1000 + number,
            self._make_target,
            self._photos,
        )
        while True:
            yield maker.batch(self._size)


class RenderedPairBatches(IterableDataset[Pairs]):
    """Endless pairs of frames of rendered people; each worker process renders different ones."""

    def __init__(
        self,
        assets: BodyAssets,
        repertoire: Repertoire,
        size: int,
        seed: int,
        photos: list[ImageArray] | None = None,
    ) -> None:
        self._assets, self._repertoire, self._size = assets, repertoire, size
        self._seed, self._photos = seed, photos

    def __iter__(self) -> Iterator[Pairs]:
        seed = self._seed * 1000 + 500 + _begin_worker()
        maker = CropMaker(self._assets, self._repertoire, seed, photos=self._photos, in_pairs=True)
        while True:
            batch = maker.batch(2 * self._size)
            assert batch.known is not None
            is_person = (batch.parts != BACKGROUND).any(-1)
            yield Pairs(batch.crops, batch.cameras, batch.known, batch.masks, is_person)


class LabelledBatches(IterableDataset[LabelledBatch]):
    """Endless batches; each worker process draws different ones."""

    def __init__(self, folder: Path, size: int, seed: int) -> None:
        """Reads the labels, before there are worker processes. Raises LabelError."""
        self._crops, self._size, self._seed = LabelledCrops(folder, seed), size, seed

    def __iter__(self) -> Iterator[LabelledBatch]:
        number = _begin_worker()
        self._crops.restart(self._seed * 1000 + number)
        while True:
            yield self._crops.batch(self._size)


class LabelledPairBatches(IterableDataset[Pairs]):
    """Endless pairs; each worker process draws different ones."""

    def __init__(self, folder: Path, size: int, seed: int) -> None:
        """Reads the labels, before there are worker processes. Raises LabelError."""
        self._pairs, self._size, self._seed = LabelledPairs(folder, seed), size, seed

    def __iter__(self) -> Iterator[Pairs]:
        number = _begin_worker()
        self._pairs.restart(self._seed * 1000 + number)
        while True:
            yield self._pairs.batch(self._size)
