"""Protects what the PX4 driver does in flight, on one simulated clock with the PX4-like vehicle."""

import math

import numpy as np
import pytest
from px4_lockstep import EPOCH_NS, Flight, figure_eight

from hardware.drones.px4_modes import Mode
from hardware.drones.px4_pilot import Phase
from hardware.drones.vehicle import ExternalPose
from hardware.errors import Refusal
from policies.raptor.px4_peer import RaptorMotors


def fly_figure_eight(flight, seconds=8.0):
    start_s, errors = flight.now_s, []

    def each_tick(f):
        position, velocity = figure_eight(f.now_s - start_s)
        f.reference(position, velocity)
        if f.now_s - start_s > 3.0:
            errors.append(f.error_m(position))

    flight.run(seconds, each_tick)
    return float(np.sqrt(np.mean(np.square(errors))))


def sent_names(flight):
    from hardware.drones.mavlink import Framer

    return [r.name for data in flight.sent for r in Framer(keeps_rest=False).feed(data)]


def test_it_arms_takes_off_follows_a_figure_eight_lands_and_disarms():
    flight = Flight().up_to(2.0)
    assert flight.status.mode == "AUTO.HOLD"
    assert flight.truth.position[2] == pytest.approx(2.0, abs=0.3)
    # Ours is north of west: a wrong frame would fly elsewhere.
    flight.run(4.0, lambda f: f.reference((1.0, 0.5, 2.5), yaw=1.0))
    assert flight.pilot.phase is Phase.FOLLOWING
    assert flight.error_m((1.0, 0.5, 2.5)) < 0.2
    assert flight.vehicle.estimate.yaw == pytest.approx(1.0, abs=0.1)
    flight.run(3.0, lambda f: f.reference((0.0, 0.0, 2.0)))
    assert fly_figure_eight(flight) < 0.15
    flight.pilot.land(flight.now_ns)
    flight.run(15.0, until=lambda f: not f.status.armed)
    assert flight.status.on_ground
    assert flight.truth.position[2] == 0.0
    # And once more: nothing of the last flight is in the way.
    flight.up_to(1.0)


def test_what_is_observed_is_the_truth_in_our_frames_at_its_own_time():
    flight = Flight().up_to(1.0)
    history = {}

    def each_tick(f):
        history[f.now_ns] = f.truth.packed
        f.reference((2.0, 1.0, 1.5), (0.5, 0.5, 0.0), yaw=2.0)

    flight.run(1.5, each_tick)
    state = flight.session.state
    then_ns = state.stamp_ns - EPOCH_NS
    assert 0 <= flight.now_ns - then_ns < 50_000_000
    nearest = history[min(history, key=lambda t: abs(t - then_ns))]
    assert np.linalg.norm(nearest[7:10]) > 0.5
    assert state.position == pytest.approx(nearest[0:3], abs=0.05)
    assert abs(state.orientation @ nearest[3:7]) > 0.999
    from hardware.frames import rotation_matrix

    assert rotation_matrix(state.orientation) @ state.linear_velocity == pytest.approx(nearest[7:10], abs=0.1)
    assert state.angular_velocity == pytest.approx(nearest[10:13], abs=0.15)


def test_without_odometry_position_and_attitude_are_put_together():
    flight = Flight()
    flight.peer._period_ns["ODOMETRY"] = 0
    flight.session._ask_rates = lambda: None
    flight.up_to(1.0)
    flight.run(2.0, lambda f: f.reference((1.0, 0.0, 1.5)))
    assert flight.session.state.position == pytest.approx(flight.truth.position, abs=0.1)


def test_setpoints_come_before_the_mode_and_commands_only_in_it():
    flight = Flight().up_to(1.0)
    flight.sent.clear()
    modes = []

    def each_tick(f):
        f.reference((3.0, 0.0, 1.0))
        modes.append((f.pilot.mode, len(f.sent), f.truth.position[0]))

    flight.run(2.0, each_tick)
    names = sent_names(flight)
    first_ask = names.index("COMMAND_LONG")
    assert names[:first_ask].count("SET_POSITION_TARGET_LOCAL_NED") >= 3
    # Until the mode was reported the vehicle was asked to stay where it is, not to go to x = 3.
    before = [x for mode, _, x in modes if mode is not Mode.OFFBOARD]
    assert before
    assert max(abs(x) for x in before) < 0.1
    assert flight.truth.position[0] > 0.3


