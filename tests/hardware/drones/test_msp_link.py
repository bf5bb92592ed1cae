"""Protects the conversation with a flight controller: answers find their questions, silence ends in words, a
lost connection comes back, and noise on the wire harms nobody."""

import contextlib
import os
import random
import socket
import threading
import time
import tty

import pytest

from hardware.drones.msp import MspDecoder, MspDirection, MspVersion, encode
from hardware.drones.msp_link import MspLink
from hardware.drones.transport import LinkError, open_transport
from hardware.errors import ConfigError

PATIENCE_S = 60.0
SILENT, UNKNOWN, ECHO = 90, 91, 92


class Echo:
    """A server that answers a request with its own payload; it can be told to do worse."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.port = self._server.getsockname()[1]
        self.address = f"tcp:127.0.0.1:{self.port}"
        self.noise = b""
        self.accepted = 0
        self._client = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def cut(self):
        client = self._client
        if client is not None:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _run(self):
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self._client, _ = self._server.accept()
                self.accepted += 1
                with contextlib.suppress(OSError):
                    self._serve(self._client)
                self._client.close()

    def _serve(self, client):
        client.settimeout(0.05)
        decoder = MspDecoder()
        while not self._over.is_set():
            try:
                data = client.recv(4096)
            except TimeoutError:
                continue
            if not data:
                return
            for frame in decoder.feed(data):
                if frame.command == SILENT:
                    continue
                direction = MspDirection.ERROR if frame.command == UNKNOWN else MspDirection.REPLY
                payload = b"" if frame.command == UNKNOWN else frame.payload
                client.sendall(
                    self.noise + encode(frame.command, payload, version=frame.version, direction=direction)
                )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._server.close()


@contextlib.contextmanager
def linked(address, **arguments):
    link = MspLink(address, **arguments)
    link.open()
    try:
        yield link
    finally:
        link.close()


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@pytest.mark.parametrize("version", MspVersion)
def test_an_answer_finds_its_question(version):
    with Echo() as server, linked(server.address) as link:
        assert link.ask(ECHO, b"hello", timeout_s=PATIENCE_S, version=version) == b"hello"
        assert link.quality == 1.0


def test_answers_come_in_the_order_of_the_questions():
    with Echo() as server, linked(server.address) as link:
        answers = []
        for number in range(20):
            link.send(ECHO, bytes((number,)), on_answer=answers.append, deadline_s=PATIENCE_S)
        wait_for(lambda: len(answers) == 20)
        assert [a.payload[0] for a in answers] == list(range(20))


def test_silence_and_refusal_are_said_in_words():
    with Echo() as server, linked(server.address) as link:
        with pytest.raises(LinkError, match=r"did not answer within 0.2 s \(MSP command 90\)"):
            link.ask(SILENT, timeout_s=0.2)
        with pytest.raises(LinkError, match="refuses MSP command 91"):
            link.ask(UNKNOWN, timeout_s=PATIENCE_S)
        assert link.quality == 0.5
        assert (link.counts.overdue, link.counts.refused) == (1, 1)


def test_noise_between_answers_is_skipped():
    with Echo() as server, linked(server.address) as link:
        dice = random.Random(1)
        for _ in range(20):
            # Never a whole header: what looks like one may hide an answer until it is overdue.
            server.noise = bytes(b for b in dice.randbytes(50) if b != ord("$"))
            assert link.ask(ECHO, b"x", timeout_s=PATIENCE_S) == b"x"


def test_a_lost_connection_comes_back_and_open_questions_end():
    reasons = []
    with Echo() as server, linked(server.address, on_lost=reasons.append) as link:
        answers = []
        link.send(SILENT, on_answer=answers.append, deadline_s=PATIENCE_S)
        wait_for(lambda: server.accepted == 1)
        server.cut()
        wait_for(lambda: answers == [None])
        wait_for(lambda: link.is_up)
        assert link.ask(ECHO, b"again", timeout_s=PATIENCE_S) == b"again"
        assert server.accepted == 2
        assert len(reasons) == 1
        assert "closed the connection" in reasons[0]


def test_while_there_is_nobody_nothing_is_sent_and_nothing_waits():
    with Echo() as server:
        link = MspLink(server.address)
        link.open()
        wait_for(lambda: server.accepted == 1)
    try:
        wait_for(lambda: not link.is_up)
        assert link.quality == 0.0
        assert link.send(ECHO) is False
        with pytest.raises(LinkError, match="127.0.0.1"):
            link.ask(ECHO)
    finally:
        link.close()


def test_nobody_there_is_an_error_that_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConfigError, match=f"nobody listens on 127.0.0.1:{port}.*close the configurator"):
        MspLink(f"tcp:127.0.0.1:{port}").open()


@pytest.mark.parametrize(
    "address", ["", "tcp:host", "tcp::1", "udp:1.2.3.4:5", "serial:", "tcp:127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_explained(address):
    with pytest.raises(ConfigError, match="serial:/dev/ttyACM0"):
        open_transport(address)


def read_to_the_end(port):
    while True:
        port.read(0.1)


def test_a_serial_port_is_held_alone_and_its_end_is_noticed():
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    port = open_transport(f"serial:{path}:115200")
    with pytest.raises(LinkError, match="another program holds it"):
        open_transport(f"serial:{path}")
    os.write(master, b"abc")
    data = b""
    while len(data) < 3:
        data += port.read(1.0)
    assert data == b"abc"
    port.write(b"xyz")
    assert os.read(master, 10) == b"xyz"
    assert port.read(0.0) == b""
    os.close(slave)
    os.close(master)
    with pytest.raises(LinkError, match=path):
        read_to_the_end(port)
    port.close()
    with pytest.raises(LinkError, match="none-such"):
        open_transport("serial:/dev/none-such")
