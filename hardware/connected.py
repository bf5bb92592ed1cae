"""What all robots and twins have in common: `with robot:` connects, and disconnects whatever happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Connected(ABC):
    """Connects at the beginning of a `with` block and disconnects at its end, whatever happens in it."""

    @abstractmethod
    def connect(self) -> None:
        """Open the wire."""

    @abstractmethod
    def disconnect(self) -> None:
        """Leave the robot in its safe state and close the wire."""

    def __enter__(self) -> Self:
        """Connect."""
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self.disconnect()
