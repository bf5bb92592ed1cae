"""Protects the PX4-like vehicle with a client that is not ours: MAVSDK arms it, flies it and lands it."""

import asyncio
import contextlib
import math
import socket
import subprocess
import sys

import pytest

mavsdk = pytest.importorskip("mavsdk.asyncio", reason="MAVSDK is the independent client")

from mavsdk.asyncio.plugins.action import ActionAsync  # noqa: E402
from mavsdk.asyncio.plugins.info import InfoAsync  # noqa: E402
from mavsdk.asyncio.plugins.offboard import OffboardAsync  # noqa: E402
from mavsdk.asyncio.plugins.param import ParamAsync  # noqa: E402
from mavsdk.asyncio.plugins.telemetry import TelemetryAsync  # noqa: E402
from mavsdk.plugins.action.action import ActionError  # noqa: E402
from mavsdk.plugins.offboard.offboard import (  # noqa: E402
    AttitudeRate,
    OffboardError,
    PositionNedYaw,
    VelocityNedYaw,
)

LONG_S = 120.0


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_peer(port, *arguments):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sim.peers.px4",
            "--to",
            f"127.0.0.1:{port}",
            "--bind",
            "127.0.0.1:0",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith("ready ")
        yield process
    finally:
        process.terminate()
        process.wait(timeout=90)
        process.stdout.close()


async def until(stream, condition):
    """The first item of a stream that meets the condition."""

    async def wait():
        async for item in stream:
            if condition(item):
                return item
        raise AssertionError("the stream ended")

    return await asyncio.wait_for(wait(), LONG_S)


async def fly(port):
    configuration = mavsdk.Configuration.create_with_component_type(mavsdk.ComponentType.GROUND_STATION)
    async with mavsdk.Mavsdk(configuration) as client:
        await client.add_any_connection(f"udpin://127.0.0.1:{port}")
        system = await client.first_autopilot(timeout_s=LONG_S)
        assert system is not None
        action, offboard = ActionAsync(system), OffboardAsync(system)
        telemetry, param = TelemetryAsync(system), ParamAsync(system)
        info = InfoAsync(system)
        await until(telemetry.subscribe_health_all_ok(), bool)
        version = await info.get_version()
        assert version.flight_sw_major == 1
        # Parameters both ways; PX4 carries integers as the bytes of a float.
        assert await param.get_param_float("MIS_TAKEOFF_ALT") == pytest.approx(2.5)
        assert await param.get_param_int("SYS_AUTOSTART") == 4001
        await param.set_param_int("COM_OBL_RC_ACT", 4)
        assert await param.get_param_int("COM_OBL_RC_ACT") == 4
        await action.set_takeoff_altitude(2.0)
        # A mode without set-points is refused.
        with pytest.raises(OffboardError):
            await offboard.start()
        await action.arm()
        await until(telemetry.subscribe_armed(), bool)
        await action.takeoff()
        await until(telemetry.subscribe_position(), lambda p: p.relative_altitude_m > 1.8)
        # North, east and down mean what they say: the vehicle goes there and faces there.
        await offboard.set_position_ned(PositionNedYaw(1.0, -0.5, -2.5, 90.0))
        await offboard.start()
        assert await offboard.is_active()
        there = await until(
            telemetry.subscribe_position_velocity_ned(),
            lambda s: (
                math.dist((s.position.north_m, s.position.east_m, s.position.down_m), (1.0, -0.5, -2.5))
                < 0.15
            ),
        )
        assert there.position.north_m > 0.5
        heading = await until(
            telemetry.subscribe_attitude_euler(), lambda a: abs(math.remainder(a.yaw_deg - 90.0, 360.0)) < 5.0
        )
        assert abs(heading.roll_deg) < 30.0
        await offboard.set_velocity_ned(VelocityNedYaw(0.0, 1.0, 0.0, 90.0))
        await until(
            telemetry.subscribe_position_velocity_ned(),
            lambda s: s.velocity.east_m_s > 0.7 and abs(s.velocity.north_m_s) < 0.3,
        )
        # Turning rate and thrust: it turns right, as FRD has it, for as long as it is told to.
        hover = await param.get_param_float("MPC_THR_HOVER")
        await offboard.set_attitude_rate(AttitudeRate(0.0, 0.0, 60.0, hover))
        await until(
            telemetry.subscribe_attitude_angular_velocity_body(), lambda w: w.yaw_rad_s > math.radians(30.0)
        )
        await offboard.set_position_ned(PositionNedYaw(0.0, 0.0, -2.0, 0.0))
        await until(
            telemetry.subscribe_position_velocity_ned(),
            lambda s: (
                math.dist((s.position.north_m, s.position.east_m, s.position.down_m), (0.0, 0.0, -2.0)) < 0.3
            ),
        )
        await offboard.stop()
        await action.land()
        await until(telemetry.subscribe_armed(), lambda armed: not armed)
        await until(telemetry.subscribe_in_air(), lambda in_air: not in_air)


def test_mavsdk_connects_arms_takes_off_flies_offboard_and_lands():
    port = free_port()
    with running_peer(
        port, "--set", "COM_OBL_RC_ACT=3", "--set", "COM_OF_LOSS_T=5", "--set", "COM_DISARM_PRFLT=60"
    ):
        asyncio.run(fly(port))


async def be_refused(port):
    configuration = mavsdk.Configuration.create_with_component_type(mavsdk.ComponentType.GROUND_STATION)
    async with mavsdk.Mavsdk(configuration) as client:
        await client.add_any_connection(f"udpin://127.0.0.1:{port}")
        system = await client.first_autopilot(timeout_s=LONG_S)
        assert system is not None
        telemetry, action = TelemetryAsync(system), ActionAsync(system)
        words = asyncio.ensure_future(
            until(telemetry.subscribe_status_text(), lambda t: "Gyro 0 uncalibrated" in t.text)
        )
        await asyncio.sleep(0)
        with pytest.raises(ActionError):
            await action.arm()
        await words


def test_mavsdk_is_told_why_the_vehicle_does_not_arm():
    port = free_port()
    with running_peer(port, "--set", "CAL_GYRO0_ID=0"):
        asyncio.run(be_refused(port))
