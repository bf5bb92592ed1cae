"""Finds the system libraries that software rendering needs, and brings them with apt when it may.

What counts is that a library is there, not how it came: a vendor's driver or another package manager may
have brought it. Standard library only, and Python 3.8 on, as `tools/setup.py`.
"""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import subprocess


class SetupError(Exception):
    """Something the user has to mend; the text says what, and how."""


def install_libraries() -> str:
    """Install the missing Debian packages when root, name them when not; return what was found."""
    missing = [package for package, present in debian_packages().items() if not present]
    if not missing:
        return "all present"
    command = "apt install {}".format(" ".join(missing))
    if may_install():
        apt_install(missing)
        return "installed {}".format(" ".join(missing))
    needed = [package for package in missing if package != "libxml2-utils"]
    if not needed:
        return f"for `make test`, please run: sudo {command}"
    raise SetupError(
        "software rendering needs libraries that are not here: {}.\n"
        "  Mend it with: sudo {}\n"
        "  and run the same command again.".format(", ".join(needed), command)
    )


def debian_packages() -> dict[str, bool]:
    """Return the Debian packages that the stack needs, and whether what each one brings is here."""
    vendors = glob.glob("/usr/share/glvnd/egl_vendor.d/*.json") + glob.glob("/etc/glvnd/egl_vendor.d/*.json")
    drivers = [place for pattern in ("*swrast*", "*gallium*") for place in library_files(pattern)]
    return {
        "libegl1": loads("libEGL.so.1"),
        "libgl1": loads("libGL.so.1"),
        "libegl-mesa0": bool(vendors),
        # A vendor's own driver (NVIDIA's, say) needs none of Mesa's.
        "libgl1-mesa-dri": bool(drivers) or any("mesa" not in vendor for vendor in vendors),
        "libxml2-utils": shutil.which("xmllint") is not None,
    }


def install_test_tools() -> str:
    """Install what only tests run, when root; name it when not. Never fails: those tests can be skipped."""
    missing = [package for package, present in packages_for_tests().items() if not present]
    if not missing:
        return "all present"
    if may_install():
        try:
            apt_install(missing)
        except SetupError:
            return "not to be had: {}; the tests that need them are skipped".format(" ".join(missing))
        return "installed {}".format(" ".join(missing))
    return "for every test, please run: sudo apt install {}".format(" ".join(missing))


def packages_for_tests() -> dict[str, bool]:
    """Return the Debian packages that only tests need, and whether what each one brings is here."""
    compiler = shutil.which("arm-none-eabi-gcc") or ""
    return {
        # The C export and the flight controllers' firmware.
        "build-essential": all(shutil.which(tool) for tool in ("gcc", "g++", "make")),
        # The export on an emulated Cortex-M4F.
        "gcc-arm-none-eabi": bool(compiler),
        # Another compiler than Debian's brings its own C library.
        "libnewlib-arm-none-eabi": os.path.exists("/usr/lib/arm-none-eabi/newlib/libm.a")
        or compiler.startswith(("/opt/", "/usr/local/", os.path.expanduser("~") + "/")),
        "qemu-system-arm": shutil.which("qemu-system-arm") is not None,
        # Teleoperation: a keyboard on a virtual screen, and a page in a real browser.
        "xvfb": shutil.which("Xvfb") is not None,
        "xdotool": shutil.which("xdotool") is not None,
        "chromium": any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")),
    }


def library_files(pattern: str) -> list[str]:
    """Return the files of that name in the system's library folders and their `dri` folders."""
    folders = ("/usr/lib/*/dri/", "/usr/lib/*/", "/usr/lib64/dri/", "/usr/lib64/", "/usr/lib/dri/")
    return [path for folder in folders for path in glob.glob(folder + pattern + ".so*")]


def loads(library: str) -> bool:
    """Return whether the dynamic loader finds a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def apt_install(packages: list[str]) -> None:
    """Install Debian packages; the caller is root."""
    say("setup", "apt-get install {}".format(" ".join(packages)))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    quiet = {"cwd": "/", "env": environment, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "-qq", "update"], check=False, **quiet)
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends"] + packages
    if subprocess.run(install, check=False, **quiet).returncode:
        raise SetupError("apt-get could not install {0}.\n  Try: apt install {0}".format(" ".join(packages)))


def may_install() -> bool:
    """Return whether this process may install Debian packages: root, and not told otherwise."""
    return os.geteuid() == 0 and bool(shutil.which("apt-get")) and not os.environ.get("REFLEXARC_NO_APT")


def say(step: str, text: str) -> None:
    """Print one line of progress."""
    print(f"{step:<9}  {text}", flush=True)
