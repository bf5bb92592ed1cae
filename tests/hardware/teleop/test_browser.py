"""Protects the page's server: who may operate, what counts as input, and that whatever fails ends in hold."""

import asyncio
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.errors import Refusal
from hardware.teleop import LinkState, Status
from hardware.teleop.browser import Browser, BrowserOptions
from hardware.teleop.messages import CONTROLS, LONGEST, Input, parse_input, write_status

sys.path.insert(0, str(Path(__file__).parent))

from page_client import Page  # noqa: E402

TOKEN = "correct-horse"
STATUS = Status(LinkState.ENGAGED, "browser_arm", "so101", 0.02, "engaged", {"x": 0.1}, {"left_x": "y -"})
PATIENCE_S = 30.0


@pytest.fixture
def browser():
    made = Browser(BrowserOptions(port=0, token=TOKEN))
    made.open()
    yield made
    made.close()


def get(browser, path, **arguments):
    connection = http.client.HTTPConnection("127.0.0.1", browser._port, timeout=10, **arguments)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def wait_for(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


def reading(browser):
    return browser.read(time.monotonic_ns())


def run(*tasks):
    async def together():
        await asyncio.gather(*tasks)

    asyncio.run(together())


# --- what is served ----------------------------------------------------------------------------


def test_the_page_and_its_files_are_served(browser):
    status, text, headers = get(browser, f"/?token={TOKEN}")
    assert status == 200
    assert "Emergency stop" in text
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert headers["Referrer-Policy"] == "no-referrer"
    for name, kind in (("teleop.js", "text/javascript"), ("teleop.css", "text/css")):
        status, text, headers = get(browser, f"/{name}")
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
    assert TOKEN in browser.address


@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=correct-hors", "?token=wrong", "?token=%ff%fe", "?t=1"]
)
def test_a_wrong_token_sees_nothing_and_reaches_nobody(browser, query):
    status, text, _ = get(browser, f"/{query}")
    assert status == 403
    assert "no valid token" in text
    assert "Emergency stop" not in text
    status, _, _ = get(browser, f"/ws{query}")
    assert status == 403


def test_other_paths_are_not_there(browser):
    for path in ("/../teleop.js", "/index.html", "/browser.py", "//etc/passwd"):
        assert get(browser, f"{path}?token={TOKEN}")[0] == 404


def test_a_page_of_another_site_cannot_connect(browser):
    async def connect(origin):
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{browser._port}/ws?token={TOKEN}"
            async with session.ws_connect(address, origin=origin):
                return True

    assert asyncio.run(connect(f"http://127.0.0.1:{browser._port}"))
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        asyncio.run(connect("http://evil.example"))


def test_a_token_of_its_own_is_made_where_none_is_given():
    first, second = (Browser(BrowserOptions(port=0))._token for _ in range(2))
    assert first != second
    assert len(first) > 16


def test_a_port_that_is_taken_is_told_and_tried_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        browser = Browser(BrowserOptions(port=port, token=TOKEN))
        with pytest.raises(Refusal, match=f"the page cannot be served on 127.0.0.1:{port}"):
            browser.open()
        assert not reading(browser).connected
    browser.open()
    assert get(browser, f"/?token={TOKEN}")[0] == 200
    browser.close()
    assert reading(browser).problem == "the page is not served any more"


