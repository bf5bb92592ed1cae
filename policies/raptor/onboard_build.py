"""Compile, test and measure what `policies.raptor.export_c` writes, on this machine and on a Cortex-M4F.

The Cortex-M4F is emulated (qemu-system-arm, machine mps2-an386). With `-icount shift=0` the emulator lets
every instruction take one nanosecond, so that a hardware timer counts instructions. Instructions are not
cycles: an STM32F405 needs more cycles than instructions, by its flash's wait states among others.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import ConfigError

_CORTEX_M = Path(__file__).parent / "onboard" / "cortex_m"
# Strict enough for any flight controller's own build.
WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion"),
    *("-Wdouble-promotion", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"),
)
# Undefined behaviour and memory errors end the program.
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# A Cortex-M4 with its single-precision unit, as in STM32F4 and STM32G4.
CORTEX_M4F = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
ARM_COMPILER = "arm-none-eabi-gcc"
_SECTIONS = ("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")
_EMULATOR = (
    *("qemu-system-arm", "-M", "mps2-an386", "-cpu", "cortex-m4", "-icount", "shift=0"),
    *("-nographic", "-monitor", "none", "-serial", "none"),
    *("-semihosting-config", "enable=on,target=native"),
)
# One tick of the emulated machine's 25 MHz SysTick, in nanoseconds, that is, instructions.
_TICK_NS = 40
# What an ARM run needs: program to Debian packages.
ARM_PACKAGES = {
    ARM_COMPILER: "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Timing:
    """How long one call takes: observation, executor, network and remap."""

    # Where and how compiled.
    name: str
    # Calls measured.
    steps: int
    # What is counted: `ns` or `instructions`.
    unit: str
    # Shortest, middle, mean and longest call, in that unit.
    minimum: int
    median: int
    mean: int
    maximum: int
    # The explicit state of one vehicle, bytes.
    state_bytes: int


@dataclass(frozen=True)
class Footprint:
    """What the policy costs on a Cortex-M4F: every function of it, and the C library's that it needs."""

    # Code, weights and initialised data, bytes of flash.
    flash_bytes: int
    # Static memory, the state of one vehicle in it, bytes.
    ram_bytes: int
    # Stack of our own functions, from raptor_control down, bytes.
    stack_bytes: int


def missing_arm_packages() -> str:
    """Name the Debian packages that an ARM run lacks on this machine; empty when it lacks none."""
    return " ".join(packages for program, packages in ARM_PACKAGES.items() if shutil.which(program) is None)


def compile_host(
    folder: Path, sources: Sequence[Path | str], out: Path, *, compiler: str, options: Sequence[str]
) -> Path:
    """Compile exported sources for this machine, every warning an error.

    Args:
        folder: what `export_c` wrote.
        sources: C files, relative to it or absolute.
        out: the program or, with `-shared` among the options, the library to write.
        compiler: `gcc` or `clang`.
        options: for the compiler.

    Returns:
        `out`.

    Raises:
        ConfigError: there is no such compiler, or it refuses; the compiler's words are in it.
    """
    files = [str(folder / source) for source in sources]
    _run([compiler, *WARNINGS, *options, f"-I{folder}", *files, "-lm", "-o", str(out)], _install(compiler))
    return out


def prove_host(folder: Path, build: Path, *, compiler: str, options: Sequence[str]) -> str:
    """Compile and run the exported test on this machine.

    Args:
        folder: what `export_c` wrote.
        build: where the program goes.
        compiler: `gcc` or `clang`.
        options: for the compiler.

    Returns:
        What the test printed.

    Raises:
        ConfigError: it does not compile, or a check failed.
    """
    program = build / f"raptor_test_{compiler}"
    compile_host(folder, ("raptor_policy.c", "raptor_test.c"), program, compiler=compiler, options=options)
    return _run([str(program)], "report this with the compiler's version")


def measure_host(folder: Path, build: Path, *, compiler: str, options: Sequence[str]) -> Timing:
    """Compile and run the exported timing harness on this machine.

    Args:
        folder: what `export_c` wrote.
        build: where the program goes.
        compiler: `gcc` or `clang`.
        options: for the compiler.

    Returns:
        Nanoseconds a call.

    Raises:
        ConfigError: it does not compile.
    """
    program = build / f"raptor_timing_{compiler}"
    compile_host(folder, ("raptor_policy.c", "raptor_timing.c"), program, compiler=compiler, options=options)
    return _timing(f"host, {compiler} {' '.join(options)}", _run([str(program)], ""))


def prove_cortex_m(folder: Path, build: Path, *, options: Sequence[str]) -> str:
    """Compile the exported test for a Cortex-M4F and run it there.

    Args:
        folder: what `export_c` wrote.
        build: where the image goes.
        options: for the compiler.

    Returns:
        What the test printed.

    Raises:
        ConfigError: compiler or emulator are missing, it does not compile, or a check failed.
    """
    return _emulate(folder, build, ("raptor_policy.c", "raptor_test.c"), options)


