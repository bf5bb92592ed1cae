"""One episode at one rate: what a dataset for learning holds, whoever it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError

FloatArray = NDArray[np.float64]
StampArray = NDArray[np.int64]
Image = NDArray[np.uint8]


class LazyImages(Sequence[Image]):
    """Images that are decoded when they are looked at: an episode of them does not fit into memory.

    Args:
        read: gives the image of a row, (H, W, 3).
        rows: the row of every image.
    """

    def __init__(self, read: Callable[[int], Image], rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Decode nothing yet."""
        self._read, self._rows = read, rows

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        """One image, decoded; or some of them, not yet."""
        if isinstance(index, slice):
            return LazyImages(self._read, self._rows[index])
        return self._read(int(self._rows[index]))


@dataclass(frozen=True, eq=False)
class Frames:
    """T moments of one episode, with what was known at each and what was sent."""

    # The moments, ROS clock, nanoseconds, rising, (T,).
    stamps_ns: StampArray
    # The newest value of every term at each moment, by term name, (T, d), units and frames of the robot card.
    terms: Mapping[str, FloatArray]
    # When each of them was captured, by term name, (T,); never later than the moment.
    term_stamps_ns: Mapping[str, StampArray]
    # The command that was sent to the robot in answer, behind the gate, (T, D).
    actions: FloatArray
    # The moment that each command was for, (T,).
    action_stamps_ns: StampArray
    # The elements of an action.
    action_names: tuple[str, ...]
    # The newest image of every camera at each moment, by camera name, T images of (H, W, 3).
    images: Mapping[str, Sequence[Image]] = field(default_factory=dict)
    # When each of them was captured, by camera name, (T,).
    image_stamps_ns: Mapping[str, StampArray] = field(default_factory=dict)
    # The instruction, in words.
    task: str = ""
    # Whether the episode succeeded; None: nobody said.
    success: bool | None = None
    # Whether each command was a person's who had taken over, (T,); None: nobody knows.
    interventions: NDArray[np.bool_] | None = None
    # Where it came from: a file name, or who gave it.
    source: str = ""
    # Moments that were left out because something was not known at them.
    dropped: int = 0

    def __post_init__(self) -> None:
        """Check that the arrays belong together, that time goes on and that every number is one.

        Raises:
            ConfigError: no moment at all, arrays of different lengths, stamps that do not rise or come
                from the future, or a number that is not finite.
        """
        where = self.source or "episode"
        count = len(self.stamps_ns)
        if not count:
            raise ConfigError(
                "an episode of length zero",
                where=where,
                expected="at least one moment at which everything was known",
                mend="record it again, or leave it out (`reflexarc data delete`)",
            )
        columns: dict[str, Sequence[object] | NDArray[np.generic]] = {
            "actions": self.actions,
            "action stamps": self.action_stamps_ns,
        }
        if self.interventions is not None:
            columns["interventions"] = self.interventions
        columns |= {f"term {name}": values for name, values in self.terms.items()}
        columns |= {f"stamps of term {name}": values for name, values in self.term_stamps_ns.items()}
        columns |= {f"images of {name}": values for name, values in self.images.items()}
        columns |= {f"stamps of camera {name}": values for name, values in self.image_stamps_ns.items()}
        for name, values in columns.items():
            if len(values) != count:
                raise _unlike(f"{name} have {len(values)} rows", f"{count}, one a moment", where)
        if (np.diff(self.stamps_ns) <= 0).any():
            raise _unlike("the moments do not rise", "later ones behind earlier ones", where)
        for name, stamps in (*self.term_stamps_ns.items(), *self.image_stamps_ns.items()):
            if (stamps > self.stamps_ns).any():
                raise _unlike(
                    f"{name!r} holds values of the future", "only what was known at the moment", where
                )
        for name, values in (*self.terms.items(), ("action", self.actions)):
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(bad):
                raise ConfigError(
                    f"{name!r} is not finite at {len(bad)} of {count} moments, the first is number {bad[0]}",
                    where=where,
                    expected="finite numbers",
                    mend="leave the episode out, and look after the device that gave them",
                )


def _unlike(what: str, expected: str, where: str) -> ConfigError:
    return ConfigError(what, where=where, expected=expected, mend="sample or record the episode again")
