"""The set-up script's decisions, and that what is declared in two places agrees. Nothing here installs anything."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from seg_perception.cli import VERBS

ROOT = Path(__file__).resolve().parent.parent


def load_setup_env() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "tools" / "setup_env.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["setup_env"] = module
    spec.loader.exec_module(module)
    return module


setup_env = load_setup_env()
WHEELS, JAZZY = setup_env.Ros(None), setup_env.Ros("jazzy")


def interpreter(version=(3, 11, 7), venv=True, headers=True, rclpy=False):
    return setup_env.Interpreter("/usr/bin/python3", version, venv, headers, rclpy)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the files that the stamps depend on."""
    (tmp_path / "requirements").mkdir()
    for name in ("run", "ros", "test", "torch"):
        (tmp_path / "requirements" / f"{name}.txt").write_text(f"{name}==1\n")
    message = tmp_path / "seg_perception_msgs" / "msg" / "Segment.msg"
    message.parent.mkdir(parents=True)
    message.write_text("uint16 id\n")
    return tmp_path


class FakeSetup(setup_env.Setup):
    """Records the steps that it would do; `fails_at` breaks off in one of them."""

    def __init__(self, root, ros=WHEELS, python=None, torch_index="", fails_at=""):
        super().__init__(root, ros, python or interpreter(), torch_index)
        self.done = []
        self.fails_at = fails_at

    def _do(self, step):
        if step == self.fails_at:
            raise KeyboardInterrupt
        self.stamp(step).parent.mkdir(parents=True, exist_ok=True)
        self.done.append(step)

    def _make_venv(self):
        self._do("venv")

    def _make_run(self):
        self._do("run")

    def _make_messages(self):
        self._do("messages")

    def _make_test(self):
        self._do("test")

    def _environment_script(self):
        return "export X=1\n"


def steps_done(root, goal="run", **kwargs):
    setup = FakeSetup(root, **kwargs)
    setup.run(goal)
    return setup.done


def test_a_second_set_up_does_nothing(checkout):
    assert steps_done(checkout) == ["venv", "run", "messages"]
    assert steps_done(checkout) == []
    assert steps_done(checkout, "test") == ["test"]
    assert steps_done(checkout, "test") == []


def test_an_interrupted_set_up_goes_on_where_it_stopped(checkout):
    with pytest.raises(KeyboardInterrupt):
        steps_done(checkout, fails_at="messages")
    assert not (checkout / ".ros" / "env.sh").exists()
    assert steps_done(checkout) == ["messages"]
    assert (checkout / ".ros" / "env.sh").read_text() == "export X=1\n"


def test_a_step_that_breaks_off_loses_its_old_stamp(checkout):
    steps_done(checkout)
    (checkout / "requirements" / "run.txt").write_text("run==2\n")
    with pytest.raises(KeyboardInterrupt):
        steps_done(checkout, fails_at="run")
    (checkout / "requirements" / "run.txt").write_text("run==1\n")
    assert steps_done(checkout) == ["run"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("requirements/run.txt", ["run", "messages", "test"]),
        ("requirements/ros.txt", ["run", "messages", "test"]),
        ("requirements/test.txt", ["test"]),
        ("requirements/torch.txt", ["test"]),
        ("seg_perception_msgs/msg/Segment.msg", ["messages"]),
    ],
)
def test_a_changed_file_repeats_what_stands_on_it(checkout, changed, again):
    steps_done(checkout, "test")
    (checkout / changed).write_text("changed==2\n")
    assert steps_done(checkout, "test") == again


def test_another_python_or_another_ros_repeats_everything(checkout):
    everything = ["venv", "run", "messages"]
    steps_done(checkout)
    assert steps_done(checkout, python=interpreter(version=(3, 12, 1))) == everything
    assert steps_done(checkout, python=interpreter(version=(3, 12, 1)), ros=JAZZY) == everything
    assert steps_done(checkout, "test", torch_index="https://example.com/whl") == [*everything, "test"]


