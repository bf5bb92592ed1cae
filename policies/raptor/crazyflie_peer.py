"""`python -m policies.raptor.crazyflie_peer`: the Crazyflie-like vehicle with RAPTOR in its firmware.

All arguments are those of `python -m sim.peers.crazyflie`, and `--policy DIR` chooses the policy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from policies.raptor.px4_peer import run_with_policy
from sim.peers.crazyflie.__main__ import main as run_vehicle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the vehicle. Returns the exit code: 0 after SIGINT or SIGTERM, 2 after bad input."""
    return run_with_policy(sys.argv[1:] if arguments is None else arguments, run_vehicle)


if __name__ == "__main__":
    raise SystemExit(main())
