"""`pear-ros annotate`: pictures and videos of people -> labels for a training.

An input whose part is complete is skipped, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pear_ros.annotation.contact_sheets import write_sheets
from pear_ros.annotation.evidence import Observed
from pear_ros.annotation.experts import Experts
from pear_ros.annotation.fitting import Fit, Fitter, join_fits
from pear_ros.annotation.pose_prior import PosePrior
from pear_ros.annotation.pseudo_labels import (
    CROPS_FOLDER,
    LABELS_FILE,
    Labels,
    join,
    read_labels,
    write_labels,
)
from pear_ros.annotation.quality import REASONS, Verdicts, judged
from pear_ros.annotation.sightings import Sightings, collect
from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.config import Config
from pear_ros.errors import LabelError
from pear_ros.offline.image_files import list_inputs, read_images
from pear_ros.people import EhmParameters, FloatArray, map_tensors
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.system.interrupts import received_signals

PARTS_FOLDER = "parts"
MOST_AT_ONCE = 512  # people who are fitted together; of a longer video the memory would not suffice


@dataclass(frozen=True)
class Input:
    """A video, a picture, or a folder of pictures."""

    name: str  # begins the names of its crops and is that of its part
    path: Path
    file: str  # its own name, as in the labels


def annotate(
    inputs: Sequence[Path],
    output: Path,
    config: Config,
    load_experts: Callable[[], Experts],
    overwrite: bool = False,
) -> int:
    """Writes crops, labels and contact sheets into the folder `output`, and prints a summary.

    Args:
        inputs: Videos, pictures, folders of pictures.
        output: Made if it does not exist.
        config: Settings of the pipeline.
        load_experts: Called if an input is to be annotated.
        overwrite: Annotate inputs again whose part is complete.

    Returns:
        1 if an input cannot be read or nobody was found, else 0; 128 + the signal's number if
        SIGINT or SIGTERM has ended it, after what is complete is written.

    Raises:
        PearError: If a file or setting cannot be used.
    """
    listed = _named(inputs)
    try:
        for folder in (CROPS_FOLDER, PARTS_FOLDER):
            (output / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabelError(f"{output} cannot be written: {error.strerror or error}") from error
    todo = [one for one in listed if overwrite or not _is_complete(output, one)]
    if len(todo) < len(listed):
        print(f"already annotated: {len(listed) - len(todo)} of {len(listed)} inputs")
    unreadable = 0
    received: list[int] = []
    if todo:
        annotator = Annotator(config, load_experts())
        with suppress(KeyboardInterrupt), received_signals(raises=True) as received:
            for one in tqdm(todo, unit="input"):
                labels, images, failed = annotator(one, output / CROPS_FOLDER)
                for reason in failed:
                    tqdm.write(reason, file=sys.stderr)
                unreadable += len(failed)
                if images:
                    write_labels(_part(output, one), labels)
                    tqdm.write(f"{one.file}: {images} images, {_share(labels)}")
    parts = [read_labels(_part(output, one), output / CROPS_FOLDER)
             for one in listed if _part(output, one).exists()]  # fmt: skip
    if sum(map(len, parts)) == 0:
        if received:
            return 128 + received[0]
        print("nobody was found", file=sys.stderr)
        return 1
    labels = join(parts)
    write_labels(output / LABELS_FILE, labels)
    write_sheets(output, labels, load_assets(Path(config.body.assets)))
    print(summary(labels))
    print(f"wrote {output / LABELS_FILE}")
    if received:
        return 128 + received[0]
    return 1 if unreadable else 0


class Annotator:
    """Finds the people of an input, fits bodies to them and judges the result."""

    def __init__(self, config: Config, experts: Experts) -> None:
        self._experts = experts
        self._problems = Problems(lambda message: tqdm.write(message, file=sys.stderr))
        self._pipeline: Pipeline = load_pipeline(config, self._problems)
        assets: BodyAssets = load_assets(Path(config.body.assets))
        self._fitter = Fitter(assets, PosePrior.of_motions())

    def __call__(self, one: Input, crops: Path) -> tuple[Labels, int, list[str]]:
        """The labels of an input, its number of images, and those unread, with the reason.

        The crops are written to the folder `crops`.
        """
        images = read_images(list_inputs([one.path]).files)
        sightings, count, unreadable = collect(
            one.name, images, self._pipeline, self._experts, crops
        )
        observed = observed_in(sightings)
        fit = self._fit(sightings.parameters, observed)
        verdicts = judged(observed, fit, self._fitter.landmarks.available)
        return labels_of(one.file, sightings, fit, verdicts), count, unreadable

    def _fit(self, start: EhmParameters, observed: Observed) -> Fit:
        """The fit in one or several parts, each of which has its own shapes of the people."""
        fits = [
            self._fitter(map_tensors(start, lambda values, r=rows: values[r]), observed.rows(rows))  # type: ignore[misc]
            for rows in torch.arange(len(observed.track)).split(MOST_AT_ONCE)
        ]
        return join_fits(fits)


def observed_in(sightings: Sightings) -> Observed:
    """What the fit and the gate need of the sightings."""
    people = sorted(set(sightings.person))
    sizes = [picture.image_size for picture in sightings.pictures]
    return Observed(
        keypoints=torch.from_numpy(sightings.keypoints),
        boxes_xyxy=torch.from_numpy(sightings.boxes_xyxy),
        image_size=torch.tensor(sizes, dtype=torch.float32).reshape(-1, 2),
        intrinsics=torch.from_numpy(sightings.intrinsics),
        track=np.array([people.index(person) for person in sightings.person], np.int64),
        stamp_s=torch.from_numpy(sightings.stamp_s),
    )


def labels_of(source: str, sightings: Sightings, fit: Fit, verdicts: Verdicts) -> Labels:
    """The labels of M people: what is in pixels of the image is converted to the pictures'."""
    count = len(sightings)
    pictures = sightings.pictures

    def stacked(rows: list[FloatArray], *shape: int) -> FloatArray:
        return np.array(rows, np.float32).reshape(count, *shape)

    keypoints = sightings.keypoints.copy()
    for row, picture in zip(keypoints, pictures, strict=True):
        row[:, :2] = picture.from_image(row[:, :2])
    keypoints[keypoints[..., 2] == 0] = 0
    boxes = [
        picture.from_image(box.reshape(2, 2))
        for picture, box in zip(pictures, sightings.boxes_xyxy, strict=True)
    ]
    return Labels(
        file=np.array(sightings.files, np.str_),
        source_input=np.array([source] * count, np.str_),
        source_frame=sightings.frame,
        source_person=np.array(sightings.person, np.str_),
        picture_xyxy=stacked([picture.image_xyxy for picture in pictures], 4),
        box=stacked(boxes, 4),
        intrinsics=stacked(
            [
                p.intrinsics_from_image(k)
                for p, k in zip(pictures, sightings.intrinsics, strict=True)
            ],
            4,
        ),
        keypoints=keypoints,
        translation=fit.translation.numpy(),
        joints=fit.joints.numpy(),
        joint_confidence=verdicts.joints,
        confidence_body=verdicts.body,
        confidence_left_hand=verdicts.left_hand,
        confidence_right_hand=verdicts.right_hand,
        confidence_face=verdicts.face,
        is_accepted=verdicts.is_accepted,
        rejection=verdicts.rejection,
        parameters=fit.parameters,
    )


