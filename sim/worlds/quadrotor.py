"""The quadrotor's world: any airframe over a flat ground, flown by MuJoCo.

The body is a free rigid body with the airframe's exact mass and inertia; each rotor is an actuator
that pushes along the body's z axis and turns the body against its spin. Rotors lag behind their
set-points by their rising or falling time constant; the lag is solved exactly and MuJoCo gets each
piece's mean thrust, so that the impulse is exact whatever the length of the piece. There is no
aerodynamic drag, as in the simulator that RAPTOR was trained in (`sim.quadrotor.dynamics`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mujoco
import numpy as np

from hardware.command import FloatArray
from sim.quadrotor.airframes import GRAVITY_M_S2, MOTORS, ROTOR_SIGNS, TORQUE_SIGNS, Airframe
from sim.quadrotor.dynamics import QuadrotorState, make_state
from sim.worlds.quadrotor_look import add_scene, add_vehicle_look

BODY = "base_link"
# Cameras: one follows the vehicle, one stands in front of the flying ground.
CAMERAS = ("chase", "front")
# Longest piece of physics, seconds.
TIMESTEP_S = 0.0025
# Height of the centre of mass over the ground and radius of the feet, as shares of the arm.
_GEAR_HEIGHT, _FOOT_RADIUS = 0.62, 0.05


def gear_height_m(airframe: Airframe) -> float:
    """Height of the centre of mass when the vehicle stands on its feet, in metres."""
    return _GEAR_HEIGHT * airframe.arm_m


def quadrotor_model(airframe: Airframe) -> mujoco.MjModel:
    """Build the world of an airframe.

    Args:
        airframe: the vehicle.

    Returns:
        The compiled model: nq 7, nv 6, one actuator a motor (named as in `MOTORS`, in newtons), the
        cameras of `CAMERAS`.
    """
    spec = mujoco.MjSpec()
    spec.modelname = f"quadrotor_{airframe.name}"
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_RK4
    spec.option.gravity = [0.0, 0.0, -GRAVITY_M_S2]
    # A state that is not finite must be seen, not silently reset.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    ground = add_scene(spec, airframe.arm_m)
    ground.friction = [0.9, 0.01, 0.001]
    body = spec.worldbody.add_body(name=BODY, pos=[0.0, 0.0, gear_height_m(airframe)])
    body.add_freejoint(name="free")
    body.mass = airframe.mass_kg
    body.inertia = list(airframe.inertia_kg_m2)
    # Left out, MuJoCo would put the centre of mass where the body starts, not at its origin.
    body.ipos, body.iquat = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    body.explicitinertial = True
    arm, radius = airframe.arm_m, _FOOT_RADIUS * airframe.arm_m
    for name, position in zip(MOTORS, airframe.rotor_positions_m, strict=True):
        body.add_site(name=name, pos=position, size=[0.02 * arm] * 3, group=4)
        spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_SITE,
            gear=[0.0, 0.0, 1.0, 0.0, 0.0, TORQUE_SIGNS[name] * airframe.torque_constant_m],
        )
        sign_x, sign_y = ROTOR_SIGNS[name]
        body.add_geom(
            name=f"{name}_foot",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[radius, 0.0, 0.0],
            pos=[0.5 * arm * sign_x, 0.5 * arm * sign_y, radius - gear_height_m(airframe)],
            mass=0.0,
            rgba=[0.15, 0.16, 0.18, 1.0],
        )
    add_vehicle_look(body, airframe, gear_height_m(airframe))
    return spec.compile()


class QuadrotorWorld:
    """One vehicle in its world.

    Args:
        airframe: the vehicle.
    """

    def __init__(self, airframe: Airframe) -> None:
        """Build the world with the vehicle standing at the origin, motors off."""
        self.airframe = airframe
        self.model = quadrotor_model(airframe)
        self.data = mujoco.MjData(self.model)
        self._qpos, self._qvel, self._ctrl = self.data.qpos, self.data.qvel, self.data.ctrl
        self._force = self.data.xfrc_applied[self.model.body(BODY).id, :3]
        self._timestep_s = TIMESTEP_S
        self._decay: dict[tuple[float, float], tuple[float, float, float]] = {}
        self.place(make_state(position=(0.0, 0.0, gear_height_m(airframe))))

    def place(self, state: QuadrotorState) -> None:
        """Put the vehicle anywhere.

        Args:
            state: of one vehicle; its efforts are also the new set-points.
        """
        mujoco.mj_resetData(self.model, self.data)
        self._qpos[:3], self._qpos[3:] = state.position, state.orientation
        self._qvel[:3], self._qvel[3:] = state.linear_velocity, state.angular_velocity
        self.effort: list[float] = state.effort.tolist()
        self.setpoint: list[float] = list(self.effort)
        mujoco.mj_forward(self.model, self.data)

    def state(self) -> QuadrotorState:
        """The present state, as the reference dynamics pack it."""
        return QuadrotorState(np.concatenate([self._qpos, self._qvel, self.effort]))

    def set_motors(self, setpoint: Sequence[float]) -> None:
        """Set the rotors' set-points.

        Args:
            setpoint: efforts in the order of `MOTORS`; the speed controllers limit them to 0 to 1.
        """
        self.setpoint = [min(1.0, max(0.0, float(u))) for u in setpoint]

    @property
    def on_ground(self) -> bool:
        """Whether anything of the vehicle touches the ground."""
        return bool(self.data.ncon > 0)

    def integrate(self, duration_s: float, force_n: Sequence[float] | FloatArray | None = None) -> None:
        """Move on by one piece.

        Args:
            duration_s: length of the piece, at most `TIMESTEP_S`.
            force_n: mean external force over the piece, world frame, shape (3,); None for none.
        """
        if duration_s != self._timestep_s:
            self._timestep_s = self.model.opt.timestep = duration_s
        c0, c1, c2 = self.airframe.thrust_n
        thrusts = []
        for n in range(4):
            u, target = self.effort[n], self.setpoint[n]
            gap = u - target
            if gap == 0.0:
                thrusts.append(c0 + u * (c1 + u * c2))
                continue
            lag_s = self.airframe.rising_s if gap <= 0.0 else self.airframe.falling_s
            # u(t) = target + gap e^(-t/lag): its value at the end, and the means of u and u^2.
            end, mean, mean_square = self._decayed(duration_s, lag_s)
            mean_u = target + gap * mean
            mean_u2 = target * target + gap * (2.0 * target * mean + gap * mean_square)
            thrusts.append(c0 + c1 * mean_u + c2 * mean_u2)
            self.effort[n] = target + gap * end
        self._ctrl[:] = thrusts
        self._force[:] = 0.0 if force_n is None else force_n
        mujoco.mj_step(self.model, self.data)

    def _decayed(self, duration_s: float, lag_s: float) -> tuple[float, float, float]:
        key = (duration_s, lag_s)
        found = self._decay.get(key)
        if found is None:
            x = duration_s / lag_s
            found = (math.exp(-x), -math.expm1(-x) / x, -math.expm1(-2.0 * x) / (2.0 * x))
            if len(self._decay) > 64:
                self._decay.clear()
            self._decay[key] = found
        return found
