"""Draws docs/images/task_*.png: each task as people see it, and beside it what its cameras see.

All are states of real runs of the tasks' experts, seed 1; a task without one is shown at its start.
Run it with the Python of `.venv`:

    .venv/bin/python tools/task_pictures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from PIL import Image

from sim.experts.library import make_expert
from sim.worlds.arm_view import ArmView
from sim.worlds.library import find_world
from sim.worlds.render import Quality

ROOT = Path(__file__).resolve().parent.parent
HEIGHT, SEED = 360, 1
# Task -> file, control steps of the expert until the picture (0: it has none), and from where it is taken:
# azimuth and elevation in degrees, distance and the point looked at in metres.
PICTURES: dict[str, tuple[str, int, tuple[float, float, float, tuple[float, float, float]]]] = {
    "reflexarc/PickCube-v0": ("task_pick_cube", 34, (138.0, -22.0, 0.62, (0.15, 0.0, 0.08))),
    "reflexarc/PairPickCube-v0": ("task_pair_pick_cube", 0, (150.0, -24.0, 0.85, (0.13, 0.0, 0.06))),
    "reflexarc/TwoHandReach-v0": ("task_two_hand_reach", 0, (155.0, -14.0, 1.55, (0.10, 0.0, 0.14))),
    "reflexarc/PushT-v0": ("task_push_t", 20, (148.0, -34.0, 1.40, (0.40, 0.0, 0.20))),
    "reflexarc/PegInsert-v0": ("task_peg_insert", 26, (140.0, -18.0, 1.20, (0.38, 0.0, 0.29))),
}


def draw(task: str) -> Image.Image:
    """One task, large, with its cameras beside it."""
    _, steps, (azimuth, elevation, distance, look_at) = PICTURES[task]
    kind: Any = find_world(task)
    world = kind()
    world.reset(np.random.default_rng(SEED))
    expert = make_expert(task) if steps else None
    if expert is not None:
        expert.reset(SEED)
    for _ in range(steps):
        assert expert is not None
        world.set_targets(expert.act(world.observe()))
        world.advance(1_000_000_000 // world.CONTROL_HZ)
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation, camera.distance = azimuth, elevation, distance
    camera.lookat[:] = look_at
    with ArmView(kind, quality=Quality.FINE) as fine, ArmView(kind) as fast:
        large = fine.image(world.state, camera, width=HEIGHT * 4 // 3, height=HEIGHT)
        seen = [fast.image(world.state, name, width=96, height=96) for name in kind.CAMERAS]
    side = HEIGHT // len(seen)
    small = [Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST) for image in seen]
    return Image.fromarray(np.concatenate([large, np.concatenate([np.array(i) for i in small])], axis=1))


def main() -> None:
    """Draw them all."""
    for task, (name, *_) in PICTURES.items():
        picture = draw(task).quantize(96, dither=Image.Dither.FLOYDSTEINBERG)
        picture.save(ROOT / f"docs/images/{name}.png", optimize=True)


if __name__ == "__main__":
    main()
