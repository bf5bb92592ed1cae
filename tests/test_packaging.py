"""Protects what a user installs: both wheels carry their data, ROS tools find the packages, and no lower
floor of the house imports a higher one.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROS = Path("ros2_ws/src/reflexarc_ros")
NODES = (
    "robot_node",
    "gate_node",
    "policy_node",
    "reference_node",
    "supervisor_node",
    "peer_node",
    "teleop_node",
    "recorder_node",
)
# Architecture, section 3. Rooms of one floor do not import each other.
FLOORS = {
    "hardware": 1,
    "sim": 2,
    "recording": 2,
    "policies": 3,
    "calibration": 3,
    "reflexarc_ros": 4,
    "reflexarc": 5,
    "launch_files": 6,
}
NO_ROS = ("hardware", "sim", "recording", "policies", "calibration")
ROS_MODULES = ("rclpy", "rcl_interfaces", "launch", "launch_ros", "ament_index_python")


# --- wheels ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would hand on, so that a build leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source, target = ROOT / name, copy / name
        if source.is_symlink() or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    return copy


def build(folder: Path, out: Path) -> zipfile.ZipFile:
    """Build the wheel of a folder as pip would, with the setuptools that is here."""
    line = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", line, str(out)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def root_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build(sources, tmp_path_factory.mktemp("root_wheel"))


@pytest.fixture(scope="module")
def ros_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build(sources / ROS, tmp_path_factory.mktemp("ros_wheel"))


def metadata(wheel: zipfile.ZipFile) -> str:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return wheel.read(name).decode()


def test_root_wheel_has_every_file_of_its_packages(sources: Path, root_wheel: zipfile.ZipFile) -> None:
    rooms = [room for room in FLOORS if (sources / room / "__init__.py").exists()]
    assert {"hardware", "sim", "policies", "reflexarc"} <= set(rooms)
    wanted = {
        str(path.relative_to(sources))
        for room in rooms
        for path in (sources / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    missing = wanted - set(root_wheel.namelist())
    assert not missing, f"not in the wheel; an __init__.py or package_data of setup.py: {sorted(missing)}"


def test_root_wheel_has_nothing_else(root_wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in root_wheel.namelist()}
    extra = {top for top in tops if top not in FLOORS and not top.startswith("reflexarc-")}
    assert not extra


def test_root_wheel_puts_launch_files_where_ros2_launch_looks(root_wheel: zipfile.ZipFile) -> None:
    prefix = "reflexarc-0.1.0.data/data/"
    data = {name.removeprefix(prefix) for name in root_wheel.namelist() if name.startswith(prefix)}
    launch_files = {f"share/reflexarc/launch/{path.name}" for path in (ROOT / "launch").glob("*.launch.py")}
    assert {f"share/reflexarc/launch/{name}.launch.py" for name in ("quadrotor", "arm")} <= launch_files
    assert data == {
        "share/ament_index/resource_index/packages/reflexarc",
        "share/reflexarc/package.xml",
        *launch_files,
    }


def test_root_wheel_needs_numpy_and_yaml_alone(root_wheel: zipfile.ZipFile) -> None:
    needed = [line for line in metadata(root_wheel).splitlines() if line.startswith("Requires-Dist:")]
    always = {re.split(r"[ <>=]", line.split(": ")[1])[0] for line in needed if "extra ==" not in line}
    assert always == {"numpy", "PyYAML"}


def test_root_wheel_never_asks_for_both_onnx_runtimes(root_wheel: zipfile.ZipFile) -> None:
    lines = [line for line in metadata(root_wheel).splitlines() if "onnxruntime" in line]
    assert sorted(re.findall(r'extra == "(\w+)"', "".join(lines))) == ["cpu", "gpu"]


def test_ros_wheel_has_its_nodes_as_executables(ros_wheel: zipfile.ZipFile) -> None:
    prefix = "reflexarc_ros-0.1.0.data/data/"
    files = {info.filename.removeprefix(prefix): info for info in ros_wheel.infolist()}
    assert "share/ament_index/resource_index/packages/reflexarc_ros" in files
    assert "share/reflexarc_ros/package.xml" in files
    for node in NODES:
        mode = files[f"lib/reflexarc_ros/{node}"].external_attr >> 16
        assert mode & 0o111 == 0o111, f"{node} is not executable: {mode:o}"
        assert f"reflexarc_ros/{node}.py" in files


def test_ros_wheel_has_every_file_of_its_package(sources: Path, ros_wheel: zipfile.ZipFile) -> None:
    package = sources / ROS / "reflexarc_ros"
    wanted = {f"reflexarc_ros/{p.relative_to(package)}" for p in package.rglob("*") if p.is_file()}
    missing = wanted - set(ros_wheel.namelist())
    assert not missing, f"not in the wheel; see package_data in its setup.py: {sorted(missing)}"


# --- the prefix ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "source"),
    [
        ("share/ament_index/resource_index/packages/reflexarc", Path("resource/reflexarc")),
        ("share/ament_index/resource_index/packages/reflexarc_ros", ROS / "resource/reflexarc_ros"),
        ("share/reflexarc/package.xml", Path("package.xml")),
        ("share/reflexarc/launch/quadrotor.launch.py", Path("launch/quadrotor.launch.py")),
        ("share/reflexarc/launch/arm.launch.py", Path("launch/arm.launch.py")),
        ("share/reflexarc_ros/package.xml", ROS / "package.xml"),
        *[(f"lib/reflexarc_ros/{node}", ROS / "scripts" / node) for node in NODES],
    ],
)
def test_editable_install_fills_the_prefix(installed: str, source: Path) -> None:
    path = Path(sys.prefix) / installed
    assert path.is_file(), f"{path} is missing; `make setup` installs it"
    assert path.read_bytes() == (ROOT / source).read_bytes(), f"{path} is old; `make setup` renews it"


@pytest.mark.parametrize("node", NODES)
def test_executable_runs_the_python_of_its_prefix(node: str, tmp_path: Path) -> None:
    script = _prefix_with(tmp_path, node)
    _fake_python(tmp_path / "bin" / "python3", "prefix")
    assert _run(script, path="/usr/bin:/bin") == f"prefix -P -m reflexarc_ros.start {node} --ros-args -p a:=b"


def test_executable_takes_the_python_on_path_where_its_prefix_has_none(tmp_path: Path) -> None:
    script = _prefix_with(tmp_path, "gate_node")
    _fake_python(tmp_path / "elsewhere" / "python3", "path")
    got = _run(script, path=f"{tmp_path / 'elsewhere'}:/usr/bin:/bin")
    assert got == "path -P -m reflexarc_ros.start gate_node --ros-args -p a:=b"


def _prefix_with(prefix: Path, node: str) -> Path:
    script = prefix / "lib" / "reflexarc_ros" / node
    script.parent.mkdir(parents=True)
    shutil.copy2(ROOT / ROS / "scripts" / node, script)
    return script


def _fake_python(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {name} "$@"\n')
    path.chmod(0o755)


def _run(script: Path, *, path: str) -> str:
    command = [str(script), "--ros-args", "-p", "a:=b"]
    return subprocess.run(
        command, env={"PATH": path}, capture_output=True, text=True, check=True
    ).stdout.strip()


# --- package.xml and launch files ------------------------------------------------------------


def xmllint(*files: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("xmllint") is None:
        pytest.skip("xmllint is missing: apt install libxml2-utils")
    rules = ROOT / "tools" / "package_format3.rng"
    command = ["xmllint", "--noout", "--nonet", "--relaxng", str(rules), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True)


def test_package_xml_keeps_the_rules_of_format_3() -> None:
    done = xmllint(ROOT / "package.xml", ROOT / ROS / "package.xml")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('<package format="3">', '<package format="2">'),
        ("<name>reflexarc</name>", "<name>Reflexarc Stack</name>"),
        ("<version>0.1.0</version>", "<version>0.1</version>"),
        (' email="maintainers@reflexarc.example"', ""),
        ('<license file="LICENSE">Apache-2.0</license>', ""),
        ("<exec_depend>launch</exec_depend>", "<run_depend>launch</run_depend>"),
    ],
)
def test_the_rules_notice_a_broken_package_xml(good: str, bad: str, tmp_path: Path) -> None:
    text = (ROOT / "package.xml").read_text()
    assert good in text
    (tmp_path / "package.xml").write_text(text.replace(good, bad))
    assert xmllint(tmp_path / "package.xml").returncode != 0


def test_name_and_version_are_the_same_everywhere(
    root_wheel: zipfile.ZipFile, ros_wheel: zipfile.ZipFile
) -> None:
    for wheel, file in ((root_wheel, ROOT / "package.xml"), (ros_wheel, ROOT / ROS / "package.xml")):
        package = ElementTree.parse(file).getroot()
        lines = metadata(wheel).splitlines()
        name = next(line for line in lines if line.startswith("Name: ")).removeprefix("Name: ")
        assert name.replace("-", "_") == package.findtext("name")
        assert f"Version: {package.findtext('version')}" in lines


def test_package_xml_names_every_ros_package_that_the_nodes_import() -> None:
    package = ElementTree.parse(ROOT / ROS / "package.xml").getroot()
    declared = {element.text for element in package.findall("exec_depend")}
    imported = {
        name.split(".")[0]
        for path in (ROOT / ROS / "reflexarc_ros").rglob("*.py")
        for name in imports(path.read_text())
    }
    ros = {
        name for name in imported if name in ROS_MODULES or name.endswith(("_msgs", "_srvs", "_interfaces"))
    }
    assert "rclpy" in ros
    # Imported only for the card px4_dds, which says how to get it; not every ROS distribution has it.
    ros.discard("px4_msgs")
    assert not ros - declared, f"imported and not declared in package.xml: {sorted(ros - declared)}"


@pytest.mark.parametrize("path", sorted((ROOT / "launch").glob("*.py")), ids=lambda path: path.name)
def test_launch_file_holds_no_logic(path: Path) -> None:
    tree = ast.parse(path.read_text(), filename=str(path))
    docstring, *statements = tree.body
    assert isinstance(docstring, ast.Expr)
    *imported, function = statements
    assert all(isinstance(statement, ast.ImportFrom) for statement in imported)
    assert isinstance(function, ast.FunctionDef)
    assert function.name == "generate_launch_description"
    assert [type(statement) for statement in function.body] == [ast.Expr, ast.Return]


def test_launch_folder_is_no_package() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists(), "it would shadow ROS's own `launch`"


# --- locks -----------------------------------------------------------------------------------


LOCKS = [
    ROOT / "requirements.lock",
    ROOT / "tools/uv-requirements.lock",
    *ROOT.glob("env/*/requirements.lock"),
]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_lock_is_hashed_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    pins = re.findall(r"^([A-Za-z0-9][^\s=]*)==\S+ ?(\\?)$", text, flags=re.MULTILINE)
    unhashed = [name for name, goes_on in pins if not goes_on]
    assert pins
    assert not unhashed
    assert not re.findall(r"^-", text, flags=re.MULTILINE), "an option in a lock would name an index"


# --- floors ----------------------------------------------------------------------------------


def imports(source: str) -> Iterator[str]:
    """Yield every module that a source text imports, however deep in a function it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def offences(room: str, source: str) -> list[str]:
    """Return what a file of this room imports from its own floor's other rooms or from above."""
    found = []
    for name in imports(source):
        other = name.split(".")[0]
        if other != room and FLOORS.get(other, 0) >= FLOORS[room]:
            found.append(name)
        if room in NO_ROS and (other in ROS_MODULES or other.endswith(("_msgs", "_srvs"))):
            found.append(name)
    return found


