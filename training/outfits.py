"""Random clothes, hair and bags that stand off the body: colours and offsets of its vertices.

`pear_ros.synthetic.appearance` paints clothes on the skin. Real clothes change the outline: sleeves
are wide, hair falls on the shoulders, a skirt hides the legs. Here vertices are moved along their
normals, in the pose that they have, and the legs of a person in a skirt lie on a cone. The labels
are those of the body below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.people import JOINT, FloatArray, ImageArray, IntArray
from pear_ros.rendering.renderer import vertex_normals
from pear_ros.synthetic.appearance import HAIR_RGB, SKIN_RGB, Mask, Wardrobe

Array = NDArray[np.float64]
Random = np.random.Generator

WAVES = 32  # of the random fields from which folds and patterns are made
SKIRT = 0.12  # fraction of people in skirts or dresses
PAINTED = 0.35  # of people whose clothes are painted on the skin, as in the evaluation
BRIGHT = 0.3  # fraction of garments of any colour
CLOTH_RGB = {
    "black": (0.06, 0.06, 0.07),
    "charcoal": (0.18, 0.18, 0.2),
    "grey": (0.45, 0.45, 0.46),
    "white": (0.8, 0.8, 0.78),
    "navy": (0.1, 0.13, 0.25),
    "denim": (0.24, 0.32, 0.45),
    "beige": (0.65, 0.56, 0.45),
    "brown": (0.3, 0.2, 0.14),
    "olive": (0.28, 0.29, 0.18),
}
SKIRT_TURN_DEG = 125.0  # of a leg's circumference that lies on the skirt, to each side
SKIRT_OVERLAP_M = 0.01  # of its halves


@dataclass(frozen=True)
class Skirt:
    """A cone around both legs."""

    hem_y: float  # m, height of the hem on the body at rest
    flare_m: float  # wider than the legs at the knees


@dataclass(frozen=True)
class Outfit:
    """What one person wears."""

    colors: FloatArray  # (V, 3) RGB, 0 to 1
    offsets: FloatArray  # (V,) m, along the normals
    skirt: Skirt | None


class Outfits(Wardrobe):
    """Draws outfits for a body of `assets`, and puts them on posed bodies."""

    def __init__(self, assets: BodyAssets) -> None:
        super().__init__(assets)
        self._body_faces = assets.body_faces
        rest, at = self._rest, self._at
        self._x, self._y, self._z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
        sides = ("left", "right")
        self._legs = self._moved_by(
            *(f"{side}_{j}" for side in sides for j in ("hip", "knee", "ankle", "foot")), "pelvis"
        )
        self._feet = self._moved_by(*(f"{side}_{j}" for side in sides for j in ("ankle", "foot")))
        self._trunk = self._moved_by(
            "pelvis", "spine1", "spine2", "spine3", "neck",
            *(f"{side}_{j}" for side in sides for j in ("collar", "shoulder", "elbow", "hip")),
        )  # fmt: skip
        self._trunk &= ~self._is_head & ~self._is_hand
        eyes = (at["left_eye"] + at["right_eye"]) / 2
        self._up, self._front = rest[:, 1] - eyes[1], rest[:, 2] - eyes[2]
        # Which leg a vertex belongs to, and the turn about this leg; 0 is the outer side.
        self._leg_side = np.sign(rest[:, 0])
        leg_x, leg_z = abs(at["left_hip"][0]), at["left_hip"][2]
        self._leg_turn = np.arctan2(self._z - leg_z, self._x - leg_x)
        self._arm_span = abs(at["left_shoulder"][0]), abs(at["left_wrist"][0])
        # Random fields: sums of waves at the vertices of the body at rest.
        waves = np.random.default_rng(7).normal(0, 1, (3, WAVES)) * np.geomspace(4, 60, WAVES)
        self._waves = np.sin(rest @ waves + np.arange(WAVES)).astype(np.float32)  # (V, WAVES)

    def draw(self, random: Random, pictures: list[ImageArray]) -> Outfit:
        """Draws what one person wears; patterns may be parts of `pictures`."""
        if random.random() < PAINTED:
            painted = self.colors(random)
            return Outfit(painted, np.zeros(len(painted), np.float32), None)
        skin = _mixed(SKIN_RGB, random) * random.uniform(0.85, 1.1)
        colors = np.tile(skin, (len(self._rest), 1))
        offsets = np.zeros(len(self._rest))
        skirt = self._lower(colors, offsets, random, pictures)
        self._upper(colors, offsets, random, pictures)
        if random.random() < 0.05:
            colors[self._is_hand] = random.uniform(0, 1, 3)  # gloves
        self._features(colors, skin, random)
        self._hair(colors, offsets, skin, random)
        grain = 1 + 0.03 * random.random() * self._field(random, rough=True)[:, None]
        return Outfit(
            np.clip(colors * grain, 0, 1).astype(np.float32), offsets.astype(np.float32), skirt
        )

    def put_on(self, outfit: Outfit, vertices: FloatArray, joints: FloatArray) -> FloatArray:
        """Moves the vertices (V, 3) m of a posed body with joints (55, 3) m: (V, 3) m."""
        worn = vertices
        if outfit.skirt is not None:
            worn = self._on_cone(outfit.skirt, worn, joints)
        if outfit.offsets.any():
            worn = worn + vertex_normals(worn[None], self._body_faces)[0] * outfit.offsets[:, None]
        return np.asarray(worn, np.float32)

    def _lower(
        self, colors: Array, offsets: Array, random: Random, pictures: list[ImageArray]
    ) -> Skirt | None:
        """Trousers, shorts or a skirt, and shoes."""
        at, y = self._at, self._y
        hip, knee, ankle = (at[f"left_{j}"][1] for j in ("hip", "knee", "ankle"))
        skirt = None
        hem = random.choice((ankle + 0.03, random.uniform(ankle, hip - 0.12)), p=(0.65, 0.35))
        loose = random.choice((0.004, random.uniform(0, 0.035)))
        if random.random() < SKIRT:
            hem = random.uniform(ankle + 0.1, hip - 0.2)
            skirt = Skirt(hem, random.uniform(0.02, 0.14))
            loose = 0.006
        legs = self._legs & (y > hem)
        colors[legs] = self._pattern(legs, random, pictures)
        down = np.clip((hip - y) / (hip - knee), 0.2, 1)  # wider towards the hem
        offsets[legs] = (loose * down * (1 + 0.4 * self._field(random)))[legs].clip(0)
        if random.random() < 0.9:
            shoes = self._feet & (y < ankle + random.uniform(-0.02, 0.08))
            colors[shoes] = random.uniform(0, 1, 3) * random.uniform(0.1, 1)
            offsets[shoes] = random.uniform(0, 0.012)
        return skirt

    def _upper(
        self, colors: Array, offsets: Array, random: Random, pictures: list[ImageArray]
    ) -> None:
        """A shirt, often a jacket over it, sometimes a scarf or a backpack."""
        at, x, y, z = self._at, self._x, self._y, self._z
        shoulder, wrist = self._arm_span
        elbow, hip = abs(at["left_elbow"][0]), at["left_hip"][1]
        spine = at["spine3"]
        layers = 1 + (random.random() < 0.4)
        for layer in range(layers):
            is_jacket = layer == 1
            cuff = random.choice(
                (
                    random.uniform(0.9, 1.0) * wrist,
                    random.uniform(shoulder, elbow),
                    shoulder - 0.02,
                ),
                p=(0.85, 0.1, 0.05) if is_jacket else (0.45, 0.45, 0.1),
            )
            waist = hip + random.choice(
                (random.uniform(-0.05, 0.12), random.uniform(-0.3, -0.05)), p=(0.75, 0.25)
            )
            neck = at["neck"][1] + random.uniform(-0.06, 0.05)
            where = self._trunk & (x < cuff) & (y > waist) & ((y < neck) | (x > 0.1))
            if is_jacket:
                where &= (x > random.uniform(0, 0.13)) | (z < spine[2])  # open at the front
            else:
                depth = random.uniform(0, 0.14)  # of the neckline
                where &= (z < spine[2]) | (neck - y > depth * (1 - x / 0.1)) | (x > 0.1)
            colors[where] = self._pattern(where, random, pictures)
            loose = random.choice((0.004, random.uniform(0, 0.03)))
            loose += is_jacket * random.uniform(0.008, 0.025)
            out = np.clip((x - shoulder) / (wrist - shoulder), 0, 1)  # wider towards the cuff
            wide = 0.6 + random.uniform(0, 0.7) * out + 0.4 * self._field(random)
            offsets[where] = (loose * wide)[where].clip(0)
        if random.random() < 0.12:  # scarf, collar or hood
            height = random.uniform(0.03, 0.09)
            scarf = (np.abs(y - at["neck"][1]) < height) & (x < 0.12)
            colors[scarf] = self._pattern(scarf, random, pictures)
            offsets[scarf] = random.uniform(0.01, 0.04)
        if random.random() < 0.06:  # backpack
            pack = (z < spine[2]) & (x < 0.15) & (y < at["neck"][1] - 0.03) & (y > hip + 0.12)
            pack &= self._trunk
            colors[pack] = random.uniform(0, 1, 3) * random.uniform(0.2, 1)
            offsets[pack] = random.uniform(0.06, 0.16)

    def _features(self, colors: Array, skin: Array, random: Random) -> None:
        """Eyes, brows, lips; sometimes a beard, glasses or a mask."""
        at, up, front = self._at, self._up, self._front
        head = self._is_head & (front > -0.04)
        shade = 1 + random.uniform(0, 0.12) * self._field(random)[head, None]
        colors[head] *= shade * (1 + random.uniform(0, 0.1) * np.array((1, -0.5, -0.5)))
        from_eye = np.abs(self._x - abs(at["left_eye"][0]))
        brows = head & (np.abs(up - 0.022) < 0.005) & (from_eye < 0.02) & (front > 0)
        colors[brows] = skin * random.uniform(0.2, 0.7)
        colors[self._lips] = skin * random.uniform(0.55, 0.95) * (1.15, 0.75, 0.75)
        if random.random() < 0.2:
            beard = head & (up < random.uniform(-0.085, -0.045)) & ~self._lips
            colors[beard] = _mixed(HAIR_RGB, random) * 0.5 + 0.5 * skin * random.uniform(0.3, 1)
        colors[self._is_eye] = random.uniform(0.7, 0.95)
        colors[self._iris] = random.uniform(0.05, 0.5, 3)
        colors[self._pupil] = 0.03
        chance = random.random()
        if chance < 0.14:
            rim = head & (np.abs(up) < 0.022) & (from_eye < 0.026) & (front > -0.015)
            is_sun = random.random() < 0.3
            ring = np.hypot(up / 0.019, from_eye / 0.025)
            frame = rim & (is_sun | ((ring > 0.8) & (ring < 1.15)))
            colors[frame] = random.uniform(0, 0.4, 3)
        elif chance < 0.17:
            colors[head & (up < -0.03) & (front > -0.02)] = random.uniform(0.2, 1, 3)

    def _hair(self, colors: Array, offsets: Array, skin: Array, random: Random) -> None:
        """Hair of several lengths and thicknesses, or a hat."""
        at, up, front, x = self._at, self._up, self._front, self._x
        if random.random() < 0.07:
            return  # bald
        color = _mixed(HAIR_RGB, random) * random.uniform(0.6, 1.2)
        line, slope = random.uniform(0.035, 0.08), random.uniform(0.5, 1.5)
        above = up - line - slope * front  # m above the hairline
        style = random.choice(("short", "medium", "long"), p=(0.5, 0.2, 0.3))
        end = {
            "short": random.uniform(-0.10, 0.02),
            "medium": random.uniform(-0.2, -0.08),
            "long": random.uniform(-0.55, -0.2),
        }[style]
        back = random.uniform(-0.075, -0.045)  # where hair begins behind the face
        is_hair = self._is_head & ((above > 0) | ((front < back) & (up > end)))
        if style != "short":
            # Hair in front of the ears and on neck, shoulders and back.
            is_hair |= self._is_head & (front < random.uniform(-0.05, -0.01)) & (up > end)
            neck_z = at["neck"][2]
            falls = (up > end) & (up < 0.02) & (x < random.uniform(0.07, 0.12))
            falls &= self._z < neck_z + random.uniform(-0.02, 0.05)
            is_hair |= falls & (self._trunk | self._is_head | self._moved_by("neck"))
        is_hair &= ~self._is_eye
        thick = {"short": 0.012, "medium": 0.025, "long": 0.03}[style] * random.uniform(0.2, 2)
        if random.random() < 0.05:
            thick = random.uniform(0.04, 0.09)
        shade = 1 + 0.25 * self._field(random, rough=True)[:, None]
        colors[is_hair] = (color * shade)[is_hair]
        depth = np.where(up > -0.1, np.clip(above / 0.03 + 1, 0.15, 1), 1)
        offsets[is_hair] = (thick * depth * (1 + 0.3 * self._field(random)))[is_hair].clip(0)
        if random.random() < 0.1:
            hat = self._is_head & (up > random.uniform(0.02, 0.06) + 0.3 * front) & ~self._is_eye
            colors[hat] = random.uniform(0, 1, 3)
            offsets[hat] = random.uniform(0.01, 0.03)

    def _pattern(self, where: Mask, random: Random, pictures: list[ImageArray]) -> Array:
        """(K, 3) colours of a garment: plain, striped, checked, blotched or from a picture."""
        plain = _cloth_color(random)
        places = self._rest[where]
        count = len(places)
        kind = random.random()
        if kind < 0.45:
            share = 0.15 * random.random() * self._field(random)[where]
            return plain * (1 + share[:, None])
        if kind < 0.65 and pictures:
            picture = pictures[random.integers(len(pictures))]
            scale = random.uniform(100, 500)  # px per m
            corner = random.uniform(0, 1000, 2)
            axes = (1, 0) if random.random() < 0.8 else (1, 2)
            rows, columns = (places[:, axes] * scale + corner).astype(int).T
            height, width, _ = picture.shape
            sampled = picture[rows % height, columns % width] / 255.0
            return sampled * random.uniform(0.5, 1.1, 3)
        second = _cloth_color(random)
        if kind < 0.75:
            share = (self._field(random, rough=True)[where] > random.uniform(-1, 1)).astype(float)
        else:
            direction = random.normal(size=3)
            direction[1] += random.choice((0.0, 3.0))
            direction /= np.linalg.norm(direction)
            cycles = random.uniform(4, 22) * (places @ direction) + random.random()
            share = (cycles % 1 < random.uniform(0.1, 0.6)).astype(float)
            if kind > 0.88:  # checked
                other = random.uniform(4, 22) * (places @ np.roll(direction, 1)) % 1
                share = 0.5 * share + 0.5 * (other < random.uniform(0.1, 0.6))
        assert len(share) == count
        return plain + share[:, None] * (second - plain)

    def _field(self, random: Random, rough: bool = False) -> Array:
        """(V,) smooth random numbers with a spread of about 1."""
        used = slice(WAVES // 2, None) if rough else slice(None, WAVES // 2)
        weights = random.normal(0, np.sqrt(4 / WAVES), WAVES // 2).astype(np.float32)
        return np.asarray(self._waves[:, used] @ weights, np.float64)

    def _on_cone(self, skirt: Skirt, vertices: FloatArray, joints: FloatArray) -> FloatArray:
        """Moves the legs down to the hem to a cone around both, which bends at the knees.

        Each leg becomes half of it; the inner side of a leg closes its half in the middle.
        """
        hip_y, knee_y, ankle_y = (self._at[f"left_{j}"][1] for j in ("hip", "knee", "ankle"))
        chosen: IntArray = np.flatnonzero(
            self._legs & (self._y > skirt.hem_y) & (self._y < hip_y + 0.02)
        )
        y = self._y[chosen]
        down = (hip_y - y) / (hip_y - knee_y)  # 0 at the hips, 1 at the knees
        turn = self._leg_turn[chosen] * (90 / SKIRT_TURN_DEG)
        turn = np.clip(turn, -np.pi / 2, np.pi / 2)
        hips, knees, ankles = (
            np.stack([joints[JOINT[f"{side}_{j}"]] for side in ("left", "right")]).astype(float)
            for j in ("hip", "knee", "ankle")
        )  # (2, 3) each
        cone = np.empty((len(chosen), 3))
        for rows, above, below, share in (
            (down <= 1, hips, knees, down),
            (down > 1, knees, ankles, (knee_y - y) / (knee_y - ankle_y)),
        ):
            start, along = above.mean(0), below.mean(0) - above.mean(0)
            side, front = _axes_around(along, hips[0] - hips[1])
            apart = np.abs(
                np.stack((above[0] - above[1], below[0] - below[1]))
                / 2
                @ np.stack((side, front), -1)
            )  # (2, 2) above and below
            spread = apart[0] + np.outer(share.clip(0), apart[1] - apart[0])  # (K, 2)
            wide = spread[:, 0] + 0.08 + skirt.flare_m * down
            deep = spread[:, 1] + 0.11 + 0.4 * skirt.flare_m * down
            across = self._leg_side[chosen] * (np.cos(turn) * wide - SKIRT_OVERLAP_M)
            places = start + np.outer(share, along) + np.outer(across, side)
            cone[rows] = (places + np.outer(np.sin(turn) * deep, front))[rows]
        blend = np.clip(down / 0.25, 0, 1)[:, None]
        moved = vertices.copy()
        moved[chosen] += (blend * (cone - vertices[chosen])).astype(np.float32)
        return moved


def _axes_around(along: Array, left: Array) -> tuple[Array, Array]:
    """Unit vectors to the left and to the front of legs that go `along` (3,)."""
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    side = left - along * (left @ along)
    side /= max(float(np.linalg.norm(side)), 1e-6)
    return side, np.cross(along, side)


def _cloth_color(random: Random) -> Array:
    """(3,) RGB: clothes are mostly dark, grey, white, blue or brown."""
    if random.random() < BRIGHT:
        return random.uniform(0.03, 1, 3)
    name = str(random.choice(list(CLOTH_RGB)))
    tint = random.uniform(0.9, 1.1, 3)
    return np.clip(random.uniform(0.6, 1.5) * tint * CLOTH_RGB[name], 0.01, 1)


def _mixed(palette: tuple[tuple[float, ...], ...], random: Random) -> Array:
    """A random colour (3,) between two neighbours in a palette."""
    i = random.integers(len(palette) - 1)
    share = random.random()
    return (1 - share) * np.array(palette[i]) + share * np.array(palette[i + 1])
