"""`reflexarc bench onboard`: a RAPTOR policy as C, on this machine and on an emulated Cortex-M4F."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.eval import find_policy
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

_PUBLISHED = Path(__file__).parents[2] / "policies" / "raptor" / "published"
# How a call is compiled for this machine, and for the Cortex-M4F.
_HOST_OPTIONS: tuple[tuple[str, ...], ...] = (("-O2",), ("-O3",))
_CORTEX_OPTIONS: tuple[tuple[str, ...], ...] = (("-Os",), ("-O2",), ("-O2", "-ffp-contract=fast"))
# Of a full use of the policy on a Cortex-M4F, libm with it: what the issue allows.
INSTRUCTIONS_MAX, FLASH_MAX_BYTES = 20_000, 16 * 1024


@dataclass(frozen=True)
class OnboardBench:
    """Which policy."""

    # METHOD/NAME of one that comes with Reflexarc, or a policy folder.
    policy: Annotated[Path, tyro.conf.arg(help_behavior_hint="(default: the published policy)")] = _PUBLISHED
    # Also write the report, JSON, to this file.
    out: Path | None = None


def measure(config: OnboardBench, progress: Progress) -> BenchReport:
    """Export a policy as C, prove it with every compiler at hand, and measure it.

    Args:
        config: which policy.
        progress: is told of every build.

    Returns:
        The report; its ratios are the Cortex-M4F's instructions and flash over what is allowed.

    Raises:
        ConfigError: no C compiler is here, or a check of the exported test failed.
    """
    from policies.card import load_policy_card
    from policies.raptor import onboard_build
    from policies.raptor.export_c import export_c

    policy = find_policy(config.policy, where="bench onboard")
    machine = describe_machine()
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not compilers:
        raise ConfigError(
            "there is no C compiler", where="bench onboard", expected="gcc or clang", mend="apt install gcc"
        )
    missing = onboard_build.missing_arm_packages()
    builds = len(compilers) * len(_HOST_OPTIONS) + (0 if missing else len(_CORTEX_OPTIONS))
    rows: list[dict[str, Any]] = []
    ratios = {}
    with tempfile.TemporaryDirectory() as place:
        folder, build = Path(place) / "export", Path(place)
        export_c(policy, folder)
        for compiler in compilers:
            for options in _HOST_OPTIONS:
                onboard_build.prove_host(folder, build, compiler=compiler, options=options)
                timing = onboard_build.measure_host(folder, build, compiler=compiler, options=options)
                rows.append(asdict(timing))
                progress(len(rows), builds)
        for options in () if missing else _CORTEX_OPTIONS:
            onboard_build.prove_cortex_m(folder, build, options=options)
            timing = onboard_build.measure_cortex_m(folder, build, options=options)
            weight = onboard_build.measure_footprint(folder, build, options=options)
            rows.append(asdict(timing) | asdict(weight))
            words = " ".join(options)
            for limit, found, what in (
                (INSTRUCTIONS_MAX, timing.maximum, "instructions"),
                (FLASH_MAX_BYTES, weight.flash_bytes, "bytes of flash"),
            ):
                ratios[f"the {limit} {what} allowed, {words}"] = found / limit
            progress(len(rows), builds)
    notes = [
        "A call is observation, executor, network and motor remap; every build passed the exported test."
    ]
    notes.append(
        f"Not measured on a Cortex-M4F: this machine lacks {missing}."
        if missing
        else "The Cortex-M4F is emulated; instructions are exact to 40 in a single call."
    )
    return BenchReport(
        name="onboard",
        title="RAPTOR as C: one call, on this machine and on a Cortex-M4F",
        columns=(
            Column("name", "build"),
            Column("unit", "unit"),
            Column("median", "median", 0),
            Column("maximum", "longest", 0),
            Column("flash_bytes", "flash [bytes]", 0),
            Column("ram_bytes", "RAM [bytes]", 0),
            Column("stack_bytes", "stack [bytes]", 0),
        ),
        rows=tuple(rows),
        ratios=ratios,
        machine=machine,
        settings={"policy": load_policy_card(policy).name},
        notes=tuple(notes),
    )
