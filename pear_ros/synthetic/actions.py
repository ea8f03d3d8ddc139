"""Actions of people, poses and periodic movements, for training; held_out.py has others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pear_ros.synthetic.controls import FINGERS

Random = np.random.Generator

HAND_SHAPES: dict[str, dict[str, float]] = {
    "open": {"spread": 0.5},
    "relaxed": {"index_curl": 0.2, "middle_curl": 0.28, "ring_curl": 0.33, "pinky_curl": 0.35,
                "thumb_oppose": 0.25, "thumb_curl": 0.2},
    "fist": {**{f"{finger}_curl": 1 for finger in FINGERS}, "thumb_oppose": 0.9, "thumb_curl": 0.8},
    "point": {"middle_curl": 0.95, "ring_curl": 1, "pinky_curl": 1, "thumb_oppose": 0.8,
              "thumb_curl": 0.7},
    "thumb": {f"{finger}_curl": 1 for finger in FINGERS},
    "two": {"ring_curl": 1, "pinky_curl": 1, "thumb_oppose": 0.9, "thumb_curl": 0.7, "spread": 0.8},
    "pinch": {"index_curl": 0.45, "middle_curl": 0.3, "ring_curl": 0.2, "pinky_curl": 0.15,
              "thumb_oppose": 0.8, "thumb_curl": 0.4},
    "grip": {**{f"{finger}_curl": 0.6 for finger in FINGERS}, "thumb_oppose": 0.8,
             "thumb_curl": 0.4},
}  # fmt: skip


@dataclass(frozen=True)
class Wave:
    """A sinusoidal movement of one control."""

    control: str
    amplitude: float  # in the unit of the control
    rate_hz: float
    phase: float = 0.0  # cycles


@dataclass
class Action:
    """A pose, by the controls that differ from standing, and periodic movements around it."""

    pose: dict[str, float] = field(default_factory=dict)
    waves: list[Wave] = field(default_factory=list)

    def arm(self, side: str, hand: str = "", **controls: float) -> Action:
        """Sets an arm's controls, and its hand to one of HAND_SHAPES."""
        shape = HAND_SHAPES[hand] if hand else {}
        neutral = dict.fromkeys(HAND_SHAPES["fist"] | {"spread": 0}, 0.0) if hand else {}
        for name, value in {**neutral, **shape, **controls}.items():
            self.pose[f"{side}_{name}"] = value
        return self

    def arms(self, hand: str = "", **controls: float) -> Action:
        """Sets both arms to the same controls."""
        return self.arm("left", hand, **controls).arm("right", hand, **controls)

    def legs(self, **controls: float) -> Action:
        """Sets both legs to the same controls."""
        return self.arms("", **controls)

    def swing(self, control: str, amplitude: float, rate_hz: float, phase: float = 0) -> Action:
        """Adds a sinusoidal movement; see Wave for the units."""
        self.waves.append(Wave(control, amplitude, rate_hz, phase))
        return self


# --- The actions ----------------------------------------------------------------------------------


def one_side(random: Random) -> str:
    """Left or right."""
    return str(random.choice(("left", "right")))


def _stand(random: Random) -> Action:
    return Action()


def _wave(random: Random) -> Action:
    side, rate = one_side(random), random.uniform(1, 2)
    raised, elbow = random.uniform(60, 110), random.uniform(60, 110)
    action = Action().arm(side, "open", arm_raise=raised, arm_forward=random.uniform(0, 45),
                          arm_twist=-80, elbow=elbow)  # fmt: skip
    return action.swing(f"{side}_arm_twist", 20, rate).swing(f"{side}_wrist_side", 12, rate, 0.25)


def _point(random: Random) -> Action:
    raised, forward = random.uniform(50, 110), random.uniform(0, 110)
    return Action().arm(one_side(random), "point", arm_raise=raised, arm_forward=forward,
                        elbow=random.uniform(0, 30), arm_twist=random.uniform(-60, 20))  # fmt: skip


def _hands_on_hips(random: Random) -> Action:
    return Action().arms("relaxed", arm_raise=42, arm_forward=-20, arm_twist=55, elbow=100)


def _cross_arms(random: Random) -> Action:
    action = Action().arms("relaxed", arm_raise=38, arm_forward=70, arm_twist=35, elbow=110)
    return action.arm("left", arm_raise=45)


def _think(random: Random) -> Action:
    side = one_side(random)
    other = "right" if side == "left" else "left"
    action = Action().arm(other, "relaxed", arm_raise=30, arm_forward=60, arm_twist=40, elbow=100)
    action.arm(side, "point", arm_raise=42, arm_forward=75, arm_twist=15, elbow=138)
    action.pose |= {"nod": 12, "tilt": random.uniform(-10, 10)}
    return action


def _clap(random: Random) -> Action:
    action = Action().arms("open", arm_raise=48, arm_forward=70, arm_twist=20, elbow=72)
    rate = random.uniform(1.5, 2.5)
    for side in ("left", "right"):
        action.swing(f"{side}_arm_twist", 15, rate)
    return action


