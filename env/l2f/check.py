"""Shows that l2f works: one step of the nominal Crazyflie in free fall, rotors off."""

import l2f
import numpy as np

device, environment, parameters = l2f.Device(), l2f.Environment(), l2f.Parameters()
generator, state, following = l2f.Rng(), l2f.State(), l2f.State()
l2f.initialize_environment(device, environment)
l2f.initialize_rng(device, generator, 0)
l2f.initial_parameters(device, environment, parameters)
l2f.initial_state(device, environment, parameters, state)
state.rpm = np.zeros(4)
dt_s = l2f.step(device, environment, parameters, state, -np.ones(4), following, generator)
fall = float(following.linear_velocity[2])
# Rotors at effort 0 still push 4 c0 = 0.0141 N on 0.0306 kg.
expected = (4 * 0.00352526 / 0.0306 - 9.81) * dt_s
assert abs(fall - expected) < 1e-5, f"fell at {fall} m/s after {dt_s} s, expected {expected}"
print(f"l2f: one step of {dt_s} s, free fall to {fall:.6f} m/s")
