"""What happened, in plain words."""

from __future__ import annotations

import numpy as np

from reflexarc.demos.judge import ArmFigures, FlightFigures
from reflexarc.demos.plan import GUST_FORCE_N, Segment
from reflexarc.demos.records import ArmRecord, FlightRecord
from sim.quadrotor.airframes import GRAVITY_M_S2, load_airframe


def tell_flight(record: FlightRecord, figures: FlightFigures) -> list[tuple[float, str]]:
    """Tell a flight.

    Args:
        record: the flight.
        figures: what it came to.

    Returns:
        When something happened, seconds since the reference began, and what, in one or two sentences.
    """
    plan, told = record.plan, []
    hover = plan.find(Segment.HOVER)
    told.append((0.0, f"It takes off and climbs to {plan.height_m:g} m at half a metre a second."))
    if hover is not None and figures.hover_error_m is not None:
        text = (
            f"It hovers. Over the last {figures.hover_window_s:g} seconds it stays"
            f" {_cm(figures.hover_error_m)} (RMS) from its reference."
        )
        told.append((hover.start_s, text))
    for segment, period, rmse in (
        (Segment.FIGURE_EIGHT_10S, "10", figures.figure_eight_10s_rmse_m),
        (Segment.FIGURE_EIGHT_5_5S, "5.5", figures.figure_eight_5_5s_rmse_m),
    ):
        phase = plan.find(segment)
        if phase is not None and rmse is not None:
            text = (
                f"It flies a figure eight of two by one metres, one loop in {period} seconds, and stays"
                f" {_cm(rmse)} (RMS) from a reference that it cannot see ahead."
            )
            told.append((phase.start_s, text))
    if figures.gust is not None and record.gust_s is not None:
        told.append((record.gust_s[0], _tell_gust(figures)))
    told += _tell_fault(record, figures)
    if record.estop_s is not None:
        text = "The emergency stop is pressed: the vehicle lands by itself and cuts its motors."
        told.append((record.estop_s, text))
    return told


def unplanned_safe_actions(record: FlightRecord) -> int:
    """How often the gate took the safe action in flight, beside the death of the policy."""
    return max(0, record.gate.safe_actions - 1)


def not_flown(record: FlightRecord) -> list[str]:
    """What a short flight left out, for people."""
    titles = {
        Segment.FIGURE_EIGHT_10S: "the figure eight of 10 s",
        Segment.FIGURE_EIGHT_5_5S: "the figure eight of 5.5 s",
        Segment.GUST: "the gust",
    }
    return [title for segment, title in titles.items() if record.plan.find(segment) is None]


def tell_arm(record: ArmRecord, figures: ArmFigures) -> str:
    """Tell the arm's attempts in two sentences."""
    times = [t for t in figures.picked_s if t is not None]
    text = f"It picked {figures.successes} of {figures.episodes} cubes, each from another place and turned."
    if times:
        text += f" The median attempt held its cube after {np.median(times):.1f} s."
    missed = [str(n + 1) for n, t in enumerate(figures.picked_s) if t is None]
    if missed:
        text += f" Not picked within {record.plan.time_limit_s:g} s: cube {', '.join(missed)}."
    return text


def _tell_gust(figures: FlightFigures) -> str:
    assert figures.gust is not None
    push_n = float(np.linalg.norm(GUST_FORCE_N))
    weight_n = load_airframe("x500_real").mass_kg * GRAVITY_M_S2
    back = (
        "it is not back within 10 cm"
        if figures.gust.settled_s is None
        else f"{figures.gust.settled_s:.1f} s after its end the vehicle is within 10 cm again"
    )
    return (
        f"A gust pushes with up to {push_n:.0f} N, {push_n / weight_n:.0%} of the vehicle's weight."
        f" It is carried {_cm(figures.gust.largest_error_m)} away; {back}."
    )


def _tell_fault(record: FlightRecord, figures: FlightFigures) -> list[tuple[float, str]]:
    fault = figures.fault
    told = [(record.kill_s, "The policy's process is killed in flight (kill -9).")]
    if fault.reaction_ms is not None:
        text = (
            f"{fault.reaction_ms:.0f} ms after the kill the command gate takes the safe action: the vehicle"
            f" levels and descends under its own controller, {_cm(fault.height_lost_m)} in all."
        )
        told.append((record.kill_s + fault.reaction_ms * 1e-3, text))
    if fault.commands_back_s is not None:
        back = (
            "It does not come back."
            if fault.recovered_s is None
            else f"{fault.recovered_s:.1f} s after the kill it is back within 10 cm of its reference."
        )
        text = f"The policy has been started anew, and the gate lets its commands through. {back}"
        told.append((record.kill_s + fault.commands_back_s, text))
    return told


def _cm(metres: float) -> str:
    return f"{metres * 100:.1f} cm" if metres < 0.1 else f"{metres * 100:.0f} cm"
