"""Control loops: absolute deadlines, threads of their own, the real-time scheduler where it is permitted."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable


def enter_realtime(thread: int, priority: int) -> None:
    """Put a thread under the real-time scheduler; what it starts (viewers, renderers) stays ordinary."""
    os.sched_setscheduler(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


_awake: list[int] = []


def keep_awake() -> None:
    """Keep the processors out of deep sleep, from which waking takes longer than a hop between processes.

    Linux honours the request (PM QoS) for as long as the process holds the file open.
    """
    if not _awake:
        with contextlib.suppress(OSError):
            _awake.append(os.open("/dev/cpu_dma_latency", os.O_WRONLY))
            os.write(_awake[0], (0).to_bytes(4, "little"))


def allow_sleep() -> None:
    """Take the request back."""
    while _awake:
        os.close(_awake.pop())


class DeadlineLoop:
    """Calls a function at absolute deadlines of the steady clock, in its own thread.

    Args:
        period_ns: the time between two calls.
        call: takes the number of the period and its deadline (steady clock, nanoseconds).
        name: of the thread.
        priority: under SCHED_FIFO, where it is permitted already; 0: the ordinary scheduler.
        on_error: is told of an exception, which ends the loop.
    """

    def __init__(
        self,
        period_ns: int,
        call: Callable[[int, int], None],
        *,
        name: str,
        priority: int = 0,
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Prepare the thread."""
        self._period_ns, self._call, self._priority = period_ns, call, priority
        self._on_error = on_error
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.misses = 0
        self.start_ns = 0

    def start(self, *, delay_ns: int = 0) -> None:
        """Begin; the first call comes at once, or after a delay."""
        self._running.set()
        self.start_ns = time.monotonic_ns() + delay_ns
        self._thread.start()

    def stop(self) -> None:
        """End and wait for the thread."""
        self._running.clear()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    def _run(self) -> None:
        if self._priority > 0:
            enter_realtime(0, self._priority)
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
                self._on_error(error)
                return
            index += 1
