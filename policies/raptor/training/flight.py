"""Policy and simulator as one differentiable function: weights in, trajectories out.

On the CPU a flight is compiled code with a hand-written derivative (`loop_kernels`); on any other device
it is the same mathematics in Torch. Both give the same trajectories and gradients, which a test checks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.raptor.network import OBSERVATION_SIZE, Float32Array
from policies.raptor.torch_backend import RaptorModule
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.quadrotor.torch_step import torch_step

# Time of a native step of the network, seconds.
PERIOD_S = 0.01
# Longest delays, in native steps: of the action (a little less than that), and of the velocity.
_ACTION_STEPS, _VELOCITY_STEPS = 3, 4
LONGEST_ACTION_DELAY_S, LONGEST_VELOCITY_DELAY_S = _ACTION_STEPS * PERIOD_S, _VELOCITY_STEPS * PERIOD_S


def past_steps(native: int) -> tuple[int, int]:
    """How many actions and velocities a scenario holds from before its start.

    Args:
        native: control steps in a native step.

    Returns:
        Actions and velocities.
    """
    return _ACTION_STEPS * native + 1, _VELOCITY_STEPS * native


# Elements of the observation that noise is added to: all but the previous action.
NOISY = OBSERVATION_SIZE - 4


@dataclass(frozen=True)
class FlightRules:
    """What is the same for every vehicle of a flight."""

    # Largest position error that the policy sees, per axis, metres.
    clip_position_m: float = 0.5
    # Largest velocity error that the policy sees, per axis, m/s.
    clip_velocity_m_s: float = 1.0
    # A vehicle further from its reference than this, on any axis, is lost: it stands still from then on
    # and has no influence on any derivative, metres.
    lost_m: float = 8.0
    # The same for its speed, m/s, and for its rate of rotation, rad/s.
    lost_m_s: float = 12.0
    lost_rad_s: float = 45.0
    # Factor on the influence of a state on the next one, in the derivative alone: what lies far back
    # counts less, as chaos makes it mean less.
    decay: float = 0.99
    # Longest cotangent of a state; longer ones are shortened, vehicle by vehicle.
    cap: float = 1e9


@dataclass(frozen=True, eq=False)
class Scenario:
    """What N vehicles meet during T control steps; float32, the vehicles last.

    With `native` 1 a control step is the network's native one. With more, the policy is asked that many
    times in a native step, as RAPTOR's executor does it: 4 for 400 Hz.
    """

    # The vehicles.
    airframes: AirframeBatch
    # State at the start, (17, N).
    state: Float32Array
    # Hidden state at the start, (H, N).
    hidden: Float32Array
    # Actions before the start, the latest last, (3 native + 1, 4, N), -1 to 1.
    past_actions: Float32Array
    # Velocities before the start, the latest last, (4 native, 3, N), m/s.
    past_velocities: Float32Array
    # Reference position and velocity, (T, 6, N).
    reference: Float32Array
    # External force, (T, 3, N), newtons.
    force_n: Float32Array
    # Noise of the observation's first 18 elements, (T, 18, N).
    noise: Float32Array
    # Factor on each rotor's thrust, (4, N).
    motor_gain: Float32Array
    # Delay from action to motors, (N,), seconds, up to 29 ms.
    action_delay_s: Float32Array
    # Age of the velocity that the policy sees, (N,), seconds, up to 40 ms.
    velocity_delay_s: Float32Array
    # Control steps in a native step.
    native: int = 1

    def __len__(self) -> int:
        """How many vehicles."""
        return self.state.shape[1]

    @property
    def steps(self) -> int:
        """How many control steps."""
        return len(self.reference)

    @property
    def period_s(self) -> float:
        """Length of a control step, seconds."""
        return PERIOD_S / self.native

    def part(self, start: int, end: int) -> Scenario:
        """Vehicles start to end - 1."""
        arrays = {
            field.name: np.ascontiguousarray(getattr(self, field.name)[..., start:end])
            for field in dataclasses.fields(self)
            if field.name not in ("airframes", "native")
        }
        return Scenario(airframes=self.airframes.take(np.arange(start, end)), native=self.native, **arrays)

    def whole_and_rest(self) -> tuple[Float32Array, Float32Array]:
        """The action delay as a choice of whole control steps, (3 native, N), and a rest, (N,) s."""
        rows = _ACTION_STEPS * self.native
        # A delay within a microsecond of whole steps is one of whole steps.
        steps = np.floor(self.action_delay_s / self.period_s + 1e-4).clip(0, rows - 1)
        rest = (self.action_delay_s - steps * self.period_s).clip(0.0, self.period_s)
        whole = (np.arange(rows)[:, None] == steps).astype(np.float32)
        return whole, rest.astype(np.float32)

    def blend(self) -> Float32Array:
        """Weights of the present and the past velocities in the one seen, (4 native + 1, N)."""
        age = np.arange(_VELOCITY_STEPS * self.native + 1)[:, None] - self.velocity_delay_s / self.period_s
        return (1.0 - np.abs(age)).clip(0.0, None).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Flight:
    """What came of a scenario."""

    # States, (T + 1, 17, N).
    states: Tensor
    # The network's outputs, not clamped, (T, 4, N).
    actions: Tensor
    # 1 while the vehicle was not lost, (T + 1, N).
    alive: Tensor
    # The hidden state after the last step, (H, N), without derivative.
    hidden: Tensor


def fly(module: RaptorModule, scenario: Scenario, rules: FlightRules) -> Flight:
    """Fly a policy through a scenario, differentiably in its weights.

    Args:
        module: the policy, on whatever device; on a CPU its number of vehicles is padded to whole blocks.
        scenario: what the vehicles meet.
        rules: what is the same for all of them.

    Returns:
        States, actions and who survived, on the policy's device.
    """
    weights = weights_of(module)
    if weights[0].device.type == "cpu" and weights[0].dtype == torch.float32:
        return Flight(*_Flight.apply(scenario, rules, *weights))
    return _fly_torch(module, scenario, rules)


def weights_of(module: RaptorModule) -> tuple[Tensor, ...]:
    """The network's parameters in the order of `network_kernels.WEIGHTS`."""
    gru = module.gru
    return (
        module.encoder.weight, module.encoder.bias,
        gru.weight_ih, gru.bias_ih, gru.weight_hh, gru.bias_hh,
        module.head.weight, module.head.bias,
    )  # fmt: skip


