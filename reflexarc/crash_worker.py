"""A recorder that is there to be killed: episodes one after the other, under load, and a word on each step.

Every line is written at once, so that what was said before the kill is known after it:
`open N FIRST`, `progress N OFFERED DURABLE`, `finished N FIRST COUNT`.
"""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

from recording import EpisodeInfo, TopicSpec, WriterConfig
from recording.session import Session
from recording.session_status import SessionConfig

COUNTER = TopicSpec("/crash/counter", "std_msgs/msg/UInt64", "uint64 data")
_BALLAST = TopicSpec("/crash/ballast", "std_msgs/msg/String", "string data")
_CDR = b"\x00\x01\x00\x00"
_PERIOD_S = 0.001
_BALLAST_EVERY, _BALLAST_BYTES = 10, 20_000


def work(folder: Path, seed: int, said: Path) -> None:
    """Record until somebody ends this process.

    Args:
        folder: for the episodes.
        seed: of their lengths and content.
        said: the file that takes the lines.
    """
    lines = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def say(line: str) -> None:
        os.write(lines, f"{line}\n".encode())

    chance = random.Random(seed)
    session = Session(
        folder,
        EpisodeInfo("", 0, robot="crash", namespace="/crash"),
        steady_clock=time.monotonic_ns,
        data_clock=time.time_ns,
        wall_clock=lambda: "",
        free_bytes=lambda: 1 << 40,
        # Small chunks: the kill meets one that is being written more often.
        config=SessionConfig(writer=WriterConfig(chunk_bytes=60_000, chunk_s=0.03)),
    )
    for spec in (COUNTER, _BALLAST):
        session.add_topic(spec)
    ballast = chance.randbytes(_BALLAST_BYTES).hex().encode()
    text = _CDR + struct.pack("<I", len(ballast) + 1) + ballast + b"\x00"
    number = 0
    while True:
        first = number
        episode = session.start()
        say(f"open {episode} {first}")
        end_s = time.monotonic() + chance.uniform(0.02, 0.25)
        while time.monotonic() < end_s:
            now_ns = time.time_ns()
            session.offer(COUNTER.name, _CDR + struct.pack("<Q", number), stamp_ns=now_ns, receive_ns=now_ns)
            if number % _BALLAST_EVERY == 0:
                session.offer(_BALLAST.name, text, stamp_ns=now_ns, receive_ns=now_ns)
            number += 1
            say(f"progress {episode} {number - first} {session.durable_messages}")
            time.sleep(_PERIOD_S)
        session.stop()
        say(f"finished {episode} {first} {number - first}")
