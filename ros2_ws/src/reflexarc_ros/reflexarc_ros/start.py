"""Starts a node: `python -m reflexarc_ros.start robot_node --ros-args …`.

Its imports take a second or more. A Ctrl-C in that time should end it as quietly as a later one does, so
the signals are taken care of before anything else is loaded; the node then puts its own handlers in place.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from types import FrameType

NODES = ("robot_node", "gate_node", "policy_node", "reference_node", "supervisor_node")


def main() -> int:
    """Run the node named first on the command line with what follows it.

    Returns:
        The node's exit code, or 2 when there is no such node.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    if len(sys.argv) < 2 or sys.argv[1] not in NODES:
        sys.stderr.write(f"usage: python -m reflexarc_ros.start {{{','.join(NODES)}}} [--ros-args ...]\n")
        return 2
    sys.argv = sys.argv[1:]
    code: int = import_module(f"reflexarc_ros.{sys.argv[0]}").main()
    return code


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once with exit code 0: no node exists yet, so nothing is there to be left safe."""
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