def test_a_moved_checkout_repeats_everything(checkout):
    steps_done(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert steps_done(moved) == ["venv", "run", "messages"]


def test_a_deleted_environment_script_is_written_again(checkout):
    steps_done(checkout)
    (checkout / ".ros" / "env.sh").unlink()
    assert steps_done(checkout) == []
    assert (checkout / ".ros" / "env.sh").is_file()


def test_a_sourced_installation_is_used_instead_of_the_wheels():
    assert setup_env.Ros.of({"ROS_DISTRO": "jazzy"}) == JAZZY
    assert setup_env.Ros.of({"ROS_DISTRO": ""}) == WHEELS
    assert setup_env.Ros.of({}) == WHEELS
    assert JAZZY.venv_arguments() == ["--system-site-packages"]
    assert WHEELS.venv_arguments() == []


def test_an_installation_is_used_with_the_systems_python():
    assert JAZZY.python_candidates("") == ["/usr/bin/python3"]
    assert WHEELS.python_candidates("") == ["python3", "python3.13", "python3.12", "python3.11", "python3.10"]
    assert JAZZY.python_candidates("python3.12") == ["python3.12"]


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0), (2, 7, 18)])
def test_an_unsupported_python_is_one_sentence(version):
    text = setup_env.complaint(interpreter(version=version), WHEELS)
    assert text == (
        f"Python {'.'.join(map(str, version))} at /usr/bin/python3 is not supported: install Python 3.10, 3.11, 3.12 "
        "or 3.13 and pass it, for example 'make run PYTHON=python3.12'."
    )


def test_what_else_a_python_may_lack():
    assert setup_env.complaint(interpreter(), WHEELS) == ""
    assert "apt install python3.11-venv" in setup_env.complaint(interpreter(venv=False), WHEELS)
    assert "apt install python3.11-dev" in setup_env.complaint(interpreter(headers=False), WHEELS)
    assert "finds no rclpy" in setup_env.complaint(interpreter(), JAZZY)
    assert setup_env.complaint(interpreter(rclpy=True), JAZZY) == ""


def test_the_first_suitable_python_is_chosen(monkeypatch):
    known = {"python3": interpreter(version=(3, 14, 0)), "python3.12": interpreter(version=(3, 12, 3))}
    monkeypatch.setattr(setup_env, "probe", known.get)
    assert setup_env.choose_python(WHEELS, "").version == (3, 12, 3)
    with pytest.raises(setup_env.SetupError, match=r"Python 3\.14\.0 .* is not supported"):
        setup_env.choose_python(WHEELS, "python3")
    with pytest.raises(setup_env.SetupError, match="'python9' is no Python that starts"):
        setup_env.choose_python(WHEELS, "python9")


def test_a_probe_knows_this_python():
    found = setup_env.probe(sys.executable)
    assert found is not None
    assert found.version == sys.version_info[:3]
    assert setup_env.probe("no-such-python") is None


def test_a_missing_compiler_says_what_to_install(tmp_path):
    with pytest.raises(setup_env.SetupError, match=r"^No C\+\+ compiler was found: install one, .*apt install g\+\+"):
        setup_env.check_compiler({"PATH": str(tmp_path)})
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    setup_env.check_compiler({"PATH": str(tmp_path)})


def test_the_wheels_are_for_one_kind_of_machine():
    setup_env.check_machine(WHEELS, "x86_64", "Linux")
    setup_env.check_machine(JAZZY, "aarch64", "Linux")
    with pytest.raises(setup_env.SetupError, match=r"not for aarch64 Linux: install ROS 2 and source its setup\.bash"):
        setup_env.check_machine(WHEELS, "aarch64", "Linux")


def test_beside_ros_numpy_and_opencv_stay_the_systems():
    pinned = '# why\nnumpy==2.4.6; python_version >= "3.11"\nnumpy==2.2.6\nopencv-python-headless==5.0\nPyYAML==6\n'
    assert setup_env.requirements_beside_ros(pinned, "1.26.4", True) == "numpy==1.26.4\npyyaml\n"
    without = setup_env.requirements_beside_ros(pinned, "1.21.5", False)
    assert without == "numpy==1.21.5\nopencv-python-headless\npyyaml\n"


