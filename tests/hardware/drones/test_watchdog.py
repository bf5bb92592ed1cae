"""Protects the watchdog's rule and its process: who is silent after arming is disarmed, again and again until
the flight controller says so, and nothing that the driver still says gets through meanwhile."""

import contextlib
import select
import socket
import struct
import threading
import time

import pytest

from hardware.drones.msp import MspDecoder, MspDirection, encode
from hardware.drones.msp_messages import Msp, encode_channels, parse_channels
from hardware.drones.transport import open_transport
from hardware.drones.watchdog import DisarmRule, Watchdog
from hardware.errors import ConfigError

ARM = 4
MS = 1_000_000
ARMED = encode_channels([1500, 1500, 1400, 1500, 2000])
RESTING = encode_channels([1500, 1500, 1000, 1500, 1000])
PATIENCE_S = 60.0


def test_before_anything_armed_silence_means_nothing():
    rule = DisarmRule(0.25, ARM)
    rule.sticks(RESTING, 0)
    rule.silence(10_000 * MS)
    rule.gone(10_000 * MS)
    assert not rule.disarming


def test_silence_after_arming_disarms_until_the_firmware_says_so():
    rule = DisarmRule(0.25, ARM)
    rule.sticks(ARMED, 0)
    rule.silence(200 * MS)
    assert not rule.disarming
    rule.silence(260 * MS)
    assert rule.disarming == "the driver is silent"
    rule.told(armed=True, now_ns=2000 * MS)
    assert rule.disarming
    # Not on the word of an answer that was under way, either.
    rule.told(armed=False, now_ns=300 * MS)
    assert rule.disarming
    rule.told(armed=False, now_ns=2000 * MS)
    assert not rule.disarming
    assert not rule.watching


def test_a_driver_that_ends_is_not_waited_for():
    rule = DisarmRule(0.25, ARM)
    rule.sticks(ARMED, 0)
    rule.gone(1 * MS)
    assert rule.disarming == "the driver is gone"


def test_a_driver_that_disarmed_properly_may_go():
    rule = DisarmRule(0.25, ARM)
    rule.sticks(ARMED, 0)
    rule.sticks(RESTING, 20 * MS)
    rule.silence(10_000 * MS)
    assert not rule.disarming


@pytest.mark.parametrize("payload", [b"", b"\x00", encode_channels([2000] * 4)])
def test_frames_without_an_arm_switch_arm_nothing(payload):
    rule = DisarmRule(0.25, ARM)
    rule.sticks(payload, 0)
    assert not rule.watching


class FakeFirmware:
    """Keeps the last sticks for ever, as real firmware does under MSP override."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp:127.0.0.1:{self._server.getsockname()[1]}"
        self.sticks, self.frames = (), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def armed(self):
        return len(self.sticks) > ARM and self.sticks[ARM] >= 1700

    def _run(self):
        client, _ = self._server.accept()
        decoder = MspDecoder()
        while not self._over.is_set():
            if not select.select([client], [], [], 0.05)[0]:
                continue
            data = b""
            with contextlib.suppress(ConnectionError):
                data = client.recv(4096)
            if not data:
                return
            for frame in decoder.feed(data):
                answer = b""
                if frame.command == Msp.SET_RAW_RC:
                    self.sticks, self.frames = parse_channels(frame.payload), self.frames + 1
                elif frame.command == Msp.STATUS:
                    answer = struct.pack("<HHHIBHHBBIB", 125, 0, 0, int(self.armed), 0, 0, 0, 0, 29, 0, 0)
                with contextlib.suppress(OSError):
                    client.sendall(encode(frame.command, answer, direction=MspDirection.REPLY))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._server.close()


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_the_process_carries_both_ways_disarms_in_silence_and_ends_with_its_driver():
    with FakeFirmware() as firmware:
        watchdog = Watchdog.start(firmware.address, silence_s=3.0, arm_channel=ARM)
        port = open_transport(watchdog.address)
        port.write(encode(Msp.STATUS))
        answer = b""
        while not MspDecoder().feed(answer):
            answer += port.read(1.0)
        for _ in range(20):
            port.write(encode(Msp.SET_RAW_RC, ARMED))
            time.sleep(0.02)
        wait_for(lambda: firmware.armed)
        # From here on the driver says nothing.
        wait_for(lambda: not firmware.armed)
        assert firmware.sticks[2] == 1000
        # It was hung up on; and whoever comes back must lower the arm switch first.
        again = None

        def reconnected():
            nonlocal again
            with contextlib.suppress(OSError):
                again = open_transport(watchdog.address)
                again.write(encode(Msp.SET_RAW_RC, ARMED) + encode(Msp.STATUS))
                return bool(again.read(1.0))
            return False

        wait_for(reconnected)
        assert not firmware.armed
        again.write(encode(Msp.SET_RAW_RC, RESTING) + encode(Msp.SET_RAW_RC, ARMED))
        wait_for(lambda: firmware.armed)
        again.close()
        wait_for(lambda: not firmware.armed)
        watchdog.release()
        wait_for(lambda: watchdog.process_ended)


def test_without_driver_and_flight_controller_it_ends():
    with FakeFirmware() as firmware:
        watchdog = Watchdog.start(firmware.address, silence_s=1000.0, arm_channel=ARM)
        port = open_transport(watchdog.address)
        port.write(encode(Msp.SET_RAW_RC, ARMED))
        wait_for(lambda: firmware.armed)
    # Unplugged in flight; then the driver ends.
    port.close()
    watchdog.release()
    wait_for(lambda: watchdog.process_ended)


def test_a_link_that_cannot_be_opened_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=f"no watchdog: nobody listens on 127.0.0.1:{port}"):
        Watchdog.start(f"tcp:127.0.0.1:{port}", silence_s=0.3, arm_channel=ARM)
