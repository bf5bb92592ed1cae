"""Protects the demo's report: it stands alone, says what happened, and its films play."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from demo_runs import PLAN, arm_record, flight_record, flight_trace, whole_run

from reflexarc.demos.judge import flight_figures, judge_flight
from reflexarc.demos.plan import plan_flight
from reflexarc.demos.records import GateCounts
from reflexarc.demos.summary import Outcome, Run, now_iso, summarise
from reflexarc.output import to_json
from reflexarc.report import build
from reflexarc.report.page import make_page
from reflexarc.report.pieces import Media
from reflexarc.report.style import inline_svg
from reflexarc.report.video import HEIGHT, RATE_HZ, WIDTH, Label, Mp4Writer, write_labels

# --- summary and report -------------------------------------------------------------------------


def test_the_summary_has_every_figure_of_the_issue():
    summary = json.loads(to_json(summarise(whole_run())))
    assert summary["passed"] is False
    assert summary["quadrotor"]["hover_error_m"] == pytest.approx(0.02)
    assert summary["quadrotor"]["figure_eight_10s_rmse_m"] == pytest.approx(0.06)
    assert summary["quadrotor"]["figure_eight_5_5s_rmse_m"] == pytest.approx(0.17)
    assert (summary["arm"]["successes"], summary["arm"]["episodes"]) == (3, 4)
    assert len(summary["arm"]["wilson"]) == 2
    assert set(summary["photon_to_motor_ms"]) == {"p50", "p95", "p99", "samples"}
    assert summary["deadline_misses"] == 3 + 4 * 2
    # Limited and refused commands and safe actions of both robots.
    assert summary["gate"]["interventions"] == (0 + 1 + 2) + (20 + 5 + 4)
    assert summary["gate"]["fault_reaction_ms"] == pytest.approx(104.0)
    assert summary["stages"]["quadrotor"]["passed"] is True
    assert summary["stages"]["arm"]["passed"] is False
    assert {"machine", "git", "versions", "duration_s"} <= set(summary)


def test_a_stage_that_stopped_early_leaves_nulls_and_its_reason():
    reason = "the gate took no safe action within 3 s"
    outcome = Outcome("quadrotor", "Quadrotor", error=reason, log=("[x] <boom>",))
    run = Run(5.0, now_iso(), 9.0, (outcome,))
    summary = json.loads(to_json(summarise(run)))
    assert summary["passed"] is False
    assert summary["quadrotor"] == {
        "hover_error_m": None,
        "figure_eight_10s_rmse_m": None,
        "figure_eight_5_5s_rmse_m": None,
    }
    assert summary["deadline_misses"] is None
    assert summary["gate"]["interventions"] is None
    page = make_page(run, summary, Media())
    assert reason in page
    assert "[x] &lt;boom&gt;" in page
    assert "failed" in page


class Checker(HTMLParser):
    """Collects what a page refers to, and whether every element is closed."""

    VOID = frozenset({"meta", "source", "br", "img", "link", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "poster", "srcset"):
                self.references.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The whole report of a synthetic run, plots included; films would take too long here."""
    folder = tmp_path_factory.mktemp("report")
    run = whole_run()
    plots = build.draw(run, folder / "plots")
    film = folder / "arm.mp4"
    film.write_bytes(b"not really a film")
    page = build.write(run, summarise(run), Media(plots, {"arm": film}), folder)
    return folder, plots, page.read_text(encoding="utf-8")


