"""Protects `reflexarc data`: what it says of episodes and changes, and that bad input changes nothing."""

import json
import struct
import time

import pytest

from recording import Episode, EpisodeInfo, EpisodeWriter, Event, EventKind, TopicSpec
from recording.encoding import header_encoder
from recording.folder import episode_path
from reflexarc.cli import main

TOPIC = TopicSpec("/arm/number", "std_msgs/msg/UInt64", "uint64 data")


def record(folder, number, *, count=50, finish=True, quality=None, robot="so101", instruction="pick"):
    folder.mkdir(parents=True, exist_ok=True)
    info = EpisodeInfo(
        f"id-{folder.name}-{number}",
        number,
        robot=robot,
        namespace="/arm",
        task="PickCube",
        instruction=instruction,
    )
    writer = EpisodeWriter(episode_path(folder, number), info, steady_clock=time.monotonic_ns)
    writer.add_topic(TOPIC)
    for i in range(count):
        data = b"\x00\x01\x00\x00" + struct.pack("<Q", i)
        writer.write(TOPIC.name, data, stamp_ns=i * 10**7, receive_ns=i * 10**7 + 10**6)
    writer.add_event(Event(EventKind.SUCCESS, 0, "in the [box]"))
    writer.commit()
    if not finish:
        writer.abandon()
        return writer.part_path
    return writer.finish(quality=quality)


