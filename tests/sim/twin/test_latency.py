"""Protects the wire's latency: the card's statistics, exact zero, repeatable and separate streams."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from hardware.robot import Delay, LatencyCard
from sim.twin.latency import NONE, LatencyModel

CARD = LatencyCard(
    observation=Delay(mean_s=0.004, jitter_s=0.001, drop_rate=0.1),
    command=Delay(mean_s=0.001, jitter_s=0.002),
)


def test_none_is_exactly_zero():
    model = LatencyModel(NONE, seed=3)
    assert {model.observation_delay_ns() for _ in range(100)} == {0}
    assert {model.command_delay_ns() for _ in range(100)} == {0}


def test_a_constant_delay_is_exact():
    model = LatencyModel(LatencyCard(observation=Delay(0.0025), command=Delay(0.0071)), seed=0)
    assert {model.observation_delay_ns() for _ in range(10)} == {2_500_000}
    assert {model.command_delay_ns() for _ in range(10)} == {7_100_000}


def test_statistics_follow_the_card():
    model = LatencyModel(CARD, seed=1)
    drawn = [model.observation_delay_ns() for _ in range(20_000)]
    kept = np.array([d for d in drawn if d is not None]) * 1e-9
    assert 1 - len(kept) / len(drawn) == pytest.approx(0.1, abs=0.01)
    assert kept.mean() == pytest.approx(0.004, abs=3e-5)
    assert kept.std() == pytest.approx(0.001, rel=0.03)
    assert np.quantile(kept, 0.99) == pytest.approx(CARD.observation.p99_s, rel=0.03)


def test_jitter_is_truncated_at_zero_not_piled_up_there():
    model = LatencyModel(CARD, seed=1)
    drawn = np.array([model.command_delay_ns() for _ in range(20_000)]) * 1e-9
    assert drawn.min() >= 0.0
    assert np.mean(drawn == 0.0) < 0.001
    # Mean of a normal (0.001, 0.002) truncated at zero: mu + sigma * phi(-0.5) / (1 - Phi(-0.5)).
    assert drawn.mean() == pytest.approx(0.001 + 0.002 * 0.3520653 / 0.6914625, rel=0.02)


def test_seed_repeats_and_streams_do_not_disturb_each_other():
    first, second, other = (LatencyModel(CARD, seed=s) for s in (7, 7, 8))
    alone = [first.observation_delay_ns() for _ in range(50)]
    mixed = []
    for _ in range(50):
        second.command_delay_ns()
        mixed.append(second.observation_delay_ns())
    assert alone == mixed
    assert alone != [other.observation_delay_ns() for _ in range(50)]


@pytest.mark.parametrize(
    ("delay", "text"),
    [
        ({"mean_s": -0.001}, "latency: mean_s -0.001 is out of range"),
        ({"jitter_s": float("nan")}, "latency: jitter_s nan is out of range"),
        ({"drop_rate": 1.5}, "latency: drop_rate 1.5 is out of range. Expected 0 to 1"),
    ],
)
def test_impossible_delays_are_refused(delay, text):
    with pytest.raises(ConfigError) as error:
        Delay(**delay)
    assert text in str(error.value)


def test_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed -1 is negative"):
        LatencyModel(NONE, seed=-1)
