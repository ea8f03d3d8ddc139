"""Expressions, eyelids and facial features from MakeHuman's targets and face units."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.standin.crowd import DETAIL_SPREAD
from training.standin.makehuman import Array, Mesh, read_details, read_face_unit
from training.standin.surface import Surface

FACE_DETAILS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears")
# Details that move or scale the whole face, which the alignment of the eyes and the head's scale
# do already, or that change one side only.
NOT_FACE_DETAILS = ("head-trans", "head-angle", "head-scale", "-trans-in-out", "eye-trans")


def both(unit: str, amount: float = 1.0) -> dict[str, float]:
    """A face unit on both sides."""
    return {f"{unit}Left": amount, f"{unit}Right": amount}


# Expressions as sums of face units, chosen so that negative coefficients make sense as well.
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
EXPRESSION_SPREAD = 0.4  # factor of the sums above, so that several can be added
EYELID_RADIUS_M, EYELID_FADE_M = 0.025, 0.01  # distance from the centre of the eye
EYELID_CLOSED = 0.8  # factor of the face unit, which closes most eyes too far


def expressions(data: Path, surface: Surface) -> Array:
    """Blend shapes (V, 3, expressions) of the expressions, m for a coefficient of 1."""
    units = {name: read_face_unit(data, name) for e in EXPRESSIONS for name in e}
    columns = [
        EXPRESSION_SPREAD * sum(amount * units[name] for name, amount in expression.items())
        for expression in EXPRESSIONS
    ]
    return np.stack(columns, -1)[surface.ids] * ~surface.is_eye[:, None, None]


def eyelids(data: Path, mesh: Mesh, surface: Surface) -> Array:
    """Blend shapes (2, V, 3), m, that close the left and the right eye.

    Movements of the face units away from the eye are removed.
    """
    lids = []
    for side in ("Left", "Right"):
        ball = np.unique(mesh.triangles[f"helper-{side[0].lower()}-eye"])
        offsets = mesh.vertices - mesh.vertices[ball].mean(0)
        beyond = (np.linalg.norm(offsets, axis=1) - EYELID_RADIUS_M) / EYELID_FADE_M
        near = 1 - np.clip(beyond, 0, 1)[:, None]
        lids.append((EYELID_CLOSED * near * read_face_unit(data, f"eyeBlink{side}"))[surface.ids])
    return np.stack(lids) * ~surface.is_eye[:, None]


def features(data: Path, surface: Surface, factor: Array) -> Array:
    """Facial features (D, V, 3), m, for coefficients of standard deviation 1.

    Args:
        data: Folder of MakeHuman's files.
        surface: The vertices.
        factor: (V,) factor of the movements, 0 at vertices that must not move.
    """
    details = read_details(data, FACE_DETAILS)
    kept = [
        DETAIL_SPREAD * offsets[surface.ids] * factor[:, None]
        for name, offsets in details.items()
        if not any(word in name for word in NOT_FACE_DETAILS)
    ]
    return np.stack(kept)
