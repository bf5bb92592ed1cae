"""Traces: what a twin did, for videos, plots and reports."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.errors import ConfigError

TRACE_SCHEMA = "reflexarc/trace/1"

_ARRAYS = (
    "time_ns",
    "qpos",
    "qvel",
    "command_time_ns",
    "command_values",
    "event_time_ns",
    "event_names",
    "event_details",
)


@dataclass(frozen=True)
class Trace:
    """A recorded run: N rows of state, M commands and K events, all in simulated time."""

    # When each row was taken, shape (N,), ROS clock, nanoseconds.
    time_ns: NDArray[np.int64]
    # Generalised positions of the world, shape (N, nq), in MuJoCo's order.
    qpos: FloatArray
    # Generalised velocities of the world, shape (N, nv), in MuJoCo's order.
    qvel: FloatArray
    # When each command began to act, shape (M,), nanoseconds.
    command_time_ns: NDArray[np.int64]
    # The commands as applied, shape (M, D), in the order of `command_names`.
    command_values: FloatArray
    # The elements of a command.
    command_names: tuple[str, ...]
    # When each event happened, shape (K,), nanoseconds.
    event_time_ns: NDArray[np.int64]
    # What happened: safe_stop, released, ...
    event_names: tuple[str, ...]
    # The reason or detail of each event.
    event_details: tuple[str, ...]
    # Name of the robot card.
    robot: str

    @property
    def time_s(self) -> FloatArray:
        """Seconds since the first row, shape (N,)."""
        return (self.time_ns - self.time_ns[0]) * 1e-9 if len(self.time_ns) else np.zeros(0)

    def save(self, path: Path | str) -> None:
        """Write the trace as a compressed npz without pickle.

        Args:
            path: the file to write.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "schema": np.array(TRACE_SCHEMA),
            "robot": np.array(self.robot),
            "command_names": np.array(self.command_names, dtype=np.str_),
        }
        for name in _ARRAYS:
            value = getattr(self, name)
            arrays[name] = np.array(value, dtype=np.str_) if isinstance(value, tuple) else value
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path | str) -> Trace:
        """Read a trace that `save` wrote.

        Args:
            path: the npz file.

        Returns:
            The trace.

        Raises:
            ConfigError: the file is missing, is not a trace, or has another schema.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            schema = str(data["schema"])
            if schema != TRACE_SCHEMA:
                raise ValueError(f"schema {schema!r}")
            return Trace(
                time_ns=data["time_ns"],
                qpos=data["qpos"],
                qvel=data["qvel"],
                command_time_ns=data["command_time_ns"],
                command_values=data["command_values"],
                command_names=_texts(data["command_names"]),
                event_time_ns=data["event_time_ns"],
                event_names=_texts(data["event_names"]),
                event_details=_texts(data["event_details"]),
                robot=str(data["robot"]),
            )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"not a trace ({error})",
                where=str(path),
                expected=f"an npz of schema {TRACE_SCHEMA}",
                mend="give a file that Trace.save wrote",
            ) from error


class TraceRecorder:
    """Collects a trace while a twin runs; older rows are forgotten beyond a limit.

    Args:
        robot: name of the robot card.
        command_names: the elements of a command.
        row_limit: how many rows, commands and events are kept at most.
    """

    def __init__(self, *, robot: str, command_names: Sequence[str], row_limit: int) -> None:
        """Start empty."""
        self._robot = robot
        self._command_names = tuple(command_names)
        self._row_limit = row_limit
        self._rows: list[tuple[int, FloatArray, FloatArray]] = []
        self._commands: list[tuple[int, FloatArray]] = []
        self._events: list[tuple[int, str, str]] = []

    def row(self, time_ns: int, qpos: FloatArray, qvel: FloatArray) -> None:
        """Keep one row of state; the arrays must not change afterwards."""
        self._rows.append((time_ns, qpos, qvel))
        if len(self._rows) > self._row_limit:
            del self._rows[: self._row_limit // 2]

    def command(self, time_ns: int, values: FloatArray) -> None:
        """Keep one applied command, in the order of the card."""
        self._commands.append((time_ns, values))
        if len(self._commands) > self._row_limit:
            del self._commands[: self._row_limit // 2]

    def event(self, time_ns: int, name: str, detail: str) -> None:
        """Keep one event."""
        self._events.append((time_ns, name, detail))
        if len(self._events) > self._row_limit:
            del self._events[: self._row_limit // 2]

    def trace(self) -> Trace:
        """Copy what was collected so far."""
        rows, commands, events = self._rows, self._commands, self._events
        return Trace(
            time_ns=np.array([row[0] for row in rows], dtype=np.int64),
            qpos=_stack([row[1] for row in rows]),
            qvel=_stack([row[2] for row in rows]),
            command_time_ns=np.array([c[0] for c in commands], dtype=np.int64),
            command_values=np.array([c[1] for c in commands], dtype=np.float64).reshape(
                len(commands), len(self._command_names)
            ),
            command_names=self._command_names,
            event_time_ns=np.array([e[0] for e in events], dtype=np.int64),
            event_names=tuple(e[1] for e in events),
            event_details=tuple(e[2] for e in events),
            robot=self._robot,
        )


def _stack(rows: list[FloatArray]) -> FloatArray:
    return np.stack(rows) if rows else np.zeros((0, 0))


def _texts(array: NDArray[np.generic]) -> tuple[str, ...]:
    return tuple(str(text) for text in array)
