"""`python -m policies.raptor.betaflight_peer`: real Betaflight with RAPTOR compiled into it, in simulation.

All arguments are those of `python -m sim.peers.betaflight`, and `--policy DIR` chooses the policy. The
executable holds GPL-3.0 code: it is built on this machine for this machine and never part of a distribution.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hardware.errors import ConfigError
from policies.raptor.export_c import export_c
from policies.raptor.policy import PUBLISHED
from sim.peers.betaflight import main as run_peer
from sim.peers.betaflight_firmware import ENVIRONMENT, build_firmware

_ADAPTER = Path(__file__).parent / "onboard" / "betaflight"
# What the adapter replaces in the firmware; `raptor_betaflight.c` says why.
WRAPPED = ("writeMotors", "mspFcProcessCommand")


def build_raptor_firmware(policy: Path | str = PUBLISHED, *, environment: Path = ENVIRONMENT) -> Path:
    """Compile a policy into the firmware, or find what was compiled before.

    Args:
        policy: a folder of a RAPTOR policy.
        environment: the side environment that holds the firmware's sources.

    Returns:
        The executable, in the environment's cache.

    Raises:
        ConfigError: the policy is not sound, the sources are missing, or something does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="reflexarc-raptor-") as folder:
        exported = export_c(policy, folder)
        sources = (
            _ADAPTER / "raptor_betaflight.c",
            _ADAPTER / "raptor_flight.c",
            exported["raptor_policy.c"],
        )
        return build_firmware(
            sources, WRAPPED, include_dirs=(_ADAPTER, Path(folder)), environment=environment
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the firmware in its world. Returns the exit code: 0 after SIGINT or SIGTERM, 2 after bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    policy: Path | str = PUBLISHED
    if "--policy" in given:
        at = given.index("--policy")
        policy = given[at + 1] if at + 1 < len(given) else ""
        del given[at : at + 2]
    try:
        firmware = build_raptor_firmware(policy)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run_peer([*given, "--firmware", str(firmware)])


if __name__ == "__main__":
    raise SystemExit(main())
