"""A driver process that takes off, hovers under commands and says so, to be killed by a test."""

import sys
import time

from px4_processes import card, reference, wait_for

from hardware.drones.px4 import PX4Vehicle


def main():
    vehicle = PX4Vehicle(card(int(sys.argv[1])))
    vehicle.connect()
    wait_for(lambda: not vehicle.status.arming_blockers, "nothing blocks")
    vehicle.arm()
    wait_for(lambda: vehicle.status.armed, "armed")
    vehicle.take_off(1.5)
    wait_for(lambda: vehicle.status.follows_commands, "up")
    told = False
    while True:
        vehicle.command(reference((0.0, 0.0, 1.5)))
        if not told and vehicle.status.mode == "OFFBOARD":
            sys.stdout.write("hovering\n")
            sys.stdout.flush()
            told = True
        time.sleep(0.02)


main()