def test_silence_lands_and_disarms():
    flight = Flight().up_to(1.5)
    flight.run(1.0, lambda f: f.reference((0.0, 0.0, 1.5)))
    flight.run(12.0, until=lambda f: not f.status.armed)
    assert flight.pilot.safe_stopped == "command timeout"
    assert flight.truth.position[2] == 0.0
    # Arming again is a new beginning.
    flight.arm()
    assert flight.pilot.safe_stopped is None


def test_a_cut_link_ends_in_the_firmwares_own_landing():
    flight = Flight().up_to(1.5)
    flight.run(1.0, lambda f: f.reference((0.0, 0.0, 1.5)))
    flight.is_cut = True
    flight.run(12.0, lambda f: f.reference((0.0, 0.0, 1.5)), until=lambda f: not f.vehicle.commander.armed)
    assert flight.truth.position[2] == 0.0
    assert flight.status.link_quality == 0.0
    assert not flight.status.follows_commands
    assert "link lost" in flight.status.mode


def test_the_firmwares_failsafe_is_told_and_not_fought():
    flight = Flight(parameters={"COM_LOW_BAT_ACT": 2, "SIM_BAT_DRAIN": 10.0, "SIM_BAT_MIN_PCT": 2.0}).up_to(
        1.0
    )
    flight.run(20.0, lambda f: f.reference((0.0, 0.0, 1.5)), until=lambda f: f.pilot.phase is Phase.RELEASED)
    assert flight.status.failsafe
    assert not flight.status.follows_commands
    assert "battery critical" in flight.pilot.problem
    flight.run(10.0, lambda f: f.reference((0.0, 0.0, 1.5)), until=lambda f: not f.status.armed)


def test_a_low_battery_lands_before_the_firmware_has_to():
    flight = Flight(parameters={"SIM_BAT_DRAIN": 10.0, "SIM_BAT_MIN_PCT": 2.0}, battery_land_share=0.6).up_to(
        1.0
    )
    flight.run(30.0, lambda f: f.reference((0.0, 0.0, 1.5)), until=lambda f: not f.status.armed)
    assert flight.pilot.safe_stopped.startswith("battery low: ")
    assert flight.status.battery_share > 0.2


def test_a_pilot_who_takes_the_mode_keeps_it():
    flight = Flight().up_to(1.5)
    flight.run(1.5, lambda f: f.reference((0.0, 0.0, 1.5)))
    # Somebody else's ground station asks for hold.
    flight.vehicle.commander.request(Mode.HOLD)
    flight.run(3.0, lambda f: f.reference((0.0, 0.0, 1.5)))
    assert flight.pilot.phase is Phase.RELEASED
    assert flight.status.mode == "AUTO.HOLD"
    assert "not on our request" in flight.pilot.problem
    # They give it back: the proof of life has gone on, so that PX4 takes the mode.
    flight.vehicle.commander.request(Mode.OFFBOARD)
    flight.run(1.0, lambda f: f.reference((0.0, 0.0, 1.5)))
    assert flight.pilot.phase is Phase.FOLLOWING


def test_a_pilot_who_breaks_a_landing_off_keeps_it():
    flight = Flight().up_to(3.0)
    flight.pilot.land(flight.now_ns)
    flight.run(5.0, until=lambda f: f.pilot.mode is Mode.LAND)
    flight.run(0.5)
    flight.vehicle.commander.request(Mode.HOLD)
    flight.run(3.0)
    assert flight.pilot.phase is Phase.RELEASED
    assert flight.vehicle.commander.mode is Mode.HOLD


