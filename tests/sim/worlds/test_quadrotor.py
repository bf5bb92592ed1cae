"""Protects the quadrotor's world: it moves as the reference dynamics do, stands, and can be seen."""

import math

import numpy as np
import pytest

from sim.quadrotor import MOTORS, airframe_names, load_airframe, make_state, parameters_of, step
from sim.quadrotor.batch import step_batch
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.worlds.quadrotor import CAMERAS, TIMESTEP_S, QuadrotorWorld, gear_height_m, quadrotor_model
from sim.worlds.render import OffscreenRenderer
from sim.worlds.trail import draw_trail

X500 = load_airframe("x500_real")


def high(**changes):
    return make_state(**({"position": (0.0, 0.0, 50.0)} | changes))


def integrate(world, seconds, *, piece_s=TIMESTEP_S, force=None):
    for _ in range(round(seconds / piece_s)):
        world.integrate(piece_s, force)
    return world.state()


@pytest.mark.parametrize("name", airframe_names())
def test_mass_inertia_and_motors_are_the_airframes(name):
    airframe = load_airframe(name)
    model = quadrotor_model(airframe)
    assert (model.nq, model.nv, model.nu) == (7, 6, 4)
    assert [model.actuator(i).name for i in range(4)] == list(MOTORS)
    body = model.body("base_link")
    assert body.mass == pytest.approx(airframe.mass_kg)
    assert body.inertia == pytest.approx(airframe.inertia_kg_m2)
    assert body.ipos == pytest.approx([0, 0, 0])
    assert body.iquat == pytest.approx([1, 0, 0, 0])
    assert model.opt.timestep == TIMESTEP_S


def test_free_fall_is_exact():
    world = QuadrotorWorld(X500)
    world.place(high(linear_velocity=(1.0, -1.0, 2.0), angular_velocity=(1.0, 2.0, 3.0)))
    state = integrate(world, 1.0)
    assert state.position == pytest.approx([1.0, -1.0, 52.0 - 9.81 / 2], abs=1e-9)


@pytest.mark.parametrize("name", airframe_names())
def test_hover_effort_keeps_the_altitude(name):
    world = QuadrotorWorld(load_airframe(name))
    world.place(high(effort=world.airframe.hover_effort))
    assert integrate(world, 1.0).packed[:3] == pytest.approx([0, 0, 50], abs=1e-9)


@pytest.mark.parametrize(("motor", "sign"), list(zip(MOTORS, (-1, 1, -1, 1), strict=True)))
def test_a_rotors_reaction_turns_the_body_the_right_way(motor, sign):
    world = QuadrotorWorld(X500)
    world.place(high(effort=X500.hover_effort))
    setpoint = [X500.hover_effort] * 4
    setpoint[MOTORS.index(motor)] += 0.1
    world.set_motors(setpoint)
    assert sign * integrate(world, 0.02).angular_velocity[2] > 1e-3


@pytest.mark.parametrize(("start", "target"), [(0.1, 0.8), (0.8, 0.1)])
def test_rotors_lag_exactly_whatever_the_pieces(start, target):
    airframe = load_airframe("crazyflie")
    lag_s = airframe.rising_s if target > start else airframe.falling_s
    for pieces in ([0.0025] * 8, [0.0001, 0.0024, 0.0013, 0.0012] * 4, [0.001] * 20):
        world = QuadrotorWorld(airframe)
        world.place(high(effort=start))
        world.set_motors([target] * 4)
        for piece_s in pieces:
            world.integrate(piece_s)
        assert world.effort == pytest.approx(
            [target + (start - target) * math.exp(-0.02 / lag_s)] * 4, rel=1e-12
        )
        # The impulse of the whole lag, by quadrature of the curve itself.
        t = np.linspace(0.0, 0.02, 20_001)
        thrust = 4 * airframe.thrust(target + (start - target) * np.exp(-t / lag_s))
        gained = np.trapezoid(thrust, t) / airframe.mass_kg - 9.81 * 0.02
        assert world.state().linear_velocity[2] == pytest.approx(gained, rel=1e-6)


@pytest.mark.parametrize("name", airframe_names())
def test_a_second_of_open_loop_flight_agrees_with_the_reference(name):
    airframe = load_airframe(name)
    world, parameters = QuadrotorWorld(airframe), parameters_of(airframe)
    random = np.random.default_rng(5)
    state = high(
        orientation=random.normal(size=4),
        linear_velocity=random.normal(size=3),
        angular_velocity=random.normal(size=3),
        effort=random.uniform(0.0, 0.5, 4),
    )
    force = airframe.weight_n * np.array([0.3, -0.2, 0.1])
    world.place(state)
    for _ in range(50):
        effort = np.clip(airframe.hover_effort + 0.15 * random.normal(size=4), 0, 1)
        world.set_motors(effort)
        integrate(world, 0.02, force=force)
        for _ in range(20):
            state = step(parameters, state, effort, 0.001, force)
    flown = world.state()
    assert np.abs(flown.position - state.position).max() < 1e-3
    assert np.abs(flown.orientation - state.orientation).max() < 5e-4
    assert np.abs(flown.linear_velocity - state.linear_velocity).max() < 2e-3
    assert np.abs(flown.effort - state.effort).max() < 1e-6


