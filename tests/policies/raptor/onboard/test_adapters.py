"""Protects the adapters for PX4 and Crazyflie: they compile against the firmware's interfaces and fly.

Neither was run on hardware. The stubs have the firmware's names, fields and types; what flies is the adapter.
"""

import ctypes
import subprocess

import numpy as np
import pytest
from onboard_c import HERE, ONBOARD, FloatPointer, library, pointer

from hardware.robot import Observation
from policies.policy import ActContext
from policies.raptor import RaptorPolicy
from policies.raptor.contract import MOTORS

MS = 1000


def quaternion(yaw, tilt=0.1):
    """Body to world, z up: a roll of `tilt`, then a yaw."""
    c, s = np.cos(yaw / 2), np.sin(yaw / 2)
    a, b = np.cos(tilt / 2), np.sin(tilt / 2)
    return np.array([c * a, c * b, s * b, s * a])


def efforts_of_python(steps, step_ns, *, position, orientation, velocity_world, rates, reference, speed, yaw):
    """The motor efforts by name that the Python policy answers with, call by call."""
    from hardware.frames import rotation_matrix
    from policies.raptor import RaptorOptions

    policy = RaptorPolicy.load(options=RaptorOptions(rate_hz=1e9 / step_ns))
    values = {
        "position": position,
        "orientation": orientation,
        "linear_velocity": rotation_matrix(orientation[None])[0].T @ velocity_world,
        "angular_velocity": rates,
        "reference_position": reference,
        "reference_velocity": speed,
        "reference_yaw": np.array([yaw]),
    }
    answers = []
    for step in range(steps):
        stamp = (step + 1) * step_ns
        observation = Observation(values=values, stamp_ns=stamp, received_steady_ns=stamp)
        chunk = policy.act(observation, context=ActContext(now_ns=stamp))
        answers.append(dict(zip(MOTORS, chunk.values[0], strict=True)))
    return answers


STATE = {
    "position": np.array([0.3, -0.2, 1.1]),
    "orientation": quaternion(0.4),
    "velocity_world": np.array([0.2, -0.5, 0.1]),
    "rates": np.array([0.3, -0.6, 0.2]),
    "reference": np.array([0.0, 0.1, 1.0]),
    "speed": np.array([0.1, 0.2, -0.1]),
    "yaw": 0.3,
}


