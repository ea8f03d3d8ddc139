"""People keep their ids: simulated sightings in metres and seconds, by their behaviour."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from pear_ros.config import TrackingSettings
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.people import Camera
from pear_ros.tracking.tracker import Followed, Sightings, Tracker

CAMERA = Camera(600, 600, 320, 240)
SIZE = 480, 640  # px
SETTINGS = TrackingSettings(confirm_score=0.8, predict_s=1.0, timeout_s=1.5)
SURE, UNSURE = 0.9, 0.5  # at and below SETTINGS.confirm_score


@dataclass(frozen=True)
class Person:
    """Somebody at x and z, m, 1.7 m high, at the height of the camera."""

    x: float
    z: float = 4.0
    score: float = SURE
    shape: float = 0.0  # of all coefficients
    width_m: float = 0.5


Path = Callable[[float], Person]  # by time, s


def walking(x: float, speed_m_s: float, z: float = 4.0, depth_speed_m_s: float = 0.0) -> Path:
    return lambda t: Person(x + speed_m_s * t, z + depth_speed_m_s * t)


def sightings_of(*people: Person) -> Sightings:
    count = len(people)
    x, z, scores, shape, width = np.array(
        [(p.x, p.z, p.score, p.shape, p.width_m) for p in people]
    ).reshape(count, 5).T  # fmt: skip
    left, right, half_height = x - width / 2, x + width / 2, np.full(count, 0.85)
    corners = np.stack((left / z, -half_height / z, right / z, half_height / z), 1)
    xyxy = (CAMERA.fx * corners + np.tile((CAMERA.cx, CAMERA.cy), 2)).astype(np.float32)
    return Sightings(
        xyxy=xyxy,
        scores=scores.astype(np.float32),
        joints_xyxy=xyxy,
        position=np.stack((x, np.zeros(count), z), 1),
        joints=np.zeros((count, 22, 3), np.float32),
        betas=np.repeat(shape[:, None], 10, 1).astype(np.float32),
    )


class Watched:
    """A tracker whose camera sees given people."""

    def __init__(self, settings: TrackingSettings = SETTINGS, prefix: str = "p") -> None:
        self.tracker = Tracker(prefix, settings)

    def see(self, stamp_s: float, *people: Person) -> Followed:
        return self.tracker(sightings_of(*people), CAMERA, SIZE, stamp_s)

    def ids(self, stamp_s: float, *people: Person) -> tuple[str, ...]:
        return self.see(stamp_s, *people).ids


def stamps(begin_s: float, end_s: float, rate_hz: float = 10.0) -> list[float]:
    """From `begin_s` to before `end_s`."""
    return [begin_s + i / rate_hz for i in range(round((end_s - begin_s) * rate_hz))]


def ids_of_paths(
    paths: list[Path],
    times_s: Iterable[float],
    is_seen: Callable[[int, float], bool] = lambda person, t: True,
) -> list[set[str]]:
    """All ids that each person gets while being seen."""
    watched = Watched()
    ids: list[set[str]] = [set() for _ in paths]
    for t in times_s:
        seen = [i for i in range(len(paths)) if is_seen(i, t)]
        followed = watched.see(t, *(paths[i](t) for i in seen))
        for id_, row in zip(followed.ids, followed.sighting, strict=True):
            if row >= 0:
                ids[seen[row]].add(id_)
    return ids


# --- New people -----------------------------------------------------------------------------------


def test_ids_are_numbered() -> None:
    followed = Watched(prefix="cam_p").see(0, Person(-1), Person(1))
    assert followed.ids == ("cam_p0001", "cam_p0002")
    assert followed.sighting.tolist() == [0, 1]
    assert not followed.moved.any()
    assert followed.scores.tolist() == pytest.approx([SURE, SURE])
    assert followed.age_s.tolist() == [0, 0]
    np.testing.assert_array_equal(followed.xyxy, sightings_of(Person(-1), Person(1)).xyxy)


CONFIRMATIONS = {
    "sure": (0.8, [0.85], 1),
    "unsure": (0.8, [0.5, 0.5, 0.5], 2),
    "very unsure": (0.8, [0.3, 0.3, 0.3, 0.3], 3),
    "one unsure, one sure": (0.8, [0.3, 0.9], 2),
    "a large sum": (2.0, [0.9, 0.9, 0.9], 3),
    "everybody at once": (0.0, [0.0], 1),
}


@pytest.mark.parametrize(
    ("confirm_score", "scores", "images"), CONFIRMATIONS.values(), ids=CONFIRMATIONS
)
def test_a_new_person_is_reported_when_the_scores_add_up(
    confirm_score: float, scores: list[float], images: int
) -> None:
    watched = Watched(replace(SETTINGS, confirm_score=confirm_score))
    reported = [watched.ids(0.1 * i, Person(0, score=score)) for i, score in enumerate(scores)]
    assert reported == [()] * (images - 1) + [("p0001",)] * (len(scores) - images + 1)


def test_age_counts_from_the_first_sighting_not_from_the_report() -> None:
    watched = Watched()
    watched.see(5.0, Person(0, score=UNSURE))
    assert watched.see(5.3, Person(0, score=UNSURE)).age_s.tolist() == pytest.approx([0.3])


def test_single_false_boxes_are_never_reported() -> None:
    """They come and go, now here, now there, also twice at the same place, but later."""
    watched = Watched()
    for i, t in enumerate(stamps(0, 12)):
        box = [Person((-1.5, 1.5)[i // 6 % 2], score=0.75)] if i % 6 == 0 else []
        assert watched.ids(t, Person(0), *box) == ("p0001",)
    assert watched.tracker.ids == ("p0001",)


def test_a_new_person_may_be_missed_once() -> None:
    watched = Watched()
    assert watched.ids(0.0, Person(0, score=UNSURE)) == ()
    assert watched.ids(0.1) == ()
    assert watched.ids(0.2, Person(0, score=UNSURE)) == ("p0001",)


def test_a_new_person_is_reported_at_two_images_per_second() -> None:
    watched = Watched()
    assert watched.ids(0.0, Person(0, score=UNSURE)) == ()
    assert watched.ids(0.5, Person(0, score=UNSURE)) == ("p0001",)


# --- Ids stay -------------------------------------------------------------------------------------


def test_an_occlusion_of_a_second() -> None:
    """The second person walks behind the first, and is not seen for a second."""
    paths = [walking(0, 0, z=2.5), walking(-1.5, 0.8)]
    ids = ids_of_paths(paths, stamps(0, 4), lambda person, t: person == 0 or not 1.3 < t < 2.35)
    assert ids == [{"p0001"}, {"p0002"}]


@pytest.mark.parametrize("rate_hz", [30, 10, 5, 2], ids="{} Hz".format)
@pytest.mark.parametrize("depth_m", [0.3, 1.0], ids="{} m apart".format)
def test_crossing_paths(rate_hz: float, depth_m: float) -> None:
    """At low rates, a box moves further than its width from image to image."""
    paths = [walking(-1.5, 1.0), walking(1.5, -1.0, z=4 + depth_m)]
    ids = ids_of_paths(paths, stamps(0, 3, rate_hz))
    assert ids == [{"p0001"}, {"p0002"}]


def test_crossing_paths_while_one_is_hidden() -> None:
    paths = [walking(-1.5, 1.0), walking(1.5, -1.0, z=5)]

    def is_seen(person: int, t: float) -> bool:
        nearer, farther = sightings_of(*(path(t) for path in paths)).xyxy
        return person == 0 or box_iou_batch(nearer[None], farther[None])[0, 0] < 0.2

    ids = ids_of_paths(paths, stamps(0, 3, 15), is_seen)
    assert ids == [{"p0001"}, {"p0002"}]
    assert not all(is_seen(1, t) for t in stamps(0, 3, 15))


def test_irregular_images() -> None:
    times_s = np.cumsum(np.random.default_rng(1).choice((0.03, 0.1, 0.3, 0.6), 12))
    ids = ids_of_paths([walking(-1.5, 0.7), walking(1.5, -0.7, z=5)], times_s)
    assert ids == [{"p0001"}, {"p0002"}]


def test_two_people_swap_depth() -> None:
    paths = [walking(-0.3, 0, 3, 1.0), walking(0.3, 0, 5, -1.0)]
    ids = ids_of_paths(paths, stamps(0, 2))
    assert ids == [{"p0001"}, {"p0002"}]


@pytest.mark.parametrize("swapped", [False, True], ids=["as before", "swapped"])
def test_body_shapes_tell_who_is_who_after_people_met(swapped: bool) -> None:
    watched = Watched()
    tall, small = Person(-0.1, shape=1.5), Person(0.1, shape=-1.5)
    for t in stamps(0, 1):
        assert watched.ids(t, tall, small) == ("p0001", "p0002")
    watched.see(1.3)
    if swapped:
        tall, small = replace(tall, x=small.x), replace(small, x=tall.x)
    assert watched.ids(2.0, tall, small) == ("p0001", "p0002")


def test_a_paused_video() -> None:
    """The same image again and again, without any noise; then it goes on."""
    watched = Watched()
    random = np.random.default_rng(3)
    for t in stamps(0, 20, 20):
        assert watched.ids(t, Person(-1), Person(1)) == ("p0001", "p0002")
    for t in stamps(20, 22, 20):
        people = (Person(x + random.normal(0, 0.02), shape=random.normal(0, 0.4)) for x in (-1, 1))
        assert watched.ids(t, *people) == ("p0001", "p0002")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)], ids=str)
def test_people_are_reported_in_the_order_of_the_sightings(order: tuple[int, ...]) -> None:
    watched = Watched()
    people = [Person(x) for x in (-1, 0, 1)]
    watched.see(0, *people)
    followed = watched.see(0.1, *(people[i] for i in order))
    assert followed.ids == tuple(f"p{1 + i:04d}" for i in order)
    assert followed.sighting.tolist() == [0, 1, 2]


def test_who_is_predicted_comes_last_and_candidates_are_left_out() -> None:
    watched = Watched()
    for t in stamps(0, 1):
        watched.see(t, Person(-1), Person(0))
    followed = watched.see(1.0, Person(1, score=UNSURE), Person(0))
    assert followed.ids == ("p0002", "p0001")
    assert followed.sighting.tolist() == [1, -1]


# --- Not seen -------------------------------------------------------------------------------------

HIDING = Person(0, z=2, width_m=4)  # something large in front of everybody


def hide(watched: Watched, path: Path, seen_s: float, until_s: float) -> dict[float, Followed]:
    """The path's person is seen for `seen_s`, then hidden; returns what follows, by time unseen."""
    for last_s in stamps(0, seen_s + 0.1):
        watched.see(last_s, HIDING, path(last_s))
    return {t - last_s: watched.see(t, HIDING) for t in stamps(last_s + 0.1, last_s + until_s)}