def measure_cortex_m(folder: Path, build: Path, *, options: Sequence[str], steps: int = 1000) -> Timing:
    """Count the instructions of a call on an emulated Cortex-M4F.

    Args:
        folder: what `export_c` wrote.
        build: where the image goes.
        options: for the compiler.
        steps: calls to measure; one is exact to 40 instructions, their mean far better.

    Returns:
        Instructions a call.

    Raises:
        ConfigError: compiler or emulator are missing, or it does not compile.
    """
    settings = (*options, f"-DRAPTOR_TIMING_SYSTICK={_TICK_NS}u", f"-DRAPTOR_TIMING_STEPS={steps}u")
    text = _emulate(folder, build, ("raptor_policy.c", "raptor_timing.c"), settings)
    return _timing(f"M4F, {' '.join(options)}", text)


def measure_footprint(folder: Path, build: Path, *, options: Sequence[str]) -> Footprint:
    """Weigh the policy and the C library's functions that it needs, without start-up code.

    Args:
        folder: what `export_c` wrote.
        build: where the image goes.
        options: for the compiler.

    Returns:
        Bytes.

    Raises:
        ConfigError: the compiler is missing, or it refuses.
    """
    image = build / "footprint.elf"
    objects = [build / "footprint.o", build / "policy.o"]
    for source, target in zip((_CORTEX_M / "footprint.c", folder / "raptor_policy.c"), objects, strict=True):
        words = [*CORTEX_M4F, *WARNINGS, *_SECTIONS[:2], *options, "-fstack-usage", f"-I{folder}"]
        _run([ARM_COMPILER, *words, "-c", str(source), "-o", str(target)], _install(ARM_COMPILER))
    library = ["--specs=nano.specs", "--specs=nosys.specs", "-nostartfiles", "-Wl,--entry=main"]
    link = [*CORTEX_M4F, *_SECTIONS, *options, *library, *(str(part) for part in objects), "-lm"]
    _run([ARM_COMPILER, *link, "-o", str(image)], _install(ARM_COMPILER))
    sizes = _run(["arm-none-eabi-size", str(image)], _install(ARM_COMPILER)).splitlines()[1].split()
    text, data, bss = (int(word) for word in sizes[:3])
    usage = dict(re.findall(r":(\w+)(?:\.\w+)*\t(\d+)\t", (build / "policy.su").read_text(encoding="utf-8")))
    chain = ("raptor_control", "evaluate_checked", "raptor_evaluate", "affine")
    return Footprint(text + data, data + bss, sum(int(usage.get(name, 0)) for name in chain))


def _emulate(folder: Path, build: Path, sources: Sequence[str], options: Sequence[str]) -> str:
    image = build / f"{Path(sources[-1]).stem}.elf"
    library = ["--specs=rdimon.specs", "-Wl,--entry=raptor_start"]
    # Everything is loaded to where it runs; only the vector table's place is given by the processor.
    places = ["-Wl,--section-start=.vectors=0", "-Wl,-Tdata=0x20000000"]
    files = [str(_CORTEX_M / "startup.c"), *(str(folder / source) for source in sources)]
    # The machine's own start-up speaks to registers, which strict C99 knows nothing of.
    strict = [word for word in WARNINGS if word not in ("-pedantic", "-Wmissing-prototypes")]
    compile_words = [*CORTEX_M4F, *strict, *_SECTIONS, *options, *library, *places, f"-I{folder}", *files]
    _run([ARM_COMPILER, *compile_words, "-lm", "-o", str(image)], _install(ARM_COMPILER))
    return _run([*_EMULATOR, "-kernel", str(image)], _install("qemu-system-arm"))


def _timing(name: str, text: str) -> Timing:
    words = text.split()
    found = dict(zip(words[::2], words[1::2], strict=False))
    return Timing(
        name=name,
        steps=int(found["steps"]),
        unit=found["unit"],
        minimum=int(found["min"]),
        median=int(found["median"]),
        mean=int(found["mean"]),
        maximum=int(found["max"]),
        state_bytes=int(found["state_bytes"]),
    )


def _install(program: str) -> str:
    return f"apt install {ARM_PACKAGES.get(program, program)}"


def _run(command: list[str], mend: str) -> str:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigError(
            f"{name} is not here", where="onboard build", expected=f"the program {name}", mend=mend
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"{name} did not finish in {_TIMEOUT_S:.0f} s",
            where="onboard build",
            expected="an end",
            mend=mend,
        ) from error
    if done.returncode:
        raise ConfigError(
            f"{name} failed with exit code {done.returncode}:\n{(done.stdout + done.stderr).strip()[-3000:]}",
            where="onboard build",
            expected="exit code 0",
            mend=mend,
        )
    return done.stdout
