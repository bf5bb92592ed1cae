"""Shows that the Isaac Lab environment works: it imports without Isaac Sim and accepts no licence."""

import os

os.environ.setdefault("OMNI_KIT_ACCEPT_EULA", "NO")

from importlib.metadata import version

import isaaclab
import torch

assert isaaclab.__file__, "isaaclab has no files"
print(f"isaac: Isaac Lab {version('isaaclab')}, torch {torch.__version__}")
