"""Random clothes, skin and hair: colours of a body's vertices.

The borders of garments are placed relative to joints of the body at rest, so any body in SMPL-X's
rest pose can be clothed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.people import JOINT, JOINT_NAMES, FloatArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Random = np.random.Generator

SKIN_RGB = ((0.98, 0.82, 0.72), (0.90, 0.70, 0.56), (0.76, 0.55, 0.40), (0.55, 0.37, 0.26),
            (0.36, 0.23, 0.16))  # fmt: skip
HAIR_RGB = ((0.08, 0.06, 0.05), (0.25, 0.16, 0.10), (0.45, 0.30, 0.17), (0.75, 0.60, 0.36),
            (0.55, 0.53, 0.52), (0.50, 0.22, 0.10))  # fmt: skip
LIP_M = 0.006  # largest distance from the opposite lip
IRIS_M, PUPIL_M = 0.0062, 0.003  # radii


class Wardrobe:
    """Draws colours for a body of `assets`."""

    def __init__(self, assets: BodyAssets) -> None:
        rest: Array = assets.body_template.astype(float)
        self._rest = rest
        joints = assets.body_joint_regressor.astype(float) @ rest  # (55, 3)
        self._at = dict(zip(JOINT_NAMES, joints, strict=True))
        self._joint = assets.body_weights.argmax(1)  # (V,) the joint with the largest weight
        self._is_head = self._moved_by("head", "jaw", "left_eye", "right_eye")
        self._is_hand = self._joint >= JOINT["left_index1"]
        self._is_hand |= self._moved_by("left_wrist", "right_wrist")
        self._is_eye, self._iris, self._pupil = self._eyes()
        self._lips = self._mouth(assets)

    def colors(self, random: Random) -> FloatArray:
        """Draws the colours (V, 3) RGB, 0 to 1, of one person."""
        rest, at = self._rest, self._at
        x, y = np.abs(rest[:, 0]), rest[:, 1]

        def along(begin: str, end: str, share: float, axis: int) -> float:
            return float(abs((1 - share) * at[begin][axis] + share * at[end][axis]))

        skin = _mix(SKIN_RGB, random)
        colors = np.tile(skin, (len(rest), 1))

        # From the feet upwards; later garments cover earlier ones.
        ankle, hip = along("left_ankle", "left_ankle", 0, 1), at["left_hip"][1]
        legs = self._moved_by(*(f"{side}_{j}" for side in ("left", "right")
                                for j in ("hip", "knee", "ankle", "foot")), "pelvis")  # fmt: skip
        hem = random.choice((-ankle + 0.02, random.uniform(-ankle, hip - 0.1)))
        trousers = legs & (y > hem)
        colors[trousers] = self._cloth(trousers, random)
        shoes = legs & (y < -ankle + random.uniform(0.0, 0.06))
        colors[shoes] = random.uniform(0, 1, 3)
        trunk = self._moved_by("pelvis", "spine1", "spine2", "spine3", "left_collar",
                               "right_collar", "left_shoulder", "right_shoulder", "left_elbow",
                               "right_elbow", "neck")  # fmt: skip
        cuff = random.choice(
            (
                along("left_elbow", "left_wrist", random.uniform(0.7, 1), 0),
                along("left_shoulder", "left_elbow", random.uniform(0.1, 0.9), 0),
            )
        )
        waist = at["pelvis"][1] + random.uniform(-0.08, 0.08)
        neck = at["neck"][1] + random.uniform(-0.05, 0.03)
        shirt = trunk & (x < cuff) & (y > waist) & ((y < neck) | (x > 0.1)) & ~self._is_head
        colors[shirt] = self._cloth(shirt, random)
        if random.random() < 0.1:
            colors[self._is_hand] = random.uniform(0, 1, 3)  # gloves

        self._face(colors, skin, random)
        grain = 1 + random.normal(0, random.uniform(0, 0.05), (len(rest), 1))
        return np.clip(colors * grain, 0, 1).astype(np.float32)

    def _face(self, colors: Array, skin: Array, random: Random) -> None:
        rest, at = self._rest, self._at
        eyes = (at["left_eye"] + at["right_eye"]) / 2
        up, front = rest[:, 1] - eyes[1], rest[:, 2] - eyes[2]
        hair = _mix(HAIR_RGB, random)
        if random.random() < 0.9:
            line, slope = random.uniform(0.04, 0.075), random.uniform(0.5, 1.5)
            length = random.uniform(-0.12, 0.02)
            is_hair = self._is_head & (up > line + slope * front) & ~self._is_eye
            is_hair |= self._is_head & (front < -0.06) & (up > length) & ~self._is_eye
            colors[is_hair] = hair
        from_eye = np.abs(np.abs(rest[:, 0]) - abs(at["left_eye"][0]))
        brows = self._is_head & (np.abs(up - 0.022) < 0.005) & (from_eye < 0.02) & (front > 0)
        colors[brows & ~self._is_eye] = 0.6 * hair
        colors[self._lips] = skin * random.uniform(0.55, 0.85) * (1.15, 0.75, 0.75)
        colors[self._is_eye] = 0.95
        colors[self._iris] = random.uniform(0.1, 0.55, 3)
        colors[self._pupil] = 0.03

    def _cloth(self, where: Mask, random: Random) -> Array:
        """(K, 3) colours of a garment: plain, striped or blotched."""
        places = self._rest[where]
        plain = random.uniform(0.03, 1, 3)
        if random.random() < 0.25:  # a grey
            plain[:] = random.uniform(0.03, 1)
        kind = random.random()
        if kind < 0.5:
            return np.tile(plain, (len(places), 1))
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        cycles = random.uniform(4, 20) * (places @ direction) + random.random()
        second = random.uniform(0, 1, 3)
        if kind < 0.75:
            share = (cycles % 1 < random.uniform(0.2, 0.6)).astype(float)
        else:
            other = random.uniform(4, 20) * (places @ np.roll(direction, 1))
            share = 0.5 + 0.5 * np.sin(2 * np.pi * cycles) * np.sin(2 * np.pi * other)
        return plain + share[:, None] * (second - plain)

    def _moved_by(self, *names: str) -> Mask:
        return np.isin(self._joint, [JOINT[name] for name in names])

    def _eyes(self) -> tuple[Mask, Mask, Mask]:
        """(V,) each: the vertices of the eyeballs, of the irises and of the pupils."""
        is_eye = np.zeros(len(self._rest), bool)
        from_axis = np.full(len(self._rest), np.inf)
        for side in ("left", "right"):
            ball = self._moved_by(f"{side}_eye")
            middle = self._at[f"{side}_eye"]
            is_eye |= ball
            offset = self._rest[ball] - middle
            from_axis[ball] = np.where(
                offset[:, 2] > 0, np.hypot(offset[:, 0], offset[:, 1]), np.inf
            )
        return is_eye, from_axis < IRIS_M, from_axis < PUPIL_M

    def _mouth(self, assets: BodyAssets) -> Mask:
        """(V,) the lips: where the lower face, which moves with the jaw, meets the upper face."""
        jaw = assets.body_weights[:, JOINT["jaw"]]
        head = np.flatnonzero(self._is_head & (self._rest[:, 2] > self._at["left_eye"][2]))
        upper, lower = head[jaw[head] < 0.3], head[jaw[head] > 0.7]
        lips = np.zeros(len(jaw), bool)
        if len(upper) and len(lower):
            gap = np.linalg.norm(self._rest[upper][:, None] - self._rest[lower], axis=-1)
            lips[upper] = gap.min(1) < LIP_M
            lips[lower] = gap.min(0) < LIP_M
        return lips


def _mix(palette: tuple[tuple[float, ...], ...], random: Random) -> Array:
    """A random colour (3,) between two neighbours in a palette."""
    i = random.integers(len(palette) - 1)
    share = random.random()
    return (1 - share) * np.array(palette[i]) + share * np.array(palette[i + 1])
