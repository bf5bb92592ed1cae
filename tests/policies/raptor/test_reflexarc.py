"""Protects the policy that comes with Reflexarc: it is what its card says, and flies where the published one
falls.
"""

from pathlib import Path

import pytest
import yaml

import policies.raptor
from policies.raptor.fleet import FleetPilot
from policies.raptor.network import RaptorWeights
from policies.raptor.policy import PUBLISHED, RaptorOptions, RaptorPolicy
from sim.evaluation.fleet import quick_metrics

OURS = Path(policies.raptor.__file__).parent / "reflexarc"
AIRFRAMES, SEED = 96, 3


@pytest.mark.parametrize("backend", ["numpy", "torch", "onnx"])
def test_it_loads_and_passes_its_self_test(backend):
    policy = RaptorPolicy.load(OURS, RaptorOptions(backend=backend))
    assert policy.card.name == "raptor-reflexarc"


def test_it_is_of_the_published_size_and_says_what_made_it():
    ours, published = (RaptorWeights.load(folder / "model.safetensors") for folder in (OURS, PUBLISHED))
    assert ours.parameter_count == published.parameter_count == 2084
    record = yaml.safe_load((OURS / "training.yaml").read_text(encoding="utf-8"))
    assert record["command"].startswith("reflexarc train raptor ")
    assert record["finished"] is True
    # Its weights come from a training of ours all the way.
    assert record["start"].get("policy", "") != "published"


def test_it_survives_late_actions_and_tracks_no_worse():
    """Few airframes, so the bounds are wide; docs/results holds the figures of a thousand."""
    ours = quick_metrics(FleetPilot.load(OURS), airframes=AIRFRAMES, seed=SEED)
    published = quick_metrics(FleetPilot.load(PUBLISHED), airframes=AIRFRAMES, seed=SEED)
    assert ours.hover_crash <= 0.03
    assert ours.figure_eight_crash <= 0.03
    assert ours.figure_eight_5_5s_rmse_m <= published.figure_eight_5_5s_rmse_m
    assert published.delay_10ms_crash >= 0.2
    assert ours.delay_10ms_crash <= 0.08
