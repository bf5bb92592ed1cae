"""`reflexarc data crash-test`: kill the recorder at random moments and count what is left."""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from reflexarc import crash_worker
from reflexarc.output import Output, Progress

_START_S = 60.0


@dataclass(frozen=True)
class CrashTest:
    """How often, and what is killed."""

    # How often the recorder is killed (SIGKILL).
    kills: int = 20
    # What is killed: recorder_node, with messages over ROS 2, or the recorder's process without ROS.
    target: Literal["ros", "writer"] = "ros"
    # Seed of the moments.
    seed: int = 0
    # Longest time between the first episode and the kill, seconds.
    longest_s: float = 1.5
    # Folder for the recordings, which stay there; none: a temporary one.
    folder: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    # File for the result.
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None


@dataclass
class Life:
    """One life of a recorder, as it was told from outside before the kill."""

    # First number and count of every episode that it said to have finished, by episode; count -1: unknown.
    finished: dict[int, tuple[int, int]] = field(default_factory=dict)
    # The first number of a finished episode is this one at most, by episode, where that is known.
    at_most: dict[int, int] = field(default_factory=dict)
    # The open episode: its number, its first message (-1: unknown), messages handed to it (-1: unknown), and
    # messages that were said to be on the disk.
    open: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Tally:
    """What was left after all kills."""

    # How often the recorder was killed.
    kills: int
    # Episodes that were finished, by its own word or by the name of the file.
    episodes_finished: int
    # Finished episodes that cannot be read whole, and open ones that lost more than their open chunk.
    lost: int
    # Kills that cost an open chunk.
    open_chunks_lost: int
    # Messages in finished episodes, and messages saved from half-written ones.
    messages_finished: int
    messages_saved: int
    # What was wrong, in words.
    problems: tuple[str, ...] = ()


def run(config: CrashTest, output: Output) -> int:
    """Kill, look, count.

    Args:
        config: how often and what.
        output: where the result goes.

    Returns:
        0 when nothing is lost but open chunks, 1 otherwise.

    Raises:
        ConfigError: no kills were asked for, or rclpy cannot load.
    """
    from hardware.errors import ConfigError

    if config.kills < 1 or config.longest_s <= 0:
        raise ConfigError(
            f"{config.kills} kills within {config.longest_s:g} s",
            where="reflexarc data crash-test",
            expected="at least one kill, and a time above zero",
            mend="correct --kills or --longest-s",
        )
    with output.progress(f"killing {config.target}") as progress:
        if config.folder is not None:
            config.folder.mkdir(parents=True, exist_ok=True)
            tally = crash(config, config.folder, progress)
        else:
            with tempfile.TemporaryDirectory(prefix="reflexarc-crash-") as folder:
                tally = crash(config, Path(folder), progress)
    document = {**dataclasses.asdict(tally), "target": config.target, "seed": config.seed}
    if config.out is not None:
        from reflexarc.output import to_json

        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(to_json(document) + "\n", encoding="utf-8")
    output.result(document)
    if not output.json:
        output.console.print(
            f"{tally.kills} kills: {tally.episodes_finished} episodes finished, {tally.lost} lost;"
            f" {tally.open_chunks_lost} open chunks lost, {tally.messages_saved} messages saved from"
            " half-written files"
        )
        for problem in tally.problems:
            output.console.print(f"  {problem}", style="red", markup=False)
    return 0 if tally.lost == 0 else 1


def crash(config: CrashTest, folder: Path, progress: Progress) -> Tally:
    """Let a recorder live and die as often as asked, each time with a folder of its own.

    Args:
        config: how often and what.
        folder: for the recordings.
        progress: called with kills done and in all.

    Returns:
        What is left.
    """
    chance = random.Random(config.seed)
    live: Callable[[Path, float, int], Life]
    if config.target == "writer":
        live = _live_without_ros
        return _repeat(config, folder, chance, live, progress)
    from reflexarc.imports import add_ros_package

    add_ros_package()
    from reflexarc.crash_ros import RosCrash

    with RosCrash() as ros:
        return _repeat(config, folder, chance, ros.live, progress)


def _repeat(
    config: CrashTest,
    folder: Path,
    chance: random.Random,
    live: Callable[[Path, float, int], Life],
    progress: Progress,
) -> Tally:
    finished = lost = chunks = messages = saved = 0
    problems: list[str] = []
    for kill in range(config.kills):
        # The second life of each folder begins with what the first one left behind.
        place = folder / f"kill_{kill // 2:04d}"
        before = {path.name for path in place.glob("*.mcap")} if place.exists() else set()
        life = live(place, chance.uniform(0.0, config.longest_s), chance.randrange(1 << 30))
        found = inspect(place, life, known=before)
        finished += found.episodes_finished
        lost += found.lost
        chunks += found.open_chunks_lost
        messages += found.messages_finished
        saved += found.messages_saved
        problems += [f"kill {kill}: {problem}" for problem in found.problems]
        progress(kill + 1, config.kills)
    return Tally(config.kills, finished, lost, chunks, messages, saved, tuple(problems))


