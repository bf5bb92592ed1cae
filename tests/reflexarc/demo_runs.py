"""Synthetic runs of the demo, with exactly known errors."""

import numpy as np

from hardware.reference import make_program
from reflexarc.demos.judge import arm_figures, flight_figures, judge_arm, judge_flight
from reflexarc.demos.plan import GUST_DURATION_S, Segment, plan_arm, plan_flight
from reflexarc.demos.records import ArmRecord, Episode, FlightRecord, GateCounts, Timing
from reflexarc.demos.summary import Outcome, Run, now_iso
from sim.twin.trace import Trace

START_NS = 5_000_000_000
PLAN = plan_flight(None)
KILL_S, REACTION_S, BACK_S, ESTOP_S, END_S = (
    PLAN.kill_s + 0.05,
    0.104,
    2.5,
    PLAN.kill_s + 8.0,
    PLAN.kill_s + 12.0,
)


def offset_at(t_s):
    """The known error of the synthetic flight: along y, so that it adds nothing to the height."""
    phase = PLAN.at(t_s).segment
    if phase is Segment.HOVER:
        # Wrong by a metre until the vehicle has settled: this must not count.
        return 0.02 if t_s > PLAN.find(Segment.HOVER).end_s - PLAN.hover_window_s else 1.0
    if phase is Segment.FIGURE_EIGHT_10S:
        return 0.06
    if phase is Segment.FIGURE_EIGHT_5_5S:
        figure = PLAN.find(Segment.FIGURE_EIGHT_5_5S)
        # The ramps must not count either.
        return 0.17 if figure.start_s + 1.0 <= t_s < figure.end_s - 1.0 else 2.0
    if phase is Segment.GUST:
        blown_s = t_s - PLAN.gust_s
        return 0.45 if 0.0 <= blown_s < GUST_DURATION_S + 0.3 else 0.01
    return 0.01


def flight_trace(**changes):
    """A flight of the whole plan with exactly known errors, 100 rows a second."""
    trajectory = make_program(PLAN.program, height_m=PLAN.height_m)
    times = np.arange(0.0, END_S, 0.01)
    position = np.array([trajectory.sample(t).position_m for t in times])
    position[:, 1] += [offset_at(t) for t in times]
    # The policy dies: down by 0.4 m/s, back up at 0.5 m/s; at the end down to the ground.
    falls = (times >= KILL_S) & (times < KILL_S + BACK_S)
    position[falls, 2] -= 0.4 * (times[falls] - KILL_S)
    climbs = (times >= KILL_S + BACK_S) & (times < KILL_S + 2.0 * BACK_S)
    position[climbs, 2] -= 0.4 * (KILL_S + 2.0 * BACK_S - times[climbs])
    lands = times >= ESTOP_S
    position[lands, 2] = np.maximum(0.15, PLAN.height_m - 0.5 * (times[lands] - ESTOP_S))
    qpos = np.concatenate([position, np.tile([1.0, 0.0, 0.0, 0.0], (len(times), 1))], axis=1)
    events = ((0.0, "safe_stop"), (0.4, "released"), (KILL_S + REACTION_S, "safe_stop"))
    events += ((KILL_S + BACK_S, "released"), (ESTOP_S + 0.1, "safe_stop"))
    commanded = ~falls & ~lands & (times > 0.4)
    given = {
        "time_ns": START_NS + np.round(times * 1e9).astype(np.int64),
        "qpos": qpos,
        "qvel": np.zeros((len(times), 6)),
        "command_time_ns": START_NS + np.round(times[commanded] * 1e9).astype(np.int64),
        "command_values": np.full((int(commanded.sum()), 4), 0.55),
        "command_names": ("front_right", "back_right", "back_left", "front_left"),
        "event_time_ns": np.array([START_NS + round(t * 1e9) for t, _ in events], dtype=np.int64),
        "event_names": tuple(name for _, name in events),
        "event_details": ("the gate takes the safe action",) * len(events),
        "robot": "quadrotor",
    }
    return Trace(**{**given, **changes})


def flight_record(plan=PLAN, trace=None):
    trace = flight_trace() if trace is None else trace
    latencies = tuple(np.linspace(2.0, 6.0, 1001).tolist())
    return FlightRecord(
        plan=plan,
        trajectory=make_program(plan.program, height_m=plan.height_m),
        trace=trace,
        timing=Timing(latencies, 3, START_NS, 777),
        gate=GateCounts(6700, 0, 1, 2),
        start_ns=START_NS,
        kill_s=KILL_S,
        reaction_ms=REACTION_S * 1e3,
        commands_back_s=BACK_S,
        first_motion_s=4.2,
        estop_s=ESTOP_S,
        wall_s=80.0,
    )


def episode(number, *, picked):
    times = np.arange(0.0, 3.0, 0.02)
    qpos = np.zeros((len(times), 13))
    qpos[:, 6:9] = (0.2, 0.02 * number - 0.08, 0.014)
    qpos[:, 8] += np.clip(times - 1.5, 0.0, 1.0) * (0.1 if picked else 0.0)
    qpos[:, 9] = 1.0
    names = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
    event_ns = [START_NS, START_NS + 2_500_000_000][: 2 if picked else 1]
    trace = Trace(
        time_ns=START_NS + np.round(times * 1e9).astype(np.int64),
        qpos=qpos,
        qvel=np.zeros((len(times), 12)),
        command_time_ns=START_NS + np.round(times * 1e9).astype(np.int64),
        command_values=np.zeros((len(times), 6)),
        command_names=names,
        event_time_ns=np.array(event_ns, dtype=np.int64),
        event_names=("released", "success")[: len(event_ns)],
        event_details=("", "")[: len(event_ns)],
        robot="so101",
    )
    return Episode(trace, Timing((), 2, START_NS, 0))


def arm_record(picked=(True, True, False, True)):
    episodes = tuple(episode(n, picked=p) for n, p in enumerate(picked))
    return ArmRecord(plan_arm(None), episodes, GateCounts(800, 20, 5, 4), 40.0)


def whole_run(flight=None, arm=None):
    flight, arm = flight or flight_record(), arm or arm_record()
    of_flight, of_arm = flight_figures(flight), arm_figures(arm)
    outcomes = (
        Outcome("quadrotor", "Quadrotor", judge_flight(of_flight), wall_s=80.0),
        Outcome("arm", "Arm", judge_arm(of_arm), wall_s=40.0),
    )
    return Run(None, now_iso(), 120.0, outcomes, flight, of_flight, arm, of_arm)