def files_of(room: str) -> list[Path]:
    folder = {"reflexarc_ros": ROS / "reflexarc_ros", "launch_files": Path("launch")}.get(room, Path(room))
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("room", [room for room in FLOORS if files_of(room)])
def test_no_room_imports_a_higher_one(room: str) -> None:
    found = {
        str(path.relative_to(ROOT)): bad
        for path in files_of(room)
        if (bad := offences(room, path.read_text(encoding="utf-8")))
    }
    assert not found, f"{room} is on floor {FLOORS[room]} (architecture, section 3): {found}"


@pytest.mark.parametrize(
    ("room", "source", "found"),
    [
        ("hardware", "import sim", ["sim"]),
        ("sim", "def f():\n    from policies.card import bind", ["policies.card"]),
        ("sim", "import recording", ["recording"]),
        (
            "policies",
            "import importlib\nimportlib.import_module('calibration.hand_eye')",
            ["calibration.hand_eye"],
        ),
        ("policies", "import sim.tasks\nfrom . import card\nfrom hardware.chunk import ActionChunk", []),
        ("hardware", "try:\n    import rclpy.node\nexcept ImportError:\n    pass", ["rclpy.node"]),
        ("sim", "from sensor_msgs.msg import JointState", ["sensor_msgs.msg"]),
        ("reflexarc_ros", "from reflexarc.cli import main", ["reflexarc.cli"]),
        ("reflexarc", "from reflexarc_ros import bringup", []),
    ],
)
def test_the_scan_sees_a_forbidden_import(room: str, source: str, found: list[str]) -> None:
    assert offences(room, source) == found


def test_hardware_loads_numpy_and_yaml_alone() -> None:
    line = """
import importlib, pkgutil, sys
before = set(sys.modules)
import hardware
for module in pkgutil.walk_packages(hardware.__path__, "hardware."):
    importlib.import_module(module.name)
for name in sorted(set(sys.modules) - before):
    if "site-packages" in (getattr(sys.modules[name], "__file__", None) or ""):
        print(name.split(".")[0])
"""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"numpy", "yaml", "_yaml"}
    assert {"numpy", "yaml"} <= set(done.stdout.split())


@pytest.mark.parametrize("room", ["policies", "sim", "recording", "reflexarc.cli", "reflexarc_ros.bringup"])
def test_a_room_opens_without_what_is_heavy(room: str) -> None:
    heavy = (
        "{'torch', 'mujoco', 'rclpy', 'lerobot', 'onnxruntime', 'gymnasium', 'matplotlib', 'launch', 'mcap'}"
    )
    line = f"import sys, {room}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", line], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
