"""The film of a flight, rendered from its trace: vehicle, path, reference, gust and safe action."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np

from hardware.command import FloatArray
from reflexarc.demos.metrics import make_flight, safe_stretches
from reflexarc.demos.plan import (
    FAST_PERIOD_S,
    GUST_FORCE_N,
    RAMP_S,
    SLOW_PERIOD_S,
    Segment,
)
from reflexarc.demos.records import FlightRecord
from reflexarc.report.video import (
    ALARM,
    GOOD,
    HEIGHT,
    NEUTRAL,
    RATE_HZ,
    WARNING,
    WIDTH,
    Label,
    Mp4Writer,
    write_labels,
)
from sim.quadrotor.airframes import load_airframe
from sim.twin.quadrotor import Gust
from sim.worlds.quadrotor import quadrotor_model
from sim.worlds.render import OffscreenRenderer, Quality
from sim.worlds.trail import draw_trail

_FLOWN, _SAFE, _REFERENCE = (0.96, 0.39, 0.08, 1.0), (0.85, 0.15, 0.2, 1.0), (0.16, 0.36, 0.84, 0.55)
_SHADOW, _WIND = (0.12, 0.14, 0.18, 0.34), (0.80, 0.58, 0.02, 0.9)
# How much of the flown path is shown, how far the points of a line are apart, seconds.
_TRAIL_S, _TRAIL_STEP_S = 3.5, 0.1
# Points of the reference's loop: software rendering pays for every one of them.
_LOOP_POINTS = 57
# The camera follows a smoothed position: time constant, seconds; distance, metres; angles, degrees.
_FOLLOW_S, _DISTANCE_M, _AZIMUTH_DEG, _TURN_DEG_S, _ELEVATION_DEG = 0.9, 3.1, 118.0, 0.55, -19.0
# How much of the camera's aim goes to the middle of the flying ground.
_CENTRE_SHARE = 0.35
# Round shapes get this many slices: films show them small.
_SLICES, _STACKS = 14, 8
_END_S = 0.6


def render_flight(record: FlightRecord, path: Path, progress: Callable[[int, int], None]) -> None:
    """Render a flight.

    Args:
        record: the flight.
        path: the MP4 file.
        progress: called with the number of frames done and in all.

    Raises:
        ConfigError: no OpenGL library can be loaded.
    """
    scene = _Scene(record)
    stride = max(1, round(1.0 / (RATE_HZ * _row_period_s(record))))
    rows = range(0, len(record.trace.time_ns), stride)
    # The middle of the flight is when most is to be seen; of a short one, when it hovers.
    poster = len(rows) // 2
    with (
        OffscreenRenderer(scene.model, WIDTH, HEIGHT, quality=Quality.FAST) as renderer,
        Mp4Writer(path) as film,
    ):
        for done, row in enumerate(rows):
            frame = renderer.frame(scene.place(row), scene.camera, decorate=scene.decorate)
            write_labels(frame, scene.labels())
            film.add(frame)
            if done == poster:
                film.keep_poster()
            progress(done + 1, len(rows))
        film.hold(_END_S)


def _row_period_s(record: FlightRecord) -> float:
    times = record.trace.time_s
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.01


class _Scene:
    """The world at one row of the trace after the other."""

    def __init__(self, record: FlightRecord) -> None:
        airframe = load_airframe(record.airframe)
        self.model = quadrotor_model(airframe)
        self.model.vis.quality.numslices, self.model.vis.quality.numstacks = _SLICES, _STACKS
        self.data = mujoco.MjData(self.model)
        self._record = record
        self._flight = make_flight(record.trace, record.trajectory, start_ns=record.start_ns)
        self._safe = safe_stretches(record.trace, start_ns=record.start_ns)
        self._gust: Gust | None = None
        if record.gust_s is not None:
            self._gust = Gust(record.gust_s[0], record.gust_s[1] - record.gust_s[0], GUST_FORCE_N)
        self._rotors = airframe.rotor_positions_m
        self._disc_m = 0.6 * airframe.arm_m
        self._step = max(1, round(_TRAIL_STEP_S / _row_period_s(record)))
        self._reference_paths = {p.start_s: self._reference_path(p.start_s) for p in record.plan.phases}
        self._aim = self._flight.position_m[0].copy()
        self._last_s = float(self._flight.time_s[0])
        self._row = 0
        self.camera = mujoco.MjvCamera()
        self.camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self.camera.distance, self.camera.elevation = _DISTANCE_M, _ELEVATION_DEG

    def place(self, row: int) -> mujoco.MjData:
        """Put vehicle and camera where they were."""
        self._row = row
        self.data.qpos[:] = self._record.trace.qpos[row]
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        now_s = float(self._flight.time_s[row])
        share = 1.0 - np.exp(-(now_s - self._last_s) / _FOLLOW_S)
        self._aim += share * (self._flight.position_m[row] - self._aim)
        self._last_s = now_s
        self.camera.lookat[:2] = (1.0 - _CENTRE_SHARE) * self._aim[:2]
        self.camera.lookat[2] = 0.86 * self._aim[2]
        self.camera.azimuth = _AZIMUTH_DEG + _TURN_DEG_S * now_s
        return self.data

    # --- what is drawn into the scene --------------------------------------------------------

    def decorate(self, scene: mujoco.MjvScene) -> None:
        """Add shadow, reference, path and gust."""
        now_s = self._now_s
        position = self._flight.position_m[self._row]
        self._draw_shadow(scene)
        if self._record.estop_s is None or now_s < self._record.estop_s:
            phase = self._record.plan.at(now_s)
            path = self._reference_paths[phase.start_s]
            if len(path) > 1:
                draw_trail(scene, path, rgba=_REFERENCE, width_m=0.006)
            _add_geom(
                scene,
                mujoco.mjtGeom.mjGEOM_SPHERE,
                [0.028] * 3,
                self._flight.reference_m[self._row],
                np.eye(3),
                (*_REFERENCE[:3], 0.95),
            )
        begin = int(np.searchsorted(self._flight.time_s, now_s - _TRAIL_S))
        rows = np.arange(self._row, begin - 1, -self._step)[::-1]
        if len(rows) > 1:
            colour = _SAFE if self._is_safe else _FLOWN
            draw_trail(scene, self._flight.position_m[rows], rgba=colour, width_m=0.010, fades=True)
        strength = 0.0 if self._gust is None else self._gust.share(now_s - 0.01, now_s + 0.01)
        if strength > 0.02:
            direction = np.array(GUST_FORCE_N) / np.linalg.norm(GUST_FORCE_N)
            tip = position - 0.33 * direction
            _add_arrow(scene, tip - (0.15 + 0.75 * strength) * direction, tip, _WIND)

    def _draw_shadow(self, scene: mujoco.MjvScene) -> None:
        """Where a high sun puts the shadows of the four discs and the body: cheap, and shows the height."""
        rotation = self.data.body("base_link").xmat.reshape(3, 3)
        position = self._flight.position_m[self._row]
        spots = [(np.zeros(3), 0.45 * self._disc_m), *((np.array(r), self._disc_m) for r in self._rotors)]
        for offset, radius in spots:
            place = position + rotation @ offset
            ground = np.array([place[0] - 0.25 * place[2], place[1] + 0.35 * place[2], 0.0018])
            size = [radius, 0.0004, 0.0]
            _add_geom(scene, mujoco.mjtGeom.mjGEOM_CYLINDER, size, ground, np.eye(3), _SHADOW)

    def _reference_path(self, start_s: float) -> FloatArray:
        """The reference of a phase, one loop of a figure eight; a point has no path."""
        plan = self._record.plan
        phase = plan.at(start_s + 1e-6)
        if phase.segment is Segment.TAKE_OFF:
            times = np.array([phase.start_s, phase.end_s])
        elif phase.segment in (Segment.FIGURE_EIGHT_10S, Segment.FIGURE_EIGHT_5_5S):
            period_s = SLOW_PERIOD_S if phase.segment is Segment.FIGURE_EIGHT_10S else FAST_PERIOD_S
            # With one ramp a little more than a loop, with two ramps exactly one.
            times = phase.start_s + np.linspace(0.0, period_s + RAMP_S, _LOOP_POINTS)
        else:
            return np.zeros((0, 3))
        return np.array([self._record.trajectory.sample(float(t)).position_m for t in times])

    # --- what is written on the frame --------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return float(self._flight.time_s[self._row])

    @property
    def _is_safe(self) -> bool:
        return any(begin <= self._now_s < end for begin, end in self._safe)

    def labels(self) -> list[Label]:
        """What a viewer should know now."""
        record, now_s = self._record, self._now_s
        is_landing = record.estop_s is not None and now_s >= record.estop_s
        # At the top: a player's controls cover the bottom.
        found = [Label(record.title_at(now_s), 24, 22, size=27), Label(f"{max(0.0, now_s):.1f} s", 24, 68)]
        found.append(self._gate_label(now_s, is_landing=is_landing))
        if not is_landing:
            error_cm = 100 * float(self._flight.error_m[self._row])
            text = f"{error_cm:.0f} cm from the reference"
            found.append(Label(text, WIDTH - 24, 58, from_right=True))
        if self._gust is not None and self._gust.share(now_s - 0.01, now_s + 0.01) > 0.0:
            push_n = float(np.linalg.norm(GUST_FORCE_N))
            found.append(Label(f"gust, up to {push_n:.0f} N", 24, 104, colour=WARNING))
        if record.kill_s <= now_s < record.kill_s + record.commands_back_s:
            found.append(Label("policy process killed (kill -9)", 24, 104, colour=ALARM))
        elif 0.0 <= now_s - record.kill_s - record.commands_back_s < 2.0:
            found.append(Label("policy process is back", 24, 104, colour=GOOD))
        return found

    def _gate_label(self, now_s: float, *, is_landing: bool) -> Label:
        if not self._is_safe:
            text, colour = "gate: commands pass", GOOD
        elif now_s < 1.0:
            text, colour = "gate: waits for the policy", NEUTRAL
        else:
            text = "gate: safe action, " + ("motors off" if is_landing and self._is_down else "landing")
            colour = ALARM
        return Label(text, WIDTH - 24, 22, colour=colour, from_right=True)

    @property
    def _is_down(self) -> bool:
        return bool(self._flight.position_m[self._row, 2] < self._flight.position_m[0, 2] + 0.01)


def _add_geom(
    scene: mujoco.MjvScene,
    kind: mujoco.mjtGeom,
    size: list[float],
    position: FloatArray,
    rotation: FloatArray,
    rgba: tuple[float, ...],
) -> None:
    if scene.ngeom < scene.maxgeom:
        mujoco.mjv_initGeom(
            scene.geoms[scene.ngeom],
            kind,
            np.array(size),
            np.asarray(position, dtype=np.float64),
            rotation.ravel(),
            np.array(rgba, dtype=np.float32),
        )
        scene.ngeom += 1


def _add_arrow(scene: mujoco.MjvScene, tail: FloatArray, tip: FloatArray, rgba: tuple[float, ...]) -> None:
    _add_geom(scene, mujoco.mjtGeom.mjGEOM_ARROW, [0.03, 0.03, 0.1], tail, np.eye(3), rgba)
    mujoco.mjv_connector(scene.geoms[scene.ngeom - 1], mujoco.mjtGeom.mjGEOM_ARROW, 0.03, tail, tip)
