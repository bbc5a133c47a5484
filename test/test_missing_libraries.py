"""What pip brings into a ROS image beside the system's packages."""

import missing_libraries

from seg_perception.libraries import NEEDED

JAMMY = {"numpy": "1.21.5", "cv2": missing_libraries.UNSTATED, "yaml": "5.4.1", "tqdm": "4.57.0", "psutil": "5.9.0"}


def test_jammys_numpy_stays_one_that_its_opencv_was_built_for() -> None:
    wanted = missing_libraries.missing(NEEDED, {**JAMMY, "numba": "0.55.1", "jinja2": "3.0.3"}, (3, 10))
    assert wanted[0] == "numpy>=1.21,<2" and sum(need.startswith("numpy") for need in wanted) == 1
    assert NEEDED["numba"] in wanted, "0.55 is too old"
    assert NEEDED["jinja2"] not in wanted and not any("opencv" in need for need in wanted)


def test_a_newer_system_has_no_bound() -> None:
    have = {**dict.fromkeys(NEEDED, "99.0"), "numpy": "2.3.5"}
    del have["onnx"], have["backports.zstd"]
    assert missing_libraries.missing(NEEDED, have, (3, 14)) == [NEEDED["onnx"]]
    assert missing_libraries.missing(NEEDED, have, (3, 12)) == [NEEDED["onnx"], NEEDED["backports.zstd"]]


def test_versions_count_as_numbers() -> None:
    assert missing_libraries.missing({"numba": "numba>=0.57"}, {"numba": "0.100.0"}) == []
    assert missing_libraries.missing({"numba": "numba>=0.57"}, {"numba": "0.9.0"}) == ["numba>=0.57"]


def test_here_nothing_is_missing() -> None:
    assert missing_libraries.missing(NEEDED, missing_libraries.installed(NEEDED)) == []
