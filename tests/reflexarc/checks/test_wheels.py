"""Protects the verdicts on Python and the installed packages."""

import pytest

from reflexarc.checks import wheels
from reflexarc.checks.finding import Level

GOOD = {
    name: ["1"]
    for name in (
        *(package for packages in wheels.EXTRAS.values() for package in packages),
        "onnxruntime",
        "numpy",
    )
}


@pytest.mark.parametrize(
    ("change", "level", "words", "mend"),
    [
        (
            {"opencv-python": ["4"], "opencv-python-headless": ["4"]},
            Level.FAIL,
            "opencv-python and opencv-python-headless are installed together",
            "install one again, opencv-python-headless",
        ),
        (
            {"ros-kilted-rclpy": ["9"]},
            Level.FAIL,
            "Wheels of jazzy and kilted are in one environment",
            "make the environment anew",
        ),
        ({"numpy": ["2"]}, Level.FAIL, "numpy is 2; everything here was tested with 1.", "requirements.lock"),
        ({"rich": ["9"]}, Level.WARN, "1 package(s) of requirements.lock have another version: rich 9", ""),
        ({"numpy": ["1", "3"]}, Level.WARN, "numpy is on the path twice, as 1 and 3.", "PYTHONPATH"),
    ],
)
def test_wheels(change, level, words, mend, only):
    lock = dict.fromkeys(GOOD, "1")
    assert {f.level for f in wheels.check_wheels(GOOD, lock)} == {Level.OK}
    found = only(wheels.check_wheels({**GOOD, **change}, lock), level)
    assert words in found.sentence
    assert mend in found.mend


def test_missing_wheels_name_the_extra():
    without = {name: v for name, v in GOOD.items() if name not in ("mujoco", "onnxruntime")}
    found = [f for f in wheels.check_wheels(without, None) if f.level is Level.WARN]
    assert found[0].sentence == "The extra [sim] is not whole: mujoco not installed."
    assert "pip install 'reflexarc[sim]'" in found[0].mend
    assert found[1].sentence == "No onnxruntime: ONNX policies cannot run."


def test_gpu_runtime_stands_for_the_cpu_one():
    gpu = {name: v for name, v in GOOD.items() if name != "onnxruntime"} | {"onnxruntime-gpu": ["1"]}
    assert {f.level for f in wheels.check_wheels(gpu, dict.fromkeys(GOOD, "1"))} == {Level.OK}


def test_lock_is_read_with_extras_hashes_and_odd_names(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("A_b.C==1.2 \\\n    --hash=sha256:00\n    # via x==9\nd[e]==3 ; python_version > '3'\n")
    assert wheels.read_lock(lock) == {"a-b-c": "1.2", "d": "3"}
    assert wheels.read_lock(tmp_path / "none") is None


def test_other_python(only):
    found = only(wheels.check_python((3, 11), "/usr/bin/python3"), Level.FAIL)
    assert found.sentence.startswith(
        "/usr/bin/python3 is Python 3.11; LeRobot and the ROS wheels agree on 3.12"
    )
    assert found.commands == ("make setup",)