def test_who_is_hidden_is_predicted() -> None:
    speed_m_s = 0.5
    path = walking(-1, speed_m_s)
    for unseen_s, followed in hide(Watched(), path, 1.5, 0.9).items():
        assert followed.ids == ("p0001", "p0002")
        assert followed.sighting.tolist() == [0, -1]
        assert followed.scores[1] == pytest.approx(SURE)
        assert followed.age_s[1] == pytest.approx(1.5 + unseen_s)
        assert not followed.moved[0].any()
        # The speed is known to a few percent after 1.5 s.
        moved_m = [speed_m_s * unseen_s, 0, 0]
        np.testing.assert_allclose(followed.moved[1], moved_m, atol=0.1 * speed_m_s * unseen_s)
        expected = sightings_of(path(1.5 + unseen_s)).xyxy
        assert box_iou_batch(followed.xyxy[1:], expected)[0, 0] > 0.85


def test_the_predicted_box_grows_as_the_person_comes_near() -> None:
    path = walking(-0.5, 0, 5, -1.0)
    followed = hide(Watched(), path, 1.5, 0.85)
    expected = sightings_of(path(2.3)).xyxy
    assert box_iou_batch(followed[max(followed)].xyxy[1:], expected)[0, 0] > 0.85


@pytest.mark.parametrize("predict_s", [0.0, 0.45, 1.05], ids="{} s".format)
def test_prediction_ends_after_a_time(predict_s: float) -> None:
    watched = Watched(replace(SETTINGS, predict_s=predict_s, timeout_s=2.0))
    for unseen_s, followed in hide(watched, walking(0, 0), 1.5, 1.9).items():
        assert ("p0002" in followed.ids) is (unseen_s < predict_s), unseen_s
        assert "p0002" in watched.tracker.ids


