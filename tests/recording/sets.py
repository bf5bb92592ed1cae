"""Recordings of a small arm with a card, for exports: joints at 100 Hz, a camera at 25 Hz, gated commands."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet
import yaml
from made import CAMERA, COMMAND, JOINTS, SOURCE, command, image, joints, open_writer, source

from hardware import schema
from hardware.robot import RobotCard
from recording import Event, EventKind, WriterConfig

MS = 1_000_000
WIDTH, HEIGHT = 96, 64
CARD = yaml.safe_load(
    """
schema: reflexarc/robot-card/1
name: arm
kind: arm
driver: twin
observations:
  joint_position: {names: [b, a], unit: rad, topic: joint_states, rate_hz: 100}
  joint_velocity: {names: [b, a], unit: rad/s, topic: joint_states, rate_hz: 100}
commands:
  joints:
    kind: joint_position
    unit: rad
    rate_hz: 50
    max_age_s: 0.1
    timeout_s: 0.2
    robot_timeout_s: 0.4
    safe_action: hold
    limits:
      b: {lower: -3000.0, upper: 3000.0, velocity: 3.0, acceleration: 60.0, jerk: 3000.0}
      a: {lower: -3000.0, upper: 3000.0, velocity: 3.0, acceleration: 60.0, jerk: 3000.0}
cameras:
  front: {width: 96, height: 64, rate_hz: 25, frame: front_optical}
latency: {observation: {}, command: {}}
"""
)


def arm_card(**changes) -> RobotCard:
    return schema.parse(RobotCard, {**CARD, **changes}, where="card")


def record(
    path,
    *,
    seconds=1.0,
    start_ns=1_000 * MS,
    joint_ms=range(0, 100_000, 10),
    image_ms=range(0, 100_000, 40),
    command_ms=range(0, 100_000, 20),
    joint_value=float,
    outcome=EventKind.SUCCESS,
    card=CARD,
    sources=None,
):
    """An episode whose numbers are the milliseconds since its start: joint a as measured, b its negative."""
    writer = open_writer(
        path,
        topics=(JOINTS, CAMERA, COMMAND) if sources is None else (JOINTS, CAMERA, COMMAND, SOURCE),
        config=WriterConfig(compression="none"),
        attachments=_card_file(card),
        instruction="turn it",
        start_ns=start_ns,
    )
    end_ms = round(seconds * 1000)
    kinds = [("j", joint_ms), ("i", image_ms), ("c", command_ms)]
    for at, kind in sorted((at, kind) for kind, stamps in kinds for at in stamps if at < end_ms):
        stamp_ns = start_ns + at * MS
        if kind == "j":
            value = joint_value(at)
            name, data = JOINTS.name, joints(stamp_ns, (value, -value), (1.0, 2.0))
        elif kind == "i":
            name, data = CAMERA.name, image(stamp_ns, [at // 40 % 256] * (3 * WIDTH * HEIGHT), WIDTH, HEIGHT)
        else:
            name, data = COMMAND.name, command(stamp_ns, (at + 0.5, -at - 0.5))
        writer.write(name, data, stamp_ns=stamp_ns, receive_ns=stamp_ns + MS)
    for at, name in sources or ():
        stamp_ns = start_ns + at * MS
        writer.write(SOURCE.name, source(stamp_ns, name), stamp_ns=stamp_ns, receive_ns=stamp_ns + 5 * MS)
    if outcome is not None:
        writer.add_event(Event(outcome, start_ns + end_ms * MS))
    writer.finish(end_ns=start_ns + end_ms * MS, reason="stopped")
    return path


def _card_file(card):
    return {} if card is None else {"robot_card.yaml": yaml.safe_dump(card, sort_keys=False).encode()}


def make_foreign(root, names):
    """Take out of a dataset what only ours have: stamps, the card, names that say what a number is."""
    shutil.rmtree(root / "meta" / "reflexarc", ignore_errors=True)
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    for name in [name for name in info["features"] if name.startswith("reflexarc.")]:
        del info["features"][name]
    info["features"]["observation.state"]["names"] = names
    path.write_text(json.dumps(info))
    table = root / "data" / "chunk-000" / "file-000.parquet"
    columns = pyarrow.parquet.read_table(table)
    kept = columns.select([name for name in columns.column_names if not name.startswith("reflexarc.")])
    pyarrow.parquet.write_table(kept.replace_schema_metadata(None), table)
