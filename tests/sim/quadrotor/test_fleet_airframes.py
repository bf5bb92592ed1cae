"""Protects batches of airframes: they say what `Airframe` says, in order, and refuse what does not fit."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.quadrotor import airframe_names, load_airframe
from sim.quadrotor.fleet_airframes import AirframeBatch

NAMED = [load_airframe(name) for name in airframe_names()]


def test_every_property_agrees_with_the_single_airframe():
    batch = AirframeBatch.of(NAMED)
    assert len(batch) == 9
    for name in ("arm_m", "max_thrust_n", "thrust_to_weight", "hover_effort"):
        assert getattr(batch, name) == pytest.approx([getattr(a, name) for a in NAMED], rel=1e-5)
    assert batch.force_std_n.tolist() == [0.0] * 9


def test_an_airframe_survives_the_round_trip():
    batch = AirframeBatch.of(NAMED)
    for index, airframe in enumerate(NAMED):
        back = batch.airframe(index)
        for field in ("mass_kg", "rotor_x_m", "rotor_y_m", "torque_constant_m", "rising_s", "falling_s"):
            assert getattr(back, field) == pytest.approx(getattr(airframe, field), rel=1e-6)
        assert back.thrust_n == pytest.approx(airframe.thrust_n, rel=1e-6)
        assert back.inertia_kg_m2 == pytest.approx(airframe.inertia_kg_m2, rel=1e-6)
        assert back.name == f"airframe-{index}"


def test_take_keeps_the_order_asked_for():
    batch = AirframeBatch.of(NAMED)
    assert batch.take([4, 0, 4]).mass.tolist() == batch.mass[[4, 0, 4]].tolist()
    heavy = batch.take(batch.mass > 1.0)
    assert heavy.inertia.shape == (3, len(heavy))
    assert (heavy.mass > 1.0).all()


def test_torque_to_inertia_of_the_crazyflie():
    # 0.0396 m times 0.1101 N over 9.4166e-6 kg m^2.
    assert AirframeBatch.of(NAMED[:1]).torque_to_inertia[0] == pytest.approx(463.1, abs=0.2)


def test_arrays_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        AirframeBatch.of(NAMED).mass[0] = 1.0


def test_an_array_of_another_shape_is_refused():
    batch = AirframeBatch.of(NAMED)
    values = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    with pytest.raises(
        ConfigError, match=r"rising has shape \(3,\).*Expected finite numbers of shape \(9,\)"
    ):
        AirframeBatch(**{**values, "rising": np.ones(3)})
    with pytest.raises(ConfigError, match="mass is not finite"):
        AirframeBatch(**{**values, "mass": np.full(9, np.nan)})
    with pytest.raises(ConfigError, match="no airframes"):
        AirframeBatch.of([])
