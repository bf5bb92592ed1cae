"""A driver process that takes off, holds its place under commands and says so, to be killed by a test."""

import sys
import time

import numpy as np
from betaflight_processes import MotionCapture, take_off

from hardware.cards import load_robot_card
from hardware.command import Command, CommandKind
from hardware.drones.betaflight import BetaflightVehicle
from hardware.drones.betaflight_settings import RATES_NAMES
from hardware.drones.outer_loop import OuterLoop, Setpoint
from hardware.frames import rotation_matrix


def main():
    vehicle = BetaflightVehicle(load_robot_card(sys.argv[1]))
    with MotionCapture(vehicle):
        vehicle.connect()
        take_off(vehicle, 0.8)
        loop, told, last = OuterLoop(), 0, time.monotonic()
        goal = Setpoint(vehicle.read().values["position"].copy(), np.zeros(3))
        while True:
            o, now = vehicle.read(), time.monotonic()
            orientation = o.values["orientation"]
            wanted = loop.update(
                goal,
                position_m=o.values["position"],
                velocity_m_s=rotation_matrix(orientation) @ o.values["linear_velocity"],
                orientation_wxyz=orientation,
                dt_s=now - last,
            )
            last = now
            values = np.array([*wanted.rates_rad_s, wanted.thrust])
            vehicle.command(
                Command(CommandKind.RATES_THRUST, RATES_NAMES, values, o.stamp_ns, time.monotonic_ns())
            )
            told += 1
            if told == 50:
                sys.stdout.write("hovering\n")
                sys.stdout.flush()
            if told % 25 == 0 and told > 50:
                sys.stdout.write(f"{vehicle.status.armed} {vehicle.safe_stopped}\n")
                sys.stdout.flush()
            time.sleep(0.02)


main()
