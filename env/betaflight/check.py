"""Shows that the Betaflight sources are there and that this machine can compile them."""

import shutil
import sysconfig
from importlib.metadata import version
from pathlib import Path

firmware = Path(sysconfig.get_paths()["purelib"]) / "betaflight" / "firmware"
assert (firmware / "src" / "main" / "msp" / "msp.c").is_file(), f"no firmware sources under {firmware}"
for tool in ("gcc", "make"):
    assert shutil.which(tool), f"{tool} is missing. Mend it with: apt install build-essential"
print(f"betaflight: package {version('betaflight')}, firmware sources in {firmware}")
