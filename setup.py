"""The ament_python package `seg_perception`; its interface package lies beside it, in seg_perception_msgs/."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "seg_perception"
DATA = (".css", ".cu", ".html", ".j2")
VERBS = (
    "run",
    "predict",
    "evaluate",
    "compare",
    "make-bag",
    "inspect-data",
    "train",
    "export",
    "build-engine",
    "benchmark",
    "check-ground",
)


def installed(folder: str, *patterns: str) -> list[tuple[str, list[str]]]:
    """Files of a folder and their place below share/<package>, subfolders kept."""
    places: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in sorted(Path(folder).rglob(pattern)):
            if path.is_file():
                places.setdefault(f"share/{NAME}/{path.parent.as_posix()}", []).append(path.as_posix())
    return list(places.items())


setup(
    name=NAME,
    version="0.1.0",
    description="Camera images to panoptic masks and drivable ground, in real time",
    license="Apache-2.0",
    maintainer="seg_perception developers",
    maintainer_email="dev@example.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: [path.relative_to(NAME).as_posix() for path in Path(NAME).rglob("*") if path.suffix in DATA]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *installed("launch", "*.py"),
        *installed("config", "*"),
        *installed("models", "*"),
    ],
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "numpy>=1.21",
        "onnx>=1.14",
        "onnxruntime>=1.15",
        "numba>=0.56",
        "PyYAML>=5.4",
        "tqdm>=4.57",
        "rosbags>=0.10",
        "rosbags-image>=0.10",
        "jinja2>=3.0",
        "matplotlib>=3.5",
        "psutil>=5.9",
    ],
    extras_require={
        "train": ["torch>=2.1"],
        "tensorboard": ["tensorboard>=2.9"],
        "fleet": ["ray>=2.9"],
        "opencv": ["opencv-python-headless>=4.5"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            f"segmentation = {NAME}.ros.node:main",
            f"{NAME} = {NAME}.cli:main",
            *(f"{verb} = {NAME}.cli:verb_main" for verb in VERBS),
        ],
    },
)
