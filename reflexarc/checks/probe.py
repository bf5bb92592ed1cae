"""Try something in a process of its own, so that what breaks there breaks nothing here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MARK = "reflexarc-probe:"


@dataclass(frozen=True)
class ProbeResult:
    """How it ended."""

    # What it reported, if it came that far.
    report: Mapping[str, Any] | None
    # Its exit code; negative: the signal that ended it.
    exit_code: int
    # The last lines it wrote.
    text: str = ""
    # Whether it had to be ended because it took too long.
    timed_out: bool = False
    # What it was given, for the messages.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def reason(self) -> str:
        """The last line that says why it failed."""
        if self.timed_out:
            return "no answer in time"
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        if self.exit_code < 0:
            return f"ended by {signal.Signals(-self.exit_code).name}" + (f": {lines[-1]}" if lines else "")
        said = [line for line in lines if "Error" in line or "rror:" in line]
        return (said or lines or [f"exit code {self.exit_code}"])[-1]


def run_probe(
    code: str,
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> ProbeResult:
    """Run Python code in a process of its own, with this interpreter.

    Args:
        code: what to run; it calls `report(**values)` at its end.
        timeout_s: after this long the process and its children are killed.
        environment: its environment; None: that of this process.
        arguments: its `sys.argv[1:]`.

    Returns:
        How it ended.
    """
    given = dict(os.environ if environment is None else environment)
    head = f"import json\ndef report(**values):\n    print({_MARK!r} + json.dumps(values), flush=True)\n"
    # In a folder of its own: MuJoCo drops a log file into the one it runs in.
    with tempfile.TemporaryDirectory(prefix="reflexarc-probe-") as folder:
        return _run([sys.executable, "-c", head + code, *arguments], given, folder, timeout_s)


def _run(command: Sequence[str], given: dict[str, str], folder: str, timeout_s: float) -> ProbeResult:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=given,
        cwd=folder,
        start_new_session=True,
    )
    try:
        text, timed_out = process.communicate(timeout=timeout_s)[0], False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, timed_out = process.communicate()[0], True
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    reports = [line[len(_MARK) :] for line in text.splitlines() if line.startswith(_MARK)]
    rest = [line for line in text.splitlines() if not line.startswith(_MARK)]
    return ProbeResult(
        report=json.loads(reports[-1]) if reports else None,
        exit_code=process.returncode,
        text="\n".join(rest[-20:]),
        timed_out=timed_out,
        environment=given,
    )
