"""Pictures to look at: crops with the fitted mesh and the keypoints, accepted and rejected ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from pear_ros.annotation.pseudo_labels import CROPS_FOLDER, Labels
from pear_ros.annotation.sightings import write_picture
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import BODY, FACE, FEET, LEFT_HAND, RIGHT_HAND
from pear_ros.people import Camera, ImageArray, map_tensors
from pear_ros.rendering.renderer import render

PICTURES_FOLDER = "pictures"
TILE_PX, COLUMNS, ROWS = 224, 8, 5
TILE_MARGIN = 1.2  # side of what a tile shows over the longer side of the person's box
MOST_SHEETS = 2  # of each kind
MESH_RGB = (0.75, 0.8, 0.9)
POINT_COLORS = (
    (BODY, (255, 60, 60), 2),
    (FEET, (255, 60, 60), 2),
    (FACE, (255, 255, 255), 1),
    (LEFT_HAND, (255, 200, 0), 1),
    (RIGHT_HAND, (0, 230, 80), 1),
)
LEAST_CONFIDENCE = 0.3  # of a keypoint that is drawn


def write_sheets(output: Path, labels: Labels, assets: BodyAssets, seed: int = 0) -> None:
    """Writes `pictures/accepted_*.jpg` and `pictures/rejected_*.jpg`, of random people.

    Raises:
        LabelError: If a sheet cannot be written.
        OSError: If the folder cannot be made.
    """
    model = BodyModel(assets)
    folder = output / PICTURES_FOLDER
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    per_sheet = COLUMNS * ROWS
    for name, wanted in (("accepted", labels.is_accepted), ("rejected", ~labels.is_accepted)):
        for old in folder.glob(f"{name}_*.jpg"):
            old.unlink()
        rows = random.permutation(np.flatnonzero(wanted))[: MOST_SHEETS * per_sheet]
        for number, first in enumerate(range(0, len(rows), per_sheet), 1):
            some = np.sort(rows[first : first + per_sheet])
            tiles = [tile(output, labels, row, model) for row in some]
            write_picture(folder / f"{name}_{number}.jpg", _sheet(tiles))


@torch.no_grad()
def tile(output: Path, labels: Labels, row: int, model: BodyModel) -> ImageArray:
    """One person's crop with mesh and keypoints: (TILE_PX, TILE_PX, 3) RGB."""
    image = cv2.imread(str(output / CROPS_FOLDER / str(labels.file[row])))
    if image is None:
        return np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    box = labels.box[row]
    side = TILE_MARGIN * float((box[2:] - box[:2]).max())
    zoom = TILE_PX / side
    left, top = (box[:2] + box[2:]) / 2 - side / 2  # px of the crop's picture
    shift = np.array(((zoom, 0, -zoom * left), (0, zoom, -zoom * top)))
    pixels = cv2.warpAffine(image, shift, (TILE_PX, TILE_PX), flags=cv2.INTER_LINEAR)
    picture = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    index = torch.tensor([row])
    bodies = model(map_tensors(labels.parameters, lambda rows: rows[index]), mesh=True)
    assert bodies.vertices is not None
    placed = bodies.vertices.numpy() + labels.translation[row]  # (1, V, 3) m
    if np.isfinite(placed).all():
        colors = np.array(MESH_RGB, np.float32).reshape(1, 1, 3)
        fx, fy, cx, cy = labels.intrinsics[row].tolist()
        camera = Camera(zoom * fx, zoom * fy, zoom * (cx - left), zoom * (cy - top))
        drawn = render(picture, placed, model.faces, colors, camera).image
        picture = np.asarray(cv2.addWeighted(drawn, 0.55, picture, 0.45, 0), np.uint8)
    for part, color, radius in POINT_COLORS:
        for x, y, confidence in labels.keypoints[row, part]:
            if confidence > LEAST_CONFIDENCE:
                at = (round(float(zoom * (x - left))), round(float(zoom * (y - top))))
                cv2.circle(picture, at, radius, color, -1, cv2.LINE_AA)
    text = str(labels.rejection[row]) or " ".join(
        f"{getattr(labels, f'confidence_{part}')[row]:.1f}"
        for part in ("body", "left_hand", "right_hand", "face")
    )
    cv2.putText(picture, text, (4, TILE_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1)
    return picture


def _sheet(tiles: list[ImageArray]) -> ImageArray:
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((rows * TILE_PX, min(len(tiles), COLUMNS) * TILE_PX, 3), np.uint8)
    for i, picture in enumerate(tiles):
        y, x = TILE_PX * (i // COLUMNS), TILE_PX * (i % COLUMNS)
        sheet[y : y + TILE_PX, x : x + TILE_PX] = picture
    return sheet
