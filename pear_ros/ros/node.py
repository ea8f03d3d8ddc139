"""The ROS node `pear`: lifecycle, parameters and its two threads."""

from __future__ import annotations

import copy
import secrets
import string
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from tf2_msgs.msg import TFMessage

from pear_ros.config import Config, settings
from pear_ros.errors import PearError, SettingError
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.problems import Problems
from pear_ros.ros.camera_topics import CameraTopics, ImageJob
from pear_ros.ros.diagnostics import Diagnostics, Statistics
from pear_ros.ros.mailbox import Mailbox
from pear_ros.ros.parameters import as_setting, declare_parameters
from pear_ros.ros.signals import POLL_S, InterruptError, Signals, end_process, run_unless
from pear_ros.ros.topics import OVERRIDABLE, detections_type, needs_mesh
from pear_ros.ros.transforms import Transforms, listen

TF_POLL_S = 0.01  # how often images that wait look for their transforms

LoadPipeline = Callable[[Config, Problems], Pipeline]


class PearNode(LifecycleNode):
    """A lifecycle node.

    configure loads the files, activate starts processing, deactivate stops it, cleanup frees the
    memory. `is_interrupted` tells whether the process was asked to end; then nothing is waited for.

    Raises:
        SettingError: If a parameter has a bad value.
        ParameterException: If a parameter has the wrong type or is out of range.
    """

    def __init__(
        self,
        load: LoadPipeline = load_pipeline,
        is_interrupted: Callable[[], bool] = lambda: False,
        **kwargs: Any,
    ) -> None:
        super().__init__("pear", **kwargs)
        self.config = Config.of(declare_parameters(self, Config))
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._load = load
        self._is_interrupted = is_interrupted
        self._problems = Problems(self.get_logger().warning)
        self._statistics = Statistics()
        self._diagnostics = Diagnostics(self, self._statistics, self._problems)
        self._mailbox: Mailbox[ImageJob] = Mailbox()
        self._pipeline: Pipeline | None = None
        self._outputs: list[Any] = []  # lifecycle publishers
        self._cameras: dict[str, CameraTopics] = {}  # by name
        self._transforms: Transforms | None = None  # while they are needed
        self._worker: threading.Thread | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # runs on while simulated time is paused
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self.create_timer(0.1, self._tick_cameras, clock=steady)
        self._tf_timer = self.create_timer(TF_POLL_S, self._release_located, clock=steady)
        self._tf_timer.cancel()

    @property
    def state(self) -> str:
        """The label of the lifecycle state."""
        label: str = self._state_machine.current_state[1]  # rclpy has no public name for it
        return label

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        known = settings(Config)
        changed = {p.name: as_setting(p.value) for p in parameters if p.name in known}
        fixed = [name for name in changed if not known[name].metadata["live"]]
        if fixed and self._pipeline is not None:
            return SetParametersResult(
                successful=False,
                reason=f"{', '.join(fixed)} can only be set before the node is configured: run "
                f"`ros2 lifecycle set {self.get_fully_qualified_name()} cleanup` first",
            )
        try:
            config = self.config.replaced(changed)
        except SettingError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.config = config
        if self._pipeline is not None:
            self._pipeline.config = config
        for camera in self._cameras.values():
            camera.config = config
        return SetParametersResult(successful=True)

    # --- Lifecycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            if self.config.detection.detector == "topic":
                detections_type()
            started_s = time.monotonic()
            prefix = self.config.tracking.id_prefix or _random_prefix()
            config = self.config.replaced({"tracking.id_prefix": prefix})
            load = partial(self._load, config, self._problems)
            self._pipeline = pipeline = run_unless(self._is_interrupted, load)
            tf = self._create_output(TFMessage, "/tf", QoSProfile(depth=100))
            for name in self.config.camera.names or ("",):
                self._cameras[name] = self._make_camera(name, pipeline, tf)
        except InterruptError:
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # out of GPU memory, a bad QoS, ...: rclpy would hide it
            self._log_failure("configure", error)
            self._free()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(
            f"loaded {self.config.network.checkpoint} and {self.config.body.assets} "
            f"in {time.monotonic() - started_s:.1f} s: {pipeline.description}"
        )
        if self.config.detection.detector == "full_frame":
            self.get_logger().warning(
                "detection.detector is full_frame: each image counts as one person, even if nobody "
                "is in it; do not let a robot act on the results"
            )
        return super().on_configure(state)

    def _create_output(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        """A lifecycle publisher whose QoS can be overridden by parameters."""
        output = self.create_lifecycle_publisher(
            kind,
            topic,
            copy.copy(qos),  # rclpy writes overrides into it
            qos_overriding_options=OVERRIDABLE,
        )
        self._outputs.append(output)
        return output

    def _make_camera(self, name: str, pipeline: Pipeline, tf: Any) -> CameraTopics:
        return CameraTopics(
            node=self,
            name=name,
            config=self.config,
            pipeline=pipeline,
            tf=tf,
            create_output=self._create_output,
            mailbox=self._mailbox,
            problems=self._problems,
            statistics=self._statistics,
            lookup=self._lookup,
        )

    def _log_failure(self, transition: str, error: Exception) -> None:
        # rclpy raises RuntimeError, ValueError or its own exception for a wrong QoS override.
        is_override = "qos override" in str(error).lower()
        is_known = isinstance(error, PearError) or is_override
        reason = str(error) if is_known else traceback.format_exc()
        if is_override:
            reason += "; docs/reference/parameters.md lists the policies and their values"
        self.get_logger().error(f"cannot {transition}: {reason}")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._problems.forget_reported()
        self._mailbox.open()
        result = super().on_activate(state)  # activates the publishers before there are results
        self._worker = threading.Thread(target=self._work, name="pear worker", daemon=True)
        self._worker.start()
        try:
            placement = self.config.placement
            if placement.output_frame or placement.ground_frame:
                self._transforms = listen(self, self._problems)
                self._tf_timer.reset()
            for camera in self._cameras.values():
                camera.subscribe()
        except Exception as error:  # rclpy would hide it
            self._log_failure("activate", error)
            self.stop()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        topics = ", ".join(camera.topic for camera in self._cameras.values())
        self.get_logger().info(f"active: images from {topics}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        self._free()
        return super().on_error(state)

    def stop(self) -> None:
        """Stops processing; waits for the image in progress, unless the process is to end."""
        for camera in self._cameras.values():
            camera.unsubscribe()
        self._tf_timer.cancel()
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        self._mailbox.close()
        if self._worker is not None:
            while self._worker.is_alive() and not self._is_interrupted():
                self._worker.join(POLL_S)
            self._worker = None

    def _free(self) -> None:
        self._pipeline = None
        self._cameras.clear()
        for output in self._outputs:
            self.destroy_lifecycle_publisher(output)
        self._outputs.clear()

    def start(self) -> None:
        """Configures and activates; if that fails, logs the reason."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # --- Executor thread ---

    def _publish_diagnostics(self) -> None:
        for camera in self._cameras.values():
            camera.look_around()
        self._diagnostics.publish(self.state, self._mailbox.total_dropped)

    def _tick_cameras(self) -> None:
        for camera in self._cameras.values():
            camera.tick()

    def _release_located(self) -> None:
        for camera in self._cameras.values():
            camera.release_located()

    def _lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        assert self._transforms is not None, "an image arrived before the node listened to TF"
        return self._transforms.lookup(target, source, stamp_ns)

    def survive(self, work: Callable[[], None]) -> None:
        """Runs callbacks; an exception of one is counted as a problem.

        rclpy's own services raise some: a parameter of no known type, for example.

        Raises:
            Exception: That of rclpy's executor, if it runs no callback any more.
        """
        try:
            work()
        except Exception as error:  # of any callback: one bad request must not end the node
            # If rclpy fails while it takes a message, it never releases the group of callbacks. A
            # process that ends can be restarted; one that is deaf would not be noticed.
            if self.executor is None or not all(map(self.executor.can_execute, self.timers)):
                raise
            if not self._is_interrupted():
                self._problems.count(
                    "internal_errors",
                    f"a message or a request could not be handled:\n{traceback.format_exc()}",
                    type(error).__name__,
                )

    # --- Worker thread ---

    def _work(self) -> None:
        while (jobs := self._mailbox.take()) is not None:
            self._attempt(partial(self._process, jobs))
            for name in jobs:  # images without a result
                self._mailbox.drop(name)

    def _attempt(self, work: Callable[[], None]) -> bool:
        """Runs `work`; returns False if it raised, which is counted as a problem."""
        try:
            work()
            return True
        except Exception as error:
            if self.context.ok():  # otherwise the node was interrupted and can no longer publish
                self._problems.count(
                    "internal_errors",
                    f"an image could not be processed; please report it:\n{traceback.format_exc()}",
                    type(error).__name__,
                )
            return False

    def _process(self, jobs: dict[str, ImageJob]) -> None:
        """Processes the newest image of each camera in one batch; removes finished jobs."""
        assert self._pipeline is not None
        wanted = {name: self._cameras[name].wanted(job) for name, job in jobs.items()}
        frames = {}
        for name, job in list(jobs.items()):
            if not wanted[name]:
                self._statistics.count("images_unwatched")
                del jobs[name]
            elif frame := self._cameras[name].read(job):
                frames[name] = frame
        mesh = any(needs_mesh(wanted[name]) for name in frames)
        people_by_frame = self._pipeline.step(list(frames.values()), mesh) if frames else []
        for (name, frame), people in zip(frames.items(), people_by_frame, strict=True):
            camera, job = self._cameras[name], jobs[name]
            answer = camera.answer(job, frame, people)
            if self._attempt(partial(camera.publish, answer, wanted[name])):
                del jobs[name]
            self._attempt(partial(camera.publish_pictures, answer, wanted[name]))


def _random_prefix() -> str:
    """Five characters and "_": ids differ between nodes, and after a restart."""
    letters = string.ascii_lowercase
    others = (secrets.choice(letters + string.digits) for _ in range(4))
    return f"{secrets.choice(letters)}{''.join(others)}_"


def main(args: list[str] | None = None, load: LoadPipeline = load_pipeline) -> int:
    """Runs the node until SIGINT or SIGTERM ends the process with exit code 0.

    Returns 1 if a parameter has a bad value.
    """
    signals = Signals()
    signals.watch()
    node: PearNode | None = None
    try:
        # rclpy's own handlers would shut DDS down while the node is still being made.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = PearNode(load, signals.have_arrived)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.config.autostart:
            node.start()
        while node.context.ok() and not signals.have_arrived():
            node.survive(partial(executor.spin_once, POLL_S))
    except (PearError, ParameterException) as error:
        rclpy.logging.get_logger("pear").fatal(f"bad parameter: {error}")
        return 1
    finally:
        if signals.have_arrived():
            end_process(partial(_leave, node))
        _leave(node)
    return 0


def _leave(node: PearNode | None) -> None:
    if node is not None:
        node.stop()
    rclpy.try_shutdown()  # before the node goes: the worker asks the context if an error matters
    if node is not None:
        node.destroy_node()
