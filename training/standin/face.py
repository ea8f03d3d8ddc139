"""Expressions, eyelids and features of the face, from MakeHuman's targets and face units."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.standin.crowd import DETAIL_SPREAD
from training.standin.makehuman import Array, Mesh, read_details, read_face_unit
from training.standin.surface import Surface

FACE_DETAILS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears")
# They move the face as a whole, which the eyes' alignment and the head's scale do already, or
# only one side of it.
NOT_FACE_DETAILS = ("head-trans", "head-angle", "head-scale", "-trans-in-out", "eye-trans")


def both(unit: str, amount: float = 1.0) -> dict[str, float]:
    return {f"{unit}Left": amount, f"{unit}Right": amount}


# Expressions as sums of face units. Signed, so that a normal coefficient makes sense both ways.
EXPRESSIONS: tuple[dict[str, float], ...] = (
    {**both("mouthSmile", 0.5), **both("mouthFrown", -0.5), **both("cheekSquint", 0.3)},
    {"browInnerUp": 0.5, **both("browOuterUp", 0.5), **both("browDown", -0.5)},
    {"mouthPucker": 0.5, **both("mouthStretch", -0.5)},
    {**both("eyeWide", 0.5), **both("eyeSquint", -0.5)},
    {"jawLeft": 0.5, "jawRight": -0.5},
    {"mouthLeft": 0.5, "mouthRight": -0.5},
    {"cheekPuff": 0.5},
    {"mouthFunnel": 0.5},
    {**both("mouthUpperUp", 0.5), **both("noseSneer", 0.25)},
    {**both("mouthLowerDown", 0.5)},
    {**both("noseSneer", 0.5)},
    {"jawForward": 0.5},
    {"mouthRollLower": 0.5, "mouthRollUpper": 0.5},
    {"mouthShrugLower": 0.5, "mouthShrugUpper": 0.5},
    {**both("mouthPress", 0.5)},
    {**both("mouthDimple", 0.5)},
    {"browInnerUp": 0.7, **both("browOuterUp", -0.3)},
    {**both("cheekSquint", 0.5), **both("eyeSquint", 0.3)},
    {"mouthSmileLeft": 0.4, "mouthSmileRight": -0.4},
    {"browOuterUpLeft": 0.4, "browOuterUpRight": -0.4},
    {"browDownLeft": 0.3, "browDownRight": -0.3, "eyeSquintLeft": 0.3, "eyeSquintRight": -0.3},
    {"mouthUpperUpLeft": 0.3, "mouthUpperUpRight": -0.3},
    {"mouthLowerDownLeft": 0.3, "mouthLowerDownRight": -0.3},
    {"noseSneerLeft": 0.3, "noseSneerRight": -0.3},
)
EXPRESSION_SPREAD = 0.4  # of the sums above, so that many may add up
EYELID_RADIUS_M, EYELID_FADE_M = 0.025, 0.01  # from the eye's middle
EYELID_CLOSED = 0.8  # of the face unit, which goes too far for most eyes


def expressions(data: Path, surface: Surface) -> Array:
    """(V, 3, expressions) m for a coefficient of 1."""
    units = {name: read_face_unit(data, name) for e in EXPRESSIONS for name in e}
    columns = [
        EXPRESSION_SPREAD * sum(amount * units[name] for name, amount in expression.items())
        for expression in EXPRESSIONS
    ]
    return np.stack(columns, -1)[surface.ids] * ~surface.is_eye[:, None, None]


def eyelids(data: Path, mesh: Mesh, surface: Surface) -> Array:
    """(2, V, 3) m that close the left and the right eye; what else the units move is left out."""
    lids = []
    for side in ("Left", "Right"):
        ball = np.unique(mesh.triangles[f"helper-{side[0].lower()}-eye"])
        offsets = mesh.vertices - mesh.vertices[ball].mean(0)
        beyond = (np.linalg.norm(offsets, axis=1) - EYELID_RADIUS_M) / EYELID_FADE_M
        near = 1 - np.clip(beyond, 0, 1)[:, None]
        lids.append((EYELID_CLOSED * near * read_face_unit(data, f"eyeBlink{side}"))[surface.ids])
    return np.stack(lids) * ~surface.is_eye[:, None]


def features(data: Path, surface: Surface, calm: Array) -> Array:
    """(D, V, 3) m, of standard deviation 1; `calm` (V,) is 0 where the neck has to stay."""
    read = read_details(data, FACE_DETAILS)
    kept = [
        DETAIL_SPREAD * moved[surface.ids] * calm[:, None]
        for name, moved in read.items()
        if not any(word in name for word in NOT_FACE_DETAILS)
    ]
    return np.stack(kept)
