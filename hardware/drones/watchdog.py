"""Disarms a Betaflight whose driver has fallen silent, where the firmware itself would fly on for ever.

With MSP override, real firmware keeps the last sticks that came over MSP, without a limit. So the port
belongs to this process: the driver talks through it, and every frame of sticks that passes is a sign of
life. When none comes for `silence_s` after one that armed, or the driver's connection ends, it sends sticks
at rest with the arm switch off until the flight controller says that it is disarmed. It outlives a driver
that is killed or stopped.

    python -m hardware.drones.watchdog LINK SOCKET SILENCE_S ARM_CHANNEL
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hardware.drones.msp import MspDecoder, MspDirection, encode
from hardware.drones.msp_messages import Msp, MspFormatError, StatusReport, encode_channels, parse_channels
from hardware.drones.transport import LinkError, Transport, open_transport
from hardware.errors import ConfigError

_ARMED_US = 1700
_TICK_S = 0.02
_START_S = 10.0
# Sticks with the arm switch off go out for at least this long, and until the firmware says that it is
# disarmed.
_AT_LEAST_S = 1.0
# Without a driver, a flight controller that went away is waited for as long as this.
_ALONE_S = 10.0


class DisarmRule:
    """When to disarm: pure.

    Args:
        silence_s: longest time between two frames of sticks, once one has armed.
        arm_channel: raw channel of the arm switch.
    """

    def __init__(self, silence_s: float, arm_channel: int) -> None:
        """Nothing armed yet."""
        self._silence_ns, self._arm_channel = round(silence_s * 1e9), arm_channel
        self._last_ns: int | None = None
        # Whether the driver has armed and was not disarmed since.
        self.watching = False
        # Why it disarms now; empty while it does not.
        self.disarming = ""
        self._since_ns = 0

    def sticks(self, payload: bytes, now_ns: int) -> None:
        """A frame of sticks has passed.

        Args:
            payload: of MSP_SET_RAW_RC.
            now_ns: steady clock, nanoseconds.
        """
        self._last_ns = now_ns
        self.watching = self.is_armed(payload)

    def is_armed(self, payload: bytes) -> bool:
        """Whether a frame of sticks has the arm switch on."""
        channels = parse_channels(payload)
        return len(channels) > self._arm_channel and channels[self._arm_channel] >= _ARMED_US

    def silence(self, now_ns: int) -> None:
        """Look at the clock."""
        if self.watching and not self.disarming and self._last_ns is not None:
            if now_ns - self._last_ns > self._silence_ns:
                self.disarm("the driver is silent", now_ns)

    def gone(self, now_ns: int) -> None:
        """The driver's connection has ended."""
        if self.watching and not self.disarming:
            self.disarm("the driver is gone", now_ns)

    def disarm(self, why: str, now_ns: int) -> None:
        """Begin to disarm."""
        self.disarming, self._since_ns = why, now_ns

    def told(self, *, armed: bool, now_ns: int) -> None:
        """The firmware has said whether it is armed: ends the disarming once it is not."""
        if self.disarming and not armed and now_ns - self._since_ns > round(_AT_LEAST_S * 1e9):
            self.disarming, self.watching, self._last_ns = "", False, None

    @property
    def safe_channels(self) -> bytes:
        """Payload of MSP_SET_RAW_RC with sticks at rest, throttle low and every switch off."""
        return encode_channels([1500, 1500, 1000, 1500] + [1000] * 12)


