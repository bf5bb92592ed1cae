"""Protects the course of a flight: who may ask for what when, and that every failure ends on the ground, in
the firmware's failsafe, or disarmed."""

import numpy as np
import pytest

from hardware.drones.outer_loop import HOVER, OuterLoopSettings, RatesThrust, Setpoint
from hardware.drones.pilot import Phase, Pilot, PilotSettings
from hardware.drones.pose import PoseState
from hardware.errors import Refusal

STEP_NS = 10_000_000
LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
COMMAND = RatesThrust((0.1, 0.0, 0.0), 1.0)


class Flight:
    """A vehicle that is where its reference is (never under the ground), and a pilot."""

    def __init__(self, *, cut_disarms=False, follows=True):
        self.pilot = Pilot(
            PilotSettings(), OuterLoopSettings(), command_timeout_s=0.3, cut_disarms=cut_disarms
        )
        self.now_ns, self.armed, self.follows = 0, False, follows
        self.position, self.velocity = np.zeros(3), np.zeros(3)
        self.is_blind, self.firmware_arms = False, True
        self.pose = self._capture()
        self.orders = None

    def _capture(self):
        return PoseState(
            self.position.copy(), self.velocity.copy(), LEVEL, np.zeros(3), self.now_ns, self.now_ns
        )

    def steps(self, seconds, command=None, until=None):
        for _ in range(round(seconds / (STEP_NS * 1e-9))):
            self.now_ns += STEP_NS
            if not self.is_blind:
                self.pose = self._capture()
            if command is not None:
                self.pilot.command(self.now_ns, command)
            self.orders = self.pilot.step(self.now_ns, self.pose, armed=self.armed, reasons=("CALIB: ...",))
            self.armed = self.orders.arm and self.firmware_arms and not self.orders.silent
            goal = self.orders.setpoint
            if goal is not None and self.follows:
                before = self.position.copy()
                self.position = np.maximum(goal.position_m, [-np.inf, -np.inf, 0.0])
                self.velocity = (self.position - before) / (STEP_NS * 1e-9)
            if until is not None and self.pilot.phase is until:
                return
        assert until is None, f"never came to {until}: {self.pilot.phase}, {self.pilot.note}"

    def up(self):
        self.pilot.arm(self.now_ns, self.pose)
        self.steps(1.0, until=Phase.READY)
        self.pilot.take_off(self.now_ns, 1.0, self.pose)
        self.steps(10.0, until=Phase.HOLD)
        return self


def test_a_whole_flight():
    flight = Flight()
    flight.steps(0.1)
    assert (flight.orders.arm, flight.orders.control) == (False, None)
    flight.up()
    assert flight.position[2] == pytest.approx(1.0, abs=0.1)
    flight.steps(1.0, command=COMMAND)
    assert flight.pilot.phase is Phase.FOLLOW
    assert flight.orders.control == COMMAND
    flight.pilot.land(flight.now_ns, flight.pose)
    flight.steps(10.0, until=Phase.GROUND)
    assert flight.pilot.note == "landed"
    assert flight.pilot.safe_stopped is None
    assert not flight.orders.arm


def test_references_are_followed_by_its_own_loop_as_well():
    flight = Flight().up()
    goal = Setpoint(np.array([1.0, 0.0, 1.0]), np.zeros(3))
    flight.follows = False
    flight.steps(0.2, command=goal)
    assert flight.orders.setpoint is goal
    # To get there, it pitches forward.
    assert flight.orders.control.rates_rad_s[1] > 0.1


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda f: f.pilot.take_off(f.now_ns, 1.0, f.pose), "arm it first"),
        (lambda f: f.pilot.arm(f.now_ns, None), "no fresh pose from outside"),
        (lambda f: f.pilot.arm(f.now_ns + 10**9, f.pose), "no fresh pose from outside"),
    ],
)
def test_what_is_refused_on_the_ground(ask, text):
    flight = Flight()
    flight.steps(0.1)
    with pytest.raises(Refusal, match=text):
        ask(flight)


@pytest.mark.parametrize("height", [0.0, -1.0, float("nan"), 1e6])
def test_a_height_that_is_none_is_refused(height):
    flight = Flight()
    flight.pilot.arm(flight.now_ns, flight.pose)
    flight.steps(1.0, until=Phase.READY)
    with pytest.raises(Refusal, match="give 0.1 to 100 m"):
        flight.pilot.take_off(flight.now_ns, height, flight.pose)


def test_a_firmware_that_does_not_arm_ends_the_attempt_with_its_reasons():
    flight = Flight()
    flight.firmware_arms = False
    flight.pilot.arm(flight.now_ns, flight.pose)
    flight.steps(5.0, until=Phase.GROUND)
    assert flight.pilot.note == "the firmware did not arm: CALIB: ..."


