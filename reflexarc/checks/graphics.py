"""Offscreen rendering and the display."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from reflexarc.checks.finding import Finding, fail, ok, warn
from reflexarc.checks.probe import ProbeResult, run_probe
from reflexarc.imports import explain_import_error

# The first frame takes 0.8 s on an idle machine.
TIMEOUT_S = 60.0

# What a backend loads, and the Debian package that holds it.
LIBRARIES: dict[str, tuple[tuple[str, str], ...]] = {
    "egl": (
        ("libEGL.so.1", "libegl1"),
        ("libGL.so.1", "libgl1"),
        ("libEGL_mesa.so.0", "libegl-mesa0"),
    ),
    "osmesa": (("libOSMesa.so.8", "libosmesa6"), ("libGL.so.1", "libgl1")),
    "glfw": (("libGL.so.1", "libgl1"), ("libX11.so.6", "libx11-6")),
}

_RENDER = """
import ctypes, sys
missing = []
for library in sys.argv[1:]:
    try:
        ctypes.CDLL(library)
    except OSError:
        missing.append(library)
try:
    import mujoco
    from sim.worlds.render import OffscreenRenderer
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><light pos="0 0 3"/><camera name="eye" pos="0 -2 0" xyaxes="1 0 0 0 0 1"/>'
        '<geom type="sphere" size=".4" rgba="1 0 0 1"/></worldbody></mujoco>')
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with OffscreenRenderer(model, 64, 48) as renderer:
        frame = renderer.frame(data, "eye")
    red, _, blue = map(int, frame[24, 32])
    drawn = red > blue + 60
    report(drawn=drawn, error="" if drawn else f"a red ball came out as {frame[24, 32]}", missing=missing)
except ImportError as error:
    report(drawn=False, error=str(error), missing=missing, module=error.name or "",
           absent=isinstance(error, ModuleNotFoundError))
except Exception as error:
    report(drawn=False, error=f"{type(error).__name__}: {error}", missing=missing)
"""


def probe_rendering(environment: Mapping[str, str] | None = None) -> ProbeResult:
    """Draw a red ball with the renderer of the twin, in a process of its own.

    Args:
        environment: its environment; None: that of this process.

    Returns:
        How it ended.
    """
    given = dict(os.environ if environment is None else environment)
    backend = given.get("MUJOCO_GL", "").lower() or "egl"
    libraries = [name for name, _ in LIBRARIES.get(backend, ())]
    root = str(Path(__file__).parents[2])
    given["PYTHONPATH"] = os.pathsep.join(filter(None, (root, given.get("PYTHONPATH", ""))))
    return run_probe(_RENDER, timeout_s=TIMEOUT_S, environment=given, arguments=libraries)


def check_rendering(
    probe: Callable[[Mapping[str, str] | None], ProbeResult] = probe_rendering,
) -> list[Finding]:
    """Judge whether the twin can draw pictures.

    Args:
        probe: draws one, in the environment given (None: this one).

    Returns:
        One finding.
    """
    result = probe(None)
    asked = result.environment.get("MUJOCO_GL", "").lower()
    backend = asked or "egl"
    if result.report is not None and result.report["drawn"]:
        return [ok("rendering", f"A test picture was drawn with {backend}.")]
    report = result.report or {"error": result.reason, "missing": []}
    if report.get("absent"):
        error = ModuleNotFoundError(report["error"], name=report["module"])
        explained = explain_import_error(error, result.environment)
        if explained is not None:
            return [fail("rendering", f"No picture: {explained.what}.", explained.mend, "make setup")]
    if asked and asked != "egl" and _works(probe(_with(result.environment, MUJOCO_GL="egl"))):
        return [
            fail(
                "rendering",
                f"MUJOCO_GL={asked} does not work here ({_short(report['error'])}), egl does.",
                "set MUJOCO_GL=egl or unset it",
                "export MUJOCO_GL=egl",
            )
        ]
    vendors = result.environment.get("__EGL_VENDOR_LIBRARY_FILENAMES", "")
    packages = [package for name, package in LIBRARIES.get(backend, ()) if name in report["missing"]]
    if vendors and _works(probe(_without(result.environment, "__EGL_VENDOR_LIBRARY_FILENAMES"))):
        return [
            fail(
                "rendering",
                f"No picture with {backend} ({_short(report['error'])}), because"
                f" __EGL_VENDOR_LIBRARY_FILENAMES={vendors} hides the installed graphics library.",
                "unset __EGL_VENDOR_LIBRARY_FILENAMES",
                "unset __EGL_VENDOR_LIBRARY_FILENAMES",
            )
        ]
    if packages:
        return [
            fail(
                "rendering",
                f"No picture with {backend}: {', '.join(report['missing'])} cannot be loaded.",
                f"install the Debian package(s) {' '.join(packages)}",
                f"sudo apt-get install -y {' '.join(packages)}",
            )
        ]
    return [
        fail(
            "rendering",
            f"No picture with {backend}: {_short(report['error'])}.",
            "install the Debian packages libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri (or libosmesa6,"
            " with MUJOCO_GL=osmesa)",
            "sudo apt-get install -y libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri",
        )
    ]


def check_display(environment: Mapping[str, str], answers: Callable[[str], bool]) -> list[Finding]:
    """Judge whether a window can be opened; a machine without a display is a good machine too.

    Args:
        environment: the process environment.
        answers: whether the X display of that name answers.

    Returns:
        One finding.
    """
    if environment.get("WAYLAND_DISPLAY"):
        return [ok("display", f"Wayland, {environment['WAYLAND_DISPLAY']}.")]
    display = environment.get("DISPLAY", "")
    if not display:
        return [ok("display", "None: everything runs headless, and videos are rendered offscreen.")]
    if not answers(display):
        return [
            warn(
                "display",
                f"DISPLAY is {display!r} and nothing answers there: a live viewer cannot open.",
                "unset DISPLAY to run headless, or connect again with X forwarding (ssh -X)",
                "unset DISPLAY",
            )
        ]
    return [ok("display", f"X, {display}.")]


def x_answers(display: str) -> bool:
    """Whether an X server answers.

    Args:
        display: as in DISPLAY: `host:number.screen`, host empty for this machine.

    Returns:
        Whether a connection can be made.
    """
    host, _, number = display.rpartition(":")
    number = number.partition(".")[0]
    if not number.isdigit():
        return False
    try:
        if host in ("", "unix"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1.0)
                connection.connect(f"/tmp/.X11-unix/X{number}")
        else:
            socket.create_connection((host, 6000 + int(number)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _works(result: ProbeResult) -> bool:
    return result.report is not None and bool(result.report["drawn"])


def _with(environment: Mapping[str, str], **changes: str) -> dict[str, str]:
    return {**environment, **changes}


def _without(environment: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key != name}


def _short(text: str, length: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
