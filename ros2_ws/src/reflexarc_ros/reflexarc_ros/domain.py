"""A ROS domain of one's own, so that systems on one machine do not see each other."""

from __future__ import annotations

import random
import re
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from hardware.errors import ConfigError

# Fast DDS derives its ports from the domain; up to 101 they stay below the ephemeral range.
_FIRST, _LAST = 20, 99
_CLAIM_PORT = 17000
# The DDS rule: a domain has the ports from base + step * id on.
_PORT_BASE, _PORT_STEP = 7400, 250
_SHARED_MEMORY = Path("/dev/shm")
_PORT_FILE = re.compile(r"(?:sem\.)?fastrtps_port(\d+)(?:_el|_mutex)?")


class OwnDomain:
    """Claims a free domain id while it is open, by holding a loopback port that stands for it.

    Raises:
        ConfigError: every id is claimed.
    """

    def __init__(self) -> None:
        """Claim nothing yet."""
        self._claim: socket.socket | None = None
        self.id = 0

    def __enter__(self) -> Self:
        """Claim an id."""
        candidates = list(range(_FIRST, _LAST + 1))
        random.shuffle(candidates)
        for candidate in candidates:
            claim = socket.socket()
            try:
                claim.bind(("127.0.0.1", _CLAIM_PORT + candidate))
            except OSError:
                claim.close()
                continue
            self._claim, self.id = claim, candidate
            return self
        raise ConfigError(
            f"all domain ids from {_FIRST} to {_LAST} are claimed",
            where="ROS domain",
            expected="a free one",
            mend="end the other Reflexarc systems on this machine",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the id back."""
        if self._claim is not None:
            _remove_port_files(self.id)
            self._claim.close()


def _remove_port_files(domain_id: int) -> None:
    """Remove what Fast DDS leaves in shared memory when participants of a domain start at the same time.

    It counts their users wrongly then, and its own tool takes the files for used ones. The domain is ours
    alone, and nobody is in it any more.
    """
    first = _PORT_BASE + _PORT_STEP * domain_id
    for path in _SHARED_MEMORY.iterdir() if _SHARED_MEMORY.is_dir() else ():
        found = _PORT_FILE.fullmatch(path.name)
        if found is not None and first <= int(found[1]) < first + _PORT_STEP:
            path.unlink(missing_ok=True)
