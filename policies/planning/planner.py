"""From waypoints to a trajectory in milliseconds, without a simulation: for updates in flight.

There are two ways. Told the path as it is, a policy lags where it accelerates; the search then shares time
out so that the lag is at its limit as often as can be. Told the path ahead of itself by the lag that it has
learned to expect, the vehicle comes close enough that smoothness is what counts, and plain minimum snap is
the better shape for it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from policies.planning.error_model import ErrorModel
from policies.planning.leading import LeadingTrajectory
from policies.planning.learning import learn_errors, learn_headroom
from policies.planning.minimum_snap import MinimumSnap, PolynomialTrajectory
from policies.planning.oracle import Oracle, Telling
from policies.planning.search import quickest
from policies.planning.time_allocation import smoothest


@dataclass(frozen=True)
class Planner:
    """Plans for one airframe that one policy flies."""

    # Predicts the errors that remain when the policy is told what is planned.
    errors: ErrorModel
    # Share of the limits that predicted errors may take.
    headroom: float = 1.0
    # Predicts the policy's lag where it is told the path as it is. None: that is what it is told.
    lag: ErrorModel | None = None

    @classmethod
    def learn(
        cls, oracle: Oracle, problems: Sequence[MinimumSnap], *, lag: ErrorModel | None = None
    ) -> Planner:
        """Learn from simulated flights: errors from every second problem, headroom from the others.

        Args:
            oracle: airframe, policy and limits.
            problems: waypoints as they will be planned, at least six.
            lag: the policy's lag, to tell it the path ahead of itself; None: it is told the path as it is,
                and the planner's `errors` are that lag.

        Returns:
            The planner.

        Raises:
            ConfigError: fewer than three trajectories were followed.
        """
        planner = cls(learn_errors(oracle, problems[::2], told=cls._telling(lag)), lag=lag)
        unseen = [planner.trajectory(problem) for problem in problems[1::2]]
        headroom = learn_headroom(oracle, planner.errors, unseen, told=planner.told)
        return cls(planner.errors, headroom, lag)

    @property
    def told(self) -> Telling | None:
        """Makes of a trajectory what the policy is told instead; None: the trajectory itself."""
        return self._telling(self.lag)

    def trajectory(self, problem: MinimumSnap) -> PolynomialTrajectory:
        """Plan where the vehicle is to be.

        Args:
            problem: the waypoints, and how the vehicle moves now.

        Returns:
            The trajectory.
        """
        if self.lag is None:
            return quickest(problem, self.errors, headroom=self.headroom)
        return self.errors.at_limit(smoothest(problem), headroom=self.headroom)

    def plan(self, problem: MinimumSnap) -> PolynomialTrajectory | LeadingTrajectory:
        """Plan what to tell the policy: a `hardware.reference.Trajectory`.

        Args:
            problem: the waypoints, and how the vehicle moves now.

        Returns:
            The trajectory, ahead of itself where the planner knows the lag.
        """
        trajectory = self.trajectory(problem)
        return trajectory if self.lag is None else LeadingTrajectory(trajectory, self.lag)

    @staticmethod
    def _telling(lag: ErrorModel | None) -> Telling | None:
        return None if lag is None else functools.partial(LeadingTrajectory, model=lag)
