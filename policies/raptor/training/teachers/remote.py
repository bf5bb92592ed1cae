"""Groups of teachers as tasks of Ray: several machines, each with a group, send back actors only."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from policies.raptor.training.teachers.config import TeacherConfig
from policies.raptor.training.teachers.group import Group, Point
from policies.raptor.training.teachers.store import GroupResult, result_of

# How long the head of a cluster may take to accept a connection, seconds.
_ANSWER_S = 5.0


def train_remotely(config: TeacherConfig, todo: Sequence[tuple[int, int]]) -> Iterator[GroupResult]:
    """Train groups on the machines of a Ray cluster, one group a task.

    `config.ray` is `local` (a cluster of this machine alone, on the loopback interface, that ends with
    the call) or the address of a cluster that runs. Its machines need Reflexarc installed in the same
    version. A task asks for `config.threads` processors, and a GPU if the device is one. A group that is
    interrupted starts again from its beginning: checkpoints stay where they are written, and a task
    writes none.

    Args:
        config: every setting.
        todo: (first teacher, count) of every group.

    Yields:
        The groups in the order in which they are finished.

    Raises:
        ConfigError: Ray is not installed, or nobody answers at the address.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "Ray is not installed",
            where="teacher training",
            expected="the package ray where --ray is given",
            mend="pip install 'reflexarc[distributed]', or leave --ray out",
        ) from None
    options: dict[str, Any] = {"address": config.ray, "log_to_driver": False}
    if config.ray == "local":
        # Workers import the same code, wherever the command was started.
        paths = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[4])}}
        options |= {"address": "local", "include_dashboard": False}
        options |= {"runtime_env": paths, "_node_ip_address": "127.0.0.1"}
    else:
        _check_reachable(config.ray)
    ray.init(**options)
    try:
        resources: dict[str, Any] = {"num_cpus": config.threads}
        if config.device.startswith("cuda"):
            resources["num_gpus"] = 1
        task = ray.remote(**resources)(_train_group)
        settings = dataclasses.asdict(config)
        waiting = [task.remote(settings, first, count) for first, count in todo]
        while waiting:
            finished, waiting = ray.wait(waiting, num_returns=1)
            yield _unpack(ray.get(finished[0]))
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself keeps trying for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
            return
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address!r} within {_ANSWER_S:g} s ({error})",
            where="--ray",
            expected="HOST:PORT of a cluster that runs, local or auto",
            mend="start one there (ray start --head --port 6379), or correct the address",
        ) from error


def _train_group(settings: dict[str, Any], first: int, count: int) -> dict[str, Any]:
    """Train one group; runs in a worker. Plain numbers and arrays come back."""
    import torch

    from sim.quadrotor.sampling import sample_airframes

    config = TeacherConfig(**settings)
    torch.set_num_threads(config.threads)
    airframes = sample_airframes(first + count, seed=config.seed).take(range(first, first + count))
    group = Group(config, airframes, first=first)
    while not group.finished:
        group.advance()
    result = result_of(group)
    return {
        "first": result.first,
        "actors": result.actors,
        "returns": result.returns,
        "steps": result.steps,
        "points": [dataclasses.asdict(point) for point in result.points],
    }


def _unpack(document: dict[str, Any]) -> GroupResult:
    points = tuple(Point(**point) for point in document.pop("points"))
    return GroupResult(**document, points=points)
