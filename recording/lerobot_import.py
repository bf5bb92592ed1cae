"""LeRobot datasets as episodes of ours: by LeRobot's own reader, with the stamps that the set holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.robot import RobotCard
from recording.frames import FloatArray, Frames, Image, LazyImages, StampArray
from recording.lerobot_features import (
    ACTION,
    ENVIRONMENT,
    IMAGES,
    INTERVENTION,
    STAMP,
    STAMP_OF,
    STATE,
    FeatureMap,
    feature_map,
    feature_map_of,
)
from recording.lerobot_set import open_set, quiet, read_info


def map_foreign(
    root: Path | str, card: RobotCard, *, state: Sequence[str] = (), environment: Sequence[str] = ()
) -> FeatureMap:
    """Say what the vectors of a dataset hold that somebody else wrote.

    Args:
        root: the dataset's folder.
        card: the robot whose terms they are.
        state: the terms in `observation.state`, in order; every term with all its elements.
        environment: those in `observation.environment_state`.

    Returns:
        The map. The action holds the elements of the card's first command interface, in their order.

    Raises:
        ConfigError: no dataset, no such term, or a vector of another length.
    """
    features = read_info(Path(root))["features"]
    layout = feature_map(card, terms=(*state, *environment))
    cameras = tuple(name.removeprefix(IMAGES) for name in features if name.startswith(IMAGES))
    found = FeatureMap(tuple(state), tuple(environment), cameras, layout.elements, layout.action)
    sizes = {name: sum(len(found.elements[t]) for t in terms) for name, terms in found.vectors.items()}
    for name, size in {**sizes, ACTION: len(found.action)}.items():
        shape = tuple(features.get(name, {}).get("shape", ()))
        if shape != (size,):
            raise ConfigError(
                f"{name} has the shape {shape}",
                where=str(root),
                expected=f"({size},), as the terms of robot {card.name!r} have it",
                mend="name the terms that it holds, in order, or the card of the robot that it is of",
            )
    return found


def read_frames(root: Path | str, layout: FeatureMap | None = None) -> Iterator[Frames]:
    """Read a dataset episode by episode.

    Args:
        root: the dataset's folder.
        layout: what its vectors hold; None: as their names say, which our export writes.

    Yields:
        The episodes. Without stamps of ours in the set, every value was captured at the timestamp of its row.

    Raises:
        ConfigError: no whole dataset, names that do not say which term a number belongs to, an episode of
            length zero, or a number that is not finite.
    """
    root = Path(root)
    info = read_info(root)
    layout = layout or feature_map_of(info["features"], where=str(root))
    dataset = open_set(root)
    with quiet():
        columns = dataset.hf_dataset.with_format("numpy")
        wanted = [
            INTERVENTION,
            STAMP,
            *(STAMP_OF + name for name in (*layout.terms, ACTION, *layout.cameras)),
        ]
        names = [*layout.vectors, ACTION, "timestamp", "task_index"]
        names += [name for name in wanted if name in info["features"]]
        for number in range(dataset.num_episodes):
            row = dataset.meta.episodes[number]
            first, last = int(row["dataset_from_index"]), int(row["dataset_to_index"])
            if last <= first:
                raise ConfigError(
                    "an episode of length zero",
                    where=f"{root}: episode {number}",
                    expected="at least one moment",
                    mend="delete it with LeRobot's lerobot-edit-dataset",
                )
            rows = {name: np.asarray(columns[first:last][name]) for name in names}
            task = str(dataset.meta.tasks.index[int(rows["task_index"][0])])
            yield _frames(rows, layout, dataset, first, task, source=f"{root.name}: episode {number}")


def _frames(
    rows: Mapping[str, NDArray[Any]],
    layout: FeatureMap,
    dataset: Any,  # noqa: ANN401
    first: int,
    task: str,
    *,
    source: str,  # noqa: ANN401
) -> Frames:
    clock_ns = np.round(rows["timestamp"].astype(np.float64) * 1e6).astype(np.int64) * 1000
    stamps_ns = _stamps(rows, STAMP, clock_ns)
    terms: dict[str, FloatArray] = {}
    for vector in (STATE, ENVIRONMENT):
        begin = 0
        for term in layout.vectors.get(vector, ()):
            width = len(layout.elements[term])
            terms[term] = (
                rows[vector].reshape(len(stamps_ns), -1)[:, begin : begin + width].astype(np.float64)
            )
            begin += width
    return Frames(
        stamps_ns=stamps_ns,
        terms=terms,
        term_stamps_ns={term: _stamps(rows, STAMP_OF + term, stamps_ns) for term in terms},
        actions=rows[ACTION].reshape(len(stamps_ns), -1).astype(np.float64),
        action_stamps_ns=_stamps(rows, STAMP_OF + ACTION, stamps_ns),
        action_names=layout.action,
        images={
            camera: LazyImages(_reader(dataset, IMAGES + camera), range(first, first + len(stamps_ns)))
            for camera in layout.cameras
        },
        image_stamps_ns={camera: _stamps(rows, STAMP_OF + camera, stamps_ns) for camera in layout.cameras},
        task=task,
        interventions=(rows[INTERVENTION].reshape(-1).astype(np.bool_) if INTERVENTION in rows else None),
        source=source,
    )


def _stamps(rows: Mapping[str, NDArray[Any]], name: str, otherwise: StampArray) -> StampArray:
    return rows[name].reshape(-1).astype(np.int64) if name in rows else otherwise


def _reader(dataset: Any, name: str) -> Callable[[int], Image]:  # noqa: ANN401
    """What decodes a camera's image of one row of the dataset."""

    def read(row: int) -> Image:
        with quiet():
            tensor = dataset[row][name]
        return np.ascontiguousarray((tensor.permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8))

    return read
