"""Protects the world around the real firmware: the wire of its simulator target, the plant's signs, the
relay that looks like a port, and the building of firmware with sources of ours."""

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hardware.drones.transport import LinkError, open_transport
from hardware.errors import ConfigError
from sim.peers import betaflight
from sim.peers import betaflight_wire as wire
from sim.peers.betaflight_firmware import build_firmware, firmware_sources, install_sources
from sim.peers.relay import Relay
from sim.quadrotor.airframes import load_airframe
from sim.quadrotor.dynamics import make_state


def test_a_state_goes_out_in_the_firmwares_frames():
    state = make_state(position=(1.0, 2.0, 10.0), angular_velocity=(1.0, 2.0, 3.0))
    packet = struct.unpack("<18d", wire.state_packet(0.5, state, np.array([0.1, 0.2, 9.8])))
    assert packet[0] == 0.5
    # Rates forward-right-down; the negative specific force; no position or velocity, which it must not know.
    assert packet[1:4] == (1.0, -2.0, -3.0)
    assert packet[4:7] == (-0.1, -0.2, -9.8)
    assert packet[7:11] == (1.0, 0.0, 0.0, 0.0)
    assert packet[11:17] == (0.0,) * 6
    assert packet[17] < 101_325


def test_motors_come_in_our_order_and_within_their_range():
    # Front right, back left, front left, back right.
    assert wire.motor_efforts(struct.pack("<4f", 0.25, 0.5, 0.75, 2.0)) == (0.25, 1.0, 0.5, 0.75)
    assert wire.motor_efforts(b"short") is None


def test_the_radio_has_sixteen_channels():
    assert struct.unpack("<d16H", wire.radio_packet(1.0, [1500, 1400]))[1:4] == (1500, 1400, 1000)


def test_a_plant_at_rest_feels_its_weight_and_rises_under_thrust():
    plant = wire.Plant(load_airframe("arpl"))
    for _ in range(200):
        packet = struct.unpack("<18d", plant.step((0.0,) * 4))
    assert packet[0] == pytest.approx(0.5)
    assert packet[6] == pytest.approx(-9.81, abs=0.05)
    for _ in range(200):
        packet = struct.unpack("<18d", plant.step((0.6,) * 4))
    assert packet[6] < -12.0
    assert plant.world.data.qpos[2] > 0.3
    # Without news it keeps its motors.
    plant.step(None)
    assert plant.world.setpoint == [0.6] * 4


@pytest.fixture
def echo():
    """A server that says back what it hears, to one client after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                while data := client.recv(100):
                    client.sendall(data.upper())

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def hear(transport, size):
    data = b""
    for _ in range(600):
        data += transport.read(0.1)
        if len(data) >= size:
            break
    return data


@pytest.mark.parametrize("kind", ["tcp", "serial"])
def test_the_relay_is_a_port_to_one_client_after_the_other(tmp_path, echo, kind):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"tcp:127.0.0.1:{port}" if kind == "tcp" else f"serial:{tmp_path / 'tty'}"
    relay = Relay(address, lambda: socket.create_connection(echo))
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    for word in (b"first", b"second"):
        transport = open_transport(address)
        transport.write(word)
        assert hear(transport, len(word)) == word.upper()
        if kind == "tcp":
            other = open_transport(address)
            with pytest.raises(LinkError, match="closed the connection"):
                hear(other, 1)
        transport.close()
    relay.stop()
    thread.join(timeout=30)
    assert not thread.is_alive()
    relay.close()
    assert not (tmp_path / "tty").is_symlink()


def test_a_place_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="end the other simulator"):
            Relay(f"tcp:127.0.0.1:{port}", socket.socket)
    with pytest.raises(ConfigError, match="tcp:HOST:PORT"):
        Relay("udp:1.2.3.4:5", socket.socket)


def test_without_sources_it_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="make env NAME=betaflight"):
        firmware_sources(tmp_path)


SOURCE = """
#include "platform.h"
#include "flight/mixer.h"
void __real_writeMotors(void);
void __wrap_writeMotors(void);
void __wrap_writeMotors(void) { __real_writeMotors(); }
"""


def test_sources_of_ours_are_built_into_the_firmware_and_kept(tmp_path):
    install_sources()
    plain = build_firmware()
    assert os.access(plain, os.X_OK)
    assert build_firmware() == plain
    source = tmp_path / "ours.c"
    source.write_text(SOURCE, encoding="utf-8")
    ours = build_firmware([source], ["writeMotors"], out=tmp_path / "firmware")
    assert ours == tmp_path / "firmware"
    assert b"__wrap_writeMotors" in ours.read_bytes()
    assert b"__wrap_writeMotors" not in plain.read_bytes()
    source.write_text("int broken(void) { return undeclared; }", encoding="utf-8")
    with pytest.raises(ConfigError, match="(?s)ours.c does not compile.*undeclared"):
        build_firmware([source])
    assert Path(plain).is_file()


# Opening a port takes longer than a round of the thread that serves the ports.
SLOW = """
#include <unistd.h>
struct addrinfo;
int __real_getaddrinfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int __wrap_getaddrinfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int __wrap_getaddrinfo(const char *n, const char *s, const struct addrinfo *hints, struct addrinfo **found)
{
    usleep(50000);
    return __real_getaddrinfo(n, s, hints, found);
}
"""
# In a process of its own: the peer moves whoever makes it into another network.
BOOT = """
import sys
from pathlib import Path
from hardware.cards import load_robot_card
from sim.peers import betaflight
betaflight._BOOT_S = 15.0
with betaflight.BetaflightPeer(load_robot_card("betaflight_sitl"), firmware=Path(sys.argv[1])) as peer:
    print("answers")
"""


def test_the_firmware_answers_where_its_port_is_served_while_it_is_being_opened(tmp_path):
    install_sources()
    source = tmp_path / "slow.c"
    source.write_text(SLOW, encoding="utf-8")
    firmware = build_firmware([source], ["getaddrinfo"], out=tmp_path / "firmware")
    for _ in range(3):
        boot = [sys.executable, "-c", BOOT, str(firmware)]
        done = subprocess.run(boot, capture_output=True, text=True, timeout=120.0)
        assert (done.stdout, done.returncode) == ("answers\n", 0), done.stderr


def test_what_a_killed_peer_left_is_taken_away_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(betaflight.tempfile, "gettempdir", lambda: str(tmp_path))
    # No process has the largest number that there can be.
    dead = int(Path("/proc/sys/kernel/pid_max").read_text())
    kept = [f"reflexarc-betaflight-{os.getpid()}-a", "reflexarc-betaflight-mine", f"other-{dead}-a"]
    for name in (*kept, f"reflexarc-betaflight-{dead}-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eeprom.bin").write_bytes(b"x")
    betaflight._remove_orphans()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