def stub_headers(folder, stub, names):
    """Write headers of the firmware's names that lead to one stub."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#include "{stub}"\n')


@pytest.fixture(scope="module")
def crazyflie(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crazyflie")
    names = ("app.h", "FreeRTOS.h", "task.h", "controller.h", "controller_pid.h", "log.h")
    stub_headers(folder, "crazyflie_stub.h", (*names, "stabilizer_types.h", "usec_time.h"))
    stub = HERE / "crazyflie_stub"
    sources = [ONBOARD / "crazyflie" / "raptor_crazyflie.c", stub / "drive_crazyflie.c"]
    loaded = library([*sources, exported / "raptor_policy.c"], folder / "cf.so", [exported, folder, stub])
    loaded.cf_tick.argtypes = [
        ctypes.c_uint32,
        *[FloatPointer] * 6,
        ctypes.c_float,
        ctypes.c_int,
        FloatPointer,
    ]
    return loaded


def crazyflie_tick(loaded, step, *, absolute=True, **changed):
    """One tick; the motors' efforts in the firmware's order, None while its own controller flies."""
    state = {**STATE, **changed}
    motors = np.zeros(4, np.float32)
    flies = loaded.cf_tick(
        step,
        *(pointer(state[name]) for name in ("position", "orientation", "velocity_world")),
        pointer(np.degrees(state["rates"])),
        *(pointer(state[name]) for name in ("reference", "speed")),
        float(np.degrees(state["yaw"])),
        int(absolute),
        pointer(motors),
    )
    return motors if flies else None


def test_crazyflie_flies_as_python_does_at_500_hz(crazyflie):
    assert crazyflie.cf_start() == 1
    expected = efforts_of_python(12, 2_000_000, **STATE)
    order = ("front_right", "back_right", "back_left", "front_left")
    for tick in range(24):
        motors = crazyflie_tick(crazyflie, tick)
        wanted = [expected[tick // 2][name] for name in order]
        np.testing.assert_allclose(motors, wanted, atol=1e-5)


def test_crazyflie_leaves_everything_else_to_the_firmware(crazyflie):
    assert crazyflie.cf_start() == 1
    assert crazyflie_tick(crazyflie, 0, absolute=False) is None
    first = crazyflie_tick(crazyflie, 2)
    assert crazyflie_tick(crazyflie, 4, position=np.array([np.nan, 0, 0])) is None
    # It begins anew when its inputs are sound again.
    np.testing.assert_array_equal(crazyflie_tick(crazyflie, 6), first)
    assert crazyflie_tick(crazyflie, 8, absolute=False) is None


@pytest.fixture(scope="module")
def px4(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("px4")
    topics = ("actuator_motors", "trajectory_setpoint", "vehicle_angular_velocity", "vehicle_attitude")
    topics += ("vehicle_command", "vehicle_control_mode", "vehicle_local_position")
    names = ["drivers/drv_hrt.h", "px4_platform_common/px4_work_queue/WorkItem.hpp"]
    names += [f"uORB/{name}.hpp" for name in ("Publication", "Subscription", "SubscriptionCallback")]
    stub_headers(folder, "px4_stub.hpp", [*names, *(f"uORB/topics/{topic}.h" for topic in topics)])
    stub, out = HERE / "px4_stub", folder / "px4.so"
    policy = folder / "policy.o"
    includes = [f"-I{place}" for place in (exported, folder, stub, ONBOARD / "px4")]
    strict = ["-O2", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    for command in (
        ["gcc", "-std=c99", *strict, *includes, "-c", str(exported / "raptor_policy.c"), "-o", str(policy)],
        ["g++", "-std=c++17", *strict, *includes, "-shared", str(ONBOARD / "px4" / "raptor_px4.cpp")]
        + [str(stub / "drive_px4.cpp"), str(policy), "-o", str(out)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(out))
    loaded.px4_attitude.argtypes = [ctypes.c_uint64, FloatPointer]
    loaded.px4_local_position.argtypes = [ctypes.c_uint64, FloatPointer, FloatPointer, ctypes.c_int]
    loaded.px4_setpoint.argtypes = [ctypes.c_uint64, FloatPointer, FloatPointer, ctypes.c_float]
    loaded.px4_run.argtypes = [ctypes.c_uint64, FloatPointer, FloatPointer]
    loaded.px4_run.restype = loaded.px4_landings.restype = loaded.px4_stale.restype = ctypes.c_uint32
    return loaded


FLIP = np.array([1.0, -1.0, -1.0])


class Px4:
    """The module under test, fed in PX4's frames."""

    def __init__(self, library):
        self.library = library
        assert library.px4_start(400) == 1
        self.library.px4_mode(1, 1, 0)
        self.motors, self.published = np.zeros(12, np.float32), 0

    def feed(self, us, *, attitude=True, position=True, reference=True, valid=True):
        if attitude:
            q = STATE["orientation"] * np.array([1, 1, -1, -1])
            self.library.px4_attitude(us, pointer(q))
        if position:
            p, v = FLIP * STATE["position"], FLIP * STATE["velocity_world"]
            self.library.px4_local_position(us, pointer(p), pointer(v), int(valid))
        if reference:
            p, v = FLIP * STATE["reference"], FLIP * STATE["speed"]
            self.library.px4_setpoint(us, pointer(p), pointer(v), -STATE["yaw"])

    def run(self, us):
        """One gyro sample; whether motors were published for it."""
        before = self.published
        self.published = self.library.px4_run(us, pointer(FLIP * STATE["rates"]), pointer(self.motors))
        return self.published > before


def test_px4_flies_as_python_does_at_400_hz(px4):
    module = Px4(px4)
    expected = efforts_of_python(12, 2_500_000, **STATE)
    order = ("front_right", "back_left", "front_left", "back_right")
    for call in range(12):
        us = 10 * MS + 2500 * call
        module.feed(us)
        assert module.run(us)
        np.testing.assert_allclose(module.motors[:4], [expected[call][name] for name in order], atol=1e-5)
        assert np.isnan(module.motors[4:]).all()


def test_px4_flies_only_armed_offboard_and_direct(px4):
    module = Px4(px4)
    for us, mode, flies in (
        (20, (0, 1, 0), False),
        (30, (1, 0, 0), False),
        (40, (1, 1, 1), False),
        (50, (1, 1, 0), True),
    ):
        px4.px4_mode(*mode)
        module.feed(us * MS)
        assert module.run(us * MS) is flies


def test_px4_holds_a_stale_reference_and_lands_on_a_stale_pose(px4):
    module = Px4(px4)
    module.feed(10 * MS)
    assert module.run(10 * MS)
    for us in range(20 * MS, 600 * MS, 10 * MS):
        module.feed(us, reference=False)
        assert module.run(us), us
    # The estimator declares its position invalid: its messages still come, but no longer count.
    for us in range(600 * MS, 800 * MS, 10 * MS):
        module.feed(us, reference=False, valid=False)
        module.run(us)
    assert px4.px4_stale() == 1 << 1
    assert px4.px4_landings() == 1
    assert not module.run(810 * MS)
    assert px4.px4_landings() == 1


def test_px4_ignores_a_reference_with_nan(px4):
    module = Px4(px4)
    module.feed(10 * MS, reference=False)
    px4.px4_setpoint(10 * MS, pointer(np.array([0, np.nan, 0])), pointer(np.zeros(3)), 0.0)
    assert not module.run(10 * MS)
    assert px4.px4_stale() == 1 << 3
