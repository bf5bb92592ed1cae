"""Policy servers for tests: a true one in this process, and a liar that speaks the protocol."""

import contextlib
import threading
import time

import yaml

from hardware import schema
from policies.policy import PolicyError
from policies.runtime.frames import Frame, decode, encode
from policies.runtime.remote import PolicyServer, RemoteOptions, RemotePolicy, ServerConfig, new_token
from policies.runtime.remote.messages import PROTOCOL

TOKEN_NAME = "token"


def token_file(folder):
    path = folder / TOKEN_NAME
    if not path.exists():
        new_token(path)
    return path


def until(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true"
        time.sleep(0.005)


@contextlib.contextmanager
def served(policy, folder, *, port=0, **config):
    """A server of a policy, and what it told."""
    told = []
    token = token_file(folder).read_text().strip()
    with PolicyServer(
        policy,
        token=token,
        config=ServerConfig(port=port, **config),
        steady_clock=time.monotonic_ns,
        on_event=told.append,
    ) as server:
        server.told = told
        yield server


@contextlib.contextmanager
def asking(url, folder, **options):
    policy = RemotePolicy(url, RemoteOptions(token_file=str(token_file(folder)), **options))
    try:
        yield policy
    finally:
        policy.close()


@contextlib.contextmanager
def lying(card, answer):
    """A server that says hello with a card, then sends what `answer(frame)` gives: bytes, text or a frame."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve

    def session(connection):
        with contextlib.suppress(ConnectionClosed):
            connection.send(
                encode(Frame("hello", {"protocol": PROTOCOL, "card": yaml.safe_load(schema.dump(card))}))
            )
            for data in connection:
                frame = decode(data)
                if frame.kind == "act":
                    given = answer(frame)
                    connection.send(encode(given) if isinstance(given, Frame) else given)

    with serve(session, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"


def refusal_of(policy, observation, context):
    try:
        policy.act(observation, context=context)
    except PolicyError as error:
        return str(error)
    return None
