"""Which images the detector sees, and which boxes the others have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pear_ros.detection.cadence import Cadence, Expected
from pear_ros.people import Boxes, Camera, FloatArray, Frame

IMAGE = np.zeros((4, 6, 3), np.uint8)


def frame(source: str = "", stamp_s: float = 0.0) -> Frame:
    return Frame(IMAGE, Camera(6, 6, 3, 2), stamp_s, source)


def boxes(*lefts: float) -> Boxes:
    xyxy = np.array([(left, 0, left + 2, 4) for left in lefts], np.float32).reshape(-1, 4)
    return Boxes(xyxy, np.full(len(lefts), 0.7, np.float32))


def expected(*lefts: float, hidden: Sequence[float] = (), is_unclear: bool = False) -> Expected:
    return Expected(boxes(*lefts), boxes(*lefts, *hidden).xyxy, is_unclear)


class Recorder:
    """A detector that notes what it sees; it finds one box, at the stamp of the image."""

    def __init__(self) -> None:
        self.seen: list[Frame] = []
        self.known: list[FloatArray] = []

    def __call__(self, frames: Sequence[Frame], known: Sequence[FloatArray]) -> list[Boxes]:
        self.seen += frames
        self.known += known
        return [boxes(frame.stamp_s) for frame in frames]


def detections(people: Sequence[Expected], every_nth: int) -> list[bool]:
    """For each image of one camera, whether the detector sees it."""
    cadence = Cadence(Recorder())
    return [cadence([frame()], [image], every_nth)[1][0] for image in people]


@pytest.mark.parametrize("every_nth", [1, 2, 5])
def test_the_detector_sees_every_nth_image(every_nth: int) -> None:
    found = detections([expected(1)] * 20, every_nth)
    assert found == [i % every_nth == 0 for i in range(20)]


def test_all_images_are_detected_while_nobody_is_followed() -> None:
    assert detections([expected()] * 5, 100) == [True] * 5
    assert detections([expected(hidden=[1])] * 5, 100) == [True] * 5


def test_the_next_image_is_detected_after_somebody_was_lost() -> None:
    followed, lost = expected(1), expected(1, hidden=[2], is_unclear=True)
    found = detections([followed, followed, lost, *[followed] * 4], 4)
    assert found == [True, False, True, False, False, False, True]  # and counts from there


def test_in_between_people_are_where_they_are_expected() -> None:
    detector = Recorder()
    cadence = Cadence(detector)
    people = expected(1, 2, hidden=[3])
    for stamp_s, is_due in ((10, True), (11, False), (12, False), (13, True)):
        found, is_detected = cadence([frame(stamp_s=stamp_s)], [people], 3)
        assert is_detected == [is_due]
        wanted = boxes(stamp_s) if is_due else people.seen
        np.testing.assert_array_equal(found[0].xyxy, wanted.xyxy)
        np.testing.assert_array_equal(found[0].scores, wanted.scores)
    assert [seen.stamp_s for seen in detector.seen] == [10, 13]


def test_the_detector_knows_where_everybody_is_expected() -> None:
    detector = Recorder()
    people = [expected(1, hidden=[5]), expected(2), expected()]
    Cadence(detector)([frame("a"), frame("b"), frame("c")], people, 1)
    for known, wanted in zip(detector.known, people, strict=True):
        np.testing.assert_array_equal(known, wanted.all_xyxy)


def test_only_due_frames_are_detected() -> None:
    detector = Recorder()
    cadence = Cadence(detector)
    frames = [frame(source, stamp_s) for stamp_s, source in enumerate("abc")]
    cadence(frames, [expected(1)] * 3, 1000)
    detector.seen.clear()
    people = [expected(1), expected(is_unclear=True), expected(3)]
    found, is_detected = cadence(frames, people, 1000)
    assert is_detected == [False, True, False]
    assert detector.seen == [frames[1]]
    assert [in_frame.xyxy[0, 0] for in_frame in found] == [1, 1, 3]


@pytest.mark.parametrize("every_nth", [2, 3])
def test_cameras_take_turns(every_nth: int) -> None:
    """So that no step has to detect for all cameras; each has its n-th images."""
    cadence = Cadence(Recorder())
    frames = [frame("a"), frame("b")]
    steps = np.array([cadence(frames, [expected(1)] * 2, every_nth)[1] for _ in range(30)])
    assert steps[0].all()  # nobody is known of a new camera
    assert not steps[1:].all(1).any()
    for camera in steps[2 * every_nth :].T:
        due = np.flatnonzero(camera)
        assert (np.diff(due) == every_nth).all()
        assert len(due) >= 5


def test_no_camera_waits_long() -> None:
    """Whoever sends images, and whatever happens to the people."""
    random = np.random.default_rng(0)
    cadence = Cadence(Recorder())
    every_nth, since = 4, dict.fromkeys("abcde", 0)
    for _ in range(300):
        frames = [frame(source) for source in since if random.random() < 0.6]
        people = [expected(1, is_unclear=bool(random.random() < 0.1)) for _ in frames]
        found, is_detected = cadence(frames, people, every_nth)
        assert len(found) == len(is_detected) == len(frames)
        for image, is_due in zip(frames, is_detected, strict=True):
            since[image.source] = 0 if is_due else since[image.source] + 1
        assert max(since.values()) < 2 * every_nth


def test_the_number_may_change() -> None:
    cadence = Cadence(Recorder())
    found = [
        cadence([frame()], [expected(1)], every_nth)[1][0] for every_nth in (9, 9, 9, 3, 3, 3, 1, 1)
    ]
    assert found == [True, False, False, True, False, False, True, True]


def test_no_frames() -> None:
    assert Cadence(Recorder())([], [], 3) == ([], [])


def test_given_boxes_are_used_in_every_image() -> None:
    cadence = Cadence(Recorder())
    for i in range(5):
        given = Frame(IMAGE, Camera(6, 6, 3, 2), float(i), boxes=boxes(i))
        _, is_detected = cadence([given], [expected(1)], every_nth=10)
        assert is_detected == [True]