@pytest.mark.parametrize("seen_s", [0.0, 0.5, 1.5], ids="{} s".format)
def test_prediction_takes_about_as_long_as_the_person_was_seen(seen_s: float) -> None:
    watched = Watched(replace(SETTINGS, predict_s=3.0, timeout_s=4.0))
    unseen = hide(watched, walking(0, 0), seen_s, 3.5)
    longest_s = max((t for t, followed in unseen.items() if "p0002" in followed.ids), default=0)
    assert seen_s - 0.11 < longest_s < seen_s + 0.5  # images are 0.1 s apart


def test_who_vanishes_in_the_open_is_predicted_for_a_shorter_time() -> None:
    open_s, hidden_s = [], []
    watched = Watched()
    for t in stamps(0, 1.5, 30):
        watched.see(t, Person(0))
    for t in stamps(1.5, 3, 30):
        open_s += [t] if watched.ids(t) else []
    for t, followed in hide(Watched(), walking(0, 0), 1.5, 1.4).items():
        hidden_s += [t] if "p0002" in followed.ids else []
    assert 1.5 + 1 / 30 < max(open_s) < 1.5 + 0.7 * max(hidden_s)


def test_somebody_farther_hides_nobody() -> None:
    watched = Watched()
    behind = replace(HIDING, z=8, width_m=16)
    for t in stamps(0, 1.5):
        watched.see(t, behind, Person(0))
    reported = [t for t in stamps(1.5, 3) if "p0002" in watched.ids(t, behind)]
    assert max(reported) < 2.2


