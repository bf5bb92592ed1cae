"""What the page does, without a browser."""

import asyncio
import contextlib
import json
import threading
import time

import aiohttp

PATIENCE_S = 120.0


class Page:
    """What the page does, without a browser: it says its controls again and again, and listens."""

    def __init__(self, address, **controls):
        self.address = address.replace("/?", "/ws?")
        self.controls, self.pressed, self.pose, self.told = controls, [], None, {}

    async def run(self, until):
        async with aiohttp.ClientSession() as session, session.ws_connect(self.address) as wire:
            listener = asyncio.ensure_future(self._listen(wire))
            deadline_s = time.monotonic() + PATIENCE_S
            while not until():
                assert time.monotonic() < deadline_s, self.told
                await wire.send_str(self.message())
                self.pressed = []
                await asyncio.sleep(0.02)
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def _listen(self, wire):
        async for message in wire:
            self.told = json.loads(message.data) | {"at_s": time.monotonic()}

    def message(self):
        held_ms = (time.monotonic() - self.told["at_s"]) * 1e3 if self.told else 0.0
        return json.dumps(
            {
                "type": "input",
                "controls": self.controls,
                "pressed": self.pressed,
                "pose": self.pose,
                "echo": self.told.get("echo"),
                "held_ms": held_ms,
            }
        )


class PageThread(Page):
    """A page in a thread of its own, whose controls the test changes."""

    def __enter__(self):
        self._over = False
        self._thread = threading.Thread(target=self._operate, daemon=True)
        self._thread.start()
        return self

    def _operate(self):
        # The node may go while the page is still open.
        with contextlib.suppress(ConnectionError):
            asyncio.run(self.run(lambda: self._over))

    def __exit__(self, *error):
        self._over = True
        self._thread.join(PATIENCE_S)