def run(capsys, *words):
    code = main(["data", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_list_marks_what_deserves_a_look(tmp_path, capsys):
    record(tmp_path, 0)
    record(tmp_path, 1, quality={"findings": ["a camera died"]})
    record(tmp_path, 2, count=0)
    record(tmp_path, 3, finish=False)
    (tmp_path / "episode_000004.mcap").write_bytes(b"junk junk junk junk")
    code, found = run(capsys, "list", tmp_path)
    assert code == 0
    rows = {row["number"]: row for row in found["episodes"]}
    assert rows[0]["findings"] == []
    assert (rows[0]["messages"], rows[0]["outcome"], rows[0]["instruction"]) == (50, "success", "pick")
    assert rows[0]["duration_s"] == pytest.approx(0.49)
    assert rows[1]["findings"] == ["a camera died"]
    assert rows[2]["findings"] == ["no message arrived"]
    assert rows[3]["state"] == "half-written"
    assert rows[4]["findings"] == ["this is no MCAP file"]
    assert main(["data", "list", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "5 episodes" in text
    assert "3 to look at" in text


def test_a_file_whose_name_is_no_episodes_is_told(tmp_path, capsys):
    record(tmp_path, 0).rename(tmp_path / "good.mcap")
    record(tmp_path, 1)
    for command, counted in (("list", "1 episodes"), ("verify", "1 files")):
        assert main(["data", command, str(tmp_path)]) == 0
        said = capsys.readouterr()
        assert counted in said.out
        assert "good.mcap: left out, its name is no episode's" in said.err
    assert main(["data", "verify", str(tmp_path / "good.mcap")]) == 0


def test_what_somebody_wrote_into_an_episode_is_shown_as_it_is(tmp_path, capsys):
    record(tmp_path, 0, instruction="pick [the] cube [/red]")
    for words in (["list", str(tmp_path)], ["show", str(episode_path(tmp_path, 0))]):
        assert main(["data", *words]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert all(part in text for part in ("pick", "[the]", "cube", "[/red]"))


def test_show_says_everything(tmp_path, capsys):
    path = record(tmp_path, 0)
    code, found = run(capsys, "show", path)
    assert code == 0
    assert (found["outcome"], found["reason"], found["info"]["task"]) == (
        "success",
        "in the [box]",
        "PickCube",
    )
    assert found["quality"]["topics"]["/arm/number"]["count"] == 50
    assert found["quality"]["topics"]["/arm/number"]["rate_hz"] == pytest.approx(100.0)
    assert main(["data", "show", str(path)]) == 0
    text = capsys.readouterr().out
    assert "success: in the [box]" in text
    assert "/arm/number" in text
    assert main(["data", "show", str(record(tmp_path, 1, finish=False))]) == 0
    assert "never: half-written" in capsys.readouterr().out


def test_show_says_who_commanded(tmp_path, capsys):
    path = episode_path(tmp_path, 0)
    info = EpisodeInfo("id", 0, robot="so101", namespace="/arm", start_ns=10**9)
    writer = EpisodeWriter(path, info, steady_clock=time.monotonic_ns)
    spec, tell = header_encoder("gate/source", root="/arm")
    writer.add_topic(spec)
    for second, source in ((1, "policy"), (3, "operator"), (4, "policy"), (5, "gate")):
        stamp_ns = second * 10**9
        writer.write(spec.name, tell(stamp_ns, source), stamp_ns=stamp_ns, receive_ns=stamp_ns)
    code, found = run(capsys, "show", writer.finish())
    assert code == 0
    assert found["authority"] == {
        "interventions": 1,
        "shares": {"policy": 0.75, "operator": 0.25, "gate": 0.0},
    }
    assert main(["data", "show", str(path)]) == 0
    assert "policy 75%, operator 25%, gate 0%; taken over 1 times" in capsys.readouterr().out
    # Nothing is guessed of a recording that does not say it.
    assert run(capsys, "show", record(tmp_path, 1))[1]["authority"] is None


def test_verify_and_repair(tmp_path, capsys):
    record(tmp_path, 0)
    assert run(capsys, "verify", tmp_path) == (
        0,
        {
            "ok": True,
            "episodes": [
                {
                    "path": str(tmp_path / "episode_000000.mcap"),
                    "is_complete": True,
                    "messages": 50,
                    "duration_s": pytest.approx(0.49),
                    "findings": [],
                    "ok": True,
                }
            ],
        },
    )
    record(tmp_path, 1, finish=False)
    code, found = run(capsys, "verify", tmp_path)
    assert code == 1
    assert found["episodes"][1]["findings"] == ["its recorder did not finish it"]
    code, found = run(capsys, "repair", tmp_path)
    assert code == 0
    assert [one["messages"] for one in found["repaired"]] == [50]
    assert run(capsys, "verify", tmp_path)[0] == 0
    assert run(capsys, "repair", tmp_path)[1] == {"repaired": []}
    assert Episode.open(tmp_path / "episode_000001.mcap").metadata.is_repaired


def test_a_damaged_episode_of_a_folder_is_repaired(tmp_path, capsys):
    path = record(tmp_path, 0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 40])
    code, found = run(capsys, "repair", tmp_path)
    assert code == 0
    assert found["repaired"][0]["messages"] == 50
    assert run(capsys, "verify", path)[0] == 0
    assert path.with_name(path.name + ".damaged").exists()


def test_delete_and_merge(tmp_path, capsys):
    for number in range(3):
        record(tmp_path / "a", number)
    code, found = run(capsys, "delete", tmp_path / "a", 0, 2)
    assert (code, len(found["deleted"])) == (0, 2)
    assert run(capsys, "delete", tmp_path / "a", 0)[0] == 2
    record(tmp_path / "b", 5)
    code, found = run(capsys, "merge", tmp_path / "a", tmp_path / "b", "--into", tmp_path / "c")
    assert code == 0
    assert [one["copy"] for one in found["copied"]] == [
        str(tmp_path / "c" / f"episode_00000{i}.mcap") for i in (0, 1)
    ]
    assert len(run(capsys, "merge", tmp_path / "b", "--into", tmp_path / "c")[1]["known"]) == 1
    record(tmp_path / "d", 0, robot="drone")
    assert run(capsys, "merge", tmp_path / "d", "--into", tmp_path / "c")[0] == 2


def test_a_layout_is_written_for_a_card(tmp_path, capsys):
    code, found = run(capsys, "layout", "quadrotor_twin", tmp_path / "layout.json")
    assert (code, found["robot"]) == (0, "quadrotor")
    assert "/quadrotor/odom" in found["topics"]
    assert json.loads((tmp_path / "layout.json").read_text())["layout"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["list", "none"], "there is no folder 'none'"),
        (["show", "none.mcap"], "the episode cannot be read"),
        (["verify"], "no path was given"),
        (["verify", "none"], "there is no folder 'none'"),
        (["repair"], "no path was given"),
        (["delete", "none", "1"], "there is no folder 'none'"),
        (["merge", "--into", "x"], "no path was given"),
        (["merge", "none", "--into", "x"], "there is no finished episode"),
        (["import", "none", "x"], "no LeRobot dataset"),
        (["layout", "quadrotor", "x.json"], "there is no robot card 'quadrotor'"),
        (["import", "none", "x", "--robot", "so102_twin"], "did you mean 'so101_twin'?"),
    ],
)
def test_bad_input_is_explained(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words]) == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