def _hands_up(random: Random) -> Action:
    return Action().arms("open", arm_raise=random.uniform(80, 150), arm_twist=-75,
                         arm_forward=random.uniform(0, 30),
                         elbow=random.uniform(20, 100))  # fmt: skip


def _phone(random: Random) -> Action:
    return Action().arm(one_side(random), "grip", arm_raise=45, arm_forward=40, arm_twist=-15,
                        elbow=140, wrist_side=10)  # fmt: skip


def _type(random: Random) -> Action:
    action = Action().arms("grip", arm_raise=25, arm_forward=75, arm_twist=20, elbow=75,
                           forearm_roll=20)  # fmt: skip
    action.pose |= {"nod": 30, "bend": 8}
    for finger in FINGERS:
        for side in ("left", "right"):
            action.swing(f"{side}_{finger}_curl", 0.25, random.uniform(0.8, 2), random.random())
    return action


def _squat(random: Random) -> Action:
    depth = random.uniform(0.3, 1)
    action = Action({"bend": 30 * depth})
    action.legs(hip_flex=95 * depth, knee=115 * depth, ankle=-25 * depth, hip_side=12)
    return action.arms("relaxed", arm_raise=60 * depth, arm_forward=85, elbow=25)


def _sit(random: Random) -> Action:
    action = Action().legs(hip_flex=random.uniform(75, 95), knee=random.uniform(70, 95), hip_side=8)
    return action.arms("relaxed", arm_raise=28, arm_forward=70, elbow=60, arm_twist=15)


def _pick_up(random: Random) -> Action:
    action = Action({"bend": random.uniform(30, 55), "nod": 15})
    action.legs(hip_flex=random.uniform(20, 50), knee=random.uniform(10, 40))
    return action.arm(one_side(random), "grip", arm_raise=35, arm_forward=80, elbow=10)


def _walk(random: Random) -> Action:
    rate, stride = random.uniform(0.75, 1.05), random.uniform(0.7, 1.1)
    action = Action({"bend": 3}).arms("relaxed", arm_raise=14, elbow=25, arm_forward=5)
    action.legs(hip_flex=5, knee=22)
    for side, phase in (("left", 0.0), ("right", 0.5)):
        action.swing(f"{side}_hip_flex", 24 * stride, rate, phase)
        action.swing(f"{side}_knee", 22 * stride, rate, phase + 0.3)
        action.swing(f"{side}_ankle", 10 * stride, rate, phase + 0.6)
        # For an arm that hangs, arm_forward sets whether arm_raise moves it forwards or backwards.
        action.swing(f"{side}_arm_forward", 75 * stride, rate, phase + 0.5)
        action.swing(f"{side}_arm_raise", 8 * stride, 2 * rate, 2 * phase)
        action.swing(f"{side}_elbow", 12 * stride, rate, phase + 0.5)
    return action.swing("twist", 6 * stride, rate, 0.5)


def _lunge(random: Random) -> Action:
    side = one_side(random)
    other = "right" if side == "left" else "left"
    depth = random.uniform(0.3, 1)
    action = Action({"bend": 10 * depth}).arm(side, hip_flex=70 * depth, knee=70 * depth)
    return action.arm(other, hip_flex=-20 * depth, knee=30 * depth, ankle=20 * depth)


def _anything(random: Random) -> Action:
    """Random arms, hands and trunk, more often near the middle of their ranges."""
    action = Action()
    for side in ("left", "right"):
        action.arm(
            side,
            arm_raise=random.choice((random.uniform(8, 40), random.uniform(20, 150))),
            arm_forward=random.triangular(-30, 50, 115),
            arm_twist=random.triangular(-95, -10, 55),
            elbow=random.triangular(0, 50, 140),
            forearm_roll=random.triangular(-75, 0, 75),
            wrist_flex=random.triangular(-55, 0, 55),
            wrist_side=random.triangular(-18, 0, 26),
            hip_flex=max(random.normal(0, 18), -20),
            hip_side=random.triangular(-5, 3, 30),
            hip_twist=random.triangular(-15, 5, 35),
            knee=abs(random.normal(0, 22)),
            ankle=random.normal(0, 8),
        )
        curl = random.uniform(0, 1)
        for finger in FINGERS:
            action.pose[f"{side}_{finger}_curl"] = curl + random.normal(0, 0.25)
        for name in ("thumb_oppose", "thumb_curl", "spread"):
            action.pose[f"{side}_{name}"] = random.random()
    for name, spread in (("bend", 14), ("lean", 8), ("twist", 14)):
        action.pose[name] = random.normal(0, spread)
    return action