def test_half_a_second_agrees_with_the_fleet_that_has_the_same_airframes():
    airframes = [load_airframe(name) for name in airframe_names()]
    random = np.random.default_rng(6)
    starts = [
        high(
            orientation=random.normal(size=4),
            linear_velocity=random.normal(size=3),
            angular_velocity=random.normal(size=3),
            effort=random.uniform(0.0, 0.5, 4),
        )
        for _ in airframes
    ]
    efforts = random.uniform(0.2, 0.6, (25, len(airframes), 4))
    fleet = AirframeBatch.of(airframes)
    states = np.stack([start.packed for start in starts], axis=1).astype(np.float32)
    for effort in efforts:
        told = np.ascontiguousarray(effort.T, np.float32)
        for _ in range(20):
            step_batch(fleet, states, told, dt_s=0.001, out=states)
    for index, (airframe, start) in enumerate(zip(airframes, starts, strict=True)):
        world = QuadrotorWorld(airframe)
        world.place(start)
        for effort in efforts[:, index]:
            world.set_motors(effort)
            integrate(world, 0.02)
        flown = world.state().packed
        # Float32, at a height of 50 m: 4 micrometres a step.
        assert np.abs(flown[:3] - states[:3, index]).max() < 2e-3
        assert np.abs(flown[3:7] - states[3:7, index]).max() < 5e-4
        assert np.abs(flown[7:13] - states[7:13, index]).max() < 2e-3


def test_setpoints_are_limited():
    world = QuadrotorWorld(X500)
    world.set_motors([-1.0, 2.0, 0.5, 1.0])
    assert world.setpoint == [0.0, 1.0, 0.5, 1.0]


@pytest.mark.parametrize("name", airframe_names())
def test_it_stands_on_its_feet(name):
    world = QuadrotorWorld(load_airframe(name))
    state = integrate(world, 2.0)
    height = gear_height_m(world.airframe)
    assert world.on_ground
    assert state.position == pytest.approx([0, 0, height], abs=0.01 * height)
    assert state.orientation == pytest.approx([1, 0, 0, 0], abs=1e-6)
    assert np.abs(state.linear_velocity).max() < 1e-6
    world.place(high())
    assert not world.on_ground


def test_a_state_that_is_not_finite_stays_visible():
    world = QuadrotorWorld(X500)
    world.place(high())
    for _ in range(4):
        world.integrate(TIMESTEP_S, (math.nan, 0.0, 0.0))
    assert not np.isfinite(world.state().position).all()


def is_orange(image):
    r, g, b = (image[..., n].astype(int) for n in range(3))
    return (r > 130) & (r - g > 40) & (g - b > 15)


@pytest.mark.parametrize("camera", CAMERAS)
def test_both_cameras_see_the_front_of_the_vehicle(camera):
    world = QuadrotorWorld(X500)
    with OffscreenRenderer(world.model, 320, 240) as renderer:
        for position in ((0.0, 0.0, 1.0), (0.8, 0.4, 1.0), (-0.8, 0.4, 1.4)):
            world.place(make_state(position=position))
            seen = is_orange(renderer.frame(world.data, camera))
            assert seen.sum() > 25
            rows, columns = np.nonzero(seen)
            if camera == "chase":
                assert abs(columns.mean() - 160) < 60
                assert abs(rows.mean() - 120) < 60
        world.place(make_state(position=(0, 0, -30.0)))
        assert is_orange(renderer.frame(world.data, "front")).sum() == 0


def test_the_chase_camera_scales_with_the_airframe():
    for name in ("crazyflie", "fs"):
        world = QuadrotorWorld(load_airframe(name))
        with OffscreenRenderer(world.model, 320, 240) as renderer:
            assert 0.003 < is_orange(renderer.frame(world.data, "chase")).mean() < 0.2


def test_a_trail_is_drawn_and_bounded_by_the_scene():
    world = QuadrotorWorld(X500)
    points = np.stack([np.linspace(-1, 1, 5000), np.zeros(5000), np.ones(5000)], axis=1)
    drawn = []
    with OffscreenRenderer(world.model, 160, 120) as renderer:
        plain = renderer.frame(world.data, "front")

        def decorate(scene):
            drawn.append(
                draw_trail(scene, points[:50] * [25, 1, 1] + [24, 0, 0], rgba=(1, 0, 0, 1), fades=True)
            )
            drawn.append(draw_trail(scene, points, rgba=(1, 0, 0, 1)))

        line = renderer.frame(world.data, "front", decorate=decorate)
    assert drawn[0] == 49
    assert 0 < drawn[1] < 4999
    red = (line[..., 0] > 150) & (line[..., 1] < 90)
    assert red.sum() > 20
    assert np.abs(line.astype(int) - plain).max() > 50
