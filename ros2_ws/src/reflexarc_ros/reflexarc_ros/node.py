"""What all nodes share: validated parameters, health on /diagnostics, and a clean way to run and stop."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from hardware.errors import ConfigError
from reflexarc_ros import qos

LOCKSTEP, REAL_TIME = "lockstep", "real_time"
_HEALTH_PERIOD_S = 0.1
_HEARTBEAT_S = 0.5
_PR_SET_PDEATHSIG = 1


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


REALTIME_PRIORITY = Setting(
    "realtime_priority",
    0,
    "SCHED_FIFO priority of all threads of the process; 0: the ordinary scheduler. Ignored in lockstep.",
)


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

    # Helpers -------------------------------------------------------------------------------

    def setting(self, name: str) -> Any:  # noqa: ANN401
        """The value of a parameter."""
        return self.get_parameter(name).value

    def data_now_ns(self) -> int:
        """The ROS clock, in nanoseconds."""
        return int(self.get_clock().now().nanoseconds)

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
        except ConfigError as error:
            self.get_logger().error(str(error))
            if on_failure is not None:
                on_failure()
            self.health.report(DiagnosticStatus.ERROR, str(error))
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
                os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
            self.health.note(scheduler=f"SCHED_FIFO {priority}")
        except PermissionError:
            self.health.note(scheduler="ordinary: SCHED_FIFO is not permitted (see reflexarc doctor)")

    # Parameters ----------------------------------------------------------------------------

    def _declare(self, setting: Setting) -> None:
        descriptor = ParameterDescriptor(
            description=setting.description,
            additional_constraints=("one of " + ", ".join(setting.choices)) if setting.choices else "",
        )
        if setting.minimum is not None or setting.maximum is not None:
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


def leave_realtime() -> None:
    """Put the calling thread under the ordinary scheduler: what may take long must not hold up the loop."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class DeadlineLoop:
    """Calls a function at absolute deadlines of the steady clock, in its own thread.

    Args:
        period_ns: the time between two calls.
        call: takes the number of the period and its deadline (steady clock, nanoseconds).
        name: of the thread.
    """

    def __init__(self, period_ns: int, call: Callable[[int, int], None], *, name: str) -> None:
        """Prepare the thread."""
        self._period_ns, self._call = period_ns, call
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.misses = 0
        self.start_ns = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin; the first call comes at once."""
        self._running.set()
        self.start_ns = time.monotonic_ns()
        self._thread.start()

    def stop(self) -> None:
        """End and wait for the thread."""
        self._running.clear()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    def _run(self) -> None:
        index = 0
        while self._running.is_set():
            deadline = self.start_ns + index * self._period_ns
            rest = deadline - time.monotonic_ns()
            if rest > 0:
                time.sleep(rest * 1e-9)
                rest = deadline - time.monotonic_ns()
            if rest < -self._period_ns:
                # The host was away: count what was missed and go on in step with the clock.
                skipped = -rest // self._period_ns
                self.misses += skipped
                index += skipped
                deadline += skipped * self._period_ns
            if not self._running.is_set():
                return
            try:
                self._call(index, deadline)
            except Exception as error:
                self.error = error
                raise
            index += 1


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


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the runner that started this process dies."""
    if "REFLEXARC_PARENT" in os.environ:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def run(node_class: Callable[[], ReflexarcNode], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM.

    The first signal ends the loop; further ones (a terminal and a launcher both send them) are
    ignored, so that the exit code is 0 however often Ctrl-C is pressed.

    Args:
        node_class: makes the node.
        args: command-line arguments; None: those of the process.

    Returns:
        The exit code: 0, or 2 for bad parameters.
    """
    stopping = threading.Event()
    _end_with_parent()

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
        return 2
    executor = EventsExecutor()
    executor.add_node(node)
    try:
        while not stopping.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.stop()
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
