"""Protects the recorder's thread: episodes in turn, limits, a disk that fails, what a person says."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from made import JOINTS, info, joints, numbers

from hardware.errors import ConfigError
from recording import Episode, EventKind, Outcome, WriterConfig
from recording.folder import FileState, finished, list_episodes
from recording.quality import QualityMonitor
from recording.repair import repair, verify
from recording.session import Session
from recording.session_status import SessionConfig, State


def make(folder, *, free=lambda: 10**12, config=None, judged=False, on_finish=lambda path: None):
    session = Session(
        folder,
        info(),
        steady_clock=time.monotonic_ns,
        data_clock=time.monotonic_ns,
        wall_clock=lambda: "2026-01-01T00:00:00Z",
        free_bytes=free,
        make_judge=(lambda i: QualityMonitor(None, namespace="/arm", start_ns=i.start_ns))
        if judged
        else None,
        on_finish=on_finish,
        config=config,
    )
    session.add_topic(JOINTS)
    return session


@pytest.fixture
def session(tmp_path):
    made = make(tmp_path)
    yield made
    made.close()


def offer(session, some):
    for number in some:
        now_ns = time.monotonic_ns()
        session.offer(JOINTS.name, joints(now_ns, (float(number), 0.0)), stamp_ns=now_ns, receive_ns=now_ns)


def wait_for(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


def test_episodes_one_after_the_other(session, tmp_path):
    offer(session, range(5))
    assert session.start() == 0
    offer(session, range(5, 10))
    session.say(EventKind.SUCCESS, "in the box")
    path = session.stop()
    offer(session, range(10, 15))
    session.say(EventKind.INSTRUCTION, "pick the cube")
    assert session.start() == 1
    offer(session, range(15, 20))
    session.say(EventKind.NOTE, "a fly on the lens")
    session.say(EventKind.FAILURE, "dropped")
    second = session.stop()
    assert finished(tmp_path) == (path, second)
    assert numbers(Episode.open(path)) == [5, 6, 7, 8, 9]
    assert numbers(Episode.open(second)) == [15, 16, 17, 18, 19]
    first, other = Episode.open(path).metadata, Episode.open(second).metadata
    assert (first.outcome, first.reason, first.instruction) == (Outcome.SUCCESS, "in the box", "")
    assert (other.outcome, other.instruction, other.notes) == (
        Outcome.FAILURE,
        "pick the cube",
        ("a fly on the lens",),
    )
    assert first.info.episode_id != other.info.episode_id
    assert first.info.started_utc == "2026-01-01T00:00:00Z"
    status = session.status
    assert (status.state, status.finished, status.episode, status.messages) == (State.IDLE, 2, 1, 5)
    assert verify(path).is_ok


def test_discarding_frees_the_number(session, tmp_path):
    session.start()
    offer(session, range(3))
    assert session.discard() == 0
    assert session.start() == 0
    offer(session, range(7, 9))
    assert numbers(Episode.open(session.stop())) == [7, 8]
    assert session.start() == 1
    assert session.discard() == 1
    assert [file.number for file in list_episodes(tmp_path)] == [0]


def test_what_makes_no_sense_is_refused(session):
    for call in (session.stop, session.discard, lambda: session.say(EventKind.NOTE, "x")):
        with pytest.raises(ConfigError, match="no episode is open"):
            call()
    session.start()
    with pytest.raises(ConfigError, match="episode 0 is open"):
        session.start()


def test_a_time_limit_ends_an_episode(tmp_path):
    done = []
    session = make(tmp_path, config=SessionConfig(time_limit_s=0.2), on_finish=done.append)
    session.start()
    offer(session, range(3))
    assert wait_for(lambda: done)
    assert Episode.open(done[0]).metadata.end.reason == "time limit"
    assert session.start() == 1
    session.close()


def test_closing_keeps_the_open_episode(tmp_path):
    session = make(tmp_path)
    session.start()
    offer(session, range(4))
    session.close()
    (path,) = finished(tmp_path)
    assert numbers(Episode.open(path)) == [0, 1, 2, 3]
    assert Episode.open(path).metadata.end.reason == "the recorder was stopped"


def test_an_episode_without_a_message_is_kept_and_marked(tmp_path):
    session = make(tmp_path, judged=True)
    session.start()
    episode = Episode.open(session.stop())
    session.close()
    assert episode.message_count == 0
    assert episode.metadata.quality["findings"] == ["no message arrived"]


def test_the_status_judges_while_it_records(tmp_path):
    session = make(tmp_path, judged=True)
    session.start()
    offer(session, [0, float("nan")])
    assert wait_for(lambda: session.status.findings and session.status.messages == 2)
    assert "1 messages with numbers that are not finite" in session.status.findings
    path = session.stop()
    session.close()
    assert "1 messages with numbers that are not finite" in Episode.open(path).metadata.quality["findings"]


class BadJudge:
    """Fails where it is told to."""

    def __init__(self, place):
        self.place = place

    def add(self, spec, data, *, stamp_ns, receive_ns):
        if self.place == "add":
            raise RuntimeError("no idea")

    def document(self, *, end_ns=None):
        raise RuntimeError("no idea")


@pytest.mark.parametrize("place", ["add", "document"])
def test_what_cannot_be_judged_is_recorded_and_marked(tmp_path, place):
    session = make(tmp_path)
    session._make_judge = lambda started: BadJudge(place)
    session.start()
    offer(session, range(5))
    episode = Episode.open(session.stop())
    session.close()
    assert numbers(episode) == [0, 1, 2, 3, 4]
    (finding,) = episode.metadata.quality["findings"]
    assert "cannot be judged (RuntimeError: no idea)" in finding


def test_a_fault_ends_an_episode_in_words_and_the_next_one_is_recorded(tmp_path, monkeypatch):
    session = make(tmp_path, config=SessionConfig(writer=WriterConfig(chunk_s=0.01)))
    session.start()
    offer(session, range(5))
    with monkeypatch.context() as patch:
        patch.setattr("os.rename", lambda *paths: 1 / 0)
        with pytest.raises(ConfigError, match="the recorder failed .ZeroDivisionError"):
            session.stop()
    assert session.status.state is State.FAILED
    (half,) = list_episodes(tmp_path)
    assert repair(half.path, steady_clock=time.monotonic_ns).messages == 5
    assert session.start() == 1
    offer(session, range(5, 8))
    assert numbers(Episode.open(session.stop())) == [5, 6, 7]
    session.close()


def test_a_disk_that_fills_ends_the_episode_while_it_can_be_finished(tmp_path):
    free = [10**12]
    done = []
    session = make(tmp_path, free=lambda: free[0], on_finish=done.append)
    session.start()
    offer(session, range(3))
    free[0] = 1000
    assert wait_for(lambda: done)
    assert Episode.open(done[0]).metadata.end.reason == "the disk is nearly full"
    with pytest.raises(ConfigError, match="the disk has 0 MB free. Expected more than the reserve of 256 MB"):
        session.start()
    session.close()


def test_a_slow_disk_drops_messages_and_says_how_many(tmp_path):
    session = make(tmp_path, config=SessionConfig(queue_bytes=0))
    session.start()
    # Until the thread has taken the first, the queue is over its limit.
    while not (dropped := session._open.dropped):
        offer(session, [1])
    path = session.stop()
    session.close()
    assert Episode.open(path).metadata.end.dropped >= dropped


FULL_DISK = """
import resource, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from test_session import make, offer, wait_for
from recording import WriterConfig
from recording.session_status import SessionConfig, State
from hardware.errors import ConfigError
config = SessionConfig(writer=WriterConfig(chunk_bytes=2000, compression="none"))
session = make(Path(sys.argv[1]), config=config)
session.start(); offer(session, range(20)); print(session.stop().name)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
session.start()
number = 0
while session.status.state is State.RECORDING and number < 100_000:
    offer(session, [number]); number += 1
    time.sleep(0.0005)
