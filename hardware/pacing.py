"""One set-point a period, on average and nearly so in the small, from calls that come when they come."""

from __future__ import annotations


class Pacer:
    """Decides which calls may move a set-point.

    A grid of periods follows the set-points that were given out; one may come up to half a period before
    its place on the grid, none within half a period of the one before. So commands that are sent evenly all
    get through when the latest and the earliest are no more than half a period off, and a burst does not.

    Args:
        period_ns: the period, in nanoseconds.
    """

    __slots__ = ("_half_ns", "_next_ns", "_period_ns", "last_ns")

    def __init__(self, period_ns: int) -> None:
        """Start without a past."""
        self._period_ns = period_ns
        self._half_ns = period_ns // 2
        self._next_ns = 0
        # When the last set-point was given out, steady clock; None: never.
        self.last_ns: int | None = None

    def restart(self) -> None:
        """Forget the past: the next call is due."""
        self.last_ns = None

    def since_ns(self, now_ns: int) -> int:
        """Time since the last set-point, in nanoseconds; 0 before the first."""
        return 0 if self.last_ns is None else now_ns - self.last_ns

    def due(self, now_ns: int, *, wait: bool) -> bool:
        """Whether a set-point may be given out.

        Args:
            now_ns: the steady clock.
            wait: nothing new is there; leave half a period beyond its place on the grid for it to come.
        """
        if self.last_ns is None:
            return True
        if wait:
            return now_ns >= self._next_ns + self._half_ns
        return now_ns >= self._next_ns - self._half_ns and now_ns >= self.last_ns + self._half_ns

    def take(self, now_ns: int, *, wait: bool) -> None:
        """Note that a set-point was given out.

        Args:
            now_ns: the steady clock.
            wait: as for `due`; what was waited for does not move the grid.
        """
        earliest_ns = now_ns - self._half_ns if wait else now_ns
        grid_ns = earliest_ns if self.last_ns is None else max(self._next_ns, earliest_ns)
        self._next_ns = grid_ns + self._period_ns
        self.last_ns = now_ns
