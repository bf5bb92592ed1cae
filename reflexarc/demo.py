"""`reflexarc demo`: fly the quadrotor, let the arm pick, and write a report of what happened."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from reflexarc.imports import add_ros_package


@dataclass(frozen=True)
class DemoConfig:
    """What to show, and where the report goes."""

    # No window, also where there is a display.
    headless: bool = False
    # About how many seconds each stage may take; left out, everything is shown.
    seconds: float | None = None
    # The folder for report.html, summary.json, plots and videos.
    out: Path = Path("demo_report")
    # Which stages to show, in this order.
    stages: tuple[Literal["quadrotor", "arm"], ...] = ("quadrotor", "arm")


def run(config: DemoConfig) -> int:
    """Show the demo.

    Args:
        config: what to show.

    Returns:
        0 when every stage was shown to its end and reached what it must, else 1.

    Raises:
        ConfigError: something that the demo needs is missing or does not fit; nothing has moved then.
        KeyboardInterrupt: Ctrl-C; all processes have been stopped.
    """
    from reflexarc.checks.ros import require_rmw

    require_rmw(os.environ)
    add_ros_package()
    with _one_interrupt():
        from reflexarc_ros.bringup import check_graphics

        check_graphics()
        from reflexarc.demos.show import Show

        return Show(config).run()


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C stop the demo, and further ones not disturb its stopping."""
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    except Exception as error:
        # A library that is interrupted while it is imported turns the interrupt into an error of its own.
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