def test_a_missed_detection_is_predicted_at_any_rate() -> None:
    for rate_hz in (30.0, 5.0, 2.0):
        watched = Watched()
        for t in stamps(0, 3, rate_hz):
            watched.see(t, Person(0))
        assert watched.ids(3.0) == ("p0001",), rate_hz


def test_who_leaves_the_image_is_not_predicted() -> None:
    """Not even behind something that extends over the image's edge."""
    watched = Watched()
    path = walking(0, -1.0)
    seen = [t for t in stamps(0, 4, 30) if sightings_of(path(t)).xyxy[0, 2] > 60]
    for t in seen:
        followed = watched.see(t, HIDING, path(t))
    assert "p0002" in followed.ids
    reported = [t for t in stamps(seen[-1] + 1 / 30, 4, 30) if "p0002" in watched.ids(t, HIDING)]
    is_outside = [sightings_of(path(t)).xyxy[0, 2] < 0 for t in reported]
    assert not any(is_outside)
    assert len(reported) < 0.3 * 30  # the prediction would take a second


@pytest.mark.parametrize("speed_m_s", [1.0, 1.5, 2.0])
def test_who_walks_out_of_the_image(speed_m_s: float) -> None:
    """The network misjudges cut bodies: where they are, how they stand, and their shape."""
    watched = Watched()
    ids = set()
    for t in stamps(0, 1.75 / speed_m_s, 5):
        seen = sightings_of(Person(0.6 + speed_m_s * t))
        if seen.xyxy[0, 2] > SIZE[1]:
            seen.xyxy[:, 2] = SIZE[1]
            seen.position[:] += (0.1, 0, 0.2)
            seen.joints[:] += 0.1
            seen.betas[:] += 2
        ids.update(watched.tracker(seen, CAMERA, SIZE, t).ids)
    assert ids == {"p0001"}


