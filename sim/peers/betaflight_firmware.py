"""The real Betaflight firmware for its simulator target (SITL), compiled from its source package.

The sources are GPL-3.0 and never part of this repository: `make env NAME=betaflight` brings them, with
their hash checked, into `.env-betaflight`. They are compiled there once, without link-time optimisation,
so that a firmware with further C sources of ours (an adapter that flies a policy inside it) only needs
another link: any function that one file of the firmware calls in another can then be wrapped by name.
Whoever passes such a firmware on is bound by the GPL-3.0.

Two things of the simulator target are always exchanged, because they fail on a busy machine: its clock,
which leaps until the firmware takes its receiver for lost (`betaflight_clock.c` keeps firmware and plant in
step), and its serial ports over TCP, which it sometimes never answers (`betaflight_network.c` locks them).
Each file says why and how.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hardware.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".env-betaflight"
EXECUTABLE = "betaflight_4.6.0_SITL"
VERSION = "4.6.0"
# A burst of compilers would starve whatever real-time process shares the machine.
_JOBS = 2
# The firmware's own switches, without link-time optimisation: it would inline what is to be wrapped.
_MAKE = ("TARGET=SITL", "OPTIMISATION_BASE=-ffast-math -fmerge-all-constants")
_INCLUDES = (
    "src/main",
    "src/platform/SIMULATOR",
    "src/platform/SIMULATOR/include",
    "src/platform/SIMULATOR/target/SITL",
    "lib/main/dyad",
    "lib/main/MAVLink",
    "lib/main/google/olc",
)
_DEFINES = (
    "TARGET_FLASH_SIZE=2048",
    "HSE_VALUE=8000000",
    "_GNU_SOURCE",
    "SITL",
    "SIMULATOR",
    "SIMULATOR_BUILD",
    '__FORKNAME__="betaflight"',
    '__TARGET__="SITL"',
    '__REVISION__=""',
)
# Ours is compiled strictly and without -ffast-math, under which a test for NaN means nothing.
_OURS = ("-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections")
# The clock and the network, and what they replace.
_EXCHANGED = (
    Path(__file__).with_name("betaflight_clock.c"),
    Path(__file__).with_name("betaflight_network.c"),
)
_EXCHANGED_SYMBOLS = (
    "udpRecv",
    "delayMicroseconds_real",
    "schedulerEnableGyro",
    "micros",
    "millis",
    "getCycleCounter",
    "dyad_update",
    "dyad_write",
    "select",
    "serTcpOpen",
)
_LINK = ("-Wl,-gc-sections", "-Wl,--no-warn-rwx-segments")
_LIBRARIES = ("-lm", "-lpthread", "-lrt")


def install_sources(root: Path = ROOT) -> None:
    """Bring the firmware's sources into `.env-betaflight`; does nothing when they are there.

    Args:
        root: the checkout whose `tools/setup.py` knows how.

    Raises:
        ConfigError: they could not be had (no network, no compiler).
    """
    setup = [sys.executable, str(root / "tools" / "setup.py"), "env", "betaflight"]
    _run(setup, cwd=root, what="the side environment betaflight could not be made")


def firmware_sources(environment: Path = ENVIRONMENT) -> Path:
    """Find the firmware's source tree.

    Args:
        environment: the side environment.

    Returns:
        The folder that holds the firmware's Makefile.

    Raises:
        ConfigError: the side environment is not there.
    """
    found = sorted(environment.glob("lib/python3*/site-packages/betaflight/firmware/Makefile"))
    if not found:
        raise ConfigError(
            "the Betaflight sources are not there",
            where=environment.name,
            expected="the package betaflight of env/betaflight/requirements.lock",
            mend="make env NAME=betaflight",
        )
    return found[0].parent


def build_firmware(
    extra_sources: Sequence[Path] = (),
    wrap_symbols: Sequence[str] = (),
    *,
    include_dirs: Sequence[Path] = (),
    defines: Sequence[str] = (),
    out: Path | None = None,
    environment: Path = ENVIRONMENT,
) -> Path:
    """Compile the firmware, or find what was compiled before.

    Twenty seconds the first time; a second for every other set of extra sources; nothing for the same set.

    Args:
        extra_sources: C files of ours, compiled with the firmware's include paths and linked into it.
        wrap_symbols: functions that `__wrap_NAME` in these files replaces wherever one file of the
            firmware calls another; the firmware's own is `__real_NAME` (the linker's `--wrap`).
        include_dirs: folders of further headers; a change of a header in them is noticed.
        defines: further macros, `NAME` or `NAME=VALUE`.
        out: where to put the executable; None: a folder of the cache named after the contents.
        environment: the side environment that holds the sources and the cache.

    Returns:
        The executable. It wants a working directory of its own for its `eeprom.bin`.

    Raises:
        ConfigError: the sources are missing, or something does not compile; it holds the compiler's words.
    """
    sources = firmware_sources(environment)
    extra_sources = (*_EXCHANGED, *extra_sources)
    wrap_symbols = (*_EXCHANGED_SYMBOLS, *wrap_symbols)
    cache = environment / "firmware"
    cache.mkdir(exist_ok=True)
    with _one_at_a_time(cache / "lock"):
        base = _build_base(sources, cache)
        key = _digest(extra_sources, wrap_symbols, include_dirs, defines, base)
        built = cache / key / EXECUTABLE
        if not built.is_file():
            _link(sources, base, built, extra_sources, wrap_symbols, include_dirs, defines)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(built, out)
            built = out
    return built


def _build_base(sources: Path, cache: Path) -> Path:
    """The firmware as it is, and its objects, in a folder named after how they were made."""
    signature = "\0".join((*_MAKE, str(sources.parent), (sources / "Makefile").read_text(encoding="utf-8")))
    base = cache / f"base-{hashlib.sha256(signature.encode()).hexdigest()[:12]}"
    if not (base / EXECUTABLE).is_file():
        (base / "parts").mkdir(parents=True, exist_ok=True)
        command = ["make", "-C", str(sources), f"-j{_JOBS}", *_MAKE]
        command += [f"OBJECT_DIR={base}/objects", f"BIN_DIR={base}/parts"]
        _run(command, cwd=sources, what="the Betaflight firmware does not compile")
        (base / "parts" / EXECUTABLE).rename(base / EXECUTABLE)
    return base


def _link(
    sources: Path,
    base: Path,
    built: Path,
    extra_sources: Sequence[Path],
    wrap_symbols: Sequence[str],
    include_dirs: Sequence[Path],
    defines: Sequence[str],
) -> None:
    compile_options = [*_OURS, *(f"-D{d}" for d in (*_DEFINES, *defines))]
    compile_options += [f"-I{folder.resolve()}" for folder in include_dirs]
    compile_options += ["-isystem" + str(sources / folder) for folder in _INCLUDES]
    objects = [str(path) for path in sorted(base.glob("objects/**/*.o"))]
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        for index, source in enumerate(extra_sources):
            target = f"{folder}/{index}_{source.stem}.o"
            command = ["gcc", *compile_options, "-c", str(source.resolve()), "-o", target]
            _run(command, cwd=sources, what=f"{source.name} does not compile into the firmware")
            objects.append(target)
        linked = Path(folder) / EXECUTABLE
        linker = sources / "src" / "platform" / "SIMULATOR" / "link"
        command = ["gcc", "-o", str(linked), *objects, *_LIBRARIES, *_LINK, f"-Wl,-L{linker}"]
        command += [f"-T{linker / 'sitl.ld'}", *(f"-Wl,--wrap={name}" for name in wrap_symbols)]
        _run(command, cwd=sources, what="the firmware does not link")
        linked.rename(built)


def _digest(
    extra_sources: Sequence[Path],
    wrap_symbols: Sequence[str],
    include_dirs: Sequence[Path],
    defines: Sequence[str],
    base: Path,
) -> str:
    digest = hashlib.sha256(base.name.encode())
    for word in (*_OURS, *_LINK, *wrap_symbols, *defines):
        digest.update(word.encode() + b"\0")
    headers = [header for folder in include_dirs for header in sorted(folder.glob("*.h"))]
    for file in (*extra_sources, *headers):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _run(command: list[str], *, cwd: Path, what: str) -> None:
    # Whoever called `make` has its own flags in the environment; they are not meant for this one.
    environment = {n: v for n, v in os.environ.items() if n not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise ConfigError(
            f"{what}: {error}",
            where="betaflight",
            expected="a C compiler",
            mend="apt install build-essential",
        ) from error
    if done.returncode:
        words = (done.stdout + done.stderr).strip()[-2000:]
        raise ConfigError(
            f"{what} (exit code {done.returncode})",
            where="betaflight",
            expected="no error",
            mend=f"see what {Path(command[0]).name} said:\n{words}\n",
        )


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that two processes do not compile into the same folder."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
