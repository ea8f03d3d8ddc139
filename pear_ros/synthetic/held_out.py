"""Actions that no network is trained on, and both repertoires by name.

They share no action with those of actions.py.
"""

from __future__ import annotations

import numpy as np

from pear_ros.synthetic.actions import TRAINING, Action, Repertoire, one_side
from pear_ros.synthetic.controls import FINGERS

Random = np.random.Generator


def _salute(random: Random) -> Action:
    return Action().arm(one_side(random), "open", arm_raise=80, arm_forward=35, arm_twist=-50,
                        elbow=135, spread=-0.2)  # fmt: skip


def _beckon(random: Random) -> Action:
    side = one_side(random)
    action = Action().arm(side, "open", arm_raise=55, arm_forward=80, elbow=55, forearm_roll=-70,
                          arm_twist=-20)  # fmt: skip
    for finger in FINGERS:
        action.pose[f"{side}_{finger}_curl"] = 0.45
        action.swing(f"{side}_{finger}_curl", 0.4, 1.2)
    return action.swing(f"{side}_elbow", 15, 1.2)


def _stop(random: Random) -> Action:
    return Action().arm(one_side(random), "open", arm_raise=85,
                        arm_forward=random.uniform(70, 95), elbow=12, wrist_flex=-55,
                        arm_twist=-70)  # fmt: skip


def _shrug(random: Random) -> Action:
    action = Action({"tilt": random.uniform(-12, 12)})
    return action.arms("open", shrug=20, arm_raise=22, arm_forward=10, arm_twist=-25, elbow=85,
                       forearm_roll=-60)  # fmt: skip


def _drink(random: Random) -> Action:
    action = Action({"nod": -12})
    action.arm(one_side(random), "grip", arm_raise=50, arm_forward=65, elbow=128, arm_twist=5)
    return action


def _thumb_up(random: Random) -> Action:
    return Action().arm(one_side(random), "thumb", arm_raise=random.uniform(25, 70), arm_forward=75,
                        elbow=random.uniform(30, 90), arm_twist=-10)  # fmt: skip


def _stretch(random: Random) -> Action:
    action = Action().arms("fist", arm_raise=155, arm_forward=20, elbow=random.uniform(10, 60))
    return action.swing("lean", 9, 0.3)


def _direct(random: Random) -> Action:
    side = one_side(random)
    other = "right" if side == "left" else "left"
    action = Action().arm(side, "open", arm_raise=88, arm_forward=random.uniform(0, 30), elbow=5)
    action.arm(other, "open", arm_raise=70, arm_forward=60, elbow=80, arm_twist=-40)
    return action.swing(f"{other}_elbow", 25, 0.8)


def _count(random: Random) -> Action:
    side = one_side(random)
    action = Action().arm(side, "fist", arm_raise=35, arm_forward=60, elbow=115, arm_twist=-35)
    for i, finger in enumerate(("index", "middle", "ring", "pinky")):
        action.pose[f"{side}_{finger}_curl"] = 0.5
        action.swing(f"{side}_{finger}_curl", 0.6, 0.35, 0.15 * i)
    return action


def stroll(random: Random) -> Action:
    """A slow, stiff walk: one arm swings, the other carries something."""
    carrying = one_side(random)
    action = Action({"bend": -3}).arms("relaxed", arm_raise=10, elbow=8)
    action.legs(hip_flex=2, knee=12)
    rate = random.uniform(0.5, 0.65)
    for side, phase in (("left", 0.0), ("right", 0.5)):
        action.swing(f"{side}_hip_flex", 17, rate, phase).swing(
            f"{side}_knee", 11, rate, phase + 0.2
        )
        if side != carrying:
            action.swing(f"{side}_arm_forward", 35, rate, phase + 0.5)
    action.swing("lean", 3, rate)
    return action.arm(carrying, "grip", arm_raise=25, arm_forward=70, elbow=85)


def high_step(random: Random) -> Action:
    action = Action().arms("fist", arm_raise=15, elbow=80)
    for side, phase in (("left", 0.0), ("right", 0.5)):
        action.pose |= {f"{side}_hip_flex": 30, f"{side}_knee": 40}
        action.swing(f"{side}_hip_flex", 32, 0.9, phase).swing(f"{side}_knee", 38, 0.9, phase)
        action.swing(f"{side}_arm_forward", 100, 0.9, phase + 0.5)
    return action


def _stand(random: Random) -> Action:
    return Action()


STANDING: Repertoire = (_stand,)
HELD_OUT: Repertoire = (
    _salute, _beckon, _stop, _shrug, _drink, _thumb_up, _stretch, _direct, _count, stroll, stroll,
    high_step,
)  # fmt: skip
REPERTOIRES = {"training": TRAINING, "held_out": HELD_OUT}
