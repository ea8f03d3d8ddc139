"""Clocks, units and counters of the node, in this process and without a network."""

from __future__ import annotations

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
