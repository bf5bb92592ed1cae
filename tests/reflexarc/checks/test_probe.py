"""Protects the probe: what breaks or hangs in it breaks and hangs nothing here."""

from pathlib import Path

from reflexarc.checks.probe import run_probe


def test_probe_that_hangs_is_ended_with_its_children():
    result = run_probe(
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\nprint('child', child.pid, flush=True)\ntime.sleep(600)",
        timeout_s=1.5,
    )
    assert result.timed_out
    assert result.reason == "no answer in time"
    child = Path("/proc") / result.text.split()[1] / "stat"
    # Nobody may have collected it yet; it runs no more either way.
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_probe_reports_the_line_that_says_why():
    result = run_probe("print('noise')\nraise OSError('the reason')", timeout_s=30)
    assert (result.report, result.exit_code, result.reason) == (None, 1, "OSError: the reason")
    assert run_probe("report(a=1)", timeout_s=30).report == {"a": 1}
    assert run_probe("import os\nos.abort()", timeout_s=30).reason == "ended by SIGABRT"
