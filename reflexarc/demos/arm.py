"""The arm's stage: pick one cube after the other over ROS 2, each from another place."""

from __future__ import annotations

import time
from pathlib import Path

from reflexarc_ros.runner import SystemRunner

from hardware.cards import load_robot_card
from reflexarc.demos.observer import Observer, gate_counts
from reflexarc.demos.plan import ArmPlan
from reflexarc.demos.progress import Display
from reflexarc.demos.records import ArmRecord, Episode, GateCounts, Timing
from reflexarc.demos.stage import StageLog
from sim.twin.trace import Trace

NAMESPACE = "so101"
CARD = "so101_twin"
_BRING_UP_S, _TURNOVER_S, _ANSWER_S = 60.0, 30.0, 1.0
# How often to ask again before silence is an error.
_ASKS = 4
# How often to ask whether the cube is picked, and how long it is shown when it is, seconds.
_ASK_EVERY_S, _AFTERGLOW_S = 0.1, 0.6


def pick(plan: ArmPlan, *, folder: Path, domain_id: int, display: Display, view: bool) -> ArmRecord:
    """Pick cubes in real time over ROS 2.

    Args:
        plan: how many, and how long each may take.
        folder: where the traces and the log go.
        domain_id: the ROS domain.
        display: shows what is going on.
        view: whether to open the live viewer.

    Returns:
        The record; a cube that was not picked is no error.

    Raises:
        ConfigError: the system does not fit together; nothing has started then.
        StageError: something that had to happen did not.
    """
    began_s = time.monotonic()
    trace_path = folder / "arm.npz"
    with StageLog(folder / "arm.log") as log:
        runner = SystemRunner(
            "arm", system_arguments(trace_path, view=view), on_line=log.line, domain_id=domain_id
        )
        with runner, Observer(load_robot_card(CARD), namespace=NAMESPACE, domain_id=domain_id) as observer:
            foreman = _Foreman(plan, trace_path, runner, observer, display, log)
            foreman.work()
        foreman.keep_trace(plan.episodes - 1)
    episodes = tuple(
        Episode(Trace.load(path), Timing.load(path))
        for path in (episode_path(trace_path, n) for n in range(plan.episodes))
    )
    return ArmRecord(plan, episodes, foreman.gate, time.monotonic() - began_s)


def system_arguments(trace_path: Path, *, view: bool) -> dict[str, str]:
    """The arguments of the system `arm`."""
    return {"headless": "false" if view else "true", "trace": str(trace_path)}


def episode_path(trace_path: Path, number: int) -> Path:
    """Where the trace of an attempt is kept, counted from 0."""
    return trace_path.with_name(f"{trace_path.stem}_{number + 1:02d}{trace_path.suffix}")


class _Foreman:
    """Begins one attempt after the other and looks how it goes."""

    def __init__(
        self,
        plan: ArmPlan,
        trace_path: Path,
        runner: SystemRunner,
        observer: Observer,
        display: Display,
        log: StageLog,
    ) -> None:
        self._plan, self._trace_path = plan, trace_path
        self._runner, self._observer, self._display, self._log = runner, observer, display, log
        self._picked = 0
        self.gate = GateCounts()

    def work(self) -> None:
        self._display.phase("Bringing up five processes")
        self._await_episode(0, _BRING_UP_S)
        for number in range(self._plan.episodes):
            if number:
                self._begin(number)
            self._attempt(number)
            self.gate += gate_counts(self._observer)

    def keep_trace(self, number: int) -> None:
        """Move what robot_node wrote when it stopped, before it writes the next."""
        path = episode_path(self._trace_path, number)
        for source, target in (
            (self._trace_path, path),
            (self._trace_path.with_suffix(".timing.json"), path.with_suffix(".timing.json")),
        ):
            if not source.exists():
                raise self._log.error(f"the twin left no {source.name} of attempt {number + 1}")
            source.replace(target)

    def _begin(self, number: int) -> None:
        answer = self._observer.ask("supervisor_node/new_episode", timeout_s=_ANSWER_S)
        if answer is not None and not answer.success:
            raise self._log.error(f"the supervisor began no new episode: {answer.message}")
        # An answer may be lost; what counts is the episode.
        self._await_episode(number, _TURNOVER_S)
        self.keep_trace(number - 1)

    def _await_episode(self, number: int, timeout_s: float) -> None:
        def runs() -> bool:
            status = self._observer.status("supervisor_node")
            return status.message == "all active" and status.values.get("episode") == str(number)

        if not self._observer.wait_for(runs, timeout_s=timeout_s, every=self._watch):
            raise self._log.error(f"attempt {number + 1} did not begin within {timeout_s:g} s")

    def _attempt(self, number: int) -> None:
        self._display.phase(f"Cube {number + 1} of {self._plan.episodes}")
        began_s = time.monotonic()
        asked_s, is_picked = began_s, False
        while not is_picked and time.monotonic() - began_s < self._plan.time_limit_s:
            self._observer.spin_once()
            self._watch()
            if time.monotonic() - asked_s >= _ASK_EVERY_S:
                asked_s = time.monotonic()
                is_picked = self._is_picked()
            self._display.update(f"{time.monotonic() - began_s:4.1f} s", f"{self._picked} picked so far")
        self._picked += is_picked
        duration_s = time.monotonic() - began_s
        self._display.note(f"picked after {duration_s:.1f} s" if is_picked else "not picked in time")
        self._observer.wait_for(lambda: False, timeout_s=_AFTERGLOW_S, every=self._watch)

    def _is_picked(self) -> bool:
        for _ in range(_ASKS):
            answer = self._observer.ask("robot_node/task", timeout_s=_ANSWER_S)
            self._watch()
            if answer is not None:
                return bool(answer.success)
        raise self._log.error("robot_node does not say whether the cube is picked")

    def _watch(self) -> None:
        if not self._runner.is_running:
            raise self._log.error(f"the system ended: {self._runner.failed or 'no reason given'}")