@pytest.mark.parametrize(
    ("unseen_s", "same"), [(0.5, True), (1.4, True), (1.7, False)], ids=lambda value: f"{value}"
)
def test_who_returns_in_time_has_the_same_id(unseen_s: float, same: bool) -> None:
    watched = Watched()
    for t in stamps(0, 1):
        watched.see(t, Person(0))
    for t in stamps(1.0, 0.9 + unseen_s):
        watched.see(t)
    assert watched.ids(0.9 + unseen_s, Person(0)) == ("p0001" if same else "p0002",)


def test_a_gap_between_images_counts_as_well() -> None:
    watched = Watched()
    assert watched.ids(0.0, Person(0)) == ("p0001",)
    assert watched.ids(1.7, Person(0)) == ("p0002",)


def test_numbers_are_never_used_again() -> None:
    watched = Watched()
    assert watched.ids(10.0, Person(-1), Person(1)) == ("p0001", "p0002")
    watched.tracker.forget()
    assert watched.tracker.ids == ()
    assert watched.ids(0.0, Person(-1), Person(1)) == ("p0003", "p0004")
    assert watched.ids(60.0, Person(-1)) == ("p0005",)


def test_each_tracker_has_numbers_of_its_own() -> None:
    assert Watched().ids(0, Person(-1), Person(1)) == ("p0001", "p0002")
    assert Watched(prefix="b").ids(0, Person(0)) == ("b0001",)


# --- Expected boxes -------------------------------------------------------------------------------


def test_expected_boxes_are_those_of_the_motion() -> None:
    watched = Watched()
    path = walking(-1, 0.5)
    for t in stamps(0, 2):
        watched.see(t, path(t), Person(1, score=0.85))
    watched.see(2.0, path(2.0), Person(-3, score=0.1))  # the latter is no confirmed person
    expected = watched.tracker.expected(CAMERA, 2.2)
    assert expected.missed.tolist() == [0, 1]
    assert expected.scores.tolist() == pytest.approx([SURE, 0.85])
    overlaps = box_iou_batch(expected.xyxy, sightings_of(path(2.2), Person(1)).xyxy)
    assert overlaps.diagonal().min() > 0.9
    assert watched.tracker.expected(CAMERA, 2.2).xyxy.tolist() == expected.xyxy.tolist()
    watched.see(2.1, path(2.1), Person(1))
    assert watched.tracker.expected(CAMERA, 2.2).missed.tolist() == [0, 0]


def test_nobody_is_expected_after_the_timeout() -> None:
    watched = Watched()
    watched.see(0, Person(0))
    assert len(watched.tracker.expected(CAMERA, 1.4).xyxy) == 1
    assert len(watched.tracker.expected(CAMERA, 1.6).xyxy) == 0


def test_without_a_detector_boxes_follow_the_joints() -> None:
    """Slowly, to the margins that the detected box had around them."""
    watched = Watched()
    detected = sightings_of(Person(0))
    joints = detected.joints_xyxy + np.array([[10, 20, -10, -50]], np.float32)
    watched.tracker(replace(detected, joints_xyxy=joints), CAMERA, SIZE, 0.0)
    # Nearer by a tenth: all distances in the image grow.
    grown = sightings_of(Person(0, z=4 / 1.1))
    centre = np.tile((CAMERA.cx, CAMERA.cy), 2).astype(np.float32)
    tracked = replace(
        grown,
        joints_xyxy=(joints - centre) * np.float32(1.1) + centre,
        xyxy=grown.xyxy + 30,  # an expected box says nothing new
        is_detected=False,
    )
    errors = []
    for t in stamps(0.1, 3):
        watched.tracker(tracked, CAMERA, SIZE, t)
        expected = watched.tracker.expected(CAMERA, t).xyxy
        errors.append(np.abs(expected - grown.xyxy).max())
    assert errors[0] > 1
    assert errors[-1] < 0.5


def test_sightings_without_a_detector_confirm_nobody() -> None:
    watched = Watched()
    candidate = sightings_of(Person(0, score=UNSURE))
    watched.tracker(candidate, CAMERA, SIZE, 0.0)
    for t in stamps(0.1, 1):
        assert not watched.tracker(replace(candidate, is_detected=False), CAMERA, SIZE, t).ids
    assert watched.ids(1.0, Person(0, score=UNSURE)) == ("p0001",)


