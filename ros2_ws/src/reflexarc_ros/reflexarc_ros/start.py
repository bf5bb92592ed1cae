"""Starts a node: `python -m reflexarc_ros.start robot_node --ros-args …`.

Its imports take a second or more. A Ctrl-C in that time should end it as quietly as a later one does, so
the signals are taken care of before anything else is loaded; the node then puts its own handlers in place.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from importlib import import_module
from types import FrameType

# Exit codes after which a process is not started anew: it was given something wrong, or it ended the run.
BAD_INPUT, RUN_ENDED = 2, 3
# Set for nodes that must not outlive the process that started them: its process id.
PARENT_VARIABLE = "REFLEXARC_PARENT"
_PR_SET_PDEATHSIG = 1
NODES = (
    "robot_node",
    "gate_node",
    "policy_node",
    "reference_node",
    "supervisor_node",
    "peer_node",
    "teleop_node",
    "recorder_node",
)


def main() -> int:
    """Run the node named first on the command line with what follows it.

    Returns:
        The node's exit code, or 2 when there is no such node.
    """
    _end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    if len(sys.argv) < 2 or sys.argv[1] not in NODES:
        sys.stderr.write(f"usage: python -m reflexarc_ros.start {{{','.join(NODES)}}} [--ros-args ...]\n")
        return BAD_INPUT
    sys.argv = sys.argv[1:]
    code: int = import_module(f"reflexarc_ros.{sys.argv[0]}").main()
    return code


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the runner that started this process dies, or leave if it has."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1 and int(parent) != 1:
        sys.exit(0)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once with exit code 0: no node exists yet, so nothing is there to be left safe."""
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
