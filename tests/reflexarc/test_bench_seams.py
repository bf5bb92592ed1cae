"""Protects `reflexarc bench seams`: the same policy joined in every way, measured where chunks meet."""

import json

import numpy as np
import pytest

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from policies.bc.policy import PICK_CUBE
from policies.controller import ScheduleConfig
from policies.registry import load_policy
from reflexarc.benches import seams
from reflexarc.cli import main

CONFIG = seams.SeamsBench(policy="bc/pick_cube", delays_s=(0.12,), episodes=1, duration_s=1.5)


class Follower:
    """The cloned policy, drawn to what is committed: its answer, moved to begin there, then its own again."""

    def __init__(self):
        self._policy = load_policy(PICK_CUBE)
        self.card, self.state = self._policy.card, {}

    def reset(self, seed=None):
        pass

    def act(self, observation, *, context):
        chunk = self._policy.act(observation, context=context)
        if context.committed is None:
            return chunk
        known = len(context.committed)
        values = chunk.values.copy()
        gap = context.committed[-1] - values[known - 1]
        values += (
            gap
            * np.linspace(1.0, 0.0, len(values) + 1 - known)[
                np.maximum(np.arange(len(values)) - known + 1, 0), None
            ]
        )
        values[:known] = context.committed
        return chunk.with_values(values)


def attempt(policy, **schedule):
    found = seams.Seams()
    config = ScheduleConfig(interpolation="linear", **schedule)
    seams._attempt(found, policy, load_robot_card("so101_twin"), config, 0.12, 0, CONFIG)
    return found


def test_what_begins_with_the_committed_steps_meets_the_old_plan():
    switched, followed = attempt(Follower(), inpaint=False), attempt(Follower())
    assert len(switched.disagreement_rad) > 3
    assert min(switched.disagreement_rad) > 1e-3
    # Only where an answer came when nothing was committed would there be a gap.
    assert max(followed.disagreement_rad) < 1e-9
    assert np.mean(followed.jerk_rad_s3) < 0.5 * np.mean(switched.jerk_rad_s3)


def test_blending_softens_the_border_and_the_report_says_how_much(tmp_path, capsys):
    words = ["--policy", "bc/pick_cube", "--episodes", "1", "--delays-s", "0.12", "--duration-s", "1.5"]
    files = ["--plot", str(tmp_path / "seams.png"), "--out", str(tmp_path / "seams.json")]
    assert main(["bench", "seams", *words, *files, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == json.loads((tmp_path / "seams.json").read_text())["rows"]
    switched, blended = report["rows"]
    # The cloned policy cannot be in-painted, and no row pretends that it can.
    assert [row["way"] for row in report["rows"]] == ["switched", "blended"]
    assert blended["jerk_rad_s3"] < 0.6 * switched["jerk_rad_s3"]
    (jerk,) = [ratio for name, ratio in report["ratios"].items() if name.startswith("the jerk")]
    assert jerk == pytest.approx(blended["jerk_rad_s3"] / switched["jerk_rad_s3"])
    assert (tmp_path / "seams.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "wrong", [{"episodes": 0}, {"delays_s": ()}, {"delays_s": (0.0,)}, {"blend_s": -1.0}]
)
def test_what_measures_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected an attempt at least|Expected an attempt at least"):
        seams.SeamsBench(**wrong)
