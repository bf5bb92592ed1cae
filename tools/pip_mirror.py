"""Reads the package mirror that pip is set up for, because uv does not look there.

A company's or a classroom's machine often has its mirror in `pip.conf` alone. Standard library only, and
Python 3.8 on: `tools/setup.py` imports this before there is any environment.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path

# Whoever set one of these, or has a uv.toml, has told uv itself where to look.
UV_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE")

SYSTEM_FILES = (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"))


def uv_settings(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that make uv use pip's mirror; empty when uv is set up itself.

    Args:
        environment: The variables that uv would run with; `PIP_INDEX_URL` and the like are read from it.

    Returns:
        `UV_DEFAULT_INDEX` for pip's `index-url`, `UV_INDEX` for an `extra-index-url` on a server, and
        `UV_INSECURE_HOST` for `trusted-host`. Folders on disk (`find-links`, `file:` addresses) are left
        out: the lock's hashes may not match what lies there, and uv stops at the first mismatch.
    """
    if any(environment.get(name) for name in UV_VARIABLES) or any(map(Path.is_file, _uv_files(environment))):
        return {}
    pip = _pip_settings(environment)
    found = {}
    if _is_remote(pip.get("index-url", "")):
        found["UV_DEFAULT_INDEX"] = pip["index-url"]
    extra = [address for address in pip.get("extra-index-url", "").split() if _is_remote(address)]
    if extra:
        found["UV_INDEX"] = " ".join(extra)
        # Every wheel is checked against the lock's hash, so the best match is safe wherever it comes from.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if pip.get("trusted-host"):
        found["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    return found


def _pip_settings(environment: dict[str, str]) -> dict[str, str]:
    """Return pip's settings by name; a later file outranks an earlier one, the environment all of them."""
    settings: dict[str, str] = {}
    for file in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(str(file), encoding="utf-8")
        except configparser.Error:
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update(parser.items(section))
    for name in ("index-url", "extra-index-url", "trusted-host"):
        value = environment.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            settings[name] = value
    return settings


def _pip_files(environment: dict[str, str]) -> list[Path]:
    """Return pip's configuration files, least important first."""
    home = Path.home()
    configuration = Path(environment.get("XDG_CONFIG_HOME") or str(home / ".config"))
    files = [*SYSTEM_FILES, home / ".pip" / "pip.conf", configuration / "pip" / "pip.conf"]
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    return files + ([Path(named)] if named else [])


def _uv_files(environment: dict[str, str]) -> list[Path]:
    """Return the files in which uv itself may have been told of an index."""
    configuration = Path(environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config"))
    return [configuration / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]


def _is_remote(address: str) -> bool:
    return address.startswith(("http://", "https://"))
