"""Protects `make setup`: it trusts only a Python that runs, takes up what was interrupted, does nothing when
nothing changed, uses the mirror that pip is set up for, and names what it may not install.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """tools/setup.py, as if this folder were the checkout."""
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("tools_setup", TOOLS / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tools_setup", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "UV_FOLDER", tmp_path / ".env-uv")
    return module


@pytest.fixture
def packages(setup: ModuleType) -> ModuleType:
    return sys.modules["system_packages"]


@pytest.fixture
def mirror(setup: ModuleType) -> ModuleType:
    return sys.modules["pip_mirror"]


@pytest.mark.parametrize("name", ["setup.py", "pip_mirror.py", "system_packages.py"])
def test_runs_under_python_3_8(name: str) -> None:
    source = (TOOLS / name).read_text()
    ast.parse(source, feature_version=(3, 8))
    assert "from __future__ import annotations" in source


# --- which Python, which uv ------------------------------------------------------------------


def program(path: Path, lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def python(path: Path, version: str) -> Path:
    """An interpreter that only knows its version and where it lies."""
    return program(path, f'case "$2" in *base_prefix*) echo {path};; *) echo {version};; esac')


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, setup: ModuleType, tmp_path: Path) -> Path:
    """A machine whose PATH is one folder and whose other usual places hold no Python 3.12."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("UV_PYTHON", raising=False)
    monkeypatch.setattr(setup, "PYTHON_VERSION", "3.99")
    monkeypatch.setattr(setup, "real_executable", lambda found: found)
    return tmp_path / "path"


def test_python_on_path_is_taken(setup: ModuleType, bare: Path) -> None:
    wanted = python(bare / "python3.99", "3.99")
    assert setup.find_python() == str(wanted)


def test_a_shim_that_fails_is_passed_over(setup: ModuleType, bare: Path, tmp_path: Path) -> None:
    program(bare / "python3.99", "exit 127")
    python(bare / "python3", "3.11")
    wanted = python(tmp_path / "pyenv" / "versions" / "3.99.1" / "bin" / "python3", "3.99")
    assert setup.find_python() == str(wanted)