assert wait_for(lambda: session.status.state is State.FAILED)
print(session.status.message)
print(session.status.durable_messages)
"""


def test_a_full_disk_costs_nothing_that_was_on_it(tmp_path):
    """A limit of the file size stands for the disk: the kernel refuses a write in the middle of a chunk."""
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), here], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    name, message, durable = done.stdout.splitlines()
    assert message.startswith("the disk is full (")
    assert int(durable) > 100
    assert verify(tmp_path / name).is_ok
    half = next(file for file in list_episodes(tmp_path) if file.state is FileState.HALF_WRITTEN)
    assert half.size_bytes <= 40_000
    assert repair(half.path, steady_clock=time.monotonic_ns).messages == int(durable)


def test_two_recorders_share_a_folder(tmp_path):
    one, other = make(tmp_path), make(tmp_path)
    assert {one.start(), other.start()} == {0, 1}
    one.stop()
    other.stop()
    assert one.start() == 2
    one.close()
    other.close()
    assert len(finished(tmp_path)) == 3


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the folder cannot be made"):
        make(tmp_path / "file" / "folder")


def test_an_episode_that_is_open_can_be_read(tmp_path):
    session = make(tmp_path, config=SessionConfig(writer=WriterConfig(chunk_s=0.05)))
    session.start()
    offer(session, range(10))
    (file,) = list_episodes(tmp_path)
    assert file.state is FileState.RECORDING
    assert wait_for(lambda: numbers_of(file.path) == list(range(10)))
    session.close()


def numbers_of(path):
    episode = Episode.open(path)
    return numbers(episode) if episode.topics else []


def test_a_folder_that_cannot_be_written_any_more_is_told(tmp_path):
    session = make(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="the episode cannot be written .No such file or directory"):
        session.start()
    session.close()
    assert session.status.state is State.IDLE


class SlowToFinish(BadJudge):
    """Holds the end of an episode up until it is let go."""

    def __init__(self):
        super().__init__("")
        self.is_asked, self.may_end = threading.Event(), threading.Event()

    def document(self, *, end_ns=None):
        if end_ns is not None:
            self.is_asked.set()
            self.may_end.wait(30.0)
        return {"findings": []}


def test_an_episode_that_is_being_finished_cannot_be_thrown_away(tmp_path):
    judge = SlowToFinish()
    session = make(tmp_path, config=SessionConfig(time_limit_s=0.05))
    session._make_judge = lambda started: judge
    session.start()
    offer(session, range(3))
    assert judge.is_asked.wait(30.0)
    with pytest.raises(ConfigError, match="episode 0 has ended .time limit.*reflexarc data delete"):
        session.discard()
    judge.may_end.set()
    assert wait_for(lambda: session.status.state is State.IDLE)
    session.close()
    assert [numbers(Episode.open(path)) for path in finished(tmp_path)] == [[0, 1, 2]]


def test_an_episode_that_cannot_be_thrown_away_is_told(tmp_path, monkeypatch):
    session = make(tmp_path)
    session.start()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: 1 / 0)
        with pytest.raises(ConfigError, match="the recorder failed .ZeroDivisionError"):
            session.discard()
    assert session.status.state is State.FAILED
    session.close()


class Crowded(BadJudge):
    """Says which threads ask it."""

    def __init__(self):
        super().__init__("")
        self.threads = []

    def add(self, spec, data, *, stamp_ns, receive_ns):
        pass

    def document(self, *, end_ns=None):
        self.threads.append((threading.current_thread().name, self.session._open is not None))
        return {"findings": []}


def test_a_judge_has_one_thread_at_a_time(tmp_path):
    """What is recorded may change what a judge has in hand while it is asked."""
    judge = Crowded()
    judge.session = session = make(tmp_path)
    session._make_judge = lambda started: judge
    session.start()
    offer(session, range(3))
    session.stop()
    session.close()
    assert {is_open for name, is_open in judge.threads if name != "recorder"} == {False}
