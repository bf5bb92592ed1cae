"""Protects remote inference: the same chunk as nearby, none without the token, and every way in which a
server can fail becomes a refusal that says what happened.
"""

import contextlib
import dataclasses
import socket
import subprocess
import threading

import numpy as np
import pytest
from chunked import STEP_NS, Ramp, observation
from remote_policies import asking, lying, refusal_of, served, token_file, until

from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.bc.policy import PICK_CUBE
from policies.card import RecurrentState
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy
from policies.runtime.frames import Frame
from policies.runtime.packing import pack_chunk
from policies.runtime.remote import RemoteOptions, RemotePolicy, ServerConfig, new_token, read_token
from policies.runtime.remote.messages import plain_generator
from policies.runtime.remote.server import _Inbox

CONTEXT = ActContext(now_ns=STEP_NS)


def fields_of(frame, chunk):
    fields, arrays = pack_chunk(chunk)
    rng = plain_generator(np.random.default_rng(1))
    return {**fields, "number": frame.fields["number"], "age_s": 0.0, "deadline_s": 0.1, "rng": rng}, arrays


class Noisy(Ramp):
    """A chunk of noise, with what it heard; it remembers how often it was asked."""

    def __init__(self):
        super().__init__()
        spec = RecurrentState(shape=(2,), reset=("activation",), initial=0.0)
        self.card = dataclasses.replace(self.card, recurrent={"count": spec})
        self.state = {"count": np.zeros(2, np.float32)}
        self.loaded = []

    def load_state(self, state):
        if set(state) != set(self.card.recurrent):
            raise ConfigError("a state of others", where="state", expected="count", mend="pass count")
        self.loaded.append({name: array.tolist() for name, array in state.items()})
        self.state = dict(state)

    def reset(self, seed=None):
        super().reset(seed)
        self.state = {"count": np.zeros(2, np.float32)}

    def act(self, observation, *, context):
        self.state = {"count": self.state["count"] + 1}
        chunk = super().act(observation, context=context)
        return chunk.with_values(chunk.values + context.rng.standard_normal(chunk.values.shape))


def test_a_remote_policy_is_a_policy_with_the_same_answers(tmp_path):
    near = load_policy(PICK_CUBE)
    with served(load_policy(PICK_CUBE), tmp_path) as server, asking(server.url, tmp_path) as far:
        assert isinstance(far, Policy)
        assert far.card == near.card
        assert far.state == {}
        far.reset(3)
        for index in range(5):
            seen = observation(index * STEP_NS)
            seen.values["joint_position"][:] = np.random.default_rng(index).uniform(-0.5, 0.5, 6)
            a, b = near.act(seen, context=CONTEXT), far.act(seen, context=CONTEXT)
            assert a.values.tobytes() == b.values.tobytes()
            assert (a.names, a.start_ns, a.step_ns, a.valid_for_s) == (
                b.names,
                b.start_ns,
                b.step_ns,
                b.valid_for_s,
            )


def test_noise_commitments_past_and_images_travel_too(tmp_path):
    near, there = Noisy(), Noisy()
    rngs = [np.random.default_rng(5), np.random.default_rng(5)]
    image = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    seen = []
    there.before.append(seen.append)
    with served(there, tmp_path) as server, asking(server.url, tmp_path) as far:
        far.reset(11)
        for index in range(3):
            terms = observation(index * STEP_NS)
            told = Observation(terms.values, terms.stamp_ns, 0, {"front": image})
            contexts = [
                ActContext(
                    now_ns=told.stamp_ns + 5,
                    committed=np.full((2, 6), 0.25),
                    planned=np.full((3, 6), 0.5),
                    proposals=3,
                    rng=rng,
                    past=(observation(7), observation(9)),
                    instruction="pick up the cube",
                )
                for rng in rngs
            ]
            a, b = near.act(told, context=contexts[0]), far.act(told, context=contexts[1])
            assert a.values.tobytes() == b.values.tobytes()
        assert there.seeds == [11]
        heard = there.contexts[-1]
        np.testing.assert_array_equal(heard.committed, np.full((2, 6), 0.25))
        np.testing.assert_array_equal(heard.planned, np.full((3, 6), 0.5))
        assert (heard.proposals, heard.now_ns) == (3, 2 * STEP_NS + 5)
        assert heard.instruction == "pick up the cube"
        assert [past.stamp_ns for past in heard.past] == [7, 9]
        np.testing.assert_array_equal(heard.past[1].values["cube_position"], [0.2, 0.0, 0.02])
        np.testing.assert_array_equal(seen[-1].images["front"], image)
        # The generator here went on as the one there did, and the memory is known here.
        assert rngs[0].random() == rngs[1].random()
        assert far.state["count"].tolist() == [3.0, 3.0]


