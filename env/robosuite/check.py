"""Shows that the robosuite environment works: a task resets, steps and gives a reward, with no renderer."""

import numpy as np
import robosuite

environment = robosuite.make(
    "Lift", robots="Panda", has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False
)
environment.reset()
low, _ = environment.action_spec
observation, reward, _, _ = environment.step(np.zeros_like(low))
assert np.isfinite(reward), f"Lift gave the reward {reward}"
assert "cube_pos" in observation, f"Lift observed no cube, only {sorted(observation)}"
print(f"robosuite: Lift on {robosuite.__version__}, {len(low)} action terms")
environment.close()