class _Guard:
    """The process: carries bytes between driver and flight controller and watches the sticks among them."""

    def __init__(self, link: str, listener: socket.socket, rule: DisarmRule) -> None:
        self._address, self._listener, self._rule = link, listener, rule
        self._port: Transport = open_transport(link)
        self._client: socket.socket | None = None
        self._from_driver, self._from_port = MspDecoder(), MspDecoder()
        # After a disarming, the driver has to lower its arm switch before its sticks pass again.
        self._must_lower = False
        self._asked_ns = 0

    def run(self, alive: Callable[[], bool]) -> None:
        """Until the driver's process has ended and nothing is armed."""
        while alive() or self._rule.watching or self._rule.disarming:
            now_ns = time.monotonic_ns()
            try:
                self._to_driver(self._port.read(_TICK_S / 2), now_ns)
                self._to_port(self._hear(), now_ns)
                self._rule.silence(now_ns)
                if self._rule.disarming:
                    self._disarm(now_ns)
            except LinkError:
                self._hang_up()
                if not self._reopen(alive):
                    return

    def _hear(self) -> bytes:
        """What the driver says; accepts it when it comes, and one at a time."""
        client = self._client
        readable, _, _ = select.select([self._listener, *([client] if client else [])], [], [], _TICK_S / 2)
        if self._listener in readable:
            fresh = self._listener.accept()[0]
            if client is None and not self._rule.disarming:
                fresh.setblocking(False)
                self._client = client = fresh
            else:
                fresh.close()
        if client is None or client not in readable:
            return b""
        data = b""
        with contextlib.suppress(OSError):
            data = client.recv(4096)
        if not data:
            self._hang_up()
            self._rule.gone(time.monotonic_ns())
        return data

    def _to_port(self, data: bytes, now_ns: int) -> None:
        """Pass whole requests on: a half one that a killed driver left would garble what we send after it."""
        for frame in self._from_driver.feed(data):
            if frame.direction is not MspDirection.REQUEST or self._rule.disarming:
                continue
            if frame.command == Msp.SET_RAW_RC:
                if self._must_lower and self._rule.is_armed(frame.payload):
                    continue
                self._must_lower = False
                self._rule.sticks(frame.payload, now_ns)
            self._port.write(encode(frame.command, frame.payload, version=frame.version))

    def _to_driver(self, data: bytes, now_ns: int) -> None:
        if self._rule.disarming:
            for frame in self._from_port.feed(data):
                if frame.command == Msp.STATUS and frame.direction is MspDirection.REPLY:
                    with contextlib.suppress(MspFormatError):
                        # The arm mode is the first of every list of modes.
                        armed = bool(StatusReport.parse(frame.payload).mode_flags & 1)
                        self._rule.told(armed=armed, now_ns=now_ns)
        elif data and self._client is not None:
            with contextlib.suppress(OSError):
                # A driver that is stopped does not read; it must not stop us.
                self._client.send(data)

    def _disarm(self, now_ns: int) -> None:
        self._hang_up()
        self._must_lower = True
        if now_ns - self._asked_ns >= round(_TICK_S * 1e9):
            self._asked_ns = now_ns
            self._port.write(encode(Msp.SET_RAW_RC, self._rule.safe_channels) + encode(Msp.STATUS))

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
            self._from_driver = MspDecoder()

    def _reopen(self, alive: Callable[[], bool]) -> bool:
        """The flight controller is away: try until it is back, or nobody has wanted it for a while."""
        self._port.close()
        pause_s, wanted_s = 0.02, time.monotonic()
        while time.monotonic() - wanted_s < _ALONE_S:
            with contextlib.suppress(LinkError):
                self._port = open_transport(self._address)
                return True
            time.sleep(pause_s)
            pause_s = min(0.5, 2 * pause_s)
            if alive():
                wanted_s = time.monotonic()
        return False


class Watchdog:
    """The driver's end: starts the process, and lets it go. Made by `start`.

    Args:
        process: the watchdog.
        folder: holds its socket.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Take both over."""
        self._process, self._folder = process, folder

    @property
    def address(self) -> str:
        """Where the driver talks to the flight controller now."""
        return f"unix:{self._folder / 'port'}"

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def process_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @staticmethod
    def start(link: str, *, silence_s: float, arm_channel: int) -> Watchdog:
        """Start the process; it owns the link from now on.

        Args:
            link: where the flight controller is.
            silence_s: longest time between two frames of sticks, once one has armed.
            arm_channel: raw channel of the arm switch.

        Returns:
            The watchdog, ready.

        Raises:
            ConfigError: the link cannot be opened.
        """
        folder = Path(tempfile.mkdtemp(prefix="reflexarc-watchdog-"))
        command = [sys.executable, "-m", "hardware.drones.watchdog"]
        command += [link, str(folder / "port"), str(silence_s), str(arm_channel)]
        # In a session of its own: Ctrl-C in the driver's terminal is not meant for it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], _START_S)
        said = process.stdout.readline().decode().strip() if readable else "it does not start"
        if said != "ready":
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise ConfigError(
                f"no watchdog: {said or 'it ended at once'}",
                where=link,
                expected="a flight controller that nobody else is connected to",
                mend="check cable and power, and close the configurator or whatever else holds the port",
            )
        return Watchdog(process, folder)

    def release(self) -> None:
        """Let it go: it ends by itself as soon as nothing is armed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_AT_LEAST_S + 2.0)


def main(arguments: list[str]) -> int:
    """Run the process. Returns the exit code: 0, or 2 when the link cannot be opened."""
    link, path, silence_s, arm_channel = arguments
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(4)
        try:
            guard = _Guard(link, listener, DisarmRule(float(silence_s), int(arm_channel)))
        except (LinkError, ConfigError) as error:
            sys.stdout.write(f"{error}\n")
            return 2
        sys.stdout.write("ready\n")
        sys.stdout.flush()

        def alive() -> bool:
            """The driver's process holds the other end of our input as long as it lives."""
            return not select.select([0], [], [], 0.0)[0] or bool(os.read(0, 64))

        try:
            guard.run(alive)
        finally:
            shutil.rmtree(Path(path).parent, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