def test_a_command_in_the_air_ends_a_safe_stop_but_not_a_landing_on_request():
    flight = Flight().up_to(3.0)
    flight.run(1.0, lambda f: f.reference((0.0, 0.0, 3.0)))
    flight.pilot.safe_stop(flight.now_ns, "the gate fell silent")
    flight.run(1.0)
    assert flight.pilot.mode is Mode.LAND
    flight.run(2.0, lambda f: f.reference((0.0, 0.0, 3.0)))
    assert flight.pilot.phase is Phase.FOLLOWING
    assert flight.pilot.safe_stopped is None
    flight.pilot.land(flight.now_ns)
    flight.run(15.0, lambda f: f.reference((0.0, 0.0, 3.0)), until=lambda f: not f.status.armed)


def test_it_says_in_words_why_it_does_not_arm():
    flight = Flight(parameters={"CAL_GYRO0_ID": 0, "CAL_MAG0_ID": 0}).meet()
    flight.pilot.arm(flight.now_ns)
    flight.run(3.0, until=lambda f: len(f.status.arming_blockers) == 2)
    assert flight.status.arming_blockers == ("Gyro 0 uncalibrated", "Mag 0 uncalibrated")
    assert not flight.status.armed
    with pytest.raises(Refusal, match="will not arm: Gyro 0 uncalibrated; Mag 0 uncalibrated"):
        flight.pilot.arm(flight.now_ns)
    # Mended: it arms, although it refused before.
    flight.vehicle.parameters.set("CAL_GYRO0_ID", 1)
    flight.vehicle.parameters.set("CAL_MAG0_ID", 1)
    flight.run(1.0)
    flight.arm()


def test_parameters_that_the_card_wants_are_named_when_they_differ():
    flight = Flight(parameters={"COM_OBL_RC_ACT": 0}, wants={"COM_OBL_RC_ACT": 4.0})
    flight.run(3.0, until=lambda f: f.session.parameter("COM_OBL_RC_ACT") is not None)
    assert flight.status.arming_blockers == ("the parameter COM_OBL_RC_ACT is 0 and the card wants 4",)


def test_parameters_are_written_only_where_the_card_says_so():
    wants = {"COM_OBL_RC_ACT": 4.0, "COM_OF_LOSS_T": 0.7}
    flight = Flight(parameters={"COM_OBL_RC_ACT": 0}, wants=wants)
    flight.run(5.0)
    assert flight.vehicle.parameters["COM_OBL_RC_ACT"] == 0
    flight = Flight(parameters={"COM_OBL_RC_ACT": 0}, wants=wants, writes_parameters=True)
    flight.run(5.0, until=lambda f: f.status.arming_blockers == ())
    assert flight.vehicle.parameters["COM_OBL_RC_ACT"] == 4
    assert flight.vehicle.parameters["COM_OF_LOSS_T"] == pytest.approx(0.7)


def test_take_off_is_refused_where_it_cannot_be():
    flight = Flight().meet()
    with pytest.raises(Refusal, match="not armed"):
        flight.pilot.take_off(flight.now_ns, 2.0)
    flight.arm()
    with pytest.raises(Refusal, match="positive number of metres"):
        flight.pilot.take_off(flight.now_ns, math.nan)
    flight.pilot.take_off(flight.now_ns, 1.0)
    with pytest.raises(Refusal, match="taking off"):
        flight.pilot.take_off(flight.now_ns, 1.0)


def test_commands_on_the_ground_are_ignored():
    flight = Flight().meet().arm()
    flight.run(3.0, lambda f: f.reference((0.0, 0.0, 2.0)))
    assert flight.pilot.phase is Phase.GROUND
    assert flight.truth.position[2] == 0.0
    assert "SET_POSITION_TARGET_LOCAL_NED" not in sent_names(flight)


