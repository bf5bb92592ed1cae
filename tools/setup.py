"""Makes the Python environments of this checkout; `make setup` calls it.

It runs under any Python from 3.8 on with the standard library alone, because it is what brings
everything else: a Python 3.12, uv, the Debian libraries that software rendering needs, the packages of
`requirements.lock` with their hashes checked, and the two packages of this repository. Run again, it
only does what is missing; the `make` targets do not even start it while nothing changed.

    python3 tools/setup.py             the main environment, .venv
    python3 tools/setup.py env NAME    a side environment, .env-NAME, from env/NAME
    python3 tools/setup.py lock        every requirements.lock again, from its inputs
    python3 tools/setup.py test-tools  compilers and emulators that only tests run
"""

from __future__ import annotations

import argparse
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pip_mirror import uv_settings
from system_packages import SetupError, apt_install, install_libraries, install_test_tools, may_install, say

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VERSION = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
UV_FOLDER = ROOT / ".env-uv"
UV_LOCK = ROOT / "tools" / "uv-requirements.lock"
# What an environment has been made from so far, and the file that says that all of it is done. The second
# one is what `make` looks at, so it must not exist while there is work left.
PARTS = "setup-parts"
STAMP = "setup-stamp"
# The oldest uv whose `pip sync` knows every option used below.
UV_OLDEST = (0, 5, 0)
EXTRAS = (
    "sim", "recording", "teleop", "policies", "vla", "remote", "peers", "ros", "drones", "distributed", "cpu",
    "cli", "dev",
)  # fmt: skip

