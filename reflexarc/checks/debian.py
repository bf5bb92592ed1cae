"""System packages that pip cannot bring."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from reflexarc.checks.finding import Finding, ok, warn

# What the set-up looks at too; part of a clone, not of an installation.
SYSTEM_PACKAGES = Path(__file__).parents[2] / "tools" / "system_packages.py"
# Packages that only `make test` needs.
FOR_TESTS = (
    *("libxml2-utils", "build-essential"),
    *("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"),
)


def read_packages(source: Path = SYSTEM_PACKAGES) -> Mapping[str, bool] | None:
    """Look for what each Debian package of the set-up brings, however it came here.

    Args:
        source: the set-up's own module.

    Returns:
        Package to whether it, or something in its place, is here; None outside a clone.
    """
    if not source.exists():
        return None
    spec = importlib.util.spec_from_file_location("_reflexarc_system_packages", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    packages: Mapping[str, bool] = {**module.debian_packages(), **module.packages_for_tests()}
    return packages


def check_packages(packages: Mapping[str, bool] | None) -> list[Finding]:
    """Judge the system packages. Whether pictures can be drawn is the rendering check's to say.

    Args:
        packages: as from `read_packages`.

    Returns:
        One finding on those that run the stack, one on those that test it where any is missing.
    """
    if packages is None:
        return [ok("Debian packages", "Not a clone: the set-up's list is not here.")]
    missing = [name for name, present in packages.items() if not present]
    findings = []
    for names, purpose, target in (
        ([name for name in missing if name not in FOR_TESTS], "the twin's pictures and videos need", "setup"),
        ([name for name in missing if name in FOR_TESTS], "`make test` needs", "test"),
    ):
        if names:
            findings.append(
                warn(
                    "Debian packages",
                    f"Not here: {', '.join(names)}, which {purpose}.",
                    f"install {' '.join(names)}; `make {target}` does it when run as root",
                    f"sudo apt-get install -y {' '.join(names)}",
                )
            )
    return findings or [ok("Debian packages", f"All {len(packages)} are here.")]
