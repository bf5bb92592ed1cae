"""Finds a running system in the ROS graph by a service that it offers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable


def find_namespace(
    names: Callable[[], Iterable[str]],
    suffix: str,
    *,
    wanted: str,
    search_s: float,
    what: str,
    expected: str,
    mend: str,
) -> str:
    """Find the namespace under which a service is offered.

    Args:
        names: the names of the services that are known now; may take a moment.
        suffix: of the service, such as /gate_node/reset_estop.
        wanted: the namespace; empty: the only one that there is in this ROS domain.
        search_s: how long to look.
        what: what is looked for, in one word, for the messages.
        expected: what would have been right where there is none.
        mend: what to do then.

    Returns:
        The namespace, with its slash.

    Raises:
        ConfigError: there is none, or there are several and none was chosen.
    """
    from hardware.errors import ConfigError

    chosen = f"/{wanted.strip('/')}" if wanted else None
    deadline_s = time.monotonic() + search_s
    found: list[str] = []
    while time.monotonic() < deadline_s:
        found = sorted(name.removesuffix(suffix) for name in names() if name.endswith(suffix))
        if chosen in found:
            return str(chosen)
        # The others of a crowded graph are found a little later.
        if len(found) == 1 and chosen is None and time.monotonic() > deadline_s - 0.8 * search_s:
            return found[0]
    domain = f"ROS domain {os.environ.get('ROS_DOMAIN_ID', '0')}"
    if not found or chosen is not None:
        raise ConfigError(
            f"there is no {what} {chosen!r}" if chosen else f"there is no {what}",
            where=domain,
            expected="one of " + ", ".join(found) if found else expected,
            mend=mend,
        )
    raise ConfigError(
        f"there are {len(found)} {what}s: {', '.join(found)}",
        where=domain,
        expected="one, or a choice",
        mend="choose one with --namespace",
    )