def _talk(random: Random) -> Action:
    """Forearms in front of the body, hands that underline what is said."""
    action = Action({"nod": random.uniform(-8, 10), "turn": random.uniform(-25, 25)})
    for side in ("left", "right") if random.random() < 0.7 else (one_side(random),):
        action.arm(
            side,
            str(random.choice(("open", "relaxed", "pinch", "point"))),
            arm_raise=random.uniform(12, 40),
            arm_forward=random.uniform(20, 90),
            arm_twist=random.uniform(-40, 35),
            elbow=random.uniform(55, 115),
            forearm_roll=random.uniform(-75, 40),
        )
        rate = random.uniform(0.5, 1.5)
        action.swing(f"{side}_elbow", random.uniform(4, 18), rate)
        action.swing(f"{side}_arm_twist", random.uniform(3, 12), rate, random.random())
    return action


def _sign(random: Random) -> Action:
    """Both hands between belly and face, with any shape of the fingers, as in sign language."""
    action = Action({"nod": random.uniform(-5, 10), "tilt": random.uniform(-10, 10)})
    for side in ("left", "right") if random.random() < 0.6 else (one_side(random),):
        action.arm(
            side,
            arm_raise=random.uniform(10, 60),
            arm_forward=random.uniform(15, 105),
            arm_twist=random.uniform(-55, 45),
            elbow=random.uniform(75, 142),
            forearm_roll=random.uniform(-80, 80),
            wrist_flex=random.uniform(-50, 50),
            wrist_side=random.uniform(-18, 26),
        )
        for finger in FINGERS:
            action.pose[f"{side}_{finger}_curl"] = random.choice((0.0, random.uniform(0, 1), 1.0))
        for name in ("thumb_oppose", "thumb_curl", "spread"):
            action.pose[f"{side}_{name}"] = random.random()
        action.swing(f"{side}_elbow", random.uniform(0, 15), random.uniform(0.7, 2))
    return action


def _touch_face(random: Random) -> Action:
    action = Action({"nod": random.uniform(0, 20), "tilt": random.uniform(-15, 15)})
    hand = str(random.choice(("open", "relaxed", "fist", "pinch")))
    return action.arm(one_side(random), hand, arm_raise=random.uniform(30, 75),
                      arm_forward=random.uniform(50, 95), arm_twist=random.uniform(-40, 25),
                      elbow=random.uniform(120, 145),
                      forearm_roll=random.uniform(-60, 60))  # fmt: skip


def _reach(random: Random) -> Action:
    action = Action({"bend": random.uniform(0, 35), "twist": random.uniform(-25, 25)})
    for side in ("left", "right") if random.random() < 0.4 else (one_side(random),):
        action.arm(
            side,
            str(random.choice(("open", "grip", "pinch"))),
            arm_raise=random.uniform(35, 130),
            arm_forward=random.uniform(30, 110),
            elbow=random.uniform(0, 40),
        )
    return action


def _sit_and_do(random: Random) -> Action:
    """Sits, and does something else with the arms: talks, types, signs, folds them."""
    doing = (_talk, _type, _sign, _cross_arms, _touch_face, _think, _reach, _anything)
    action = doing[random.integers(len(doing))](random)
    return action.legs(
        hip_flex=random.uniform(70, 100),
        knee=random.uniform(55, 110),
        hip_side=random.uniform(0, 20),
        ankle=random.uniform(-10, 15),
    )


def _hands_behind(random: Random) -> Action:
    """Hands behind the back or in the pockets."""
    return Action().arms("relaxed", arm_raise=random.uniform(10, 30), arm_forward=-35,
                         arm_twist=random.uniform(0, 60), elbow=random.uniform(25, 90))  # fmt: skip


def _hold(random: Random) -> Action:
    """Carries something with both hands."""
    return Action().arms("grip", arm_raise=random.uniform(15, 35),
                         arm_forward=random.uniform(55, 90), arm_twist=random.uniform(-10, 25),
                         elbow=random.uniform(40, 110),
                         forearm_roll=random.uniform(-70, 20))  # fmt: skip


def _lean(random: Random) -> Action:
    """Leans on a table or a rail in front."""
    action = Action({"bend": random.uniform(5, 40), "nod": random.uniform(-20, 15)})
    action.arms("relaxed", arm_raise=random.uniform(20, 50), arm_forward=random.uniform(55, 100),
                arm_twist=random.uniform(-10, 40), elbow=random.uniform(20, 100))  # fmt: skip
    side = one_side(random)
    return action.arm(side, knee=random.uniform(0, 45), hip_flex=random.uniform(0, 30))


Repertoire = tuple[Callable[[Random], Action], ...]
TRAINING: Repertoire = (
    _stand, _stand, _walk, _walk, _wave, _point, _hands_on_hips, _cross_arms, _think, _clap,
    _hands_up, _phone, _type, _squat, _sit, _pick_up, _lunge, *(_anything,) * 6, *(_talk,) * 3,
    *(_sign,) * 3, *(_touch_face,) * 2, *(_reach,) * 2, *(_sit_and_do,) * 3, *(_lean,) * 2,
    _hands_behind, _hold,
)  # fmt: skip