def summary(labels: Labels) -> str:
    """Images, people and what the gate said, by input and in total, and why it rejected whom."""
    lines = [_row("input", "images", "people", "accepted", "left hand", "right hand", "face")]
    for name in (*sorted(set(labels.source_input)), None):
        of_input = labels.source_input == name
        rows = np.flatnonzero(of_input) if name else np.arange(len(labels))
        some = labels.rows(rows)
        images = len(set(zip(some.source_input, some.source_frame, strict=True)))
        parts = (some.is_accepted, some.confidence_left_hand > 0, some.confidence_right_hand > 0,
                 some.confidence_face > 0)  # fmt: skip
        shares = [f"{100 * part.mean():.0f} %" for part in parts]
        lines.append(_row(str(name or "all"), str(images), str(len(rows)), *shares))
    reasons = Counter(labels.rejection[~labels.is_accepted])
    for reason, count in reasons.most_common():
        lines.append(f"rejected, {reason}: {count} ({REASONS[str(reason)]})")
    return "\n".join(lines)


def _row(name: str, *cells: str) -> str:
    return f"{name:44}" + "".join(f"{cell:>11}" for cell in cells)


def _share(labels: Labels) -> str:
    return f"{len(labels)} people, {int(labels.is_accepted.sum())} accepted"


def _named(inputs: Sequence[Path]) -> list[Input]:
    """The inputs with the names of their parts.

    Raises:
        PearError: If a path does not exist or a folder has no images.
        LabelError: If two inputs have the same name.
    """
    named: list[Input] = []
    for path in inputs:
        list_inputs([path])
        file = path.resolve().name
        name = re.sub(r"[^\w\-]", "_", file) or "_"
        if any(one.name == name for one in named):
            raise LabelError(f"{path}: another input has the same name; rename one of them")
        named.append(Input(name, path, file))
    return named


def _part(output: Path, one: Input) -> Path:
    return output / PARTS_FOLDER / f"{one.name}.npz"


def _is_complete(output: Path, one: Input) -> bool:
    """Whether the input's part and its crops can be read; a damaged part is made again."""
    try:
        read_labels(_part(output, one), output / CROPS_FOLDER)
    except LabelError:
        return False
    return True
