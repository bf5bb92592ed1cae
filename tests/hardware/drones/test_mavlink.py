"""Protects the MAVLink layer: any bytes, broken frames, losses, clocks, sentences in pieces, taken ports."""

import math
import random
import socket

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from px4_lockstep import Flight
from pymavlink.generator.mavcrc import x25crc

from hardware.drones import px4_setpoints, state
from hardware.drones.mavlink import ClockOffset, Encoder, Framer, LinkQuality
from hardware.drones.mavlink_link import UdpTransport, is_stream, open_link
from hardware.drones.px4_session import Session, SessionSettings
from hardware.drones.transport import LinkError
from hardware.errors import ConfigError
from sim.peers.px4 import MavlinkPeer, ParameterStore, PeerVehicle
from sim.quadrotor.airframes import load_airframe

ENCODER = Encoder(system=1, component=1)
COMMON = ENCODER.common


def heartbeat():
    return ENCODER.encode(COMMON.MAVLink_heartbeat_message(2, 12, 81, 0x03040000, 4, 3))


def text(words=b"hello"):
    return ENCODER.encode(COMMON.MAVLink_statustext_message(6, words))


def names(framer, data):
    return [received.name for received in framer.feed(data)]


@given(st.binary(max_size=600), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_survived_and_what_follows_is_understood(noise, keeps_rest):
    framer = Framer(keeps_rest=keeps_rest)
    names(framer, noise)
    # However the noise ends (perhaps in the middle of what looks like a frame), the stream recovers.
    follow = b"".join(heartbeat() for _ in range(30))
    assert "HEARTBEAT" in names(framer, follow)


@given(
    st.lists(st.sampled_from(["heartbeat", "text", "noise", "cut", "flip"]), min_size=1, max_size=20),
    st.randoms(),
)
@settings(max_examples=200, deadline=None)
def test_a_broken_frame_costs_itself_alone(kinds, chance):
    framer, expected, stream = Framer(keeps_rest=True), [], b""
    for kind in kinds:
        frame = heartbeat() if chance.random() < 0.5 else text()
        if kind in ("heartbeat", "text"):
            frame = heartbeat() if kind == "heartbeat" else text()
            expected.append("HEARTBEAT" if kind == "heartbeat" else "STATUSTEXT")
        elif kind == "noise":
            frame = bytes(chance.randrange(0xFD) for _ in range(chance.randrange(20)))
        elif kind == "cut":
            frame = frame[: chance.randrange(len(frame))]
        else:
            place = chance.randrange(3, len(frame))
            frame = frame[:place] + bytes([frame[place] ^ (1 << chance.randrange(8))]) + frame[place + 1 :]
        stream += frame
    # A whole frame behind it all, long enough to push out anything that waits for its end.
    stream += b"".join(text(b"the end") for _ in range(20))
    found, begin = [], 0
    while begin < len(stream):
        size = chance.randrange(1, 60)
        found += names(framer, stream[begin : begin + size])
        begin += size
    assert found[: len(expected)] == expected
    assert found[len(expected) :] == ["STATUSTEXT"] * 20


def test_a_datagram_keeps_nothing_for_the_next_and_counts_what_was_broken():
    framer = Framer(keeps_rest=False)
    assert names(framer, heartbeat()[:10]) == []
    assert framer.malformed_bytes == 10
    assert names(framer, heartbeat() + text()) == ["HEARTBEAT", "STATUSTEXT"]
    unknown = bytes([0xFD, 3, 0, 0, 0, 1, 1, 0xFF, 0xFF, 0xFE, 1, 2, 3, 0, 0])
    assert names(framer, unknown + heartbeat()) == ["HEARTBEAT"]
    assert framer.unknown == 1


@st.composite
def any_frame(draw):
    """A frame with a right checksum around any payload: all values of all fields, NaN and broken text too."""
    # Half of them of the types that somebody acts on.
    wanted = [0, 1, 11, 21, 22, 23, 32, 31, 43, 76, 77, 82, 84, 102, 111, 147, 245, 253, 331]
    number = draw(st.sampled_from(wanted) | st.sampled_from(sorted(COMMON.mavlink_map)))
    cls = COMMON.mavlink_map[number]
    payload = draw(st.binary(min_size=1, max_size=cls.unpacker.size))
    sender = draw(st.sampled_from([1, 7]))
    head = bytes([len(payload), 0, 0, draw(st.integers(0, 255)), sender, 1]) + number.to_bytes(3, "little")
    check = x25crc(head + payload + bytes([cls.crc_extra])).crc
    return b"\xfd" + head + payload + check.to_bytes(2, "little")


@given(st.lists(any_frame(), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_ends_survive_messages_whose_fields_hold_anything(frames):
    session = Session(SessionSettings(parameters={"COM_OBL_RC_ACT": 4.0}))
    vehicle = PeerVehicle(load_airframe("x500_sim"), parameters=ParameterStore())
    peer = MavlinkPeer(vehicle, lambda data: None)
    session.receive(heartbeat(), data_now_ns=1, steady_now_ns=1)
    for i, frame in enumerate(frames):
        session.receive(frame, data_now_ns=i * 10**7, steady_now_ns=i * 10**7)
        session.tick(data_now_ns=i * 10**7, steady_now_ns=i * 10**7)
        session.take_out()
        peer.receive(frame)
        peer.step()
    status = session.status(10**9)
    assert status.battery_share is None or 0.0 <= status.battery_share <= 1.0
    seen = session.state
    assert seen is None or all(np.isfinite(v).all() for v in seen.values.values())
    assert np.isfinite(vehicle.body.packed).all()


def test_a_wire_full_of_noise_does_not_stop_a_flight():
    flight, chance = Flight().up_to(1.0), random.Random(5)

    def each_tick(f):
        f.down.append((f.now_ns, chance.randbytes(chance.randrange(80))))
        f.up.append((f.now_ns, chance.randbytes(chance.randrange(80))))
        f.reference((0.3, 0.0, 1.0))

    flight.run(4.0, each_tick)
    assert flight.error_m((0.3, 0.0, 1.0)) < 0.15
    assert flight.session.framer.malformed_bytes > 1000
    assert flight.peer.malformed_bytes > 1000


def test_others_on_the_wire_are_counted_and_not_obeyed():
    flight = Flight().meet()
    other = Encoder(system=7, component=1)
    flight.down.append((0, other.encode(COMMON.MAVLink_heartbeat_message(2, 12, 209, 0x00060000, 4, 3))))
    flight.down.append((0, other.encode(COMMON.MAVLink_statustext_message(2, b"Preflight Fail: not ours"))))
    flight.run(0.1)
    assert not flight.status.armed
    assert flight.status.mode == "AUTO.HOLD"
    assert flight.session.told.foreign == 2
    only = Session(SessionSettings(vehicle_system=7))
    only.receive(heartbeat(), data_now_ns=0, steady_now_ns=0)
    assert only.vehicle is None


def test_losses_are_told_from_the_sequence():
    quality = LinkQuality()
    assert quality.share is None
    for sequence in [*range(250, 256), *range(0, 5)]:
        quality.note(sequence)
    assert quality.share == 1.0
    quality.note(14)
    assert quality.share == pytest.approx(11 / 20)
    quality.note(13)
    assert quality.share == pytest.approx(12 / 21)


def test_the_clock_believes_the_fastest_answer():
    clock = ClockOffset(window=3)
    assert clock.offset_ns is None
    clock.note(0, 1_000_000, 40_000_000)
    assert clock.offset_ns == -19_000_000
    clock.note(100_000_000, 106_000_000, 102_000_000)
    assert clock.offset_ns == 5_000_000
    assert clock.round_trip_s == pytest.approx(0.002)
    # Too slow to tell anything, and answers from the future.
    clock.note(0, 0, 10**9)
    clock.note(10, 0, 5)
    assert clock.offset_ns == 5_000_000
    clock.reset()
    assert clock.offset_ns is None


def test_sentences_in_pieces_are_put_together():
    pieces = px4_setpoints.TextPieces()
    assert pieces.add(0, 0, "whole") == "whole"
    assert pieces.add(3, 0, "a" * 50) == ""
    assert pieces.add(3, 1, "b" * 50) == ""
    assert pieces.add(3, 2, "end") == "a" * 50 + "b" * 50 + "end"
    assert pieces.add(4, 0, "c" * 50) == ""
    assert pieces.add(5, 1, "another") == "another"


@pytest.mark.parametrize(
    ("multiple", "hover", "is_linear", "expected"),
    [
        (1.0, 0.6, False, 0.6),
        (1.0, 0.6, True, 0.6),
        (0.25, 0.6, False, 0.3),
        (0.5, 0.6, True, 0.3),
        (9.0, 0.6, True, 1.0),
        (-1.0, 0.6, False, 0.0),
    ],
)
def test_thrust_counts_in_weights(multiple, hover, is_linear, expected):
    assert px4_setpoints.thrust_of_multiple(multiple, hover=hover, is_linear=is_linear) == pytest.approx(
        expected
    )


def test_the_acceleration_of_a_reference_is_that_of_its_velocity_without_spikes():
    acceleration = state.ReferenceAcceleration()
    for i in range(100):
        found = acceleration.add(np.array([0.02 * i * 2.0, 0.0, 0.0]), i * 20_000_000)
    assert found == pytest.approx([2.0, 0.0, 0.0], abs=1e-6)
    assert np.linalg.norm(acceleration.add(np.array([50.0, 0.0, 0.0]), 100 * 20_000_000)) <= 6.0
    assert acceleration.add(np.array([9.0, 0.0, 0.0]), 10**10).tolist() == [0.0, 0.0, 0.0]


def test_a_state_that_is_none_is_not_made():
    good = {
        "position": (0.0, 0.0, 0.0),
        "orientation": np.array([1.0, 0, 0, 0]),
        "rates_frd": (0.0, 0.0, 0.0),
    }
    make = state.VehicleState.make
    assert make(**good, velocity_ned=np.zeros(3)) is not None
    assert make(**good) is None
    assert make(**good | {"position": (math.nan, 0.0, 0.0)}, velocity_ned=np.zeros(3)) is None
    assert make(**good | {"orientation": np.zeros(4)}, velocity_ned=np.zeros(3)) is None
    # A velocity in the body needs no rotation, one in the world does.
    facing_north = {"orientation": np.array([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])}
    one = make(**good | facing_north, velocity_frd=np.array([1.0, 2.0, 3.0]))
    other = make(**good | facing_north, velocity_ned=np.array([1.0, 2.0, 3.0]))
    assert one.linear_velocity == pytest.approx([1.0, -2.0, -3.0])
    assert other.linear_velocity == pytest.approx([1.0, -2.0, -3.0])


def test_a_taken_port_is_told_in_words():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(LinkError, match=f"{port}: .*ground station"):
            open_link(f"udpin:127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["udpin:14540", "tcp", "udpin:127.0.0.1:99999", "usb:1"])
def test_an_address_that_is_none_is_told_in_words(address):
    with pytest.raises(ConfigError, match="udpin:HOST:PORT|tcp:HOST:PORT"):
        open_link(address)


def test_a_port_listens_to_whoever_was_settled_on_until_it_falls_silent():
    now = 0
    link = UdpTransport(listen=("127.0.0.1", 0), steady_clock=lambda: now)
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    try:
        other.sendto(b"garbage", ("127.0.0.1", link.port))
        assert link.read(5.0) == b"garbage"
        one.sendto(b"vehicle", ("127.0.0.1", link.port))
        assert link.read(5.0) == b"vehicle"
        link.settle()
        other.sendto(b"garbage", ("127.0.0.1", link.port))
        assert link.read(5.0) == b""
        assert link.foreign == 1
        link.write(b"answer")
        one.settimeout(5.0)
        assert one.recv(100) == b"answer"
        now = 4_000_000_000
        other.sendto(b"restarted", ("127.0.0.1", link.port))
        assert link.read(5.0) == b"restarted"
    finally:
        for s in (one, other):
            s.close()
        link.close()
    assert not is_stream("udpin:127.0.0.1:1")
    assert is_stream("serial:/dev/ttyACM0:921600")
