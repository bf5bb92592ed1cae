"""Runs a system's processes without `ros2 launch`: prefixed output, respawn, an orderly stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from reflexarc_ros.bringup import NodeSpec, environment, nodes, parameter_words
from reflexarc_ros.start import BAD_INPUT, PARENT_VARIABLE, RUN_ENDED

OnLine = Callable[[str, str], None]
_RESPAWN_DELAY_S = 0.3
# A process that ends so soon after its start so often will not come up.
_QUICK_S = 6.0
_QUICK_ENDS = 4
_POLL_S = 0.02


@dataclass
class _Process:
    """One running node."""

    spec: NodeSpec
    popen: subprocess.Popen[str]
    reader: threading.Thread
    restarts: int = 0
    restart_at_s: float | None = None
    # When it was started (steady clock, seconds), and how often in a row it ended soon after.
    started_s: float = field(default_factory=time.monotonic)
    quick_ends: int = 0


class SystemRunner:
    """Starts and supervises the processes of one system; a context manager that always cleans up.

    Args:
        name: the system.
        arguments: as for `bringup.nodes`.
        on_line: takes the node's name and each line that it prints; called from reader threads.
        domain_id: the ROS domain; None: that of the environment.
        remappings: further topic remappings by node name.

    Raises:
        ConfigError: as `bringup.nodes`; no process has started then.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, str],
        *,
        on_line: OnLine,
        domain_id: int | None = None,
        remappings: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    ) -> None:
        """Check everything; start nothing."""
        extra = remappings or {}
        self.specs = tuple(
            replace(spec, remappings=(*spec.remappings, *extra.get(spec.name, ())))
            for spec in nodes(name, arguments)
        )
        self._on_line = on_line
        self._environment = {**os.environ, **environment(), PARENT_VARIABLE: str(os.getpid())}
        if domain_id is not None:
            self._environment["ROS_DOMAIN_ID"] = str(domain_id)
        self._processes: dict[str, _Process] = {}
        self._stopping = threading.Event()
        self._monitor = threading.Thread(target=self._watch, name="runner", daemon=True)
        self._started = threading.Event()
        # Why the system ended by itself, and whether it was given something wrong.
        self.failed: str | None = None
        self.was_bad_input = False

    def __enter__(self) -> Self:
        """Start all processes."""
        self._monitor.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all processes."""
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the system has not ended."""
        return self._monitor.is_alive()

    def pid(self, name: str) -> int:
        """The process of a node."""
        return self._processes[name].popen.pid

    def restarts(self, name: str) -> int:
        """How often a node was started anew."""
        return self._processes[name].restarts

    def stop(self) -> None:
        """Ask all processes to end, insist where needed, and wait."""
        self._stopping.set()
        if self._monitor.is_alive():
            self._monitor.join()

    # The monitor thread starts every process and lives as long as they do: the kernel ties a
    # process's «parent died» signal to the very thread that started it.

    def _watch(self) -> None:
        try:
            for spec in self.specs:
                self._processes[spec.name] = self._start(spec)
        finally:
            self._started.set()
        try:
            while not self._stopping.wait(_POLL_S):
                if not all([self._check(p) for p in self._processes.values()]):
                    break
        finally:
            self._stop_all()

    def _start(self, spec: NodeSpec) -> _Process:
        command = [sys.executable, "-m", f"{spec.package}.start", spec.executable, "--ros-args"]
        command += ["-r", f"__node:={spec.name}", "-r", f"__ns:={spec.namespace}", *parameter_words(spec)]
        for source, target in spec.remappings:
            command += ["-r", f"{source}:={target}"]
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment,
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(spec.name, popen), daemon=True)
        reader.start()
        return _Process(spec, popen, reader)

    def _read(self, name: str, popen: subprocess.Popen[str]) -> None:
        assert popen.stdout is not None
        for line in popen.stdout:
            self._on_line(name, line.rstrip("\n"))

    def _check(self, process: _Process) -> bool:
        """Whether the system goes on after looking at one process."""
        code = process.popen.poll()
        if code is None:
            return True
        now_s = time.monotonic()
        if process.restart_at_s is None:
            if code in (BAD_INPUT, RUN_ENDED) or not process.spec.respawn:
                self.failed = f"{process.spec.name} ended with exit code {code}"
                self.was_bad_input = code == BAD_INPUT
                return False
            process.quick_ends = process.quick_ends + 1 if now_s - process.started_s < _QUICK_S else 0
            if process.quick_ends >= _QUICK_ENDS:
                self.failed = f"{process.spec.name} ended {_QUICK_ENDS} times right after its start"
                return False
            self._on_line(process.spec.name, f"ended with exit code {code}; starting anew")
            process.restart_at_s = now_s + _RESPAWN_DELAY_S
        elif now_s >= process.restart_at_s:
            fresh = self._start(process.spec)
            process.popen, process.reader = fresh.popen, fresh.reader
            process.started_s = fresh.started_s
            process.restarts += 1
            process.restart_at_s = None
        return True

    def _stop_all(self) -> None:
        # The robot first: it leaves itself safe while the others are still there.
        ordered = sorted(self._processes.values(), key=lambda p: p.spec.name != "robot_node")
        # A vehicle lands before its processes end.
        patience_s = max([p.spec.stop_s for p in ordered], default=0.0)
        for number, grace_s in ((signal.SIGINT, patience_s), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            living = [p for p in ordered if p.popen.poll() is None]
            for process in living:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.send_signal(number)
            deadline_s = time.monotonic() + grace_s
            while time.monotonic() < deadline_s and any(p.popen.poll() is None for p in living):
                time.sleep(_POLL_S)
        for process in ordered:
            process.reader.join(1.0)
        _clean_shared_memory()


def _clean_shared_memory() -> None:
    """Remove what killed processes left in shared memory, with Fast DDS's own tool (locks are respected)."""
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    tool = shutil.which("fastdds", path=folders)
    if tool is not None:
        subprocess.run(
            [tool, "shm", "clean"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20.0,
            check=False,
        )


def run_system(name: str, arguments: Mapping[str, str], *, on_line: OnLine) -> int:
    """Run a system until it ends or Ctrl-C is pressed.

    Args:
        name: a key of `bringup.SYSTEMS`.
        arguments: as for `bringup.nodes`.
        on_line: takes the node's name and each line that it prints.

    Returns:
        0 after a stop that was asked for; 2 when a node refused what it was given; 1 when the system
        ended by itself for another reason.

    Raises:
        ConfigError: as `bringup.nodes`; no process has started then.
    """
    with SystemRunner(name, arguments, on_line=on_line) as runner:
        try:
            while runner.is_running:
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            on_line("reflexarc", "stopping")
            runner.stop()
            return 0
        on_line("reflexarc", runner.failed or "ended")
        return BAD_INPUT if runner.was_bad_input else 1