def test_commands_count_in_the_air_alone():
    flight = Flight()
    flight.steps(0.5, command=COMMAND)
    assert flight.pilot.phase is Phase.GROUND
    flight.pilot.arm(flight.now_ns, flight.pose)
    flight.steps(0.5, command=COMMAND)
    assert flight.pilot.phase is Phase.READY
    flight.pilot.take_off(flight.now_ns, 1.0, flight.pose)
    flight.steps(0.5, command=COMMAND)
    assert flight.pilot.phase is Phase.CLIMB


def test_silence_of_commands_lands_and_a_new_command_ends_that():
    flight = Flight().up()
    flight.steps(0.1, command=COMMAND)
    flight.steps(0.4)
    assert flight.pilot.phase is Phase.LAND
    assert flight.pilot.safe_stopped == "no command"
    flight.steps(0.1, command=COMMAND)
    assert flight.pilot.phase is Phase.FOLLOW
    assert flight.pilot.safe_stopped is None


def test_a_landing_that_was_asked_for_is_not_ended_by_commands():
    flight = Flight().up()
    flight.pilot.land(flight.now_ns, flight.pose)
    flight.steps(10.0, command=COMMAND, until=Phase.GROUND)


def test_a_safe_stop_lands_and_arming_forgets_it():
    flight = Flight().up()
    flight.pilot.safe_stop(flight.now_ns, "fence", flight.pose)
    flight.steps(10.0, until=Phase.GROUND)
    assert flight.pilot.safe_stopped == "fence"
    flight.pilot.arm(flight.now_ns, flight.pose)
    assert flight.pilot.safe_stopped is None


@pytest.mark.parametrize("phase", [Phase.HOLD, Phase.LAND])
@pytest.mark.parametrize("cut_disarms", [False, True])
def test_without_a_pose_it_levels_out_and_then_gives_up(phase, cut_disarms):
    flight = Flight(cut_disarms=cut_disarms).up()
    if phase is Phase.LAND:
        flight.pilot.land(flight.now_ns, flight.pose)
    flight.is_blind = True
    flight.steps(0.35)
    assert flight.orders.control == HOVER
    flight.steps(0.3, until=Phase.CUT)
    flight.steps(0.05)
    # Somebody else's receiver would go on with the last values: there, silence is not enough.
    assert flight.orders.silent is not cut_disarms
    assert flight.orders.arm is not cut_disarms
    assert flight.pilot.safe_stopped == "no pose"
    flight.steps(2.0, until=Phase.GROUND)


def test_under_command_a_stale_pose_is_the_policys_affair_until_it_falls_silent():
    flight = Flight().up()
    flight.steps(0.1, command=COMMAND)
    flight.is_blind = True
    flight.steps(1.0, command=COMMAND)
    assert flight.pilot.phase is Phase.FOLLOW
    flight.steps(1.0)
    assert flight.pilot.phase in (Phase.CUT, Phase.GROUND)


def test_a_firmware_that_disarms_by_itself_is_believed():
    flight = Flight().up()
    flight.steps(1.0)
    flight.firmware_arms = False
    flight.steps(0.1)
    assert flight.pilot.phase is Phase.GROUND
    assert flight.pilot.safe_stopped == "the firmware disarmed by itself: CALIB: ..."


def test_a_vehicle_that_does_not_lift_off_is_disarmed():
    flight = Flight(follows=False)
    flight.pilot.arm(flight.now_ns, flight.pose)
    flight.steps(1.0, until=Phase.READY)
    flight.pilot.take_off(flight.now_ns, 1.0, flight.pose)
    flight.steps(10.0, until=Phase.GROUND)
    assert flight.pilot.note == "it did not lift off"


def test_a_controller_that_keeps_an_offset_has_arrived_when_it_comes_no_nearer():
    flight = Flight()
    flight.pilot.arm(flight.now_ns, flight.pose)
    flight.steps(1.0, until=Phase.READY)
    flight.pilot.take_off(flight.now_ns, 1.0, flight.pose)
    flight.follows = False
    flight.position = np.array([0.0, 0.0, 1.2])
    flight.steps(6.0, until=Phase.HOLD)


def test_a_landing_waits_for_the_ground_and_does_not_run_ahead_of_the_vehicle():
    flight = Flight().up()
    flight.follows = False
    flight.velocity = np.array([0.0, 0.0, -0.4])
    flight.pilot.land(flight.now_ns, flight.pose)
    flight.steps(5.0)
    # It says that it moves: that is no ground, however far the reference is below it.
    assert flight.pilot.phase is Phase.LAND
    assert flight.orders.setpoint.position_m[2] >= flight.position[2] - 0.55


def test_a_flight_that_is_taken_over_at_speed_glides_out():
    flight = Flight().up()
    flight.steps(0.1, command=COMMAND)
    flight.velocity = np.array([2.0, 0.0, 0.0])
    flight.pose = flight._capture()
    flight.pilot.safe_stop(flight.now_ns, "estop", flight.pose)
    flight.steps(0.05)
    assert 1.0 < flight.orders.setpoint.velocity_m_s[0] < 2.0
    flight.steps(3.0)
    assert abs(flight.orders.setpoint.velocity_m_s[0]) < 0.02
