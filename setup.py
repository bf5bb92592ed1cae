"""What is built, for `pip install` and for `colcon build` alike; what it needs is in pyproject.toml.

colcon reads this file alone (a symlink install does not even have pyproject.toml in sight), and the data
files are what lets ROS tools find the package in its prefix: `ros2 launch reflexarc …`.
"""

from glob import glob

from setuptools import Distribution as _Distribution
from setuptools import find_packages, setup

ROOMS = ("hardware", "sim", "recording", "policies", "calibration", "reflexarc")
DATA = (
    "yaml",
    "json",
    "csv",
    "png",
    "safetensors",
    "onnx",
    "npz",
    "xml",
    "html",
    "css",
    "js",
    "c",
    "h",
    "cpp",
    "hpp",
)


class Distribution(_Distribution):
    """A distribution whose data files are installed by `pip install --editable` too.

    setuptools asks `has_data` before it installs them there, and names the method `has_data_files`.
    """

    has_data = _Distribution.has_data_files


setup(
    distclass=Distribution,
    name="reflexarc",
    version="0.1.0",
    python_requires=">=3.12,<3.13",
    license="Apache-2.0",
    packages=find_packages(include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")]),
    package_data={"": [*(f"**/*.{kind}" for kind in DATA), "**/LICENSE*", "py.typed"]},
    include_package_data=False,
    zip_safe=False,
    entry_points={"console_scripts": ["reflexarc = reflexarc.cli:main"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/reflexarc"]),
        ("share/reflexarc", ["package.xml"]),
        ("share/reflexarc/launch", sorted(glob("launch/*.launch.py"))),
    ],
)