def test_with_a_certificate_the_page_is_secure(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    browser = Browser(
        BrowserOptions(host="0.0.0.0", port=0, token=TOKEN, certificate=str(certificate), key=str(key))
    )
    browser.open()
    assert browser.address.startswith("https://")
    assert "0.0.0.0" not in browser.address
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", browser._port, context=context, timeout=10)
    connection.request("GET", f"/?token={TOKEN}")
    assert connection.getresponse().status == 200
    browser.close()


# --- who operates, and what counts -------------------------------------------------------------


def test_a_page_operates_and_is_told_what_happens(browser):
    page = Page(browser.address)
    seen = []

    def until():
        browser.show(STATUS)
        now = reading(browser)
        if now.connected and not page.controls:
            page.controls = {"engage": 1, "left_x": -0.5, "right_y": 7}
            page.pressed = ["success"]
            page.pose = {"position": [1, 2, 3], "orientation": [1, 0, 0, 0]}
        seen.append(now)
        return now.controls.get("engage") == 1.0 and page.told.get("state")

    run(page.run(until))
    assert seen[-1].controls == {"engage": 1.0, "left_x": -0.5, "right_y": 1.0}
    assert seen[-1].poses["phone"].position_m.tolist() == [1.0, 2.0, 3.0]
    assert [r.pressed for r in seen if r.pressed] == [{"success"}]
    assert page.told["role"] == "operator"
    assert page.told["state"] == "engaged"
    assert page.told["link_age_ms"] == 20
    assert page.told["legend"] == {"left_x": "y -"}
    # The page has gone, with a close frame.
    assert wait_for(lambda: not reading(browser).connected)


def test_hands_on_at_the_start_count_only_after_they_were_off(browser):
    page = Page(browser.address, engage=1.0)
    count = []

    def until():
        count.append(reading(browser).connected)
        if len(count) == 40:
            page.controls = {"engage": 0.0}
        return count[-1]

    run(page.run(until))
    assert not any(count[:40])


def test_a_socket_that_is_cut_without_a_word_is_silence(browser):
    """A phone that loses its Wi-Fi: no close frame, no reset, nothing."""
    with socket.create_connection(("127.0.0.1", browser._port)) as wire:
        wire.sendall(
            f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        data = b""
        deadline_s = time.monotonic() + PATIENCE_S
        while not reading(browser).connected:
            assert time.monotonic() < deadline_s
            data += wire.recv(4096)
            at = data.rfind(b'"echo": ')
            digits = data[at + 8 :].split(b"}")[0].split(b",")[0] if at >= 0 else b""
            if digits.isdigit():
                text = json.dumps({"type": "input", "echo": int(digits), "held_ms": 0}).encode()
                wire.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        # Nothing is sent any more, and the connection stays open for all that the server knows.
        assert wait_for(lambda: time.monotonic_ns() - reading(browser).heard_ns > 600_000_000)


def test_a_second_page_watches_until_the_first_leaves_and_may_stop_the_robot(browser):
    first, second = Page(browser.address), Page(browser.address, engage=1.0, left_x=1.0)
    state = {"over": False, "stopped": False, "taken": []}

    def first_until():
        now = reading(browser)
        state["stopped"] = state["stopped"] or "emergency_stop" in now.pressed
        if now.connected:
            state["taken"].append(now.controls)
        if second.told and not state["over"]:
            second.pressed = ["emergency_stop", "success"]
            state["over"] = True
        return state["stopped"] and second.told.get("role") == "observer"

    def second_until():
        if first_done():
            state["after"] = reading(browser)
            if second.told.get("role") == "operator":
                second.controls = {"engage": 0.0}
            return state["after"].connected
        return False

    done = []

    def first_done():
        return bool(done)

    async def first_page():
        await first.run(first_until)
        done.append(True)

    run(first_page(), second.run(second_until))
    assert all(controls == {} for controls in state["taken"]), "the second page moved something"
    assert state["after"].controls == {"engage": 0.0}
    assert second.told["role"] == "operator"


def test_a_silent_page_gives_way_to_another(browser):
    now = [10**9]
    browser._clock_ns = lambda: now[0]
    silent, other = (type("Client", (), {"heard_ns": 10**9, "is_armed": True})() for _ in range(2))
    browser._shared.clients = [silent, other]
    browser._choose(now[0])
    assert browser._shared.operator is silent
    other.heard_ns = now[0] = 4 * 10**9
    browser._choose(now[0])
    assert browser._shared.operator is other
    assert not other.is_armed
    assert not browser.read(now[0]).connected
    browser._shared.clients = []


def take(browser, client, **message):
    browser._take(client, json.dumps({"type": "input", **message}))


def test_input_that_comes_late_counts_for_nothing(browser):
    now = [5 * 10**9]
    browser._clock_ns = lambda: now[0]
    client = type("Client", (), {"heard_ns": now[0], "is_armed": False})()
    browser._shared.clients = [client]
    take(browser, client, echo=None)
    assert browser.read(now[0]).heard_ns == 0, "nobody knows how old it is"
    take(browser, client, echo=4900, held_ms=50)
    assert browser.read(now[0]).heard_ns == now[0]
    first_ns, now[0] = now[0], now[0] + 10**9
    # Sent when the last word was 900 ms younger: it waited for a network.
    take(browser, client, echo=5000, held_ms=100, controls={"engage": 1})
    assert browser.read(now[0]).heard_ns == first_ns
    assert browser.read(now[0]).controls == {}
    take(browser, client, echo=5000, held_ms=100, pressed=["emergency_stop"])
    assert browser.read(now[0]).pressed == {"emergency_stop"}, "a stop counts however late it comes"
    browser._shared.clients = []


# --- malformed messages ------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([*CONTROLS, "nonsense"])
LIKE_INPUT = st.fixed_dictionaries(
    {"type": st.just("input")},
    optional={
        "controls": st.dictionaries(NAMES, JSON, max_size=4) | JSON,
        "pressed": st.lists(NAMES, max_size=3) | JSON,
        "pose": st.fixed_dictionaries({"position": st.lists(st.floats(), max_size=4), "orientation": JSON})
        | JSON,
        "echo": JSON,
        "held_ms": JSON,
    },
)
MESSAGES = st.text(max_size=60) | st.binary(max_size=60) | (JSON | LIKE_INPUT).map(json.dumps)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_whatever_a_page_sends_is_refused_or_within_bounds(text):
    try:
        given = parse_input(text)
    except Refusal:
        return
    assert isinstance(given, Input)
    assert set(given.controls) | given.pressed <= set(CONTROLS)
    assert all(CONTROLS[name] <= value <= 1.0 for name, value in given.controls.items())
    assert given.held_ms >= 0.0
    if given.pose is not None:
        assert np.isfinite(given.pose.position_m).all()
        assert np.linalg.norm(given.pose.orientation_wxyz) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("{", "a message that is not JSON"),
        ("[" * 3000, "a message that is not JSON"),
        ('{"type": "drive"}', "a message that is no input"),
        ('{"type": "input", "controls": []}', "controls that are no object"),
        ('{"type": "input", "controls": {"warp": 1}}', "unknown control 'warp'"),
        ('{"type": "input", "pressed": [["a"]]}', "unknown control"),
        ('{"type": "input", "controls": {"left_x": NaN}}', "left_x is not finite"),
        ('{"type": "input", "controls": {"left_x": true}}', "left_x is no number"),
        ('{"type": "input", "controls": {"left_x": 1' + "0" * 400 + "}}", "left_x is too large"),
        ('{"type": "input", "pose": 5}', "a pose that is no object"),
        ('{"type": "input", "pose": {"position": [0, 0]}}', "position is no list of 3 numbers"),
        ('{"type": "input", "pose": {"position": [0,0,0], "orientation": [0,0,0,0]}}', "a pose that"),
        ('{"type": "input", "pose": {"position": [1e9,0,0], "orientation": [1,0,0,0]}}', "a pose that"),
        ("x" * (LONGEST + 1), "a message of 4097 bytes"),
    ],
)  # fmt: skip
def test_each_kind_of_nonsense_is_named(text, refusal):
    with pytest.raises(Refusal) as raised:
        parse_input(text)
    assert refusal in str(raised.value)


def test_nonsense_is_no_sign_of_life_and_ends_nothing(browser):
    now = [5 * 10**9]
    browser._clock_ns = lambda: now[0]
    client = type("Client", (), {"heard_ns": now[0], "is_armed": False})()
    browser._shared.clients = [client]
    take(browser, client, echo=5000)
    assert not browser.read(now[0]).connected, "a page has just become the operator"
    assert browser.read(now[0]).heard_ns == now[0]
    now[0] += 10**8
    for text in ("{", b"\xff\xfe", '{"type": "input", "controls": {"left_x": "fast"}}'):
        browser._take(client, text)
    assert browser.read(now[0]).heard_ns == now[0] - 10**8
    assert browser.read(now[0]).problem == "left_x is no number; 3 messages refused so far"
    take(browser, client, echo=5090)
    assert browser.read(now[0]).problem == ""
    browser._shared.clients = []


def test_a_page_is_told_numbers_that_it_can_read():
    told = json.loads(write_status(Status(LinkState.LOST, "m", "r"), role="observer", echo=5))
    assert told["link_age_ms"] == 9_999_000
    assert json.loads(write_status(None, role="operator", echo=5)) == {
        "type": "status",
        "role": "operator",
        "echo": 5,
    }
