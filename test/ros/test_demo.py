"""The demo's error table for people with known errors."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from samples import ROOT
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from demo.accuracy import Errors
from pear_ros.ros.to_messages import humans_message, transforms_message
from pear_ros.synthetic.held_out import HELD_OUT
from pear_ros.synthetic.scene import Cast, Scene, Shot

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def shot(cast: Cast) -> Shot:
    return Scene(cast, HELD_OUT, seed=4, people=3).shot(2.0, visibility=False)


def numbers(table: str) -> list[float]:
    """Medians and 95 % quantiles of all errors."""
    return [float(x) for x in re.findall(r"([0-9.]+) (?:mm|cm|deg)", table)]


def test_the_truth_has_no_error(cast: Cast, shot: Shot) -> None:
    truth = humans_message(shot.people, Header(), shot.image.shape[:2])
    errors = Errors(cast.body_model)
    errors.add(truth, transforms_message(shot.people, Header()), truth)
    table = errors.table()
    assert numbers(table) == [0.0] * 14  # of seven errors
    assert (
        "people in 1 images: 3 true, 3 estimated, 3 matched, 0 of the matched without TF" in table
    )


def test_people_without_tf_are_counted(cast: Cast, shot: Shot) -> None:
    truth = humans_message(shot.people, Header(), shot.image.shape[:2])
    two = transforms_message(shot.people.rows(np.arange(2)), Header())
    errors = Errors(cast.body_model)
    errors.add(truth, two, truth)
    assert "3 matched, 1 of the matched without TF" in errors.table()
    errors.add(truth, TFMessage(), truth)
    assert "6 matched, 4 of the matched without TF" in errors.table()
    assert numbers(errors.table()) == [0.0] * 14


@pytest.mark.parametrize(
    ("video", "waits"), [("talk.mp4", False), ("", True)], ids=["video", "synthetic camera"]
)
def test_a_video_does_not_wait_for_a_calibration(video: str, waits: bool) -> None:
    """In a process of its own, as importing the demo changes the environment."""
    options = {"video": video, "checkpoint": "", "network_config": "", "assets": "", "detector": ""}
    program = f"""
import argparse
from demo.__main__ import _node_command
print(_node_command(argparse.Namespace(**{options})))
"""
    command = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert ("camera.info_timeout_s:=0.0" not in command) == waits
