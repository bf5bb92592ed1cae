"""Protects the whole: the published RAPTOR flies the quadrotor twin as its authors' simulator says.

The expected figures are those of the x500_real row of the RAPTOR specification (3.3), measured with the
authors' own simulator; the twin flies in MuJoCo, with the policy closed over the twin's wire.
"""

import numpy as np
import pytest

from hardware.cards import load_robot_card
from hardware.reference import FigureEight, Hover
from hardware.robot import Delay, LatencyCard, Observation
from policies.policy import ActContext
from policies.raptor import RaptorPolicy
from sim.twin import NONE
from sim.twin.quadrotor import QuadrotorTwin

CARD = load_robot_card("quadrotor_twin")
TAKEOFF_S = 5.0
PERIOD_NS = 10_000_000
# The policy's steady offset, metres.
HOVER_OFFSET_M = {
    "crazyflie": 0.053,
    "x500_real": 0.022,
    "x500_sim": 0.024,
    "arpl": 0.079,
    "mrs": 0.022,
    "flightmare": 0.115,
    "soft": 0.021,
    "fs": 0.022,
}


def fly(seconds, *, airframe="x500_real", figure=None, command_delay_s=0.0, gusts=()):
    """Take off from the ground, then hover or fly the figure; position errors, shape (T, 3)."""
    latency = LatencyCard(observation=Delay(), command=Delay(command_delay_s)) if command_delay_s else NONE
    twin = QuadrotorTwin(CARD, seed=0, airframe=airframe, latency=latency, gusts=gusts)
    policy, errors = RaptorPolicy.load(), []
    takeoff = Hover((0.0, 0.0, 1.0), start_m=tuple(twin.state.position))
    with twin:
        for step in range(round((TAKEOFF_S + seconds) * 100)):
            t_s = step * 0.01
            reference = takeoff.sample(t_s)
            if figure is not None and t_s >= TAKEOFF_S:
                reference = figure.sample(t_s - TAKEOFF_S)
            observation = twin.read()
            values = dict(observation.values) | {
                "reference_position": reference.position_m,
                "reference_velocity": reference.velocity_m_s,
                "reference_yaw": np.array([reference.yaw_rad]),
            }
            seen = Observation(values, observation.stamp_ns, observation.received_steady_ns)
            chunk = policy.act(seen, context=ActContext(now_ns=twin.now_ns))
            twin.command(chunk.command_at(0, received_steady_ns=twin.now_ns))
            errors.append(twin.state.position - reference.position_m)
            twin.advance(twin.now_ns + PERIOD_NS)
    return np.array(errors)


def rms(errors):
    return float(np.sqrt((errors**2).sum(axis=-1).mean()))


@pytest.mark.parametrize(("name", "hover_m"), HOVER_OFFSET_M.items())
def test_it_takes_off_from_the_ground_and_hovers_as_measured(name, hover_m):
    errors = fly(3.0, airframe=name)
    assert rms(errors[-100:]) == pytest.approx(hover_m, abs=0.0015)


@pytest.mark.parametrize(("period_s", "rmse_m"), [(10.0, 0.063), (5.5, 0.169)])
def test_it_tracks_the_figure_eight_as_measured(period_s, rmse_m):
    errors = fly(1.0 + period_s, figure=FigureEight((0.0, 0.0, 1.0), period_s))
    assert rms(errors[-round(100 * period_s) :]) == pytest.approx(rmse_m, rel=0.03)


def test_the_x500_forgives_ten_milliseconds_and_the_crazyflie_does_not():
    assert rms(fly(2.0, command_delay_s=0.01)[-100:]) < 0.026
    assert rms(fly(5.0, airframe="crazyflie", command_delay_s=0.01)[-200:]) > 0.2


def test_it_survives_a_gust():
    errors = fly(5.0, gusts=[(TAKEOFF_S, 1.0, (8.0, 0.0, 0.0))])
    assert 0.1 < np.abs(errors[500:650, 0]).max() < 1.5
    assert rms(errors[-100:]) < 0.03