# --- Any input ------------------------------------------------------------------------------------


def test_nobody() -> None:
    watched = Watched()
    for t in (0.0, 0.1):
        followed = watched.see(t)
        assert followed.ids == ()
        assert followed.xyxy.shape == (0, 4)
        assert followed.moved.shape == (0, 3)
    assert watched.tracker.expected(CAMERA, 0.2).xyxy.shape == (0, 4)


@pytest.mark.filterwarnings("error")
def test_random_sightings() -> None:
    """No ids or sightings twice, no number again, and all numbers are finite."""
    random = np.random.default_rng(5)
    watched = Watched()
    t, last_number, before = 0.0, 0, set[int]()
    for _ in range(300):
        t += random.choice((0.0, 1e-4, 0.03, 0.1, 0.5, 3.0), p=(0.1, 0.1, 0.4, 0.3, 0.09, 0.01))
        people = [
            Person(random.normal(0, 1), random.choice((0.05, 0.3, 1, 4, 50)), random.random())
            for _ in range(random.integers(0, 8))
        ]
        followed = watched.see(t, *people)
        assert len(set(followed.ids)) == len(followed.ids)
        seen = followed.sighting[followed.sighting >= 0]
        assert len(set(seen.tolist())) == len(seen)
        expected = watched.tracker.expected(CAMERA, t + 0.1)
        for values in (followed.moved, followed.xyxy, followed.age_s, followed.scores):
            assert np.isfinite(values).all()
        assert np.isfinite(expected.xyxy).all()
        numbers = {int(id_[1:]) for id_ in watched.tracker.ids}
        assert all(number > last_number for number in numbers - before)
        before, last_number = numbers, max([last_number, *numbers])


@pytest.mark.filterwarnings("error")
def test_who_walks_to_the_camera_and_vanishes() -> None:
    """The expected position moves behind the camera."""
    watched = Watched()
    path = walking(0.1, 0, 2.0, -1.5)
    for t in stamps(0, 1.1):
        watched.see(t, path(t))
    for t in stamps(1.1, 2.5):
        expected = watched.tracker.expected(CAMERA, t)
        assert np.isfinite(expected.xyxy).all()
        assert np.isfinite(watched.see(t).xyxy).all()
    assert watched.tracker.ids == ()


def test_the_most_people_of_an_image_are_followed_quickly() -> None:
    """None is seen again, so candidates add up; the bound is one that a loaded machine keeps."""
    most_people = 64  # the bound of `detection.max_people`
    random = np.random.default_rng(0)
    watched = Watched()
    times_s = []
    for t in stamps(0, 1.5, 30):
        people = [
            Person(x, z, UNSURE) for x, z in random.uniform((-9, 2), (9, 30), (most_people, 2))
        ]
        began_s = time.process_time()
        watched.see(t, *people)
        times_s.append(time.process_time() - began_s)
    assert max(times_s) < 1


def test_prediction_ends_although_stamps_stand_still() -> None:
    watched = Watched()
    for t in stamps(0, 2):
        watched.see(t, Person(0))
    assert watched.ids(1.9) == ("p0001",)
    for _ in range(200):
        ids = watched.ids(1.9)
    assert ids == ()


def test_who_is_new_hides_nobody() -> None:
    """A person who gets another id is not predicted for long beside it."""
    watched = Watched()
    for t in stamps(0, 2):
        watched.see(t, Person(0))
    for t in stamps(2, 3):  # the same box, but another body, and far from where the person was
        ids = watched.ids(t, Person(0, z=2.0, shape=8.0))
    assert "p0001" not in ids


def test_a_paused_video_does_not_make_the_tracker_strict() -> None:
    """The same estimate again and again says nothing about the noise of the next one."""
    watched = Watched()
    for t in stamps(0, 100):
        watched.see(t, Person(0))
    assert watched.ids(100.0, Person(0.1, shape=0.15)) == ("p0001",)
