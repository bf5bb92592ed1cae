"""Protects the verdicts on offscreen rendering and the display."""

import os

from reflexarc.checks import graphics
from reflexarc.checks.finding import Level
from reflexarc.checks.probe import ProbeResult


def test_backend_that_does_not_work_while_egl_does(only):
    result = graphics.probe_rendering({**os.environ, "MUJOCO_GL": "vulkan"})
    assert result.report["drawn"] is False
    found = only(
        graphics.check_rendering(lambda given: result if given is None else drawn(given)), Level.FAIL
    )
    assert found.sentence.startswith("MUJOCO_GL=vulkan does not work here (")
    assert found.sentence.endswith("), egl does.")
    assert found.mend == "set MUJOCO_GL=egl or unset it"


def drawn(environment):
    assert environment["MUJOCO_GL"] == "egl"
    return ProbeResult({"drawn": True, "error": "", "missing": []}, 0, environment=environment)


def test_environment_that_hides_the_graphics_library(only):
    environment = {**os.environ, "MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/none.json"}
    found = only(
        graphics.check_rendering(lambda given: graphics.probe_rendering(given or environment)), Level.FAIL
    )
    assert (
        "because __EGL_VENDOR_LIBRARY_FILENAMES=/none.json hides the installed graphics library"
        in found.sentence
    )
    assert found.mend == "unset __EGL_VENDOR_LIBRARY_FILENAMES"


def test_rendering_without_mujoco_and_with_an_unknown_fault(only):
    absent = {
        "drawn": False,
        "error": "No module named 'mujoco'",
        "missing": [],
        "module": "mujoco",
        "absent": True,
    }
    found = only(graphics.check_rendering(lambda given: ProbeResult(absent, 0)), Level.FAIL)
    assert "pip install 'reflexarc[sim]'" in found.mend
    odd = {"drawn": False, "error": "RuntimeError: no driver", "missing": []}
    found = only(graphics.check_rendering(lambda given: ProbeResult(odd, 0)), Level.FAIL)
    assert found.sentence == "No picture with egl: RuntimeError: no driver."
    assert "libegl1 libegl-mesa0" in found.mend
    found = only(graphics.check_rendering(lambda given: ProbeResult(None, -11)), Level.FAIL)
    assert found.sentence == "No picture with egl: ended by SIGSEGV."


def test_display(only):
    none = only(graphics.check_display({}, graphics.x_answers), Level.OK)
    assert none.sentence.startswith("None: everything runs headless")
    dead = only(graphics.check_display({"DISPLAY": ":987"}, graphics.x_answers), Level.WARN)
    assert dead.sentence == "DISPLAY is ':987' and nothing answers there: a live viewer cannot open."
    assert only(graphics.check_display({"DISPLAY": ":0"}, lambda name: True), Level.OK).sentence == "X, :0."
    assert only(graphics.check_display({"WAYLAND_DISPLAY": "w"}, lambda name: False), Level.OK)