def test_the_report_stands_alone_and_is_well_formed(drawn):
    _, plots, page = drawn
    assert set(plots) == {"timeline", "top_views", "latency", "cubes", "joints"}
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert {"video", "svg", "table", "style"} <= checker.tags
    assert "script" not in checker.tags
    # Nothing outside: every reference is data or a part of this page, and no address is anywhere.
    assert checker.references
    assert all(r.startswith(("data:", "#")) for r in checker.references)
    assert re.search(r"https?:|//[a-z]|@import|url\((?!#)", page) is None
    assert len(checker.ids) == len(set(checker.ids))
    wanted = {r[1:] for r in checker.references if r.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(checker.ids)


def test_the_report_says_what_happened(drawn):
    _, _, page = drawn
    for text in (
        "stays 2.0 cm (RMS) from its reference",
        "104 ms after the kill the command gate takes the safe action",
        "It is carried 45 cm away; 0.3 s after its end the vehicle is within 10 cm again.",
        "It picked 3 of 4 cubes",
        "Not picked within 10 s: cube 3.",
        "at most 19.4 cm",
    ):
        assert text in page


def test_plots_follow_the_pages_theme_and_are_files_too(drawn):
    folder, plots, page = drawn
    assert sorted(p.name for p in (folder / "plots").iterdir()) == sorted(f"{n}.png" for n in plots)
    for svg in plots.values():
        used = set(re.findall(r"var\((--[a-z]+)\)", svg))
        assert {"--ink", "--muted"} <= used
        for variable in used:
            # Once for light and once for dark.
            assert page.count(f"{variable}: #") == 2


def test_the_report_owns_up_to_safe_actions_that_nobody_planned(drawn):
    _, _, page = drawn
    # The synthetic gate took two, and the policy died once.
    assert "The gate took the safe action 1 more time(s) in flight" in page
    planned = whole_run(replace(flight_record(), gate=GateCounts(6700, 0, 1, 1)))
    assert "more time(s) in flight" not in make_page(planned, summarise(planned), Media())


def test_a_short_demo_says_what_it_left_out():
    plan = plan_flight(5.0)
    trace = flight_trace()
    rows = slice(0, round((plan.kill_s + 5.0) * 100))
    cut = replace(trace, time_ns=trace.time_ns[rows], qpos=trace.qpos[rows], qvel=trace.qvel[rows])
    record = replace(flight_record(plan=plan, trace=cut), kill_s=plan.kill_s, estop_s=plan.kill_s + 4.0)
    figures = flight_figures(record)
    run = Run(
        5.0, now_iso(), 9.0, (Outcome("quadrotor", "Quadrotor", judge_flight(figures)),), record, figures
    )
    page = make_page(run, json.loads(to_json(summarise(run))), Media())
    assert (
        "Not flown in this short demo: the figure eight of 10 s, the figure eight of 5.5 s, the gust." in page
    )
    assert "reflexarc demo --headless --seconds 5" in page


def test_a_flight_without_figure_eights_has_no_top_view(tmp_path):
    run = whole_run()
    bare = replace(run.flight, plan=plan_flight(5.0))
    plots = build.draw(replace(run, flight=bare, arm=None), tmp_path)
    assert set(plots) == {"timeline", "latency"}


def test_inline_svg_keeps_no_address_and_no_foreign_names():
    text = (
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://w3.org/x.dtd">'
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="600pt" height="300pt" viewBox="0 0 600 300"'
        ' xmlns="http://www.w3.org/2000/svg"><metadata><a href="http://x"/></metadata><g id="figure_1">'
        '<path id="m1" style="fill: #1d2733"/><use xlink:href="#m1"/><g clip-path="url(#m1)"/></g></svg>'
    )
    assert inline_svg(text, "one") == (
        '<svg viewBox="0 0 600 300"><g><path id="one-m1" style="fill: var(--ink)"/>'
        '<use xlink:href="#one-m1"/><g clip-path="url(#one-m1)"/></g></svg>'
    )


# --- films --------------------------------------------------------------------------------------


def test_a_film_is_h264_that_browsers_play(tmp_path):
    import av

    path = tmp_path / "film.mp4"
    with Mp4Writer(path) as film:
        for shade in (40, 200):
            film.add(np.full((HEIGHT, WIDTH, 3), shade, np.uint8))
        film.keep_poster()
        film.hold(0.2)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (WIDTH, HEIGHT, RATE_HZ)
    assert len(frames) == 2 + 5
    assert frames[0].mean() == pytest.approx(40, abs=4)
    assert frames[-1].mean() == pytest.approx(200, abs=4)
    assert (tmp_path / "film.jpg").exists()
    # The index comes first, so that a browser can begin before it has everything.
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")


def frames_of(path):
    import av

    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def test_the_flight_is_filmed_from_its_trace(tmp_path):
    """Around the kill, where gust, safe action and return have their words and colours."""
    from reflexarc.report.flight_film import render_flight

    trace = flight_trace()
    # A frame every other second of the last part of the flight: all acts, few frames.
    rows = slice(round((PLAN.gust_s + 0.6) * 100), None, 150)
    sparse = replace(trace, time_ns=trace.time_ns[rows], qpos=trace.qpos[rows], qvel=trace.qvel[rows])
    done = []
    render_flight(flight_record(trace=sparse), tmp_path / "f.mp4", lambda n, total: done.append((n, total)))
    count = len(sparse.time_ns)
    assert done == [(n + 1, count) for n in range(count)]
    frames = frames_of(tmp_path / "f.mp4")
    assert len(frames) == count + round(0.6 * RATE_HZ)
    # Something is seen, and it moves.
    assert frames[0].std() > 10
    assert np.abs(frames[1].astype(int) - frames[3]).max() > 60


def test_the_attempts_are_filmed_one_after_the_other(tmp_path):
    from reflexarc.report.arm_film import render_arm

    record = arm_record((True, False))
    short = tuple(
        replace(e, trace=replace(e.trace, time_ns=e.trace.time_ns[:12], qpos=e.trace.qpos[:12]))
        for e in record.episodes
    )
    render_arm(replace(record, episodes=short), tmp_path / "a.mp4", lambda n, total: None)
    frames = frames_of(tmp_path / "a.mp4")
    # Rows come 50 a second, frames 25; each attempt ends with a pause of 0.3 s.
    assert len(frames) == 2 * (6 + round(0.3 * RATE_HZ))
    assert frames[0].std() > 10


def test_a_film_that_is_given_up_leaves_no_file(tmp_path):
    path = tmp_path / "film.mp4"

    def give_up():
        with Mp4Writer(path) as film:
            film.add(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert not path.exists()


def test_labels_are_written_inside_the_frame_only():
    frame = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    write_labels(
        frame, [Label("gate: commands pass", WIDTH - 24, 22, from_right=True), Label("x" * 400, 24, 500)]
    )
    assert (frame[22:52, WIDTH - 260 : WIDTH - 30] < 200).any()
    assert (frame[:, WIDTH - 23 :][:480] == 255).all()
    assert (frame[100:480] == 255).all()