# --- who may ask ---------------------------------------------------------------------------------


def test_without_the_token_nobody_is_served(tmp_path):
    other = tmp_path / "other"
    new_token(other)
    with served(Ramp(), tmp_path) as server:
        with pytest.raises(ConfigError, match="it does not accept the token.*copy the server's token file"):
            RemotePolicy(server.url, RemoteOptions(token_file=str(other)))
        # Bare hands, without any header: nothing but the refusal comes back.
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        with pytest.raises(InvalidStatus, match="401"):
            connect(server.url, proxy=None).__enter__()
        assert [text.split(": ")[1] for text in server.told] == ["it does not know the token"] * 2
        assert not any("is being served" in text for text in server.told)
        with asking(server.url, tmp_path) as policy:
            assert policy.act(observation(0), context=CONTEXT).values.shape == (10, 6)


def test_a_second_robot_has_to_wait(tmp_path):
    with served(Ramp(), tmp_path) as server:
        with asking(server.url, tmp_path):
            with pytest.raises(ConfigError, match="another robot is being served"):
                RemotePolicy(server.url, RemoteOptions(token_file=str(token_file(tmp_path))))
        until(lambda: any("has left" in text for text in server.told))
        with asking(server.url, tmp_path) as policy:
            policy.act(observation(0), context=CONTEXT)


def test_tokens_are_private(tmp_path):
    path = tmp_path / "sub" / "token"
    token = new_token(path)
    assert read_token(path) == token
    assert len(token) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="a file that does not exist yet"):
        new_token(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"others can read the token \(mode 640\).*chmod 600"):
        read_token(path)
    short = tmp_path / "short"
    short.write_text("secret\n")
    short.chmod(0o600)
    with pytest.raises(ConfigError, match="a token of 6 characters"):
        read_token(short)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ws://10.0.0.7:8765", "would travel to 10.0.0.7 in the clear. Expected wss://"),
        ("ws://user:word@127.0.0.1:1", "the token belongs into a file"),
        ("ws://127.0.0.1:1", "it cannot be reached.*start the server"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(tmp_path, url, text):
    with pytest.raises(ConfigError, match=text):
        RemotePolicy(url, RemoteOptions(token_file=str(token_file(tmp_path))))


def test_beyond_loopback_a_server_wants_tls(tmp_path):
    with pytest.raises(ConfigError, match="it would listen on 0.0.0.0 without TLS"):
        with served(Ramp(), tmp_path, host="0.0.0.0"):
            pass
    with pytest.raises(ConfigError, match="give certificate and key both"):
        with served(Ramp(), tmp_path, key=tmp_path / "key"):
            pass


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path):
    """An authority, and certificates that it signed for a server on 127.0.0.1 and for a robot."""
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", cwd=tmp_path,
    )  # fmt: skip
    (tmp_path / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "robot"):
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=tmp_path,
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "san", "-out", f"{name}.pem", cwd=tmp_path,
        )  # fmt: skip
    return tmp_path