class _Flight(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """The compiled flight. One tape a block of vehicles; the weights' gradients are matrix products."""

    @staticmethod
    def forward(ctx: Any, scenario: Scenario, rules: FlightRules, *weights: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        from policies.raptor.training import loop_kernels
        from sim.quadrotor.adjoint_kernels import LANES

        count, steps = len(scenario), scenario.steps
        arrays = tuple(np.ascontiguousarray(w.detach().numpy()) for w in weights)
        limits = tuple(
            np.float32(x)
            for x in (
                rules.clip_position_m, rules.clip_velocity_m_s,
                rules.lost_m, rules.lost_m_s, rules.lost_rad_s, scenario.period_s,
            )
        )  # fmt: skip
        size, width = arrays[4].shape[1], arrays[0].shape[0]
        states = np.empty((steps + 1, 17, count), np.float32)
        actions = np.empty((steps, 4, count), np.float32)
        alive = np.ones((steps + 1, count), np.float32)
        hidden = np.empty((size, count), np.float32)
        ctx.tapes, ctx.limits, ctx.rules, ctx.weights = [], limits, rules, arrays
        ctx.native = scenario.native
        for start in range(0, count, LANES):
            end = min(start + LANES, count)
            inputs = _inputs(scenario, start, end, LANES)
            tape = _Tape(
                states=np.empty((steps + 1, 17, LANES), np.float32),
                velocities=np.empty((steps + len(inputs.past_velocities), 3, LANES), np.float32),
                actions=np.empty((steps + len(inputs.past_actions), 4, LANES), np.float32),
                raw=np.empty((steps, 4, LANES), np.float32),
                observations=np.empty((steps, OBSERVATION_SIZE, LANES), np.float32),
                encodings=np.empty((steps, width, LANES), np.float32),
                gates=np.empty((steps, 4 * size, LANES), np.float32),
                hiddens=np.empty((steps, size, LANES), np.float32),
            )
            tape.velocities[: len(inputs.past_velocities)] = inputs.past_velocities
            tape.actions[: len(inputs.past_actions)] = inputs.past_actions
            lives = np.ones((steps + 1, LANES), np.float32)
            after = inputs.hidden.copy()
            loop_kernels.fly(
                arrays, *inputs.airframe, inputs.force, inputs.reference, inputs.noise,
                *inputs.delays, limits, scenario.native, inputs.state, after, lives,
                *(getattr(tape, field.name) for field in dataclasses.fields(tape)),
            )  # fmt: skip
            ctx.tapes.append((inputs, tape, lives))
            states[..., start:end] = tape.states[..., : end - start]
            actions[..., start:end] = tape.raw[..., : end - start]
            alive[..., start:end] = lives[..., : end - start]
            hidden[..., start:end] = after[..., : end - start]
        results = tuple(torch.from_numpy(a) for a in (states, actions, alive, hidden))
        ctx.mark_non_differentiable(*results[2:])
        return results

    @staticmethod
    def backward(ctx: Any, l_states: Tensor, l_raw: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from policies.raptor.training import loop_kernels
        from policies.raptor.training.network_kernels import gradients_of, weight_buffers
        from sim.quadrotor.adjoint_kernels import LANES

        rules, weights = ctx.rules, ctx.weights
        gradients = weight_buffers(weights[0].shape[0], weights[4].shape[1])
        for block, (inputs, tape, lives) in enumerate(ctx.tapes):
            of_states = _lanes(l_states.numpy(), block * LANES, (block + 1) * LANES, LANES)
            of_raw = _lanes(l_raw.numpy(), block * LANES, (block + 1) * LANES, LANES)
            loop_kernels.unfly(
                weights, *inputs.airframe, inputs.force, *inputs.delays, ctx.limits, ctx.native, lives,
                tape.states, tape.actions, tape.raw, tape.observations, tape.encodings, tape.gates,
                tape.hiddens, of_states, of_raw, np.float32(rules.decay), np.float32(rules.cap),
                np.zeros_like(tape.velocities), np.zeros_like(tape.actions),
                gradients,
            )  # fmt: skip
        ctx.tapes = []
        return None, None, *(torch.from_numpy(part.copy()) for part in gradients_of(gradients))


@dataclass(frozen=True, eq=False)
class _Inputs:
    # What `loop_kernels.fly` reads of one block, in its own shapes.
    airframe: tuple[Float32Array, Float32Array]
    state: Float32Array
    hidden: Float32Array
    past_actions: Float32Array
    past_velocities: Float32Array
    reference: Float32Array
    force: Float32Array
    noise: Float32Array
    delays: tuple[Float32Array, Float32Array, Float32Array]


@dataclass(frozen=True, eq=False)
class _Tape:
    # What `loop_kernels.fly` writes, in the order of its arguments.
    states: Float32Array
    velocities: Float32Array
    actions: Float32Array
    raw: Float32Array
    observations: Float32Array
    encodings: Float32Array
    gates: Float32Array
    hiddens: Float32Array


def _lanes(array: Float32Array, start: int, end: int, lanes: int) -> Float32Array:
    """Vehicles start to end - 1; beyond the last one, zeros."""
    part = array[..., start:end]
    if part.shape[-1] == lanes:
        return np.ascontiguousarray(part)
    out = np.zeros((*part.shape[:-1], lanes), np.float32)
    out[..., : part.shape[-1]] = part
    return out


def _inputs(scenario: Scenario, start: int, end: int, lanes: int) -> _Inputs:
    def rows(array: Float32Array) -> Float32Array:
        part = array[..., start:end]
        if part.shape[-1] < lanes:
            # Lanes without a vehicle repeat the last one; their cotangents are zero.
            part = np.concatenate([part, np.repeat(part[..., -1:], lanes - part.shape[-1], axis=-1)], axis=-1)
        return np.ascontiguousarray(part, dtype=np.float32)

    whole, rest = scenario.whole_and_rest()
    return _Inputs(
        airframe=(rows(scenario.airframes.coefficients), rows(scenario.motor_gain)),
        state=rows(scenario.state),
        hidden=rows(scenario.hidden),
        past_actions=rows(scenario.past_actions),
        past_velocities=rows(scenario.past_velocities),
        reference=rows(scenario.reference),
        force=rows(scenario.force_n),
        noise=rows(scenario.noise),
        delays=(rows(whole), rows(rest), rows(scenario.blend())),
    )


class _Soften(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """The identity; its derivative is scaled by `decay` and shortened to `cap`, vehicle by vehicle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: float, cap: float) -> Tensor:  # noqa: ANN401
        ctx.decay, ctx.cap = decay, cap
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, l_x: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        length = l_x.norm(dim=0, keepdim=True).clamp_min(1e-10)
        return l_x * (ctx.decay * (ctx.cap / length).clamp_max(1.0)), None, None


class _Clamp(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """Clamp to -1 and 1; beyond them only derivatives that lead back inside pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        return x.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, l_x: Tensor) -> Tensor:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        return l_x * (((x <= 1.0) | (l_x > 0.0)) & ((x >= -1.0) | (l_x < 0.0)))


def _fly_torch(module: RaptorModule, scenario: Scenario, rules: FlightRules) -> Flight:
    like, native = module.head.weight, scenario.native

    def tensor(array: Float32Array) -> Tensor:
        return torch.from_numpy(np.array(array)).to(like.device, like.dtype)

    reference, force, noise = tensor(scenario.reference), tensor(scenario.force_n), tensor(scenario.noise)
    coefficients, gain = tensor(scenario.airframes.coefficients), tensor(scenario.motor_gain)
    whole, rest = (tensor(array) for array in scenario.whole_and_rest())
    blend = tensor(scenario.blend())
    state, hidden = tensor(scenario.state), tensor(scenario.hidden).T
    pasts, velocities = list(tensor(scenario.past_actions)), list(tensor(scenario.past_velocities))
    lives = [torch.ones_like(rest)]
    states, actions = [state], []
    for t in range(scenario.steps):
        velocities = [*velocities, state[7:10]][-len(blend) :]
        seen_velocity = sum(blend[d] * velocities[-1 - d] for d in range(len(blend)))
        w, i, j, k = state[3:7]
        rotation = torch.stack([
            1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j),
            2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i),
            2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j),
        ])  # fmt: skip
        p, v = rules.clip_position_m, rules.clip_velocity_m_s
        seen = torch.cat([
            (state[:3] - reference[t, :3] + noise[t, :3]).clamp(-p, p),
            rotation + noise[t, 3:12],
            (seen_velocity - reference[t, 3:] + noise[t, 12:15]).clamp(-v, v),
            state[10:13] + noise[t, 15:],
            torch.stack(pasts[-(t % native or native) :]).mean(dim=0),
        ])  # fmt: skip
        action, after = module(seen.T, hidden)
        hidden = after if t % native == 0 else hidden
        actions.append(action.T)
        pasts = [*pasts, _Clamp.apply(action.T)][-len(whole) - 2 :]
        late = sum(whole[d] * pasts[-1 - d] for d in range(len(whole)))
        early = sum(whole[d] * pasts[-2 - d] for d in range(len(whole)))
        softened = _Soften.apply(state, rules.decay, torch.inf)
        push = {"force_n": force[t], "motor_gain": gain}
        middle = torch_step(coefficients, softened, 0.5 + 0.5 * early, dt_s=rest, **push)
        new = torch_step(coefficients, middle, 0.5 + 0.5 * late, dt_s=scenario.period_s - rest, **push)
        worst = torch.cat([
            (new[:3] - reference[t, :3]).abs() / rules.lost_m,
            new[7:10].abs() / rules.lost_m_s,
            new[10:13].abs() / rules.lost_rad_s,
        ]).amax(dim=0)  # fmt: skip
        lives.append(torch.where(worst < 1.0, lives[-1], 0.0))
        state = torch.where(lives[-1] > 0.5, _Soften.apply(new, 1.0, rules.cap), state.detach())
        states.append(state)
    return Flight(torch.stack(states), torch.stack(actions), torch.stack(lives), hidden.T.detach())
