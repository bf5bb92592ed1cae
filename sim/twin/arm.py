"""The twin of an arm at a table: an SO-101 with a cube, a Panda with a T or with a peg."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.command import CommandKind, FloatArray, SafeAction
from hardware.errors import ConfigError
from hardware.robot import LatencyCard, RobotCard
from sim.twin.base import Twin
from sim.worlds.arm_view import ArmView, visual_model
from sim.worlds.arm_world import ArmWorld
from sim.worlds.library import make_world

SUCCESS = "success"

_SUBSTEP_NS = 2_000_000
# On the safe action the joints stop within this much of where they are, rad. It leaves the servos
# the error that they need to carry the arm.
_HOLD_BAND_RAD = 0.05
# How many unread images of a camera are remembered (as states, 100 bytes each).
_SNAPSHOTS = 64


class ArmTwin(Twin):
    """An arm in MuJoCo under the `Robot` protocol, in the world that the card's `parameters` name.

    It starts servos on; the seed places everything as `reset(seed=...)` of the world's task does. Left
    without commands for the card's `robot_timeout_s`, or after `safe_stop`, the servos stop the joints
    where they are and a jaw keeps its grip. Terms: those that the world measures.

    Args:
        card: a robot card with joint position commands and the safe action `hold`.
        seed: makes the run repeatable.
        latency: replaces the card's latency; `sim.twin.latency.NONE` switches it off.
        start_ns: simulated time at the start, ROS clock, nanoseconds.
        settings: how an attempt begins and what counts as success, of the world's kind.
        look: cameras whose newest images come with every observation; one is rendered when somebody looks
            at it, once.
        trace_limit_s: how much of the run the trace keeps, seconds.

    Raises:
        ConfigError: the card does not describe this twin.
    """

    command_kind = CommandKind.JOINT_POSITION

    def __init__(
        self,
        card: RobotCard,
        *,
        seed: int,
        latency: LatencyCard | None = None,
        start_ns: int = 0,
        settings: Any = None,  # noqa: ANN401
        look: Sequence[str] = (),
        trace_limit_s: float = 3600.0,
    ) -> None:
        """Check the card, build the world and start the run."""
        super().__init__(
            card,
            seed=seed,
            latency=latency,
            start_ns=start_ns,
            substep_ns=_SUBSTEP_NS,
            trace_limit_s=trace_limit_s,
        )
        self.world: ArmWorld = make_world(card, settings=settings)
        self._check_terms(self.world.MEASURED)
        self._check_commands()
        self._check_cameras()
        self._look = tuple(look)
        for name in self._look:
            self._need_camera(name)
        self._columns = [self.command_spec.names.index(name) for name in self.world.JOINTS]
        self._view = self.view()
        self.reset()

    @property
    def success(self) -> bool:
        """Whether the task is done, and has been for long enough."""
        return self.world.success

    @property
    def state(self) -> FloatArray:
        """The true state, as no sensor sees it: as `ArmWorld.state`."""
        return self.world.state

    @property
    def model(self) -> mujoco.MjModel:
        """The world with its visual meshes, for viewers; it moves as the physics does."""
        return visual_model(type(self.world))

    @property
    def data(self) -> mujoco.MjData:
        """The world's present state, for viewers and renderers; not to be written to."""
        return self.world.data

    @property
    def description(self) -> str:
        """The arm as URDF, for RViz and Foxglove."""
        return self.world.urdf()

    def read_camera(self, name: str) -> tuple[NDArray[np.uint8], int]:
        """Take the newest image that has arrived by now.

        A camera captures at its own rate, together with the joints, and its image is as late as
        the observation that was captured with it. It is rendered when it is read.

        Args:
            name: a camera of the card.

        Returns:
            The image, shape (height, width, 3), uint8, read-only, and its capture stamp, ROS
            clock, nanoseconds.

        Raises:
            ConfigError: the twin is not connected, the card has no such camera, or no OpenGL
                library can be loaded.
        """
        state, stamp_ns = self.camera_state(name)
        return self._show(name, state, stamp_ns), stamp_ns

    def camera_state(self, name: str) -> tuple[FloatArray, int]:
        """What the newest image that has arrived by now shows, for those who render elsewhere.

        Args:
            name: a camera of the card.

        Returns:
            The state at capture, for `view().image`, and the capture stamp, ROS clock, nanoseconds.

        Raises:
            ConfigError: the twin is not connected, or the card has no such camera.
        """
        self._need_connection("read_camera")
        self._need_camera(name)
        snapshots = self._snapshots[name]
        arrived_ns = self._newest.stamp_ns
        while len(snapshots) > 1 and snapshots[1][0] <= arrived_ns:
            snapshots.popleft()
        stamp_ns, state = snapshots[0]
        return state, stamp_ns

    def view(self) -> ArmView:
        """A view of the world of one's own, for another thread."""
        return ArmView(type(self.world))

    def disconnect(self) -> None:
        """Close the wire and the cameras; an arm that was under command takes its safe action."""
        super().disconnect()
        self._view.close()

    def _show(self, name: str, state: FloatArray, stamp_ns: int) -> NDArray[np.uint8]:
        shown = self._shown.get(name)
        if shown is None or shown[1] != stamp_ns:
            camera = self.card.cameras[name]
            image = self._view.image(state, name, width=camera.width, height=camera.height)
            image.flags.writeable = False
            shown = self._shown[name] = (image, stamp_ns)
        return shown[0]

    def _need_camera(self, name: str) -> None:
        if name not in self.card.cameras:
            raise ConfigError(
                f"no camera {name!r}",
                where=f"robot card {self.card.name!r}",
                expected="one of " + (", ".join(self.card.cameras) or "none: the card has no camera"),
                mend="name a camera of the card",
            )

    def _check_commands(self) -> None:
        where, spec = f"robot card {self.card.name!r}", self.command_spec
        if sorted(spec.names) != sorted(self.world.JOINTS) or spec.unit != "rad":
            raise ConfigError(
                f"joint position commands {', '.join(spec.names)} in {spec.unit}",
                where=where,
                expected=", ".join(self.world.JOINTS) + " in rad",
                mend="name the arm's joints",
            )
        if spec.safe_action is not SafeAction.HOLD:
            raise ConfigError(
                f"safe action {spec.safe_action.value}",
                where=where,
                expected="hold: an arm whose servos let go falls on the table",
                mend="set safe_action to hold",
            )
        if self._latency_card.actuator_lag_s != 0.0:
            raise ConfigError(
                f"actuator_lag_s {self._latency_card.actuator_lag_s}",
                where=where,
                expected="0: the servos' lag is in the world's dynamics",
                mend="remove actuator_lag_s from the latency card",
            )

    def _check_cameras(self) -> None:
        where = f"robot card {self.card.name!r}: cameras"
        for name, camera in self.card.cameras.items():
            fovy_deg = self.world.CAMERAS.get(name)
            if fovy_deg is None:
                raise ConfigError(
                    f"the twin has no camera {name!r}",
                    where=where,
                    expected="cameras out of " + ", ".join(self.world.CAMERAS),
                    mend="correct the name or remove the camera",
                )
            if camera.fovy_deg != fovy_deg or not (camera.rate_hz > 0 and camera.width > 0 < camera.height):
                raise ConfigError(
                    f"{name} has {camera.width} x {camera.height} pixels, {camera.rate_hz} Hz and"
                    f" fovy_deg {camera.fovy_deg}",
                    where=where,
                    expected=f"a positive size and rate, and fovy_deg {fovy_deg}",
                    mend="write the card as the twin sees",
                )

    def _reset(self, random: np.random.Generator) -> None:
        # Not `random`: the task draws from this very generator, and the two shall begin alike.
        self.world.reset(np.random.default_rng(self._seed))
        self._succeeded = False
        self._snapshots: dict[str, deque[tuple[int, FloatArray]]] = {
            name: deque(maxlen=_SNAPSHOTS) for name in self.card.cameras
        }
        self._shutters = dict.fromkeys(self.card.cameras, 0)
        self._shown: dict[str, tuple[NDArray[np.uint8], int]] = {}

    def _integrate(self, duration_s: float) -> None:
        self.world.advance(round(duration_s * 1e9))
        if self.world.success and not self._succeeded:
            self._succeeded = True
            self._recorder.event(self._start_ns + self.world.time_ns, SUCCESS, self.world.SUCCESS)

    def _apply(self, values: FloatArray) -> None:
        self.world.set_targets(values[self._columns])

    def _safe_action(self) -> None:
        targets = self.world.targets
        joints = self.world.state[: len(self.world.JOINTS)]
        held = np.clip(targets, joints - _HOLD_BAND_RAD, joints + _HOLD_BAND_RAD)
        # A jaw keeps squeezing what it holds.
        for name in self.world.GRIPPING:
            jaw = self.world.JOINTS.index(name)
            held[jaw] = targets[jaw]
        self.world.set_targets(held)

    def _capture(self) -> Mapping[str, FloatArray]:
        return self.world.observe()

    def _images(self) -> tuple[Mapping[str, NDArray[np.uint8]], Mapping[str, int]]:
        # Called with every capture: the state is kept for the cameras that are due, drawn if read.
        for name, camera in self.card.cameras.items():
            due_ns = self._start_ns + round(self._shutters[name] * 1e9 / camera.rate_hz)
            if due_ns <= self._physics_ns:
                self._shutters[name] += 1
                self._snapshots[name].append((self._physics_ns, self.world.state))
        newest = {name: self._snapshots[name][-1] for name in self._look}
        stamps_ns = {name: stamp_ns for name, (stamp_ns, _) in newest.items()}
        return _Glance(newest, self._show), stamps_ns

    def _state(self) -> tuple[FloatArray, FloatArray]:
        return self.world.state, self.world.data.qvel.copy()


class _Glance(Mapping[str, NDArray[np.uint8]]):
    """Images by camera name, each rendered when it is looked at."""

    def __init__(
        self,
        states: Mapping[str, tuple[int, FloatArray]],
        show: Callable[[str, FloatArray, int], NDArray[np.uint8]],
    ) -> None:
        self._states, self._show = states, show

    def __getitem__(self, name: str) -> NDArray[np.uint8]:
        stamp_ns, state = self._states[name]
        return self._show(name, state, stamp_ns)

    def __contains__(self, name: object) -> bool:
        return name in self._states

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)
