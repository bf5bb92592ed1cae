"""Ports that the stack uses, and who holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import ConfigError
from reflexarc.checks.finding import Finding, Level, fail, ok, warn

# The DDS port rule: base + 250 * domain + 10 + 2 * participant (discovery), + 11 (data).
PORT_BASE, DOMAIN_STEP, DISCOVERY_OFFSET = 7400, 250, 10
# On one machine, discovery asks for this many participants and finds nobody beyond.
PARTICIPANTS_SEARCHED = 32
# Five nodes, a supervisor, a tool and one to spare.
PARTICIPANTS_NEEDED = 8
LAST_DOMAIN = 232
_SHORTAGE = "discovery ports"


@dataclass(frozen=True)
class Listener:
    """A socket that receives on a port."""

    # udp or tcp.
    protocol: str
    # The port.
    port: int
    # The process that holds it; 0 when it belongs to another user and cannot be told.
    pid: int
    # The name of the process; empty when it cannot be told.
    name: str
    # Whether the process has Fast DDS files mapped: a ROS 2 participant.
    is_participant: bool = False

    @property
    def who(self) -> str:
        """The holder, in words."""
        return f"{self.name} (pid {self.pid})" if self.pid else "a process of another user"


def read_listeners(proc: Path = Path("/proc")) -> list[Listener]:
    """Find the sockets that receive.

    Args:
        proc: where procfs is mounted.

    Returns:
        Every UDP socket with a port and every listening TCP socket.
    """
    owners = _owners(proc)
    found = []
    for protocol in ("udp", "tcp"):
        for table in (protocol, f"{protocol}6"):
            try:
                lines = (proc / "net" / table).read_text(encoding="utf-8").splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                fields = line.split()
                # State 0A is a TCP socket that listens.
                if protocol == "tcp" and fields[3] != "0A":
                    continue
                port, inode = int(fields[1].rpartition(":")[2], 16), fields[9]
                pid = owners.get(inode, 0)
                found.append(Listener(protocol, port, pid, _name(proc, pid), _is_participant(proc, pid)))
    return found


def check_domain(environment: Mapping[str, str], first_ephemeral_port: int) -> tuple[int, list[Finding]]:
    """Judge ROS_DOMAIN_ID.

    Args:
        environment: the process environment.
        first_ephemeral_port: the lowest port that the kernel hands out to anyone.

    Returns:
        The domain in effect (0 where the variable is wrong), and one finding.
    """
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > LAST_DOMAIN:
        return 0, [
            fail(
                "ROS domain",
                f"ROS_DOMAIN_ID is {text!r}; a domain is a whole number from 0 to {LAST_DOMAIN}.",
                "set ROS_DOMAIN_ID to a number from 0 to 101, or unset it",
                "unset ROS_DOMAIN_ID",
            )
        ]
    domain = int(text)
    last = discovery_port(domain, PARTICIPANTS_SEARCHED - 1)
    if discovery_port(domain, 0) < 65536 and last >= first_ephemeral_port:
        return domain, [
            warn(
                "ROS domain",
                f"Domain {domain} uses ports up to {last}, which the kernel also gives to other programs"
                f" (from {first_ephemeral_port} on).",
                "choose a domain from 0 to 101",
                "export ROS_DOMAIN_ID=1",
            )
        ]
    return domain, [ok("ROS domain", f"{domain}.")]


def check_ports(listeners: Sequence[Listener], domain: int) -> list[Finding]:
    """Judge the discovery ports of a domain.

    Participants on one machine take the first free port each and look for one another on the first
    `PARTICIPANTS_SEARCHED`. Ports in use move them along; with too few left they never meet.

    Args:
        listeners: the sockets that receive.
        domain: the ROS domain.

    Returns:
        Findings on other ROS 2 programs in the domain and on other holders of its ports.
    """
    ports = {discovery_port(domain, i): i for i in range(PARTICIPANTS_SEARCHED)}
    holders = [x for x in listeners if x.protocol == "udp" and x.port in ports]
    free = PARTICIPANTS_SEARCHED - len({x.port for x in holders})
    first, last = min(ports), max(ports)
    strangers = [x for x in holders if not x.is_participant]
    others = sorted({x.who for x in holders if x.is_participant})
    findings = []
    if free < PARTICIPANTS_NEEDED:
        findings.append(
            fail(
                _SHORTAGE,
                f"{PARTICIPANTS_SEARCHED - free} of the {PARTICIPANTS_SEARCHED} discovery ports of ROS domain"
                f" {domain} (UDP {first} to {last}) are taken, by {_some(holders)}; a system needs"
                f" {PARTICIPANTS_NEEDED}, and its nodes would not find each other.",
                "end these processes or choose another ROS_DOMAIN_ID",
                f"export ROS_DOMAIN_ID={(domain + 1) % 102}",
            )
        )
    elif strangers:
        findings.append(
            warn(
                "ports",
                f"UDP port {strangers[0].port}, a discovery port of ROS domain {domain}, is held by"
                f" {_some(strangers)}, which is no ROS 2 participant; ours move on to the next port.",
                "end the process or choose another ROS_DOMAIN_ID",
                f"export ROS_DOMAIN_ID={(domain + 1) % 102}",
            )
        )
    findings += _twice(holders)
    if others:
        findings.append(
            warn(
                "other participants",
                f"ROS domain {domain} is in use on this machine, by {', '.join(others[:5])}: topics of the"
                " same name would mix, and a robot refuses a second command publisher.",
                "end the other system or choose another ROS_DOMAIN_ID",
                f"export ROS_DOMAIN_ID={(domain + 1) % 102}",
            )
        )
    return findings or [
        ok("ports", f"{free} discovery ports of ROS domain {domain} are free (UDP {first} on).")
    ]


def require_ports(environment: Mapping[str, str], listeners: Sequence[Listener]) -> None:
    """Refuse to start a system whose nodes could not find each other.

    Args:
        environment: the process environment.
        listeners: the sockets that receive.

    Raises:
        ConfigError: ROS_DOMAIN_ID is no domain, or too few of its discovery ports are free.
    """
    domain = require_domain(environment)
    for finding in check_ports(listeners, domain):
        if finding.subject == _SHORTAGE:
            raise ConfigError(
                finding.sentence.rstrip("."),
                where="ROS_DOMAIN_ID",
                expected=f"a domain with {PARTICIPANTS_NEEDED} free discovery ports",
                mend=finding.mend,
            )


def require_domain(environment: Mapping[str, str]) -> int:
    """Refuse a ROS_DOMAIN_ID that is no domain.

    Args:
        environment: the process environment.

    Returns:
        The domain.

    Raises:
        ConfigError: it is no whole number, or too large.
    """
    domain, findings = check_domain(environment, 65536)
    for finding in findings:
        if finding.level is Level.FAIL:
            raise ConfigError(
                finding.sentence.rstrip("."),
                where="ROS_DOMAIN_ID",
                expected=f"a whole number from 0 to {LAST_DOMAIN}",
                mend=finding.mend,
            )
    return domain


def _twice(holders: Sequence[Listener]) -> list[Finding]:
    findings = []
    for port in sorted({x.port for x in holders}):
        pids = sorted({x.pid for x in holders if x.port == port and x.pid})
        if len(pids) > 1:
            findings.append(
                fail(
                    "ports",
                    f"UDP port {port} is listened on twice, by the processes {', '.join(map(str, pids))};"
                    " each message reaches one of them, by chance.",
                    "end one of them",
                )
            )
    return findings


def discovery_port(domain: int, participant: int) -> int:
    """The port on which a participant is found (DDS interoperability specification, 9.6.1)."""
    return PORT_BASE + DOMAIN_STEP * domain + DISCOVERY_OFFSET + 2 * participant


def first_ephemeral_port(proc: Path = Path("/proc")) -> int:
    """The lowest port that the kernel hands out to anyone."""
    try:
        return int((proc / "sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split()[0])
    except OSError:
        return 32768


def _some(holders: Sequence[Listener], count: int = 3) -> str:
    names = sorted({x.who for x in holders})
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def _owners(proc: Path) -> dict[str, int]:
    owners: dict[str, int] = {}
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    owners[target[8:-1]] = int(process.name)
        except OSError:
            continue
    return owners


def _name(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8").strip() if pid else ""
    except OSError:
        return ""


def _is_participant(proc: Path, pid: int) -> bool:
    try:
        return bool(pid) and "fastrtps" in (proc / str(pid) / "maps").read_text("utf-8", errors="replace")
    except OSError:
        return False
