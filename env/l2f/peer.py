"""Runs l2f for those who compare with it: single steps of given airframes, or how fast it is.

    python env/l2f/peer.py step IN.npz OUT.npz     steps from IN's states, one each
    python env/l2f/peer.py speed COUNT SECONDS     prints {"env_steps_per_s": ...} for COUNT vehicles

IN holds, for A airframes and K states each: mass (A,), inertia (A, 3), thrust (A, 3), torque_constant (A,),
rotor_positions (A, 4, 3), torque_signs (4,), rising (A,), falling (A,), dt_s (), state (A, K, 17) in the
order position, orientation (w, x, y, z), velocity, rates, effort, and action (A, K, 4).
OUT holds next_state (A, K, 17), float32. Parameters go in with all their digits, through l2f's own JSON.
"""

import json
import sys
import time

import l2f
import numpy as np


def main() -> None:
    """Do what the arguments say."""
    verb, *rest = sys.argv[1:]
    if verb == "step":
        given = np.load(rest[0])
        np.savez(rest[1], next_state=steps(given))
    elif verb == "speed":
        print(json.dumps({"env_steps_per_s": speed(int(rest[0]), float(rest[1]))}))
    else:
        sys.exit(f"peer.py: no verb {verb!r}, expected step or speed")


def steps(given: np.lib.npyio.NpzFile) -> np.ndarray:
    """Step once from every state of every airframe."""
    device, environment, generator = l2f.Device(), l2f.Environment(), l2f.Rng()
    l2f.initialize_environment(device, environment)
    l2f.initialize_rng(device, generator, 0)
    out = np.empty(given["state"].shape, np.float32)
    for index in range(len(out)):
        parameters = l2f.Parameters()
        l2f.initial_parameters(device, environment, parameters)
        document = json.loads(l2f.parameters_to_json(device, environment, parameters))
        document["dynamics"].update(dynamics(given, index))
        document["integration"]["dt"] = float(given["dt_s"])
        l2f.parameters_from_json(device, environment, json.dumps(document), parameters)
        state, following = l2f.State(), l2f.State()
        l2f.initial_state(device, environment, parameters, state)
        for k, (values, action) in enumerate(zip(given["state"][index], given["action"][index], strict=True)):
            state.position, state.orientation = values[0:3], values[3:7]
            state.linear_velocity, state.angular_velocity = values[7:10], values[10:13]
            state.rpm = values[13:17]
            l2f.step(device, environment, parameters, state, action, following, generator)
            parts = (following.position, following.orientation, following.linear_velocity)
            out[index, k] = np.concatenate([*parts, following.angular_velocity, following.rpm])
    return out


def dynamics(given: np.lib.npyio.NpzFile, index: int) -> dict[str, object]:
    """One airframe as l2f's JSON has it."""
    inertia = np.diag(given["inertia"][index].astype(np.float64))
    signs = given["torque_signs"].astype(float)
    return {
        "mass": float(given["mass"][index]),
        "J": inertia.tolist(),
        "J_inv": np.linalg.inv(inertia).tolist(),
        "rotor_positions": given["rotor_positions"][index].astype(float).tolist(),
        "rotor_thrust_directions": [[0.0, 0.0, 1.0]] * 4,
        "rotor_torque_directions": [[0.0, 0.0, sign] for sign in signs],
        "rotor_thrust_coefficients": [given["thrust"][index].astype(float).tolist()] * 4,
        "rotor_torque_constants": [float(given["torque_constant"][index])] * 4,
        "rotor_time_constants_rising": [float(given["rising"][index])] * 4,
        "rotor_time_constants_falling": [float(given["falling"][index])] * 4,
    }


def speed(count: int, seconds: float) -> float:
    """Environment steps a second of processor time, l2f's own vector, the fastest of ten stretches."""
    vector = l2f.vector_selector[count]
    device, generator = l2f.Device(), vector.VectorRng()
    environment, parameters = vector.VectorEnvironment(), vector.VectorParameters()
    state, following = vector.VectorState(), vector.VectorState()
    vector.initialize_environment(device, environment)
    vector.initialize_rng(device, generator, 0)
    vector.sample_initial_parameters(device, environment, parameters, generator)
    vector.sample_initial_state(device, environment, parameters, state, generator)
    action = np.random.default_rng(0).uniform(-1.0, 1.0, (count, 4)).astype(np.float32)
    rates = []
    for _ in range(10):
        started, calls = time.process_time(), 0
        while time.process_time() - started < seconds / 10.0:
            vector.step(device, environment, parameters, state, action, following, generator)
            calls += 1
        rates.append(calls * count / (time.process_time() - started))
    return max(rates)


if __name__ == "__main__":
    main()