def inspect(folder: Path, life: Life, *, known: Collection[str] = ()) -> Tally:
    """Compare what lies in a folder with what the recorder had said before it was killed.

    Args:
        folder: its folder.
        life: what it had said.
        known: files that were there before.

    Returns:
        The tally of one kill. Half-written files are repaired on the way.
    """
    from hardware.errors import ConfigError
    from recording.folder import FileState, episode_path, list_episodes
    from recording.repair import repair, verify

    problems: list[str] = []
    lost = chunks = messages = saved = 0
    names = {episode_path(folder, number).name for number in life.finished}
    on_disk = {f.path.name for f in list_episodes(folder) if f.state is FileState.FINISHED} - set(known)
    for number, (first, count) in life.finished.items():
        path = episode_path(folder, number)
        found = verify(path)
        numbers = read_numbers(path) if found.is_ok else []
        messages += len(numbers)
        late = number in life.at_most and (not numbers or numbers[0] > life.at_most[number])
        if not found.is_ok or late or not _is_whole(numbers, first, count):
            lost += 1
            problems.append(f"{path.name}: {'; '.join(found.findings) or 'messages are missing'}")
    # Killed between the new name and the word of it: finished all the same.
    for name in sorted(on_disk - names):
        found = verify(folder / name)
        if not found.is_ok or not _is_whole(read_numbers(folder / name), -1, -1):
            lost += 1
            problems.append(f"{name}: {'; '.join(found.findings) or 'messages are missing'}")
    for file in list_episodes(folder):
        if file.state is not FileState.HALF_WRITTEN:
            continue
        number, first, offered, durable = life.open or (-1, -1, -1, 0)
        if number != file.number:
            # It had not said yet that the episode is open.
            first, offered, durable = -1, -1, 0
        try:
            done = repair(file.path, steady_clock=time.monotonic_ns)
        except ConfigError as error:
            lost += 1
            problems.append(f"{file.path.name}: {error.what}")
            continue
        numbers = [] if done.path is None else read_numbers(done.path)
        saved += len(numbers)
        if done.messages < durable or not _is_whole(numbers, first if numbers else -1, -1):
            lost += 1
            problems.append(f"{file.path.name}: {done.messages} messages of {durable} that were on the disk")
        chunks += offered < 0 or len(numbers) < offered
    return Tally(1, len(on_disk | names), lost, chunks, messages, saved, tuple(problems))


def read_numbers(path: Path) -> list[int]:
    """Read the numbers of an episode's counting messages, in the order of arrival."""
    from recording import Episode

    episode = Episode.open(path)
    for topic in episode.topics:
        if topic.endswith("/counter"):
            return [int(message.data.data) for message in episode.messages(topic)]
        if topic.endswith("/joint_states"):
            return [int(message.data.position[0]) for message in episode.messages(topic)]
    return []


def _is_whole(numbers: Sequence[int], first: int, count: int) -> bool:
    """Whether numbers follow each other, from the first one on and as many as there should be (-1: any)."""
    start = numbers[0] if first < 0 and numbers else first
    wanted = len(numbers) if count < 0 else count
    return list(numbers) == list(range(start, start + wanted))


def _live_without_ros(folder: Path, delay_s: float, seed: int) -> Life:
    """Start a worker, kill it a while after its first word, and take down what it had said."""
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / f"said_{seed}.txt"
    # Workers are forked from a process that has everything loaded already.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([crash_worker.__name__])
    worker = context.Process(target=crash_worker.work, args=(folder, seed, said), daemon=True)
    worker.start()
    try:
        deadline_s = time.monotonic() + _START_S
        while not (said.exists() and said.stat().st_size) and time.monotonic() < deadline_s:
            time.sleep(0.001)
        time.sleep(delay_s)
    finally:
        worker.kill()
        worker.join()
    return _read_life(said.read_text(encoding="utf-8") if said.exists() else "")


def _read_life(text: str) -> Life:
    """Read the worker's lines; the last one may be cut."""
    life = Life()
    whole = text[: text.rfind("\n") + 1]
    for line in whole.splitlines():
        word, *numbers = line.split()
        values = list(map(int, numbers))
        if word == "open":
            life.open = (values[0], values[1], 0, 0)
        elif word == "progress" and life.open is not None:
            life.open = (life.open[0], life.open[1], values[1], values[2])
        elif word == "finished":
            life.finished[values[0]] = (values[1], values[2])
            life.open = None
    return life
