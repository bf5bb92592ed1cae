"""teleop_node with a virtual gamepad inside SDL; lines on standard input say what a hand does with it."""

import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

sys.path.insert(0, str(Path(__file__).parents[1] / "hardware" / "teleop"))

from reflexarc_ros import teleop_node  # noqa: E402
from virtual_gamepad import VirtualGamepad  # noqa: E402

from hardware.teleop.gamepad import Gamepad  # noqa: E402

LINES: SimpleQueue[str] = SimpleQueue()
HELD: dict[str, VirtualGamepad] = {}


def listen():
    for line in sys.stdin:
        LINES.put(line)


def obey():
    """In the thread that reads the gamepad: `plug`, `unplug`, `axis NAME VALUE`, `button NAME 0|1`."""
    while True:
        try:
            what, *rest = LINES.get_nowait().split()
        except Empty:
            return
        if what == "plug":
            HELD["pad"] = VirtualGamepad()
        elif what == "unplug":
            HELD["pad"].unplug()
        elif what == "axis":
            HELD["pad"].axis(rest[0], float(rest[1]))
        else:
            HELD["pad"].button(rest[0], rest[1] == "1")


class Held(Gamepad):
    def open(self):
        import pygame

        pygame.display.init()
        pygame.joystick.init()
        obey()
        super().open()

    def read(self, now_ns):
        obey()
        return super().read(now_ns)


sys.modules["hardware.teleop.gamepad"].Gamepad = Held
threading.Thread(target=listen, daemon=True).start()
raise SystemExit(teleop_node.main())
