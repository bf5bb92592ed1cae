"""Shows that the Franka environment works: the strict server imports, and its arm's model is on disk."""

from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import mujoco
from franka_sim import motion_limits, run_server

spec = find_spec("franky_sim")
assert spec is not None, "franky-sim, which brings the FR3 model, is missing"
assets = Path(str(spec.origin)).parent / "assets"
scene = ElementTree.parse(assets / "fr3.xml")
compiler = scene.getroot().find("compiler")
assert compiler is not None, "the FR3 model has no <compiler> element to tell where its meshes are"
compiler.set("meshdir", str(assets / "meshes"))
model = mujoco.MjModel.from_xml_string(ElementTree.tostring(scene.getroot(), encoding="unicode"))
assert model.nu >= 7, f"the FR3 model has {model.nu} actuators; seven joints need seven"
assert callable(run_server.main), "franka-sim has no server"
assert motion_limits.__doc__, "franka-sim has no motion limits"
print(f"franka: strict server of franka-sim, FR3 with {model.njnt} joints, MuJoCo {mujoco.__version__}")
