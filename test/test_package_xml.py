"""package.xml names every ROS package that the code imports, as rosdep knows it, and none that it does not."""

import ast
import importlib.util
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from places import CHECKOUT

from seg_perception.libraries import LIBRARIES

PACKAGE_OF = {"tf2_ros": "tf2_ros_py"}
"""Where the package that brings a module has another name: tf2_ros alone is the C++ library."""
NOT_IMPORTED = {"ros2bag", "launch_pytest", "cv_bridge"}
"""Run as a command, and the tests' own."""
ROSDEP = {"aiohttp", "numpy", "opencv", "yaml", "jinja2", "matplotlib", "psutil", "tqdm", "pytest"}
"""Libraries of which Ubuntu's own package, python3-NAME, is new enough; pip brings the rest (tools/missing_libraries.py)."""
VENDORS = {"tensorrt", "tensorrt_rtx", "cuda", "timm", "pycocotools", "scipy"}


def imported() -> set[str]:
    modules = set()
    for folder in ("seg_perception", "launch"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    modules |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
    return modules


def is_ros(module: str) -> bool:
    """By where it lies: the standard library and pip's libraries are known."""
    known = {name.partition(".")[0] for name in LIBRARIES} | VENDORS | {"seg_perception", "backports"}
    if module in known or module in sys.stdlib_module_names or module == "compression":
        return False
    spec = importlib.util.find_spec(module)
    origin = Path(spec.origin) if spec and spec.origin else None
    return origin is None or "share" in origin.parts or _has_package_xml(module)


def _has_package_xml(module: str) -> bool:
    return (
        module.endswith("_msgs")
        or module.endswith("_interfaces")
        or module in {"ament_index_python", "rclpy", "launch", "launch_ros", "tf2_ros"}
    )


def dependencies() -> set[str]:
    root = ElementTree.parse(CHECKOUT / "package.xml").getroot()
    return {node.text or "" for node in root if node.tag.endswith("depend")}


def test_every_ros_package_that_is_imported_is_named_and_no_other() -> None:
    wanted = {PACKAGE_OF.get(module, module) for module in imported() if is_ros(module)}
    named = {name for name in dependencies() if not name.startswith("python3-")} - NOT_IMPORTED
    assert named == wanted


def test_ubuntus_packages_are_those_that_are_new_enough() -> None:
    assert {name for name in dependencies() if name.startswith("python3-")} == {f"python3-{name}" for name in ROSDEP}
