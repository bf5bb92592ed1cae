"""A PX4 session and a PX4-like vehicle on one simulated clock, with a wire that takes its time."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from hardware.command import CommandKind
from hardware.drones.px4_session import Session, SessionSettings
from sim.peers.px4 import MavlinkPeer, ParameterStore, PeerVehicle
from sim.quadrotor.airframes import load_airframe

NS = 1_000_000_000
# Our clock is not the vehicle's: the epoch of the data clock, and a wire that takes this long each way.
EPOCH_NS = 1_700_000_000 * NS
DELAY_NS = 8_000_000
TICK_NS = 20_000_000
# Lands by itself when set-points stop, as the card of PX4 wants it.
LANDS = {"COM_OBL_RC_ACT": 4.0}


class Flight:
    """Both ends of a wire.

    Time is the vehicle's; `run` moves it on and calls `each_tick` where a driver would be asked.
    """

    def __init__(self, *, parameters=None, policy=None, seed=0, wants=None, **settings):
        self._parameters, self._policy, self._seed = parameters or {}, policy, seed
        self.down: deque = deque()
        self.up: deque = deque()
        self.is_cut = False
        self._base_ns = 0
        self._boot()
        timeouts = {CommandKind.REFERENCE: 0.3, CommandKind.RATES_THRUST: 0.3}
        self.session = Session(SessionSettings(timeouts_s=timeouts, parameters=wants or {}, **settings))
        self._next_tick_ns = 0
        self.sent: list[bytes] = []

    def _boot(self):
        self.vehicle = PeerVehicle(
            load_airframe("x500_sim"),
            seed=self._seed,
            parameters=ParameterStore(LANDS | self._parameters),
            motor_policy=self._policy,
        )
        self.peer = MavlinkPeer(self.vehicle, self._send_down)

    def restart_vehicle(self):
        """The vehicle's battery was changed: it boots anew, its clock begins at zero."""
        self._base_ns = self.now_ns
        self._boot()

    @property
    def now_ns(self):
        return self._base_ns + self.vehicle.now_ns

    @property
    def now_s(self):
        return self.now_ns * 1e-9

    @property
    def pilot(self):
        return self.session.pilot

    @property
    def status(self):
        return self.session.status(self.now_ns)

    @property
    def truth(self):
        return self.vehicle.body.state

    def _send_down(self, data):
        if not self.is_cut:
            self.down.append((self.now_ns + DELAY_NS, data))

    def _times(self):
        return {"data_now_ns": EPOCH_NS + self.now_ns, "steady_now_ns": self.now_ns}

    def run(self, duration_s, each_tick=None, until=None):
        """Let time pass; `until` ends it early and then must come true."""
        end_ns = self.now_ns + round(duration_s * NS)
        while self.now_ns < end_ns:
            self.peer.step()
            while self.down and self.down[0][0] <= self.now_ns:
                self.session.receive(self.down.popleft()[1], **self._times())
            while self.up and self.up[0][0] <= self.now_ns:
                self.peer.receive(self.up.popleft()[1])
            if self.now_ns >= self._next_tick_ns:
                self._next_tick_ns = self.now_ns + TICK_NS
                if each_tick is not None:
                    each_tick(self)
                self.session.tick(**self._times())
            for data in self.session.take_out():
                self.sent.append(data)
                if not self.is_cut:
                    self.up.append((self.now_ns + DELAY_NS, data))
            if until is not None and until(self):
                return True
        if until is not None:
            raise AssertionError(
                f"not within {duration_s} s: {self.status}, {self.pilot.phase}, {self.pilot.problem}"
            )
        return False

    # --- the steps of a flight ----------------------------------------------------------------

    def meet(self):
        self.run(
            5.0, until=lambda f: f.session.state is not None and f.session.told.clock.offset_ns is not None
        )
        return self

    def arm(self):
        self.pilot.arm(self.now_ns)
        self.run(3.0, until=lambda f: f.status.armed)
        return self

    def up_to(self, height_m=2.0):
        """Arm, take off, hold."""
        self.meet().arm()
        self.pilot.take_off(self.now_ns, height_m)
        self.run(12.0, until=lambda f: f.status.follows_commands)
        return self

    def reference(self, position, velocity=(0.0, 0.0, 0.0), yaw=0.0):
        names = ("x", "y", "z", "velocity_x", "velocity_y", "velocity_z", "yaw")
        values = dict(zip(names, (*position, *velocity, yaw), strict=True))
        self.session.command(CommandKind.REFERENCE, values, self.now_ns, stamp_ns=EPOCH_NS + self.now_ns)

    def rates(self, roll_rate=0.0, pitch_rate=0.0, yaw_rate=0.0, thrust=1.0):
        values = {"roll_rate": roll_rate, "pitch_rate": pitch_rate, "yaw_rate": yaw_rate, "thrust": thrust}
        self.session.command(CommandKind.RATES_THRUST, values, self.now_ns, stamp_ns=EPOCH_NS + self.now_ns)

    def error_m(self, position):
        return float(np.linalg.norm(self.truth.position - np.asarray(position)))


def figure_eight(t_s, *, period_s=10.0, height_m=2.0):
    """Position and velocity of the Lissajous figure, ramped in over two seconds."""
    s = 2.0 * math.pi / period_s
    phase = s * (t_s - 1.0) if t_s > 2.0 else s * t_s * t_s / 4.0
    speed = s * min(1.0, t_s / 2.0)
    return (
        (math.sin(phase), 0.5 * math.sin(2.0 * phase), height_m),
        (speed * math.cos(phase), speed * math.cos(2.0 * phase), 0.0),
    )
