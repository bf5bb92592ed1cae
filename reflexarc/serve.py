"""`reflexarc serve`: let a policy think on this computer for a robot on another one."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import tyro

from hardware.errors import ConfigError
from reflexarc.commands import Command, Example
from reflexarc.output import Output


@dataclass(frozen=True)
class ServePolicy:
    """What to serve, where, and to whom."""

    # A policy that comes with Reflexarc (METHOD/NAME) or a policy folder.
    policy: Annotated[str, tyro.conf.Positional]
    # The file that holds the token; the robot needs a copy of it.
    token_file: Path
    # Make the token file first; it must not exist.
    new_token: bool = False
    # The address to listen on; anything but loopback needs TLS.
    host: str = "127.0.0.1"
    # The port.
    port: int = 8765
    # The server's certificate chain, PEM.
    certificate: Path | None = None
    # Its private key, PEM.
    key: Path | None = None
    # Robots must also show a certificate that this authority signed, PEM.
    client_ca: Path | None = None
    # Settings of the policy's loader, as NAME=VALUE (backend=torch).
    option: tuple[str, ...] = ()


COMMANDS: Mapping[str, Command] = {
    "policy": Command(
        summary="Serve a policy to one robot at a time, over an authenticated WebSocket.",
        config="reflexarc.serve:ServePolicy",
        run="reflexarc.serve:serve_policy",
        examples=(
            Example(
                "reflexarc serve policy bc/pick_cube --token-file token --new-token",
                "on this computer alone, with a new token",
            ),
            Example(
                "reflexarc serve policy outputs/mine --token-file token --host 0.0.0.0"
                " --certificate server.pem --key server.key",
                "to the network, over TLS",
            ),
        ),
        details=(
            "The robot's side is a controller file whose base is the address, with the token's file among\n"
            "its options; see docs/runtime.md. Runs until Ctrl-C. With --json every line is one JSON object."
        ),
    ),
}


def serve_policy(config: ServePolicy, output: Output) -> int:
    """Serve a policy until Ctrl-C.

    Args:
        config: what, where, to whom.
        output: where events go.

    Returns:
        0.

    Raises:
        ConfigError: no such policy, a token or a certificate with faults, or an address where it cannot or
            must not listen.
    """
    from policies.registry import load_policy
    from policies.runtime.remote import PolicyServer, ServerConfig, new_token, read_token
    from reflexarc.eval import find_policy

    folder = find_policy(config.policy)
    token = new_token(config.token_file) if config.new_token else read_token(config.token_file)
    policy = load_policy(folder, **_options(config.option))

    def tell(event: str, **others: object) -> None:
        if output.json:
            print(json.dumps({"event": event, **others}), flush=True)
        else:
            print(event, flush=True)

    with (
        _stop_by_signal() as stopping,
        PolicyServer(
            policy,
            token=token,
            config=ServerConfig(
                host=config.host,
                port=config.port,
                certificate=config.certificate,
                key=config.key,
                client_ca=config.client_ca,
            ),
            steady_clock=time.monotonic_ns,
            on_event=tell,
        ) as server,
    ):
        tell(f"serving {policy.card.name} at {server.url}", url=server.url, policy=policy.card.name)
        stopping.wait()
        tell("stopping")
    return 0


def _options(words: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ConfigError(
                f"the option {word!r}",
                where="reflexarc serve policy",
                expected="NAME=VALUE",
                mend="write it like backend=torch",
            )
        options[name] = yaml.safe_load(value)
    return options


@contextmanager
def _stop_by_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the robot is told before the process ends."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
