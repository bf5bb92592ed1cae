"""When a policy thinks: within the control step, in a thread of its own, or so many seconds late.

A controller hands a `Request` over and collects an `Answer` at a later control step, or at the same
one. There is room for one request beside the one that is being answered (a mailbox of depth one): a
newer observation replaces the one that waits, so that a slow policy always looks at the latest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hardware.chunk import ActionChunk
from hardware.robot import Observation
from policies.policy import ActContext, PolicyError

# How long a reset waits for the policy to come to an end with what it is doing, seconds.
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Request:
    """One observation that a policy is asked about."""

    # Counts from 0 after every reset of the controller.
    number: int
    # The terms, as bound.
    observation: Observation
    # What else the policy may know.
    context: ActContext
    # The steering layers that were switched on.
    steering: tuple[str, ...] = ()
    # Whether nothing was being carried out when it was asked.
    from_rest: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    # The request.
    request: Request
    # The chunk, or None where the policy refused.
    chunk: ActionChunk | None
    # Why there is no chunk; empty when there is one.
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """How things stand at one control step."""

    # What has arrived since the last one, in order.
    answers: tuple[Answer, ...] = ()
    # Capture stamp of the observation that is being answered, in nanoseconds; None: idle.
    under_way_ns: int | None = None
    # Whether another one waits in the mailbox.
    is_waiting: bool = False


_IDLE = Poll()

# From a request to a chunk; raises PolicyError where there is none.
Infer = Callable[[Request], ActionChunk]


class Inference(Protocol):
    """Where and when requests are answered."""

    # How an operator calls it.
    name: str

    def poll(self, now_ns: int) -> Poll:
        """Take what has arrived by a control step (capture stamp of its observation, nanoseconds)."""

    def submit(self, request: Request) -> Answer | None:
        """Hand a request over; one that waits is replaced.

        Returns:
            The answer where it is there at once.

        Raises:
            PolicyError: it was refused at once.
        """

    def reset(self) -> None:
        """Forget all requests and answers; what is under way comes to its end first.

        Raises:
            PolicyError: it does not come to its end.
        """

    def close(self) -> None:
        """End for good."""


# Makes an inference for a controller; the classes below are ones.
MakeInference = Callable[[Infer], Inference]


def answer(infer: Infer, request: Request) -> Answer:
    """Answer a request whatever happens: a fault in a policy becomes a refusal.

    Args:
        infer: the policy.
        request: what it is asked.

    Returns:
        The chunk or the refusal.
    """
    try:
        return Answer(request, infer(request))
    except PolicyError as error:
        return Answer(request, None, str(error))
    except Exception as error:  # A policy may raise anything; nothing but silence must come of it.
        return Answer(request, None, f"{type(error).__name__}: {error}")


class Immediate:
    """Answers within the control step; a refusal is raised there and then.

    Args:
        infer: the policy.
    """

    name = "step"

    def __init__(self, infer: Infer) -> None:
        """Nothing is under way."""
        self._infer = infer

    def poll(self, now_ns: int) -> Poll:
        """Say that nothing is under way."""
        return _IDLE

    def submit(self, request: Request) -> Answer:
        """Answer at once.

        Args:
            request: what is asked.

        Returns:
            The answer.

        Raises:
            PolicyError: the policy refuses.
        """
        return Answer(request, self._infer(request))

    def reset(self) -> None:
        """Do nothing: nothing is ever under way."""

    def close(self) -> None:
        """Do nothing."""


class Delayed:
    """Answers so many seconds late in the time of the data: a slow policy in lockstep, repeatable.

    Args:
        infer: the policy.
        delay_s: how long an answer takes.
    """

    name = "delayed"

    def __init__(self, infer: Infer, delay_s: float) -> None:
        """Start idle."""
        self._infer, self._delay_ns = infer, round(delay_s * 1e9)
        self._done: list[Answer] = []
        self._under_way: tuple[int, Request] | None = None
        self._waiting: Request | None = None

    def poll(self, now_ns: int) -> Poll:
        """Take what is done by then."""
        while self._under_way is not None and now_ns >= self._under_way[0] + self._delay_ns:
            begun_ns, request = self._under_way
            self._done.append(answer(self._infer, request))
            following, self._waiting = self._waiting, None
            self._under_way = None if following is None else (begun_ns + self._delay_ns, following)
        done, self._done = self._done, []
        busy = self._under_way
        return Poll(
            tuple(done), None if busy is None else busy[1].observation.stamp_ns, self._waiting is not None
        )

    def submit(self, request: Request) -> None:
        """Begin, or wait for what is under way."""
        if self._under_way is None:
            self._under_way = (request.observation.stamp_ns, request)
        else:
            self._waiting = request

    def reset(self) -> None:
        """Forget everything."""
        self._done, self._under_way, self._waiting = [], None, None

    def close(self) -> None:
        """Do nothing."""


class InferenceThread:
    """Answers in a thread of its own; the control step never waits.

    Args:
        infer: the policy; called from the thread alone.
    """

    name = "thread"

    def __init__(self, infer: Infer) -> None:
        """Start the thread, idle."""
        self._infer = infer
        self._condition = threading.Condition()
        self._waiting: Request | None = None
        self._under_way: Request | None = None
        self._done: list[Answer] = []
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def poll(self, now_ns: int) -> Poll:
        """Take what is done."""
        with self._condition:
            done, self._done = self._done, []
            busy = self._under_way
            stamp_ns = None if busy is None else busy.observation.stamp_ns
            return Poll(tuple(done), stamp_ns, self._waiting is not None)

    def submit(self, request: Request) -> None:
        """Put a request into the mailbox."""
        with self._condition:
            self._waiting = request
            self._condition.notify_all()

    def reset(self) -> None:
        """Empty the mailbox, wait for what is under way and forget its answer.

        Raises:
            PolicyError: it does not come to its end.
        """
        deadline_s = time.monotonic() + _PATIENCE_S
        with self._condition:
            self._waiting = None
            while self._under_way is not None:
                rest_s = deadline_s - time.monotonic()
                if rest_s <= 0.0:
                    raise PolicyError(f"the policy has not come to an end for {_PATIENCE_S:.0f} s")
                self._condition.wait(rest_s)
            self._done = []

    def close(self) -> None:
        """End the thread after what is under way."""
        with self._condition:
            self._is_open = False
            self._waiting = None
            self._condition.notify_all()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while True:
            with self._condition:
                while self._waiting is None and self._is_open:
                    self._condition.wait()
                if not self._is_open:
                    return
                request, self._waiting = self._waiting, None
                assert request is not None
                self._under_way = request
            done = answer(self._infer, request)
            with self._condition:
                self._under_way = None
                self._done.append(done)
                self._condition.notify_all()