def test_the_builders_include_folders_are_replaced():
    built = (
        'set_target_properties(a PROPERTIES INCLUDE "/opt/python/cp311-cp311/include/python3.11;'
        '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include;${_IMPORT_PREFIX}/include")'
    )
    here = setup_env.with_local_includes(built, "/usr/include/python3.11", "/v/numpy/_core/include")
    assert here == (
        'set_target_properties(a PROPERTIES INCLUDE "/usr/include/python3.11;/v/numpy/_core/include;'
        '${_IMPORT_PREFIX}/include")'
    )
    assert setup_env.with_local_includes(here, "/usr/include/python3.11", "/v/numpy/_core/include") == here


def source(script: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", f". '{script}'; env"], env=environment, capture_output=True, text=True, check=False
    )


def test_the_environment_can_be_sourced_strictly(tmp_path):
    root = tmp_path / "with space"
    script = root / "env.sh"
    text = setup_env.environment_script(root, WHEELS, root / "msgs", [root / "lib"])
    setup_env.write_atomically(script, text)
    answer = source(script, {"PATH": os.environ["PATH"], "PYTHONPATH": "/mine"})
    assert answer.returncode == 0, answer.stderr
    values = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    assert values["AMENT_PREFIX_PATH"] == f"{root}/.ros/install:{root}/.venv"
    assert values["LD_LIBRARY_PATH"] == f"{root}/lib"
    assert values["PYTHONPATH"] == f"{root}:{root}/msgs:/mine"
    assert values["PATH"].startswith(f"{root}/.venv/bin:")
    assert values["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert values["FASTDDS_DEFAULT_PROFILES_FILE"] == f"{root}/config/fastdds_shm.xml"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in values


def test_the_environment_beside_ros_asks_for_that_ros(tmp_path):
    script = tmp_path / "env.sh"
    text = setup_env.environment_script(tmp_path, JAZZY, tmp_path / "msgs", [tmp_path / "lib"])
    setup_env.write_atomically(script, text)
    path = {"PATH": os.environ["PATH"]}
    unsourced = source(script, path)
    assert unsourced.returncode != 0
    assert "Set up for ROS 2 'jazzy'" in unsourced.stderr
    sourced = source(script, {**path, "ROS_DISTRO": "jazzy", "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})
    assert sourced.returncode == 0, sourced.stderr
    assert "RMW_IMPLEMENTATION=rmw_cyclonedds_cpp" in sourced.stdout
    assert f"FASTRTPS_DEFAULT_PROFILES_FILE={tmp_path}/config/fastdds_shm.xml" in sourced.stdout
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in sourced.stdout


def test_every_requirement_is_pinned():
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        for line in file.read_text().splitlines():
            assert line.startswith("#") or re.match(r"^[A-Za-z0-9_.-]+==[0-9][\w.]*(; python_version .*)?$", line), line


def test_setup_py_installs_every_verb():
    tree = ast.parse((ROOT / "setup.py").read_text())
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert set(constants["VERBS"]) == set(VERBS)
    assert set(VERBS) >= {"predict", "evaluate", "make-bag", "train", "export", "build-engine", "benchmark"}


def test_both_packages_have_one_version():
    versions = {
        ElementTree.parse(ROOT / folder / "package.xml").getroot().findtext("version")
        for folder in (".", "seg_perception_msgs")
    }
    assert len(versions) == 1
    assert f'version="{versions.pop()}"' in (ROOT / "setup.py").read_text()


def test_every_message_is_built():
    cmake = (ROOT / "seg_perception_msgs" / "CMakeLists.txt").read_text()
    messages = {path.name for path in (ROOT / "seg_perception_msgs" / "msg").glob("*.msg")}
    assert set(re.findall(r'"msg/(\w+\.msg)"', cmake)) == messages
