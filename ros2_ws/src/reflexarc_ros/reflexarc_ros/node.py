"""What all nodes share: validated parameters, health on /diagnostics, and a clean way to run and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from hardware.errors import ConfigError
from reflexarc_ros import qos
from reflexarc_ros.loops import DeadlineLoop, enter_realtime, keep_awake
from reflexarc_ros.start import BAD_INPUT

LOCKSTEP, REAL_TIME = "lockstep", "real_time"
_HEALTH_PERIOD_S = 0.1
_HEARTBEAT_S = 0.5


@dataclass(frozen=True)
class Setting:
    """One parameter of a node."""

    # Its name.
    name: str
    # Its default; the type of every value.
    default: Any
    # What it does, in a sentence.
    description: str
    # The allowed values, where they can be listed.
    choices: tuple[str, ...] = ()
    # The allowed range of a number.
    minimum: float | None = None
    maximum: float | None = None


PACE = Setting(
    "pace",
    REAL_TIME,
    "real_time: loops at absolute deadlines; lockstep: every loop is paced by the next observation.",
    choices=(REAL_TIME, LOCKSTEP),
)


# Lockstep: where a recorder says which observation it has taken last, so that the twin can wait for it.
HEARD_TOPIC = "lockstep/heard"
REALTIME_PRIORITY = Setting(
    "realtime_priority",
    0,
    "SCHED_FIFO priority of all threads, with processors kept out of deep sleep; 0: neither, as in lockstep.",
    minimum=0,
    maximum=90,
)


class NotYet(Exception):
    """A transition has to wait for something that takes its time; whoever asked may ask again."""


class Health:
    """The state of a node on /diagnostics: on change at most ten times a second, else as a heartbeat."""

    def __init__(self, node: LifecycleNode) -> None:
        """Advertise and start the timer."""
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._node = node
        self._lock = threading.Lock()
        self._level, self._message = DiagnosticStatus.OK, "unconfigured"
        self._values: dict[str, str] = {}
        self._dirty, self._sent_s = True, 0.0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_HEALTH_PERIOD_S, self._tick, clock=steady)

    def report(self, level: bytes, message: str, **values: object) -> None:
        """Set the level, the message and any values; may be called from any thread."""
        with self._lock:
            texts = {key: str(value) for key, value in values.items()}
            if level != self._level or message != self._message:
                self._level, self._message, self._dirty = level, message, True
            self._values.update(texts)

    def note(self, **values: object) -> None:
        """Set values that go out with the next report."""
        with self._lock:
            self._values.update({key: str(value) for key, value in values.items()})

    def flush(self) -> None:
        """Publish now."""
        with self._lock:
            status = DiagnosticStatus(
                level=self._level,
                name=self._node.get_fully_qualified_name().lstrip("/"),
                message=self._message,
                hardware_id=self._node.get_namespace().strip("/"),
                values=[
                    KeyValue(key=k, value=v) for k, v in {"pid": str(os.getpid()), **self._values}.items()
                ],
            )
            self._dirty, self._sent_s = False, time.monotonic()
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _tick(self) -> None:
        if self._dirty or time.monotonic() - self._sent_s >= _HEARTBEAT_S:
            self.flush()


class ReflexarcNode(LifecycleNode):
    """A lifecycle node whose faults are reported in words and whose shutdown is always safe.

    Subclasses fill `settings` and the hooks `configure`, `activate`, `deactivate`, `cleanup`.

    Args:
        name: the node's default name.
    """

    settings: tuple[Setting, ...] = ()

    def __init__(self, name: str) -> None:
        """Declare the parameters and start the heartbeat."""
        super().__init__(name)
        self.is_active = False
        self._dropped = 0
        # Set when the process must end, with this code.
        self.exit_code: int | None = None
        # SCHED_FIFO priority of the control loops; 0 where it was not asked for or not permitted.
        self.loop_priority = 0
        # Whether loops are paced by observations; fixed when the node is configured.
        self.is_lockstep = False
        for setting in self.settings:
            self._declare(setting)
        self.add_on_set_parameters_callback(self._validate)
        self.health = Health(self)

    # Hooks ---------------------------------------------------------------------------------

    def configure(self) -> None:
        """Allocate, subscribe, load and check. Raises ConfigError; then the node stays unconfigured."""

    def activate(self) -> None:
        """Begin to act. Raises ConfigError; then the node stays inactive."""

    def deactivate(self) -> None:
        """Stop acting, safely."""

    def cleanup(self) -> None:
        """Release what `configure` made; must tolerate a half-built state."""

    # rclpy lets a transition that the present state does not offer end the process. Its handler is
    # private to the mixin, hence the name.

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:  # noqa: ANN401, N802
        """Refuse a transition that is not offered."""
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except RuntimeError as error:
            self.get_logger().warning(
                f"transition {request.transition.id} is not offered in this state: {error}"
            )
            response.success = False
            return response

    # Helpers -------------------------------------------------------------------------------

    def setting(self, name: str) -> Any:  # noqa: ANN401
        """The value of a parameter."""
        return self.get_parameter(name).value

    def data_now_ns(self) -> int:
        """The ROS clock, in nanoseconds."""
        return int(self.get_clock().now().nanoseconds)

    def end(self, code: int) -> None:
        """End the process soon, with an exit code; may be called from any thread."""
        self.exit_code = code

    def loop(self, period_ns: int, call: Callable[[int, int], None], *, name: str) -> DeadlineLoop:
        """Make a loop at absolute deadlines; a fault in it ends the process, which is then started anew."""
        return DeadlineLoop(
            period_ns,
            call,
            name=name,
            priority=self.loop_priority,
            on_error=lambda error: self._fail(name, error),
        )

    def guarded(self, topic: str, callback: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Wrap a subscription's callback: a message that cannot be read is reported and dropped.

        Args:
            topic: for the report.
            callback: takes the bytes of a message.

        Returns:
            A callback that never raises.
        """

        def call(raw: bytes) -> None:
            try:
                callback(raw)
            except Exception as error:
                self._dropped += 1
                text = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
                self.health.report(
                    DiagnosticStatus.ERROR, f"a message on {topic} was dropped: {text}", dropped=self._dropped
                )
                if self._dropped == 1 or self._dropped % 500 == 0:
                    self.get_logger().error(f"message {self._dropped} that was dropped, on {topic}: {text}")

        return call

    def _fail(self, name: str, error: BaseException) -> None:
        self.get_logger().error(f"the loop {name!r} failed: " + "".join(traceback.format_exception(error)))
        self.end(1)

    # Lifecycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        self.is_lockstep = self.has_parameter("pace") and self.setting("pace") == LOCKSTEP
        if self.has_parameter("realtime_priority") and not self.is_lockstep:
            self._take_priority(self.setting("realtime_priority"))
        return self._transition(self.configure, "inactive", on_failure=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        result = self._transition(self.activate, "active")
        if result == TransitionCallbackReturn.SUCCESS:
            self.is_active = True
            return super().on_activate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        self.is_active = False
        self._transition(self.deactivate, "inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._transition(self.cleanup, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leave everything safe."""
        self.stop()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leave everything safe; the supervisor may configure anew."""
        self.stop()
        return TransitionCallbackReturn.SUCCESS

    def stop(self) -> None:
        """Deactivate and clean up, from whatever state."""
        if self.is_active:
            self.is_active = False
            self.deactivate()
        self.cleanup()

    def _transition(
        self, hook: Callable[[], None], reached: str, *, on_failure: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            hook()
        except NotYet as error:
            self.health.report(DiagnosticStatus.WARN, str(error))
            return TransitionCallbackReturn.FAILURE
        except ConfigError as error:
            self.get_logger().error(str(error))
            if on_failure is not None:
                on_failure()
            self.health.report(DiagnosticStatus.ERROR, str(error))
            self.health.flush()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            # A fault of ours: it is told whole, and the node stays where it was.
            self.get_logger().error(traceback.format_exc())
            if on_failure is not None:
                on_failure()
            self.health.report(DiagnosticStatus.ERROR, f"{type(error).__name__}: {error}")
            self.health.flush()
            return TransitionCallbackReturn.FAILURE
        self.health.report(DiagnosticStatus.OK, reached)
        return TransitionCallbackReturn.SUCCESS

    def _take_priority(self, priority: int) -> None:
        """Put every thread under the real-time scheduler, where the system permits it."""
        if priority <= 0:
            return
        try:
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(ProcessLookupError):
                    enter_realtime(int(thread), priority)
            self.loop_priority = priority
            keep_awake()
            self.health.note(scheduler=f"SCHED_FIFO {priority}")
        except PermissionError:
            self.health.note(scheduler="ordinary: SCHED_FIFO is not permitted (see reflexarc doctor)")

    # Parameters ----------------------------------------------------------------------------

    def _declare(self, setting: Setting) -> None:
        descriptor = ParameterDescriptor(
            description=setting.description,
            additional_constraints=("one of " + ", ".join(setting.choices)) if setting.choices else "",
        )
        if isinstance(setting.default, int) and not isinstance(setting.default, bool) and setting.maximum:
            descriptor.integer_range = [
                IntegerRange(from_value=int(setting.minimum or 0), to_value=int(setting.maximum), step=1)
            ]
        elif setting.minimum is not None or setting.maximum is not None:
            descriptor.floating_point_range = [
                FloatingPointRange(
                    from_value=-1e300 if setting.minimum is None else setting.minimum,
                    to_value=1e300 if setting.maximum is None else setting.maximum,
                )
            ]
        try:
            self.declare_parameter(setting.name, setting.default, descriptor)
        except ParameterException as error:
            raise ConfigError(
                f"the parameter {setting.name!r} has a wrong value ({error})",
                where=self.get_name(),
                expected=f"{type(setting.default).__name__}; {setting.description}",
                mend="correct the parameter",
            ) from error
        problem = self._problem(setting, self.get_parameter(setting.name).value)
        if problem is not None:
            raise problem

    def _problem(self, setting: Setting, value: object) -> ConfigError | None:
        if not setting.choices or value in setting.choices:
            return None
        return ConfigError(
            f"the parameter {setting.name!r} is {value!r}",
            where=self.get_name(),
            expected="one of " + ", ".join(setting.choices),
            mend="choose one of these",
        )

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        known = {setting.name: setting for setting in self.settings}
        for parameter in parameters:
            setting = known.get(parameter.name)
            problem = None if setting is None else self._problem(setting, parameter.value)
            if problem is not None:
                return SetParametersResult(successful=False, reason=str(problem))
        return SetParametersResult(successful=True)


def destroy(node: ReflexarcNode, entity: Any) -> None:  # noqa: ANN401
    """Withdraw a publisher, subscription, service or timer."""
    kind = type(entity).__name__
    if "Publisher" in kind:
        node.destroy_publisher(entity)
    elif "Subscription" in kind:
        node.destroy_subscription(entity)
    elif "Service" in kind:
        node.destroy_service(entity)
    elif "Timer" in kind:
        node.destroy_timer(entity)
    elif "Client" in kind:
        node.destroy_client(entity)


def run(node_class: Callable[[], ReflexarcNode], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM.

    The first signal ends the loop; further ones (a terminal and a launcher both send them) are
    ignored, so that the exit code is 0 however often Ctrl-C is pressed.

    Args:
        node_class: makes the node.
        args: command-line arguments; None: those of the process.

    Returns:
        The exit code: 0; 1 after a fault of ours; 2 for bad parameters; `RUN_ENDED` when the node
        itself ended the run.
    """
    stopping = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = node_class()
    except ConfigError as error:
        rclpy.logging.get_logger("reflexarc").error(str(error))
        rclpy.try_shutdown()
        return BAD_INPUT
    executor = EventsExecutor()
    executor.add_node(node)
    try:
        while not stopping.is_set() and rclpy.ok() and node.exit_code is None:
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.stop()
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return node.exit_code or 0
