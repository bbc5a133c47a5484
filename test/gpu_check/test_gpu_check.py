"""gpu-check on the fake GPU, and without one; its sections run in processes of their own, as they do on a real one."""

import contextlib
import ctypes
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import fake_gpu
import pytest
from fake_cuda import FakeCudaRuntime, compile_for_cpu
from places import CHECKOUT

from seg_perception import cli, files
from seg_perception.backends.cuda import kernels
from seg_perception.errors import SegPerceptionError
from seg_perception.gpu_check import check_kernels, check_waiting, gpu_check, runner
from seg_perception.gpu_check.libraries import Libraries
from seg_perception.gpu_check.runner import Outcome, Section, run_sections
from seg_perception.gpu_check.sections import SECTIONS
from seg_perception.gpu_check.verdicts import DIED, FAULT, LEFT_OUT, OK
from seg_perception.synthetic.drive import SyntheticDrive


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """What the children inherit."""
    try:
        library = compile_for_cpu(tmp_path_factory.mktemp("kernels"))
    except FileNotFoundError as error:
        pytest.skip(f"the kernels cannot be compiled for the CPU: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fake_gpu.KERNELS, str(library))
        patch.setenv("PYTHONPATH", str(CHECKOUT / "test"), prepend=os.pathsep)
        yield


def _check(libraries, path, *words):
    options = ["--libraries", f"fake_gpu:{libraries}", "--patience", "20", "--json", str(path)]
    code = cli.main(["gpu-check", *options, *map(str, words)])
    return code, json.loads(path.read_text())


HAS = {
    *("numpy", "cv2", "numba", "llvmlite", "torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath"),
    *("networkx", "jinja2", "markupsafe", "filelock", "fsspec", "setuptools", "cuda"),
    *("seg_perception", "fake_gpu", "fake_cuda"),
}
"""What a bare Python with PyTorch can import, and the code under test."""


# The whole of it


def test_on_a_gpu_that_works_every_section_runs_and_nothing_is_wrong(tmp_path, capsys):
    files.write_image(tmp_path / "images" / "a.png", SyntheticDrive(150, 110).frame(0).rgb)
    code, report = _check("working", tmp_path / "g.json", "--images", tmp_path / "images")
    printed = capsys.readouterr().out
    assert code == 0, report["wrong"]
    assert report["gpu"] == "Fake GPU" and report["right"] > 20 and not report["left_out"]
    assert list(report["sections"]) == [section.name for section in SECTIONS]
    for name, section in report["sections"].items():
        assert section["rows"], name
        assert all(f"{name:<10} {check}" in printed for check, *_ in section["rows"])
    rows = {check for section in report["sections"].values() for check, *_ in section["rows"]}
    assert {"camera images to 320x192", "outputs of the shipped network", "a wait"} <= rows
    assert "tensorrt 10.3.0: self-test" in rows
    frame = report["sections"]["frame"]["data"]["network 96x64"]
    assert frame["rest_ms"] == pytest.approx(frame["frame_ms"]["p50"] - frame["network_gpu_ms"])
    assert report["sections"]["training"]["data"]["bf16"]["images_per_s"] > 0
    assert "Fake GPU:" in printed and "0 wrong" in printed


def test_an_engine_that_is_another_models_fails_its_self_test(tmp_path):
    code, report = _check("wrong_engine", tmp_path / "g.json", "--only", "tensorrt")
    wrong = {check: value for _, check, value, _ in report["wrong"]}
    assert code == 3 and "the self-test failed" in wrong["tensorrt 10.3.0: self-test"]


def test_kernels_that_paint_otherwise_than_the_cpu_are_noticed(tmp_path, capsys):
    code, report = _check("wrong_kernels", tmp_path / "g.json", "--only", "decode,graphs")
    assert code == 3 and {section for section, *_ in report["wrong"]} == {"decode", "graphs"}
    assert "wrong: decode: hostile outputs" in capsys.readouterr().out


def test_without_a_gpu_one_sentence_and_the_exit_code_say_so_and_the_rest_is_checked(tmp_path, capsys):
    code, report = _check("without_gpu", tmp_path / "g.json")
    printed = capsys.readouterr().out
    assert code == 2 and "There is no GPU to check here (CUDA's cudaGetDeviceCount failed" in printed
    assert not report["wrong"] and report["right"] >= 5, "the kernels compile for robots' GPUs"
    left_out = {section: why for section, _, why in report["left_out"]}
    assert left_out["decode"] == left_out["training"] == "no GPU" and "left out: frame: section: no GPU" in printed


def test_without_torch_the_rest_runs_and_it_is_said(tmp_path, capsys):
    code, report = _check("without_torch", tmp_path / "g.json", "--only", "frame,training,waiting")
    assert code == 0 and report["sections"]["waiting"]["rows"][0][0] == "a wait"
    assert report["left_out"] == [[name, "section", "no PyTorch: install torch"] for name in ("frame", "training")]


def test_without_a_run_time_compiler_an_engine_is_checked_with_masks_of_the_cpu(tmp_path):
    code, report = _check("without_nvrtc", tmp_path / "g.json", "--only", "tensorrt")
    assert code == 0, report["wrong"]
    assert [check for section, check, _ in report["left_out"]] == ["tensorrt 10.3.0: masks on the GPU"]


def test_a_graph_that_cannot_be_had_is_noticed(tmp_path):
    """Or what is said to be compared as a graph is compared call by call."""
    code, report = _check("without_graphs", tmp_path / "g.json", "--only", "preprocess,decode,graphs,tensorrt")
    wrong = {(section, check) for section, check, *_ in report["wrong"]}
    assert code == 3 and {section for section, _ in wrong} == {"preprocess", "decode", "graphs", "tensorrt"}
    assert ("tensorrt", "tensorrt 10.3.0: every step runs as a graph") in wrong


def test_a_damaged_image_is_no_fault_of_the_gpu(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    assert cli.main(["gpu-check", "--images", str(tmp_path / "images")]) == 2
    assert "a.png" in capsys.readouterr().err


def test_a_bare_python_will_do(tmp_path):
    """NumPy, OpenCV, Numba, PyTorch and what these bring: anything else that is installed here cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text(f"""
from importlib.machinery import PathFinder
real = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    found = real(name, path, target)
    other = "." not in name and name not in {HAS!r} and not name.startswith("_")
    return None if found and other and str(found.origin).startswith({sysconfig.get_path("purelib")!r}) else found
PathFinder.find_spec = staticmethod(find_spec)
""")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-m", "seg_perception", "gpu-check", "--libraries", "fake_gpu:working"]
    command += ["--patience", "20", "--json", str(tmp_path / "g.json"), "--only", "decode,frame,training,tensorrt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "g.json").read_text())
    left_out = {(section, check) for section, check, _ in report["left_out"]}
    assert left_out == {("decode", "outputs of the shipped network"), ("tensorrt", "section")}


def test_make_gpu_check_runs_by_the_given_python_and_sets_nothing_up(tmp_path):
    told = tmp_path / "a python"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    told.chmod(0o755)
    command = ["make", "--no-print-directory", "gpu-check", f"PYTHON={told}", "IMAGES=my frames"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    words = ["-m", "seg_perception", "gpu-check", "--json", "out/gpu_check.json", "--images", "my frames"]
    assert done.stdout.splitlines() == words and "Error 3" in done.stderr


def test_a_library_that_is_missing_is_named_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "missing", lambda names: [name for name in names if name == "numba"])
    assert cli.main(["gpu-check"]) == 2
    assert "gpu-check needs numba, which this Python lacks: pip install 'numba>=" in capsys.readouterr().err


def test_the_page_names_every_section_in_order():
    page = (CHECKOUT / "docs" / "gpu-check.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [section.name for section in SECTIONS]


class _Told:
    """What a check says."""

    quick = False

    def __init__(self, libraries):
        self.libraries, self.rows = libraries, []

    def check(self, check, right, value=""):
        self.rows.append((check, right))

    def leave_out(self, check, why):
        self.rows.append((check, why))

    @contextlib.contextmanager
    def part(self, check):
        yield


def test_the_real_compiler_is_asked_where_fields_lie_in_a_way_that_it_knows(monkeypatch):
    """The fake one is g++, which knows other ways: so that was wrong on every GPU with NVRTC 13.0."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(str(error))
    told = _Told(Libraries(runtime=FakeCudaRuntime(), nvrtc=nvrtc))
    told.libraries.runtime.fails.add("cudaGetDeviceCount")
    monkeypatch.setattr(check_kernels, "ROBOTS", {"8.7": "Orin"})
    check_kernels.check(told)
    assert ("structs lie as ctypes lays them, 8.7", True) in told.rows

    class Resize(ctypes.Structure):
        _fields_ = [("target", ctypes.c_void_p), ("source", ctypes.c_void_p), *kernels.Resize._fields_[2:]]

    monkeypatch.setattr(check_kernels, "OFFSETS", ("no_way({struct}, {field})",))
    check_kernels._check_layout(told, "8.7", nvrtc)
    assert told.rows[-1] == ("structs lie as ctypes lays them, 8.7", "this NVRTC tells no offsets")
    monkeypatch.undo()
    known = [way for way in check_kernels.OFFSETS if _compiles(nvrtc, check_kernels._layout(way))]
    monkeypatch.setattr(check_kernels, "STRUCTS", (Resize,))
    assert known and not any(_compiles(nvrtc, check_kernels._layout(way)) for way in known), "in another order"


def _compiles(nvrtc, more):
    try:
        return bool(kernels.compile_for("8.7", nvrtc, more))
    except SegPerceptionError:
        return False


# Sections that go wrong


def _section(name, limit_s=60.0, least_s=0.0, needs=()):
    return Section(name, f"fake_gpu:{name}", limit_s, least_s, needs)


def _run(sections, seconds=1000.0):
    told = []
    outcomes = run_sections(sections, seconds, [], told.append)
    assert told == outcomes
    return outcomes


def test_a_section_that_crashes_costs_itself_alone_and_keeps_what_it_found():
    _, crashed, after = _run([_section("first"), _section("crash"), _section("first")])
    assert crashed.rows == [["before it", "1", OK], ["process", "ended by SIGSEGV", DIED]]
    assert "on its way to the end" in crashed.output and after.rows == [["first", "", OK]]


def test_a_section_that_hangs_is_ended_with_all_its_processes():
    _, hung, after = _run([_section("first"), _section("hang", limit_s=20), _section("first")])
    said = "took more than 20 s and was ended: it hangs, or this machine needs more --seconds"
    assert hung.rows == [["before it", "2", OK], ["process", said, DIED]]
    assert after.rows == [["first", "", OK]]
    other = Path(f"/proc/{hung.data['other']}/stat")
    assert not other.exists() or other.read_text().split()[2] == "Z"


def test_what_raises_is_a_row_and_the_next_part_goes_on():
    _, raised = _run([_section("first"), _section("raises")])
    assert raised.rows == [
        ["a part", "ValueError: half way", FAULT],
        ["after it", "", OK],
        ["section", "RuntimeError: all the way", FAULT],
    ]
    assert "half way" in raised.tracebacks[0]


def test_numbers_that_are_not_finite_are_kept_as_words(tmp_path):
    _, outcome = _run([_section("first"), _section("diverges")])
    files.write_json(tmp_path / "g.json", gpu_check._report([outcome], 1.0))
    data = json.loads((tmp_path / "g.json").read_text())["sections"]["diverges"]["data"]
    assert data == {"losses": [1.0, "nan"], "peak": {"gb": "inf", "steps": [3, "-inf"]}}


@pytest.mark.parametrize(("seconds", "times"), [(17, 1), (170, 1), (1700, 10)])
def test_more_time_is_more_for_each_section(monkeypatch, capsys, seconds, times):
    """A robot's GPU builds an engine for minutes."""
    given = []

    def run_sections(sections, limit_s, options, told):
        given.extend(sections)
        return [Outcome("machine", data={"missing": {}})]

    monkeypatch.setattr(gpu_check, "run_sections", run_sections)
    assert cli.main(["gpu-check", "--seconds", str(seconds)]) == 0
    assert [one.limit_s for one in given] == [pytest.approx(times * one.limit_s) for one in SECTIONS]


def test_all_is_queued_before_another_thread_computes(monkeypatch):
    """Beside it each call may wait for Python's lock, and the wait for the GPU that is measured would be none."""
    events = []

    class Counter:
        count = 0

        def rate(self, seconds):
            return 1.0

        def __enter__(self):
            events.append("begin")
            return self

        def __exit__(self, *problem):
            events.append("end")

    monkeypatch.setattr(check_waiting, "_Counter", Counter)
    stream = SimpleNamespace(synchronize=lambda: events.append("wait"))
    lab = SimpleNamespace(row=lambda *row: None, keep=lambda **data: None)
    check_waiting._wait(lab, "a wait", stream, SimpleNamespace(to_device=lambda: events.append("copy")), 2)
    assert events == ["begin", "end", "copy", "copy", "begin", "wait", "end"]


def test_what_no_time_is_left_for_is_left_out_and_said(monkeypatch):
    given = []

    def run_section(section, seconds, options):
        given.append(seconds)
        return Outcome(section.name, data={"missing": {}})

    monkeypatch.setattr(runner, "run_section", run_section)
    _, long, late = _run([_section("first"), _section("first", limit_s=1000), _section("first", least_s=1000)], 100.0)
    assert given[0] == 60 and given[1] <= 100, "no section may take more than what is left"
    assert long.rows == [] and late.rows[0][2] == LEFT_OUT
    assert re.fullmatch(r"\d+ s of the 100 are left, it needs 1000", late.rows[0][1])


def test_where_the_first_section_dies_what_needs_a_gpu_is_left_out():
    died, other = _run([_section("crash"), _section("first", needs=("gpu",))])
    assert died.rows[-1][2] == DIED and other.rows == [["section", "no GPU", LEFT_OUT]]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "decod"], "gpu-check has no section 'decod': did you mean 'decode'?"),
        (["--images", "no_such_folder"], "no_such_folder"),
    ],
)
def test_wrong_words_are_named(words, sentence, capsys):
    assert cli.main(["gpu-check", *words]) == 2
    assert sentence in capsys.readouterr().err