def test_tls_checks_the_server_and_where_asked_the_robot(certificates):
    at = {
        name: certificates / name for name in ("ca.pem", "server.pem", "server.key", "robot.pem", "robot.key")
    }
    tls = {"certificate": at["server.pem"], "key": at["server.key"]}
    with served(Ramp(), certificates, **tls) as server:
        assert server.url.startswith("wss://")
        with asking(server.url, certificates, ca_file=str(at["ca.pem"])) as policy:
            assert policy.act(observation(0), context=CONTEXT).is_finite
        with pytest.raises(ConfigError, match="certificate verify failed"):
            RemotePolicy(server.url, RemoteOptions(token_file=str(token_file(certificates))))
        # Without TLS there is nobody to talk to.
        with pytest.raises(ConfigError, match="it cannot be reached"):
            RemotePolicy(
                server.url.replace("wss", "ws"), RemoteOptions(token_file=str(token_file(certificates)))
            )
    with served(Ramp(), certificates, **tls, client_ca=at["ca.pem"]) as server:
        with pytest.raises(ConfigError, match="it (cannot be reached|does not say hello)"):
            RemotePolicy(
                server.url,
                RemoteOptions(token_file=str(token_file(certificates)), ca_file=str(at["ca.pem"])),
            )
        with asking(
            server.url,
            certificates,
            ca_file=str(at["ca.pem"]),
            certificate_file=str(at["robot.pem"]),
            key_file=str(at["robot.key"]),
        ) as policy:
            assert policy.act(observation(0), context=CONTEXT).is_finite


# --- what can go wrong ---------------------------------------------------------------------------


def test_a_server_that_goes_away_is_refused_at_once_and_found_again(tmp_path):
    policy = Noisy()
    with served(policy, tmp_path) as server, asking(server.url, tmp_path) as far:
        far.reset(4)
        far.act(observation(0), context=CONTEXT)
        port = server.port
        server.close()
        until(lambda: refusal_of(far, observation(0), CONTEXT) is not None)
        until(lambda: "cannot be reached" in (refusal_of(far, observation(0), CONTEXT) or ""))
        assert not far.is_connected
        again = Noisy()
        with served(again, tmp_path, port=port):
            until(lambda: far.is_connected)
            far.act(observation(0), context=CONTEXT)
            # It began with the same seed, and with the memory that the robot had.
            assert again.seeds == [4]
            assert again.loaded == [{"count": [1.0, 1.0]}]
            assert far.state["count"].tolist() == [2.0, 2.0]


def test_what_begins_anew_while_the_server_is_being_told_is_told_again(tmp_path, monkeypatch):
    with served(Noisy(), tmp_path) as server, asking(server.url, tmp_path) as far:
        far.reset(4)
        port = server.port
        server.close()
        until(lambda: refusal_of(far, observation(0), CONTEXT) is not None)
        memories, late = far._memories, iter([5])

        def slow():
            made = memories()
            # Between what was remembered and its way to the server.
            for seed in late:
                threading.Thread(target=far.reset, args=(seed,)).start()
            return made

        monkeypatch.setattr(far, "_memories", slow)
        again = Noisy()
        with served(again, tmp_path, port=port):
            until(lambda: far.is_connected)
            far.act(observation(0), context=CONTEXT)
            assert again.seeds[-1] == 5


def test_another_policy_behind_the_same_address_is_not_trusted(tmp_path):
    with served(Ramp(), tmp_path) as server, asking(server.url, tmp_path) as far:
        port = server.port
        server.close()
        until(lambda: refusal_of(far, observation(0), CONTEXT) is not None)
        with served(Ramp(horizon=11), tmp_path, port=port):
            until(lambda: "another policy" in (refusal_of(far, observation(0), CONTEXT) or ""))


def test_a_slow_server_is_waited_for_until_the_deadline_and_its_late_answer_is_dropped(tmp_path):
    slow, release = Ramp(), threading.Event()
    slow.before.append(lambda seen: release.wait(60) if seen.stamp_ns == 0 else None)
    with served(slow, tmp_path) as server, asking(server.url, tmp_path, deadline_s=0.3) as far:
        with pytest.raises(PolicyError, match=r"has not answered within 0\.28 s"):
            far.act(observation(0), context=CONTEXT)
        release.set()
        until(lambda: slow.stamps == [0])
        # The answer to the first one arrives now, and is not taken for that to the second.
        chunk = None
        while chunk is None:
            try:
                chunk = far.act(observation(STEP_NS), context=CONTEXT)
            except PolicyError:
                continue
        assert chunk.start_ns == STEP_NS
        assert far.is_connected