def test_uv_fetches_a_python_as_the_last_resort(setup: ModuleType, bare: Path, tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    program(
        bare / "uv",
        f'case "$1 $2" in "--version ") echo uv 0.13.9;; '
        f'"python find") [ -e {fetched} ] && echo {fetched};; "python install") : > {fetched};; esac',
    )
    assert setup.find_python() == str(fetched)


def test_no_python_anywhere_says_what_to_do(setup: ModuleType, bare: Path) -> None:
    program(bare / "uv", 'case "$1" in --version) echo uv 0.13.9;; *) exit 2;; esac')
    with pytest.raises(setup.SetupError, match=r"no Python 3\.99 was found(.|\n)*pyenv install 3\.99"):
        setup.find_python()


def test_an_old_uv_is_passed_over(setup: ModuleType, bare: Path, tmp_path: Path) -> None:
    program(bare / "uv", "echo uv 0.4.30")
    wanted = program(tmp_path / ".env-uv" / "bin" / "uv", "echo uv 0.13.9 '(x86_64)'")
    assert setup.find_uv() == str(wanted)


# --- what is done again ----------------------------------------------------------------------


@pytest.fixture
def checkout(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A checkout whose installations only write down that they happened."""
    for folder in (tmp_path, tmp_path / "ros2_ws" / "src" / "reflexarc_ros"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("pyproject.toml", "setup.py", "package.xml"):
            (folder / name).write_text(name)
    (tmp_path / "requirements.lock").write_text("numpy==2.2.6 \\\n    --hash=sha256:0\n")
    (tmp_path / ".venv").mkdir()
    done: list[str] = []
    monkeypatch.setattr(setup, "find_python", lambda: "python3.12")
    monkeypatch.setattr(setup, "find_uv", lambda: "uv")
    monkeypatch.setattr(setup, "install_libraries", lambda: "all present")
    monkeypatch.setattr(setup, "install_lock", lambda *_: done.append("lock"))
    monkeypatch.setattr(setup, "run", lambda command: done.append("project"))
    return done


def test_second_setup_does_nothing(setup: ModuleType, checkout: list[str]) -> None:
    assert setup.main([]) == 0
    assert checkout == ["lock", "project"]
    assert setup.main([]) == 0
    assert checkout == ["lock", "project"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("requirements.lock", ["lock", "project"]),
        ("pyproject.toml", ["project"]),
        ("launch/arm.launch.py", ["project"]),
        ("ros2_ws/src/reflexarc_ros/scripts/new_node", ["project"]),
        ("recording/__init__.py", ["project"]),
        ("README.md", []),
    ],
)
def test_a_change_does_no_more_than_it_must(
    changed: str, again: list[str], setup: ModuleType, checkout: list[str], tmp_path: Path
) -> None:
    setup.main([])
    checkout.clear()
    (tmp_path / changed).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / changed).write_text("changed")
    setup.main([])
    assert checkout == again


def test_an_interrupted_setup_is_taken_up_again(
    setup: ModuleType,
    tmp_path: Path,
    checkout: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(setup, "run", interrupted)
        assert setup.main([]) == 130
    assert "stopped; run the same command again" in capsys.readouterr().err
    assert not (tmp_path / ".venv" / setup.STAMP).exists(), "make would take it for finished"
    checkout.clear()
    assert setup.main([]) == 0
    assert checkout == ["project"]
    assert (tmp_path / ".venv" / setup.STAMP).exists()


def test_a_failure_after_a_finished_setup_is_not_taken_for_finished(
    setup: ModuleType, checkout: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object) -> None:
        raise setup.SetupError("no room on the disk")

    assert setup.main([]) == 0
    (tmp_path / "requirements.lock").write_text("numpy==2.2.7 \\\n    --hash=sha256:1\n")
    monkeypatch.setattr(setup, "install_lock", fails)
    assert setup.main([]) == 2
    assert not (tmp_path / ".venv" / setup.STAMP).exists()


def test_a_moved_checkout_is_made_anew(
    setup: ModuleType, checkout: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.main([])
    checkout.clear()
    moved = tmp_path.rename(tmp_path.parent / f"{tmp_path.name}_moved")
    monkeypatch.setattr(setup, "ROOT", moved)
    monkeypatch.setattr(setup, "UV_FOLDER", moved / ".env-uv")
    setup.main([])
    assert checkout == ["lock", "project"]


def test_another_lock_is_installed_from_nothing(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `uv pip sync` on an environment that is there takes rclpy for a package that nobody asked for.
    ran: list[list[str]] = []
    monkeypatch.setattr(setup, "run", ran.append)
    venv = tmp_path / ".venv"
    venv.mkdir()
    setup.install_lock("uv", "python3", venv, tmp_path / "requirements.lock")
    assert [command[:3] for command in ran] == [["uv", "venv", "--quiet"], ["uv", "pip", "sync"]]
    assert "--clear" in ran[0]


def test_a_failing_command_is_named(setup: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(setup.SetupError, match=r"failed with exit code 3:\n  sh -c exit 3"):
        setup.run(["sh", "-c", "exit 3"])


def test_children_do_not_inherit_another_environment(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in setup.MISLEADING:
        monkeypatch.setenv(name, "elsewhere")
    assert not set(setup.MISLEADING) & set(setup.clean_environment())


# --- system libraries ------------------------------------------------------------------------


def test_root_installs_what_is_missing(packages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(packages, "debian_packages", lambda: {"libegl1": False, "libgl1": True})
    monkeypatch.setattr(packages, "may_install", lambda: True)
    monkeypatch.setattr(packages, "apt_install", asked.append)
    assert packages.install_libraries() == "installed libegl1"
    assert asked == [["libegl1"]]


def test_anybody_else_is_told(packages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"libegl1": False, "libxml2-utils": False}
    monkeypatch.setattr(packages, "debian_packages", lambda: missing)
    monkeypatch.setattr(packages, "may_install", lambda: False)
    with pytest.raises(packages.SetupError, match="sudo apt install libegl1 libxml2-utils"):
        packages.install_libraries()


def test_a_tool_of_the_tests_alone_does_not_stop_the_demo(
    packages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "debian_packages", lambda: {"libegl1": True, "libxml2-utils": False})
    monkeypatch.setattr(packages, "may_install", lambda: False)
    assert packages.install_libraries() == "for `make test`, please run: sudo apt install libxml2-utils"


def test_what_only_tests_run_never_stops_them(packages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(packages, "packages_for_tests", lambda: {"qemu-system-arm": False, "gcc": True})
    monkeypatch.setattr(packages, "may_install", lambda: True)
    monkeypatch.setattr(packages, "apt_install", asked.append)
    assert packages.install_test_tools() == "installed qemu-system-arm"
    assert asked == [["qemu-system-arm"]]

    def fails(names: list[str]) -> None:
        raise packages.SetupError("no mirror")

    monkeypatch.setattr(packages, "apt_install", fails)
    assert packages.install_test_tools() == (
        "not to be had: qemu-system-arm; the tests that need them are skipped"
    )
    monkeypatch.setattr(packages, "may_install", lambda: False)
    assert packages.install_test_tools() == "for every test, please run: sudo apt install qemu-system-arm"
    monkeypatch.setattr(packages, "packages_for_tests", lambda: {"qemu-system-arm": True})
    assert packages.install_test_tools() == "all present"


# --- pip's mirror ----------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: ModuleType) -> Path:
    monkeypatch.setattr(mirror.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(mirror, "SYSTEM_FILES", ())
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    return tmp_path


def test_mirror_of_pip_conf(mirror: ModuleType, home: Path) -> None:
    (home / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\ntrusted-host = mirror.example\n"
        "extra-index-url = https://more.example/simple file:///a/folder\nfind-links = /wheels\n"
    )
    assert mirror.uv_settings({}) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://more.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "mirror.example",
    }


def test_environment_outranks_pip_conf(mirror: ModuleType, home: Path) -> None:
    (home / ".config/pip/pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n")
    found = mirror.uv_settings({"PIP_INDEX_URL": "https://other.example/simple"})
    assert found == {"UV_DEFAULT_INDEX": "https://other.example/simple"}


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"])
def test_uv_that_was_told_itself_is_left_alone(mirror: ModuleType, home: Path, variable: str) -> None:
    (home / ".config/pip/pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n")
    assert mirror.uv_settings({variable: "told"}) == {}


def test_no_mirror_is_no_setting(mirror: ModuleType, home: Path) -> None:
    assert mirror.uv_settings({}) == {}
    (home / ".config/pip/pip.conf").write_text("not a pip.conf")
    assert mirror.uv_settings({}) == {}
