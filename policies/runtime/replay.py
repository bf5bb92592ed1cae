"""Does a controller's run again from its journal, and compares every answer bit for bit.

The policy is asked about the same observations in the same order with the same noise, and its chunks
are handed to the controller at the very steps at which they arrived in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import yaml

from hardware import schema
from hardware.chunk import ActionChunk
from hardware.errors import ConfigError, ConfigErrors
from policies.controller import Controller, load_controller
from policies.policy import PolicyError
from policies.runtime.inference import Answer, Immediate, Infer, Poll, Request, answer
from policies.runtime.journal import JournalStep
from policies.runtime.journal_file import Enable, JournalReader, Reset, setup_of


@dataclass(frozen=True)
class ReplayReport:
    """What a replay found."""

    # Control steps in the journal.
    steps: int
    # Steps that gave a command, and steps that were refused.
    commands: int
    refusals: int
    # Steps whose answer differs from that of the run.
    differences: int
    # The first of them in words; empty: none.
    first_difference: str
    # Whether the journal was finished; one that was cut short is replayed as far as it goes.
    is_complete: bool

    @property
    def is_identical(self) -> bool:
        """Whether every command came out bit for bit, and nothing else did."""
        return self.steps > 0 and self.differences == 0


class Replayed:
    """Hands answers over when a journal says that they arrived. An `Inference`.

    Args:
        infer: the policy.
    """

    name = "replayed"

    def __init__(self, infer: Infer) -> None:
        """Start without a journal."""
        self._infer = infer
        self._executed: frozenset[int] = frozenset()
        self._answers: dict[int, Answer] = {}
        self.step: JournalStep | None = None

    def expect(self, executed: frozenset[int]) -> None:
        """Begin a stretch between two resets, in which these requests were answered."""
        self._executed, self._answers = executed, {}

    def poll(self, now_ns: int) -> Poll:
        """Give what had arrived by this step of the run."""
        assert self.step is not None
        absent = [number for number in self.step.arrived if number not in self._answers]
        if absent:
            raise PolicyError(f"the journal's answers {absent} were never asked for")
        return Poll(
            tuple(self._answers.pop(number) for number in self.step.arrived),
            self.step.under_way_ns,
            self.step.is_waiting,
        )

    def submit(self, request: Request) -> None:
        """Answer a request that was answered in the run; one that was replaced in the mailbox was not."""
        if request.number in self._executed:
            self._answers[request.number] = answer(self._infer, request)

    def reset(self) -> None:
        """Forget everything."""
        self._answers = {}

    def close(self) -> None:
        """Do nothing."""


def load_for(journal: JournalReader, policy: str | None, *, steady_clock: Callable[[], int]) -> Controller:
    """Load the controller of a journal, and make sure that it is the one of the run.

    Args:
        journal: the run.
        policy: its controller file or policy folder; None: as it was named in the run.
        steady_clock: gives the steady clock in nanoseconds.

    Returns:
        The controller, as after its making.

    Raises:
        ConfigError: there is no such policy, or it has faults.
        ConfigErrors: cards, weights or schedule are not those of the run.
    """
    setup = journal.setup
    path = setup.policy if policy is None else policy
    controller = load_controller(path, journal.robot, steady_clock=steady_clock, rate_hz=setup.rate_hz)
    findings = []
    theirs, ours = yaml.safe_load(journal.policy_card), yaml.safe_load(schema.dump(controller.card))
    compared = {f"policy card: {key}": (theirs.get(key), ours.get(key)) for key in {**theirs, **ours}}
    now = setup_of(controller, path, setup.rate_hz)
    compared["schedule"] = (dict(setup.schedule), dict(now.schedule))
    compared["layers"] = (setup.layers, now.layers)
    for name, (before, after) in compared.items():
        if before != after:
            findings.append(
                ConfigError(
                    f"{name} is {after!r}",
                    where=str(path),
                    expected=f"{before!r}, as in the run",
                    mend="replay with the policy that flew",
                )
            )
    if findings:
        raise ConfigErrors(findings, where=f"replay of {journal.path}")
    return controller


def replay(
    journal: JournalReader,
    controller: Controller,
    *,
    on_step: Callable[[JournalStep, ActionChunk | None], None] = lambda step, chunk: None,
) -> ReplayReport:
    """Do a run again.

    Args:
        journal: the run.
        controller: the controller of the run.
        on_step: is told every step of the run with the answer of the replay.

    Returns:
        What came out.

    Raises:
        ConfigError: the journal does not begin with a reset.
    """
    entries = list(journal.entries())
    if not entries or not isinstance(entries[0], Reset):
        raise ConfigError(
            "the journal does not begin with a reset",
            where=str(journal.path),
            expected="a journal from the activation of the policy on",
            mend="record it anew",
        )
    made: list[Replayed] = []

    def make(infer: Infer) -> Replayed:
        made.append(Replayed(infer))
        return made[-1]

    controller.use(Immediate if journal.setup.inference == Immediate.name else make)
    steps = commands = differences = 0
    first = ""
    for index, entry in enumerate(entries):
        if isinstance(entry, Reset):
            controller.reset(entry.seed)
            for inference in made:
                inference.expect(_executed(entries[index + 1 :]))
        elif isinstance(entry, Enable):
            controller.enable(entry.layer, on=entry.on)
        else:
            chunk, refusal = _again(controller, made, entry)
            on_step(entry, chunk)
            commands += entry.chunk is not None
            problem = _difference(entry, chunk, refusal)
            if problem:
                differences += 1
                first = first or f"step {steps}, observation {entry.observation.stamp_ns} ns: {problem}"
            steps += 1
    return ReplayReport(steps, commands, steps - commands, differences, first, journal.is_complete)


def _executed(entries: Sequence[Reset | Enable | JournalStep]) -> frozenset[int]:
    """The requests that were answered before the next reset."""
    numbers: list[int] = []
    for entry in entries:
        if isinstance(entry, Reset):
            break
        if isinstance(entry, JournalStep):
            numbers += entry.arrived
    return frozenset(numbers)


def _again(
    controller: Controller, made: Sequence[Replayed], step: JournalStep
) -> tuple[ActionChunk | None, str]:
    for inference in made:
        inference.step = step
    controller.instruction = step.instruction
    try:
        return controller.act(step.observation, now_ns=step.now_ns), ""
    except Exception as error:  # As in the run: whatever it is, it is a refusal with these words.
        return None, str(error) or type(error).__name__


def _difference(step: JournalStep, chunk: ActionChunk | None, refusal: str) -> str:
    before = step.chunk
    if before is None or chunk is None:
        if before is None and chunk is None:
            return "" if refusal == step.refusal else f"refused with {refusal!r}, not {step.refusal!r}"
        return (
            f"refused with {refusal!r}" if chunk is None else f"answered, not refused with {step.refusal!r}"
        )
    rest = ("kind", "names", "start_ns", "step_ns", "valid_for_s", "source", "observed_ns")
    other = [name for name in rest if getattr(before, name) != getattr(chunk, name)]
    if other:
        return f"{other[0]} is {getattr(chunk, other[0])!r}, not {getattr(before, other[0])!r}"
    if before.values.shape != chunk.values.shape or before.values.tobytes() != chunk.values.tobytes():
        return f"the values are {chunk.values.tolist()}, not {before.values.tolist()}"
    return ""