def test_rates_and_thrust_turn_the_body_as_flu_has_it_and_thrust_counts_in_weights():
    flight = Flight().up_to(3.0)
    seen = []

    def each_tick(f):
        # A height loop as small as can be: the weight is carried by 1.
        z, vz = f.session.state.position[2], f.truth.linear_velocity[2]
        f.rates(yaw_rate=0.6, thrust=1.0 + 0.4 * (3.0 - z) - 0.3 * vz)
        seen.append(f.truth.angular_velocity[2])

    flight.run(3.0, each_tick)
    assert np.mean(seen[-50:]) == pytest.approx(0.6, abs=0.1)
    assert flight.truth.position[2] == pytest.approx(3.0, abs=0.4)


def test_raptor_on_board_follows_references_and_is_refused_where_it_is_not():
    flight = Flight(policy=RaptorMotors(), follow=Mode.EXTERNAL1).up_to(2.0)
    flight.run(3.0, lambda f: f.reference((0.5, 0.5, 2.2), yaw=1.0))
    assert flight.status.mode == "AUTO.EXTERNAL1"
    assert flight.error_m((0.5, 0.5, 2.2)) < 0.2
    assert flight.vehicle.estimate.yaw == pytest.approx(1.0, abs=0.2)
    assert flight.vehicle.raptor_ignored == 0
    # Its references stop: it freezes within 0.2 s, and the driver lands it.
    flight.run(15.0, until=lambda f: not f.status.armed)
    without = Flight(follow=Mode.EXTERNAL1).up_to(2.0)
    without.run(8.0, lambda f: f.reference((0.0, 0.0, 2.0)), until=lambda f: f.pilot.safe_stopped is not None)
    assert "no mode is registered as External 1" in without.pilot.problem


def test_without_satellites_it_flies_on_poses_from_outside_and_lands_when_they_stop():
    flight = Flight(parameters={"EKF2_EV_CTRL": 15})
    sends = True

    def capture(f):
        truth = f.truth
        if sends:
            f.session.external_pose(
                ExternalPose(truth.position.copy(), truth.orientation.copy(), EPOCH_NS + f.now_ns)
            )

    flight.run(2.0)
    assert flight.session.state is None
    flight.run(
        4.0,
        capture,
        until=lambda f: f.session.state is not None and f.session.told.clock.offset_ns is not None,
    )
    flight.pilot.arm(flight.now_ns)
    flight.run(3.0, capture, until=lambda f: f.status.armed)
    flight.pilot.take_off(flight.now_ns, 1.5)
    flight.run(10.0, capture, until=lambda f: f.status.follows_commands)

    def both(f):
        capture(f)
        f.reference((0.5, -0.5, 1.5), yaw=0.5)

    flight.run(5.0, both)
    assert flight.error_m((0.5, -0.5, 1.5)) < 0.15
    assert flight.vehicle.estimator.accepted > 400
    assert flight.vehicle.estimator.refused == 0
    sends = False
    flight.run(15.0, both, until=lambda f: not f.status.armed)
    assert flight.truth.position[2] == 0.0


def test_it_finds_a_vehicle_again_that_was_started_anew():
    flight = Flight().meet()
    flight.run(3.0)
    flight.is_cut = True
    flight.run(4.0)
    assert not flight.session.is_alive(flight.now_ns)
    flight.restart_vehicle()
    flight.is_cut = False
    flight.run(
        4.0, until=lambda f: f.session.told.reconnects == 1 and f.session.told.clock.offset_ns is not None
    )
    flight.run(1.0)
    # The clock's offset is the new one, and the state comes at the rate that was asked for again.
    assert abs(EPOCH_NS + flight.now_ns - flight.session.state.stamp_ns) < 50_000_000
    before = flight.session.told.quality.share
    assert before is not None
    flight.up_to(1.0)


def test_it_takes_over_a_vehicle_that_flies_already():
    flight = Flight().up_to(1.5)
    # The driver's process died and was started again.
    from hardware.drones.px4_session import Session

    flight.session = Session(flight.session.settings)
    flight.run(5.0, until=lambda f: f.status.follows_commands)
    flight.run(3.0, lambda f: f.reference((0.5, 0.0, 1.5)))
    assert flight.pilot.phase is Phase.FOLLOWING
    assert flight.error_m((0.5, 0.0, 1.5)) < 0.2