def test_what_waited_too_long_at_the_server_is_not_worked_off(tmp_path):
    slow, release = Ramp(), threading.Event()
    slow.before.append(lambda seen: release.wait(60))
    with served(slow, tmp_path) as server, asking(server.url, tmp_path, deadline_s=0.2) as far:
        for index in range(4):
            assert "has not answered" in refusal_of(far, observation(index), ActContext(now_ns=index))
        release.set()
        until(lambda: refusal_of(far, observation(99), ActContext(now_ns=99)) is None)
        # The first was under way, the last is fresh; those between were passed over.
        assert 0 in slow.stamps
        assert not {1, 2} & set(slow.stamps)


def test_an_observation_that_is_too_old_is_not_even_sent(tmp_path):
    policy = Ramp()
    with served(policy, tmp_path) as server, asking(server.url, tmp_path, deadline_s=0.1) as far:
        with pytest.raises(PolicyError, match=r"0\.50 s old, too old to ask"):
            far.act(observation(0), context=ActContext(now_ns=500_000_000))
        assert policy.stamps == []


def test_what_the_policy_refuses_or_breaks_at_is_told(tmp_path):
    def complain(seen):
        if seen.stamp_ns == 1:
            raise PolicyError("the cube is gone")
        if seen.stamp_ns == 2:
            raise RuntimeError("out of memory")

    policy = Ramp()
    policy.before.append(complain)
    with served(policy, tmp_path) as server, asking(server.url, tmp_path) as far:
        with pytest.raises(PolicyError, match="the policy server refuses: the cube is gone"):
            far.act(observation(1), context=CONTEXT)
        with pytest.raises(PolicyError, match="RuntimeError: out of memory"):
            far.act(observation(2), context=CONTEXT)
        assert far.act(observation(3), context=CONTEXT).start_ns == 3
        assert "the policy failed: RuntimeError: out of memory" in server.told


def lies():
    """What a server may send instead of a chunk, and what is said about it."""
    ramp = Ramp()

    def change(**fields):
        def answer(frame):
            good, arrays = fields_of(frame, ramp.act(observation(0), context=CONTEXT))
            arrays = {name: fields.pop(name, array) for name, array in arrays.items()}
            return Frame("chunk", {**good, **fields}, arrays)

        return answer

    def values(array):
        return lambda frame: change(values=array)(frame)

    yield "random bytes", lambda frame: bytes(range(256)), "256 bytes that are no frame"
    yield "text", lambda frame: "chunk", "text instead of a frame"
    yield "another frame", lambda frame: Frame("hello"), "an unknown kind of frame 'hello'"
    yield "NaN", values(np.full((10, 6), np.nan)), "a chunk that is not finite"
    yield "infinity", values(np.full((10, 6), np.inf)), "a chunk that is not finite"
    yield "shape", values(np.zeros((3, 6))), "a chunk of 3 steps"
    yield "width", values(np.zeros((10, 5))), "values of shape"
    yield "type", values(np.zeros((10, 6), np.float32)), "no values of float64"
    yield "names", change(names=list("abcdef")), "with other names"
    yield "kind", change(command_kind="motor"), "a chunk of another kind"
    yield "no kind", change(command_kind="dance"), "'dance' is not a valid CommandKind"
    yield "future", change(start_ns=10**18), "starts 1000000000.000 s after its observation"
    yield "past", change(start_ns=-1), "starts -0.000 s after"
    yield "for ever", change(valid_for_s=1e6), "may be used for 1000000.000 s"
    yield "steps", change(step_ns=1), "10 steps of 1 ns"
    yield "number", change(number=10**6), "number is 1000000"
    yield "no age", change(age_s="old"), "age_s is 'old'"
    yield "no noise", change(rng={}), "rng describes no generator"


