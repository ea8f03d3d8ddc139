"""Classes and scores of detections: what is told if nobody can be in them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")
pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")

from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from pear_ros.config import DetectionSettings
from pear_ros.problems import Problems
from pear_ros.ros.detection_reader import DetectionReader

pytestmark = pytest.mark.ros

Results = list[tuple[str, float]]


def message(*detections: Results) -> Any:
    """A Detection2DArray; a detection is its results (class, score)."""
    array = Detection2DArray()
    for results in detections:
        detection = Detection2D()
        detection.bbox.size_x, detection.bbox.size_y = 20.0, 40.0
        for class_id, score in results:
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = class_id, score
            detection.results.append(result)
        array.detections.append(detection)
    return array


class Reader:
    """Reads messages with a `person_class`; returns how many boxes each has."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.problems = Problems(self.told.append)
        self._read = DetectionReader("front", "/front/detections", self.problems)

    def __call__(self, person_class: str, *messages: Any, min_score: float = 0.5) -> list[int]:
        settings = DetectionSettings(person_class=person_class, min_score=min_score)
        return [len(self._read(m, settings)) for m in messages]


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.mark.parametrize("class_id", ["person", "Person", "PERSON", "person ", " person\n"])
@pytest.mark.parametrize("person_class", ["person", "Person", " person"])
def test_case_and_spaces_do_not_matter(reader: Reader, person_class: str, class_id: str) -> None:
    assert reader(person_class, message([(class_id, 0.9)])) == [1]
    assert not reader.told


@pytest.mark.parametrize("class_id", ["0", "1", "people", "human", "", "person_0"])
def test_other_names_are_not_guessed_but_told(reader: Reader, class_id: str) -> None:
    images = [message([(class_id, 0.9)], [(class_id, 0.8)])] * 3
    assert reader("person", *images) == [0, 0, 0]
    assert reader.problems.counts() == {"person_class_unseen": 6}
    (line,) = reader.told
    assert line.startswith("/front/detections: no detection has had the class 'person' yet")
    assert f"only {class_id!r};" in line
    assert "set detection.person_class" in line


def test_all_classes_that_came_with_the_first_message_are_named(reader: Reader) -> None:
    reader("person", message([("dog", 0.9), ("cat", 0.1)], [("0", 0.9)]))
    assert "only '0', 'cat', 'dog';" in reader.told[0]


def test_detections_without_a_class(reader: Reader) -> None:
    assert reader("person", message([])) == [0]
    assert "only none at all;" in reader.told[0]
    assert reader("", message([])) == [1]
    assert reader.problems.counts() == {"person_class_unseen": 1}


def test_a_detector_of_many_classes_is_in_order_once_it_found_a_person(reader: Reader) -> None:
    dog, person = message([("dog", 0.9)]), message([("person", 0.9)])
    assert reader("person", message(), dog, person, dog, dog, message()) == [0, 0, 1, 0, 0, 0]
    assert reader.problems.counts() == {"person_class_unseen": 1}


def test_another_person_class_is_judged_anew(reader: Reader) -> None:
    person = message([("person", 0.9)])
    reader("person", person)
    reader("0", person, person)
    reader("human", person)
    reader("", person)
    assert reader.problems.counts() == {"person_class_unseen": 3}
    assert [line.split("class ")[1].split(" yet")[0] for line in reader.told] == ["'0'", "'human'"]


@pytest.mark.parametrize(
    ("scores", "min_score", "unset"),
    [
        pytest.param([0.0, 0.0, 0.9], 0.5, 2, id="two of three"),
        pytest.param([0.0], 0.001, 1, id="a low limit"),
        pytest.param([0.0, 0.0], 0.0, 0, id="wanted"),
        pytest.param([0.01, 1.0], 0.5, 0, id="all set"),
        pytest.param([], 0.5, 0, id="nobody"),
    ],
)
def test_scores_that_were_never_set(
    reader: Reader, scores: list[float], min_score: float, unset: int
) -> None:
    detections = message(*([("person", score)] for score in scores))
    assert reader("person", detections, min_score=min_score) == [len(scores)]
    assert reader.problems.counts().get("scores_unset", 0) == unset
    assert len(reader.told) == bool(unset)
    if unset:
        assert "hypothesis.score" in reader.told[0]


def test_the_score_of_another_class_does_not_matter(reader: Reader) -> None:
    assert reader("person", message([("dog", 0.0), ("person", 0.9)])) == [1]
    assert not reader.told
