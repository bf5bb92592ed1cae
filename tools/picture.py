"""Draws docs/images/twin.png: RAPTOR in its figure eight, and the arm with the cube it has picked.

Both are states of real runs: policy, gate and twin in lockstep, seed 0. Run it with the Python of `.venv`:

    .venv/bin/python tools/picture.py
"""

from __future__ import annotations

import time
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hardware.cards import load_robot_card
from hardware.reference import FigureEight, Hover, sequence
from policies.controller import load_controller
from sim.evaluation.lockstep import make_gate, run_lockstep
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE
from sim.twin.quadrotor import QuadrotorTwin
from sim.worlds.render import OffscreenRenderer, Quality
from sim.worlds.so101_view import So101View
from sim.worlds.trail import draw_trail

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 640, 480
ORANGE, GREY = (0.98, 0.42, 0.13, 1.0), (0.42, 0.46, 0.52, 1.0)
PERIOD_S, CLIMB_S = 5.5, 6.0


def camera(azimuth: float, elevation: float, distance: float, look_at: tuple[float, ...]) -> mujoco.MjvCamera:
    """A free camera (degrees, metres)."""
    view = mujoco.MjvCamera()
    view.azimuth, view.elevation, view.distance = azimuth, elevation, distance
    view.lookat[:] = look_at
    return view


def flight() -> NDArray[np.uint8]:
    """The x500 airframe late in a loop, the way it came in orange, the reference in grey."""
    card, centre = load_robot_card("quadrotor_twin"), (0.0, 0.0, 1.2)
    eight = FigureEight(centre, PERIOD_S)
    reference = sequence([Hover(centre, start_m=(0.0, 0.0, 0.0), duration_s=CLIMB_S), eight])
    with QuadrotorTwin(card, seed=0, latency=NONE) as twin:
        controller = load_controller(ROOT / "policies/raptor/reflexarc", card, steady_clock=time.monotonic_ns)
        end_ns = round((CLIMB_S + 1.72 * PERIOD_S) * 1e9)
        run_lockstep(
            twin,
            controller,
            make_gate(card),
            until=lambda step: step.now_ns >= end_ns,
            reference=reference,
            seed=0,
        )
        flown = twin.trace().qpos[:, :3][round(-0.62 * PERIOD_S * 100) :: 4]
        wanted = np.array([eight.sample(1.0 + t).position_m for t in np.linspace(0.0, PERIOD_S, 140)])

        def trails(scene: mujoco.MjvScene) -> None:
            draw_trail(scene, wanted, rgba=GREY, width_m=0.006)
            draw_trail(scene, flown, rgba=ORANGE, width_m=0.011)

        with OffscreenRenderer(twin.model, WIDTH, HEIGHT, quality=Quality.FINE) as renderer:
            view = camera(118.0, -24.0, 2.75, (0.0, 0.05, 1.0))
            return renderer.frame(twin.data, view, decorate=trails)


def pick() -> NDArray[np.uint8]:
    """The SO-101 with the cube lifted and held."""
    card = load_robot_card("so101_twin")
    with ArmTwin(card, seed=0, latency=NONE) as twin, So101View(quality=Quality.FINE) as view:
        controller = load_controller(ROOT / "policies/bc/pick_cube", card, steady_clock=time.monotonic_ns)
        run_lockstep(twin, controller, make_gate(card), until=lambda step: twin.success, seed=0)
        return view.image(
            twin.state, camera(138.0, -16.0, 0.54, (0.14, 0.0, 0.11)), width=WIDTH, height=HEIGHT
        )


def main() -> None:
    """Draw both, side by side."""
    path = ROOT / "docs/images/twin.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    both = Image.fromarray(np.concatenate([flight(), pick()], axis=1))
    both.quantize(255, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main()
