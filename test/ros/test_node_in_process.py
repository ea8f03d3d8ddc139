"""Clocks, units and counters of the node, in this process and without a network."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from node_in_process import StandInPipeline, an_image, node_in_process
from rclpy.clock import ClockType

from pear_ros.body.body_model import BodyModel
from pear_ros.ros.from_messages import stamp_ns

pytestmark = pytest.mark.ros

STEP_S = 0.05


@pytest.fixture
def pipeline(small_body_model: BodyModel) -> StandInPipeline:
    return StandInPipeline(small_body_model, STEP_S)


def test_timers_run_while_simulated_time_stands_still(pipeline: StandInPipeline) -> None:
    """One image without a calibration: nothing but a timer can release it."""
    paused = {"use_sim_time": True, "camera.info_timeout_s": 0.2}
    with node_in_process(pipeline, **paused) as running:
        assert running.node.get_clock().now().nanoseconds == 0
        image = an_image()
        running.camera._on_image(image)
        running.spin(lambda: running.humans.messages)
        (message,) = running.humans.messages
        assert stamp_ns(message.header) == stamp_ns(image.header)
        before = len(running.diagnostics.messages)
        running.spin(lambda: len(running.diagnostics.messages) > before)


def test_timers_do_not_jump_with_the_system_clock(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline) as running:
        kinds = {timer.clock.clock_type for timer in running.node.timers}
        assert kinds == {ClockType.STEADY_TIME}


def test_times_have_the_units_of_their_names(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline, **{"camera.info_timeout_s": 0.0}) as running:
        running.camera._on_image(an_image(1_700_000_000.25))
        running.spin(lambda: running.humans.messages)
        before = len(running.diagnostics.messages)
        running.spin(lambda: len(running.diagnostics.messages) > before)
        processing_s = running.humans.messages[0].processing_time
        assert STEP_S <= processing_s < 100 * STEP_S
        median_ms = float(running.diagnostics_values()["median_processing_time_ms"])
        assert median_ms == pytest.approx(1e3 * processing_s, abs=0.1)
    assert pipeline.frames[0].stamp_s == pytest.approx(1_700_000_000.25)


def test_every_lost_image_counts(pipeline: StandInPipeline) -> None:
    """DDS reports several losses in one event."""
    with node_in_process(pipeline) as running:
        for total, change in ((3, 3), (5, 2)):
            running.camera._on_lost(SimpleNamespace(total_count=total, total_count_change=change))
        assert running.node._problems.counts()["images_lost"] == 5


ACCOUNTED = ("images_answered", "images_dropped", "images_unwatched")


@pytest.mark.parametrize("detector", ["full_frame", "topic"])
@pytest.mark.parametrize("count", [1, 10, 80])
def test_every_image_is_accounted_for_after_deactivating(
    pipeline: StandInPipeline, count: int, detector: str
) -> None:
    """No calibration comes, so no image is released."""
    if detector == "topic":
        pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    waiting = {"camera.info_timeout_s": 60.0, "detection.detector": detector}
    with node_in_process(pipeline, **waiting) as running:
        for i in range(count):
            running.camera._on_image(an_image(1_700_000_000.0 + i))
        running.node.trigger_deactivate()
        before = len(running.diagnostics.messages)
        running.spin(lambda: len(running.diagnostics.messages) > before)
        values = running.diagnostics_values()
        assert (values["images_received"], values["images_dropped"]) == (str(count), str(count))
        assert not running.humans.messages


def test_late_and_unusable_images_are_accounted_for(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline, **{"camera.info_timeout_s": 0.0}) as running:
        for stamp_s in (10.0, 10.1, 10.05, 10.2, 0.0, 10.3):
            running.camera._on_image(an_image(1_700_000_000.0 + stamp_s if stamp_s else 0.0))

        def is_complete() -> bool:
            values = running.diagnostics_values() if running.diagnostics.messages else {}
            return sum(int(values.get(name, 0)) for name in ACCOUNTED) == 6

        running.spin(is_complete)
        assert running.node._problems.counts()["stamps_backwards"] == 1
        values = running.diagnostics_values()
        assert int(values["images_answered"]) == len(running.humans.messages) >= 1
        dropped = sum(message.dropped for message in running.humans.messages)
        assert dropped == int(values["images_dropped"])


# --- Exceptions ----------------------------------------------------------------------------------


def fail(*_: object) -> None:
    raise RuntimeError("a callback that fails")


def test_an_exception_of_a_callback_is_counted_and_others_run(
    pipeline: StandInPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with node_in_process(pipeline) as running:
        monkeypatch.setattr(running.camera, "tick", fail)
        end_s = time.monotonic() + 20
        while len(running.diagnostics.messages) < 2 and time.monotonic() < end_s:
            running.node.survive(partial(running.node.executor.spin_once, 0.05))
        assert int(running.diagnostics_values()["internal_errors"]) > 1
        assert running.node.state == "active"


def test_an_exception_that_stops_all_callbacks_ends_the_node(
    pipeline: StandInPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If rclpy fails while it takes work, it blocks the callbacks for ever."""
    with node_in_process(pipeline) as running:
        monkeypatch.setattr(running.node.executor, "_take_timer", fail)

        def spin() -> None:
            for _ in range(100):
                running.node.survive(partial(running.node.executor.spin_once, 0.05))

        with pytest.raises(RuntimeError, match="a callback that fails"):
            spin()


# --- Topics --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remaps", "transport", "names", "topics"),
    [
        pytest.param({}, "raw", [], ["/image"], id="raw"),
        pytest.param({}, "compressed", [], ["/image/compressed"], id="compressed"),
        pytest.param({"image": "/cam/raw"}, "raw", [], ["/cam/raw"], id="raw, remapped"),
        pytest.param(
            {"image": "/cam/raw"}, "compressed", [], ["/cam/raw/compressed"], id="base remapped"
        ),
        pytest.param(
            {"image/compressed": "/cam/jpeg"}, "compressed", [], ["/cam/jpeg"], id="compressed one"
        ),
        pytest.param(
            {"image": "/cam/raw", "image/compressed": "/cam/jpeg"},
            "compressed",
            [],
            ["/cam/jpeg"],
            id="both",
        ),
        pytest.param(
            {"__ns": "/robot"}, "compressed", [], ["/robot/image/compressed"], id="namespace"
        ),
        pytest.param(
            {"__ns": "/robot", "image": "cam/raw"},
            "compressed",
            [],
            ["/robot/cam/raw/compressed"],
            id="namespace, relative name",
        ),
        pytest.param(
            {"front/image": "/f/raw"},
            "compressed",
            ["front", "rear"],
            ["/f/raw/compressed", "/rear/image/compressed"],
            id="two cameras, one remapped",
        ),
    ],
)
def test_topic_of_the_images(
    pipeline: StandInPipeline,
    remaps: dict[str, str],
    transport: str,
    names: list[str],
    topics: list[str],
) -> None:
    arguments = [part for a, b in remaps.items() for part in ("-r", f"{a}:={b}")]
    parameters = {"camera.image_transport": transport, "camera.names": names or [""]}
    with node_in_process(pipeline, *arguments, **parameters) as running:
        cameras = running.node._cameras.values()
        assert [camera.topic for camera in cameras] == topics
        assert [camera._subscriptions[0].topic_name for camera in cameras] == topics