@pytest.mark.parametrize(("lie", "text"), [pytest.param(lie, text, id=name) for name, lie, text in lies()])
def test_garbage_is_refused_in_words_and_the_connection_given_up(tmp_path, lie, text):
    with lying(Ramp().card, lie) as url, asking(url, tmp_path) as far:
        with pytest.raises(PolicyError, match="sent something wrong: .*" + text):
            far.act(observation(0), context=ActContext(now_ns=0))


def test_a_server_survives_what_robots_send(tmp_path):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from policies.runtime.frames import encode
    from policies.runtime.remote.credentials import authorization

    token = token_file(tmp_path).read_text().strip()
    nonsense = [
        b"\0" * 100,
        "text",
        encode(Frame("dance")),
        encode(Frame("act")),
        encode(Frame("reset", {"seed": -1})),
        encode(Frame("load", {}, {"state/other": np.zeros(3, np.float32)})),
    ]
    with served(Noisy(), tmp_path) as server:
        for bad in nonsense:
            with connect(
                server.url, additional_headers={"Authorization": authorization(token)}, proxy=None
            ) as connection:
                connection.recv(timeout=30)
                connection.send(bad)
                with pytest.raises(ConnectionClosed, match="1008"):
                    connection.recv(timeout=30)
            until(lambda: server.told[-1].endswith("has left"))
        # Not even HTTP.
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"\x16\x03\x01\0\0garbage\r\n\r\n")
            raw.settimeout(30)
            while raw.recv(4096):
                pass
        until(lambda: server.told[-1].endswith("has left"))
        with asking(server.url, tmp_path) as policy:
            policy.act(observation(0), context=CONTEXT)


def test_a_policy_that_cannot_begin_anew_is_told_and_the_next_robot_is_served(tmp_path):
    policy = Ramp()
    begin = policy.reset
    policy.reset = lambda seed=None: 1 / 0
    with served(policy, tmp_path) as server, asking(server.url, tmp_path) as far:
        far.reset(1)
        until(lambda: server.told[-1].endswith("has left"))
        assert "the policy failed: ZeroDivisionError: division by zero" in server.told
        policy.reset = begin
        until(lambda: refusal_of(far, observation(0), ActContext(now_ns=0)) is None)


def test_what_waits_for_a_policy_that_thinks_is_bounded(tmp_path):
    """Requests that will be passed over keep no images, and nobody can fill the server's memory."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from policies.runtime.frames import encode
    from policies.runtime.remote.credentials import authorization

    slow, release = Ramp(), threading.Event()
    slow.reset = lambda seed=None: release.wait(60)
    token = token_file(tmp_path).read_text().strip()
    inbox = _Inbox()
    for number in range(3):
        inbox.put(Frame("act", {"number": number}, {"image/wrist": np.zeros((2, 2, 3), np.uint8)}), number)
    frame, arrived_ns, missed = inbox.take()
    assert (frame.fields["number"], arrived_ns, set(frame.arrays)) == (2, 2, {"image/wrist"})
    assert [(old.fields["number"], at_ns, dict(old.arrays)) for old, at_ns in missed] == [
        (0, 0, {}),
        (1, 1, {}),
    ]
    with served(slow, tmp_path) as server:
        headers = {"Authorization": authorization(token)}
        with connect(server.url, additional_headers=headers, proxy=None) as robot:
            robot.recv(timeout=30)
            with contextlib.suppress(ConnectionClosed):
                for _ in range(2000):
                    robot.send(encode(Frame("reset", {"seed": 1})))
            with pytest.raises(ConnectionClosed, match="1024 frames wait already"):
                robot.recv(timeout=30)
            release.set()
        until(lambda: server.told[-1].endswith("has left"))


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_told(port):
    with pytest.raises(ConfigError, match=f"port is {port}. Expected 0 to 65535"):
        ServerConfig(port=port)


def test_closing_ends_every_thread(tmp_path):
    before = set(threading.enumerate())
    with served(Ramp(), tmp_path) as server, asking(server.url, tmp_path) as far:
        far.act(observation(0), context=CONTEXT)
    until(lambda: set(threading.enumerate()) <= before)
    with pytest.raises(PolicyError, match="closed"):
        far.act(observation(0), context=CONTEXT)