# Variables of the caller's shell that lead another interpreter astray.
MISLEADING = (
    "AMENT_PREFIX_PATH",
    "CONDA_PREFIX",
    "LD_LIBRARY_PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, do it, and return the exit code: 0, 2 (to mend) or 130 (Ctrl-C)."""
    parser = argparse.ArgumentParser(description="Make the Python environments of this checkout.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    names = side_environments()
    env = verbs.add_parser("env", help="make a side environment: " + ", ".join(names))
    env.add_argument("name", choices=names)
    verbs.add_parser("lock", help="write every requirements.lock again")
    verbs.add_parser("test-tools", help="bring the Debian packages that only tests need, where it may")
    options = parser.parse_args(arguments)
    try:
        with one_at_a_time():
            if options.verb == "lock":
                write_locks()
            elif options.verb == "test-tools":
                found = install_test_tools()
                if found != "all present":
                    say("tools", found)
            elif options.verb == "env":
                make_side_environment(options.name)
            else:
                make_main_environment()
    except SetupError as problem:
        print(f"setup: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsetup: stopped; run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


def make_main_environment() -> None:
    """Bring `.venv` to what the lock and the checkout say; the last act completes the stamp."""
    venv = ROOT / ".venv"
    lock = ROOT / "requirements.lock"
    started = time.monotonic()
    wanted = [place(venv), digest_of([lock]), digest_of(project_files())]
    have = parts_of(venv)
    if have == wanted:
        record(venv, wanted, done=True)
        say("setup", "nothing to do")
        return
    record(venv, have)
    if have[:2] == wanted[:2]:
        uv = find_uv()
    else:
        python = find_python()
        say("setup 1/5", f"Python {PYTHON_VERSION}: {python}")
        uv = find_uv()
        say("setup 2/5", f"uv: {uv}")
        say("setup 3/5", f"system libraries: {install_libraries()}")
        say("setup 4/5", f"{requirement_count(lock)} packages of requirements.lock, a minute or two")
        install_lock(uv, python, venv, lock)
        record(venv, wanted[:2])
    say("setup 5/5", "reflexarc, reflexarc_ros and the plug-ins for LeRobot, editable")
    editable = [ROOT, ROOT / "ros2_ws" / "src" / "reflexarc_ros", *plugins()]
    run(
        [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
        + ["--no-deps", "--no-build-isolation", "--reinstall"]
        + [word for folder in editable for word in ("--editable", str(folder))]
    )
    record(venv, wanted, done=True)
    say("setup", f"ready in {time.monotonic() - started:.0f} s")


def make_side_environment(name: str) -> None:
    """Bring `.env-NAME` to `env/NAME/requirements.lock`, then run `env/NAME/check.py` inside it."""
    folder = ROOT / "env" / name
    venv = ROOT / f".env-{name}"
    lock = folder / "requirements.lock"
    check = folder / "check.py"
    wanted = [place(venv), digest_of([lock]), digest_of([check])]
    if parts_of(venv) != wanted:
        python = find_python()
        uv = find_uv()
        say("env 1/2", f"{requirement_count(lock)} packages of env/{name}/requirements.lock")
        install_lock(uv, python, venv, lock)
        say("env 2/2", f"env/{name}/check.py")
        run([str(venv / "bin" / "python"), str(check)])
        record(venv, wanted, done=True)
    say("env", f"{name} is ready: {venv / 'bin' / 'python'}")


def write_locks() -> None:
    """Resolve every input file into its hashed lock, which names no host."""
    uv = find_uv()
    run(compile_command(uv, "tools/uv-requirements.in", "tools/uv-requirements.lock"))
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    overrides = ["--override", "requirements.overrides"]
    run(compile_command(uv, "pyproject.toml", "requirements.lock", overrides + extras))
    for name in side_environments():
        folder = f"env/{name}/"
        overrides = []
        if (ROOT / folder / "requirements.overrides").exists():
            overrides = ["--override", folder + "requirements.overrides"]
        run(compile_command(uv, folder + "requirements.in", folder + "requirements.lock", overrides))


def compile_command(uv: str, source: str, lock: str, options: list[str] | None = None) -> list[str]:
    """Return the uv command that locks `source`; without a header, so that no path is recorded."""
    say("lock", f"{source} -> {lock}")
    command = [uv, "pip", "compile", "--quiet", "--generate-hashes", "--no-header"]
    command += ["--python-version", PYTHON_VERSION, "-o", lock]
    return command + (options or []) + [source]


def install_lock(uv: str, python: str, venv: Path, lock: Path) -> None:
    """Make `venv` hold exactly what `lock` names, with its byte code compiled once for all.

    Always from nothing: an installation that was cut short may have left half a package behind, and ROS
    wheels register each Python module as a second package that no lock names, which `sync` would remove.
    """
    interpreter = venv / "bin" / "python"
    run([uv, "venv", "--quiet", "--clear", "--no-project", "--python", python, str(venv)])
    record(venv, [])
    # On a terminal uv shows bars; into a file it would write two hundred lines of names.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    run(
        [uv, "pip", "sync", *quiet, "--require-hashes", "--compile-bytecode"]
        + ["--python", str(interpreter), str(lock)]
    )


def find_python() -> str:
    """Return a Python of the version in `.python-version` that really runs; fetch one as a last resort.

    A file of the right name is no proof: pyenv puts a `python3.12` on PATH that fails when its tree has
    chosen another version.
    """
    named = os.environ.get("UV_PYTHON", "")
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    candidates = [named, f"python{PYTHON_VERSION}", sys.executable, "python3"]
    candidates += [f"{folder}/python{PYTHON_VERSION}" for folder in ("/usr/bin", "/usr/local/bin")]
    candidates += sorted(glob.glob(f"{pyenv}/versions/{PYTHON_VERSION}*/bin/python3"), reverse=True)
    for candidate in candidates:
        found = shutil.which(candidate) if candidate else None
        if found and version_of(found) == PYTHON_VERSION:
            return real_executable(found)
    uv = find_uv()
    managed = [uv, "python", "find", "--managed-python", "--no-python-downloads", "--no-project"]
    path = output([*managed, PYTHON_VERSION])
    if not path:
        say("setup 1/5", f"no Python {PYTHON_VERSION} here; uv fetches one")
        fetch = [uv, "python", "install", PYTHON_VERSION]
        subprocess.run(fetch, cwd=str(ROOT), env=clean_environment(), check=False)
        path = output([*managed, PYTHON_VERSION])
    if not path:
        raise SetupError(
            f"no Python {PYTHON_VERSION} was found, and uv could not fetch one.\n"
            f"  Looked at $UV_PYTHON, python{PYTHON_VERSION} and python3 on PATH, {pyenv}/versions and uv.\n"
            f"  Mend it with one of: apt install python{PYTHON_VERSION} (where the distribution has it),\n"
            f"  pyenv install {PYTHON_VERSION}, or UV_PYTHON=/path/to/python{PYTHON_VERSION} make setup"
        )
    return path


def find_uv() -> str:
    """Return uv: the one on PATH, or one of our own that pip puts into `.env-uv`, hashes checked."""
    on_path = shutil.which("uv")
    if on_path and uv_version(on_path) >= UV_OLDEST:
        return on_path
    private = UV_FOLDER / "bin" / "uv"
    if uv_version(str(private)) >= UV_OLDEST:
        return str(private)
    say("setup", f"fetching uv with pip into {UV_FOLDER.name}")
    options = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    options += ["--require-hashes", "--target", str(UV_FOLDER), "-r", str(UV_LOCK)]
    run([some_pip(), "-m", "pip"] + options)
    if uv_version(str(private)) < UV_OLDEST:
        raise SetupError(f"pip installed uv, but {private} does not run on this machine.")
    return str(private)


def some_pip() -> str:
    """Return a Python that has pip: this one, or a private venv of it, with Debian's venv when root."""
    if output([sys.executable, "-m", "pip", "--version"]):
        return sys.executable
    if not output([sys.executable, "-c", "import ensurepip, venv; print(1)"]):
        if not may_install():
            raise SetupError(
                f"{sys.executable} has neither pip nor venv.\n  Mend it with: sudo apt install python3-venv"
            )
        apt_install(["python3-venv"])
    seed = UV_FOLDER / "seed"
    run([sys.executable, "-m", "venv", "--clear", str(seed)])
    return str(seed / "bin" / "python")


def side_environments() -> list[str]:
    """Return the names of the folders under `env/`."""
    return sorted(path.parent.name for path in (ROOT / "env").glob("*/requirements.in"))


def project_files() -> list[Path]:
    """Return the files that an editable installation copies or is made from."""
    ros = ROOT / "ros2_ws" / "src" / "reflexarc_ros"
    files = [
        folder / name for folder in (ROOT, ros) for name in ("pyproject.toml", "setup.py", "package.xml")
    ]
    files += [folder / "pyproject.toml" for folder in plugins()]
    files += sorted((ROOT / "launch").glob("*.py")) + sorted((ros / "scripts").glob("*"))
    # A new top-level package has to be made importable; what is in it does not matter.
    return files + sorted(ROOT.glob("[a-z]*/__init__.py"))


def plugins() -> list[Path]:
    """Return the folders of the packages that LeRobot finds by their names."""
    return sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


def digest_of(files: list[Path]) -> str:
    """Return a digest of these files' names and contents; of an `__init__.py`, the name alone."""
    digest = hashlib.sha256(PYTHON_VERSION.encode())
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode())
        if file.name != "__init__.py":
            digest.update(file.read_bytes())
    return digest.hexdigest()


def place(venv: Path) -> str:
    """Return a digest of where an environment lies: its scripts name that path, so it cannot move."""
    return hashlib.sha256(str(venv).encode()).hexdigest()


def parts_of(venv: Path) -> list[str]:
    """Return what the environment was made from: place, lock, project; fewer when setup was cut short."""
    try:
        return (venv / PARTS).read_text(encoding="utf-8").split()
    except OSError:
        return []


def record(venv: Path, parts: list[str], *, done: bool = False) -> None:
    """Write down what the environment has been made from so far, and whether that is all."""
    for name, is_there in ((STAMP, done), (PARTS, bool(parts))):
        if (venv / name).exists() and not is_there:
            (venv / name).unlink()
    if parts:
        (venv / PARTS).write_text("\n".join(parts) + "\n", encoding="utf-8")
    if done:
        (venv / STAMP).touch()


def requirement_count(lock: Path) -> int:
    """Return how many packages a lock pins."""
    return sum(1 for line in lock.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())


def version_of(python: str) -> str:
    """Return `3.12` for a Python 3.12 that runs, or an empty string."""
    return output([python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"])


def real_executable(python: str) -> str:
    """Return the interpreter behind a shim or a virtual environment."""
    lines = (
        "import os, sys; print(os.path.join(sys.base_prefix, 'bin', 'python{}.{}'.format(*sys.version_info)))"
    )
    found = output([python, "-c", lines])
    return found if found and version_of(found) == PYTHON_VERSION else python


def uv_version(uv: str) -> tuple[int, ...]:
    """Return uv's version as numbers, or an empty tuple when it does not run."""
    words = output([uv, "--version"]).split(" ")
    if len(words) < 2 or words[0] != "uv":
        return ()
    return tuple(int(part) for part in words[1].split("+")[0].split("-")[0].split(".") if part.isdigit())


def output(command: list[str]) -> str:
    """Return what a command prints, or an empty string when it fails or does not exist."""
    try:
        done = subprocess.run(
            command,
            cwd=str(ROOT),
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def run(command: list[str]) -> None:
    """Run a command that has to succeed, showing what it prints."""
    code = subprocess.run(command, cwd=str(ROOT), env=clean_environment(), check=False).returncode
    if code in (130, -2):
        raise KeyboardInterrupt
    if code:
        raise SetupError("this command failed with exit code {}:\n  {}".format(code, " ".join(command)))


def clean_environment() -> dict[str, str]:
    """Return the caller's environment without what misleads, with the mirror that pip is set up for."""
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    environment.update(uv_settings(environment), PIP_ROOT_USER_ACTION="ignore")
    return environment


class one_at_a_time:  # noqa: N801, it reads as what it does
    """Holds a lock file, so that two `make` at once do not write the same environment."""

    def __enter__(self) -> None:
        UV_FOLDER.mkdir(exist_ok=True)
        self._file = (UV_FOLDER / "lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("setup", "waiting for another setup of this checkout")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


if __name__ == "__main__":
    sys.exit(main())
