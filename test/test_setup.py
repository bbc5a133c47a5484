"""The set-up script's decisions, and that what is declared in two places agrees. Nothing here installs anything."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from pathlib import Path

import pytest
import renew_hashes
import setup_env
import setup_environment
import setup_python
import venv_environment

from seg_perception.libraries import LIBRARIES, NEEDED, OPTIONAL
from seg_perception.verbs import VERBS

ROOT = Path(__file__).resolve().parent.parent
WHEELS, JAZZY = setup_python.Ros(None), setup_python.Ros("jazzy")


def interpreter(version=(3, 11, 7), venv=True, headers=True, rclpy=False):
    return setup_python.Interpreter("/usr/bin/python3", version, venv, headers, rclpy)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the files that the stamps depend on."""
    (tmp_path / "requirements" / "hashes").mkdir(parents=True)
    for name in ("run", "ros", "test", "torch"):
        for folder in ("requirements", "requirements/hashes"):
            (tmp_path / folder / f"{name}.txt").write_text(f"{name}==1\n")
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
        self.venv_python.parent.mkdir(parents=True, exist_ok=True)
        self.venv_python.unlink(missing_ok=True)
        self.venv_python.symlink_to(sys.executable)
        (self.venv / "lib" / self.python.name / "site-packages").mkdir(parents=True, exist_ok=True)
        self._do("venv")

    def _make_run(self):
        self._do("run")

    def _make_messages(self):
        module = self.work / "install" / "lib" / "seg_perception_msgs" / "__init__.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.touch()
        self._do("messages")

    def _make_test(self):
        self._do("test")


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
    assert (checkout / ".ros" / "env.sh").is_file()


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
        ("requirements/hashes/run.txt", ["run", "messages", "test"]),
        ("requirements/test.txt", ["test"]),
        ("requirements/hashes/torch.txt", ["test"]),
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


ENVIRONMENT_FILES = (
    ".ros/env.sh",
    ".venv/bin/seg_perception",
    ".venv/lib/python3.11/site-packages/_seg_perception.pth",
    ".venv/lib/python3.11/site-packages/_seg_perception_environment.json",
    ".venv/lib/python3.11/site-packages/_seg_perception_environment.py",
)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("of an older layout\n")])
def test_an_environment_of_an_older_layout_becomes_the_present_one_with_nothing_installed_again(checkout, spoil):
    steps_done(checkout)
    fresh = {name: (checkout / name).read_text() for name in ENVIRONMENT_FILES}
    for name in ENVIRONMENT_FILES:
        spoil(checkout / name)
    assert steps_done(checkout) == []
    assert {name: (checkout / name).read_text() for name in ENVIRONMENT_FILES} == fresh
    assert os.access(checkout / ".venv" / "bin" / "seg_perception", os.X_OK)


@pytest.mark.parametrize(
    ("lost", "again"),
    [(".venv/bin/python", ["venv", "run"]), (".ros/install/lib/seg_perception_msgs/__init__.py", ["messages"])],
)
def test_what_is_gone_is_made_again_although_its_stamp_is_there(checkout, lost, again):
    steps_done(checkout)
    (checkout / lost).unlink()
    assert steps_done(checkout) == again


def test_the_python_of_an_older_set_up_that_was_removed_is_noticed(checkout):
    steps_done(checkout)
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python2.4")
    assert steps_done(checkout) == ["venv", "run"]


def test_bytecode_of_modules_that_moved_away_is_swept(checkout):
    package = checkout / "seg_perception"
    kept = [
        package / "labels.py",
        package / "__pycache__" / "labels.cpython-311.pyc",
        package / "ground" / "kernels.py",
        package / "ground" / "__pycache__" / "kernels.fill-12.py311.nbi",
        package / "notes.txt",
    ]
    stale = [
        package / "__pycache__" / "preprocess.cpython-311.pyc",
        package / "__pycache__" / "ground_kernels.fill-12.py311.1.nbc",
        package / "evaluation" / "datasets" / "__pycache__" / "camvid.cpython-311.pyc",
        package / "panoptic.pyc",
        checkout / "test" / "__pycache__" / "test_panoptic.cpython-311-pytest-9.2.0.pyc",
    ]
    for path in (*kept, *stale):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    steps_done(checkout)
    assert all(path.is_file() for path in kept)
    assert not any(path.exists() for path in stale)
    assert not (package / "evaluation").exists() and not (checkout / "test").exists()


def test_a_finished_set_up_writes_nothing(checkout):
    setup = FakeSetup(checkout)
    assert not setup.is_ready("run")
    setup.run("run")
    assert setup.is_ready("run") and not setup.is_ready("test")
    assert FakeSetup(checkout).is_ready("run")


def test_an_existing_environment_keeps_its_python(tmp_path):
    own = str(tmp_path / ".venv" / "bin" / "python")
    assert WHEELS.python_candidates("", tmp_path / ".venv")[0] == own
    assert WHEELS.python_candidates("python3.12", tmp_path / ".venv") == ["python3.12"]
    assert JAZZY.python_candidates("", tmp_path / ".venv") == ["/usr/bin/python3"]


def test_a_place_that_cannot_be_written_to_is_one_sentence(checkout):
    (checkout / "tools").mkdir()
    for tool in (ROOT / "tools").glob("*.py"):
        (checkout / "tools" / tool.name).write_text(tool.read_text())
    (checkout / "seg_perception").mkdir()
    (checkout / "seg_perception" / "fast_dds.py").write_text((ROOT / "seg_perception" / "fast_dds.py").read_text())
    (checkout / ".ros").write_text("a file")
    done = subprocess.run(
        [sys.executable, "tools/setup_env.py", "run"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"The set-up needs to write in {checkout}, and cannot: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["a:b", "a\nb", "a;b", "a$HOME", "a`b`", 'a"b', "a\\b"])
def test_a_path_that_the_installed_tools_would_misread_is_refused_before_anything_is_installed(name):
    with pytest.raises(setup_python.SetupError, match="which PATH, pip or CMake misread: move it"):
        setup_env.check_place(Path("/home/me") / name)
    setup_env.check_place(Path("/home/me and you/ä"))


def test_a_sourced_installation_is_used_instead_of_the_wheels():
    assert setup_env.Ros.of({"ROS_DISTRO": "jazzy"}) == JAZZY
    assert setup_env.Ros.of({"ROS_DISTRO": ""}) == WHEELS
    assert setup_env.Ros.of({}) == WHEELS
    assert JAZZY.venv_arguments() == ["--system-site-packages"]
    assert WHEELS.venv_arguments() == []


def test_an_installation_is_used_with_the_systems_python():
    assert JAZZY.python_candidates("") == ["/usr/bin/python3"]
    assert WHEELS.python_candidates("")[1:] == ["python3", "python3.13", "python3.12", "python3.11", "python3.10"]
    assert JAZZY.python_candidates("python3.12") == ["python3.12"]


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0), (2, 7, 18)])
def test_an_unsupported_python_is_one_sentence(version):
    text = setup_python.complaint(interpreter(version=version), WHEELS)
    assert text == (
        f"Python {'.'.join(map(str, version))} at /usr/bin/python3 is not supported: install Python 3.10 to 3.13 "
        "and pass it, for example 'make run PYTHON=python3.12'."
    )


def test_an_installation_may_bring_a_python_that_the_wheels_are_not_built_for():
    lyrical = setup_python.Ros("lyrical")
    assert setup_python.complaint(interpreter(version=(3, 14, 0), rclpy=True), lyrical) == ""
    assert "3.10 to 3.14" in setup_python.complaint(interpreter(version=(3, 15, 0), rclpy=True), lyrical)


def test_what_else_a_python_may_lack():
    assert setup_python.complaint(interpreter(), WHEELS) == ""
    assert "apt install python3.11-venv" in setup_python.complaint(interpreter(venv=False), WHEELS)
    assert "apt install python3.11-dev" in setup_python.complaint(interpreter(headers=False), WHEELS)
    assert "finds no rclpy" in setup_python.complaint(interpreter(), JAZZY)
    assert setup_python.complaint(interpreter(rclpy=True), JAZZY) == ""


def test_the_first_suitable_python_is_chosen(monkeypatch):
    known = {"python3": interpreter(version=(3, 14, 0)), "python3.12": interpreter(version=(3, 12, 3))}
    monkeypatch.setattr(setup_python, "probe", known.get)
    assert setup_python.choose_python(WHEELS, "").version == (3, 12, 3)
    with pytest.raises(setup_env.SetupError, match=r"Python 3\.14\.0 .* is not supported"):
        setup_python.choose_python(WHEELS, "python3")
    with pytest.raises(setup_env.SetupError, match="'python9' is no Python that starts"):
        setup_python.choose_python(WHEELS, "python9")


def test_a_probe_knows_this_python():
    found = setup_python.probe(sys.executable)
    assert found is not None
    assert found.version == sys.version_info[:3]
    assert setup_python.probe("no-such-python") is None


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


WICKED = ["with space", "a$HOME", "b$(touch ran)", "c`touch ran`", "d\"e'f", "g;touch ran", "h\\i"]
PATH = {"PATH": os.environ["PATH"]}


def environment_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.mark.parametrize("name", WICKED)
def test_the_environment_can_be_sourced_strictly_and_runs_nothing_of_a_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / name
    root.mkdir()
    settings = setup_environment.settings_for(root, WHEELS, root / "msgs", [root / "lib"])
    (tmp_path / "env.sh").write_text(setup_environment.environment_script(settings))
    values = environment_of(source(tmp_path / "env.sh", {**PATH, "PYTHONPATH": "/mine"}))
    assert values["AMENT_PREFIX_PATH"] == f"{root}/.ros/install:{root}/.venv"
    assert values["LD_LIBRARY_PATH"] == f"{root}/lib"
    assert values["PYTHONPATH"] == f"{root}:{root}/msgs:/mine"
    assert values["PATH"].startswith(f"{root}/.venv/bin:")
    assert values["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert values["FASTDDS_DEFAULT_PROFILES_FILE"] == f"{root}/config/fastdds_shm.xml"
    assert values["ROS_LOG_DIR"] == f"{root}/.ros/log"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in values
    assert not list(tmp_path.rglob("ran"))


def test_the_environment_beside_ros_asks_for_that_ros(tmp_path):
    script = tmp_path / "env.sh"
    settings = setup_environment.settings_for(tmp_path, JAZZY, tmp_path / "msgs", [tmp_path / "lib"])
    script.write_text(setup_environment.environment_script(settings))
    unsourced = source(script, PATH)
    assert unsourced.returncode != 0
    assert "Set up for ROS 2 'jazzy'" in unsourced.stderr
    values = environment_of(source(script, {**PATH, "ROS_DISTRO": "jazzy", "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}))
    assert values["RMW_IMPLEMENTATION"] == "rmw_cyclonedds_cpp"
    assert values["FASTRTPS_DEFAULT_PROFILES_FILE"] == f"{tmp_path}/config/fastdds_shm.xml"
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in values


def test_the_environment_of_the_wheels_and_an_installed_ros_do_not_mix(tmp_path):
    script = tmp_path / "env.sh"
    settings = setup_environment.settings_for(tmp_path, WHEELS, tmp_path / "msgs", [tmp_path / "lib"])
    script.write_text(setup_environment.environment_script(settings))
    mixed = source(script, {**PATH, "ROS_DISTRO": "jazzy"})
    assert mixed.returncode != 0 and "run 'make setup' again" in mixed.stderr
    assert venv_environment.completed({"ROS_DISTRO": "jazzy"}, asdict(settings)) is None


def test_python_gets_what_the_shell_gets(tmp_path):
    settings = setup_environment.settings_for(tmp_path, WHEELS, tmp_path / "msgs", [tmp_path / "lib"])
    (tmp_path / "env.sh").write_text(setup_environment.environment_script(settings))
    mine = {**PATH, "PYTHONPATH": "/mine", "ROS_LOG_DIR": "/logs", "LD_LIBRARY_PATH": ""}
    shell = environment_of(source(tmp_path / "env.sh", mine))
    python = venv_environment.completed(mine, asdict(settings))
    assert python == {name: value for name, value in shell.items() if name in python}
    assert set(python) >= {*settings.fixed, *settings.defaults, *settings.front}
    assert venv_environment.completed(python, asdict(settings)) is None  # it starts again once, not for ever


SHOW = "import os, sys; print(os.environ['SHOWN'], os.environ['N'], sys.argv[1:], sys.path[-1], sep='|')"


@pytest.fixture
def small_venv(tmp_path):
    """A virtual environment in a folder with a space, with the files of the environment and one variable."""
    root = tmp_path / "a place"
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site_packages = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    settings = setup_environment.Settings(
        str(root), "", {setup_environment.GUARD: str(root), "SHOWN": "yes"}, {"N": "default"}, {}
    )
    module = site_packages / "_seg_perception_environment.py"
    module.write_text((ROOT / "tools" / "venv_environment.py").read_text())
    module.with_suffix(".json").write_text(json.dumps(asdict(settings)))
    (site_packages / "_seg_perception.pth").write_text("import _seg_perception_environment\n")
    return venv


def run_python(venv: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(venv / "bin" / "python"), *words]
    return subprocess.run(command, env={**PATH, **environment}, capture_output=True, text=True, check=False, cwd="/")


def test_a_bare_python_of_the_environment_finds_it_by_itself(small_venv):
    root = small_venv.parent
    assert run_python(small_venv, "-c", SHOW, "a b", "").stdout == f"yes|default|['a b', '']|{root}\n"
    assert run_python(small_venv, "-c", SHOW, N="mine").stdout == f"yes|mine|[]|{root}\n"


def test_a_moved_environment_says_so(small_venv):
    moved = small_venv.parent.rename(small_venv.parent.with_name("elsewhere")) / ".venv"
    done = run_python(moved, "-c", "print('runs')")
    assert done.stdout == "runs\n"
    assert "run 'make setup' where it lies now" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_one_command_works_from_any_folder(small_venv):
    package = small_venv.parent / "seg_perception"
    package.mkdir()
    (package / "cli.py").write_text("import sys\n\ndef main():\n    print(sys.argv[1:])\n    return 3\n")
    script = small_venv / "bin" / "seg_perception"
    script.write_text(setup_environment.console_script(small_venv / "bin" / "python"))
    script.chmod(0o755)
    done = subprocess.run([script, "a b", "$HOME"], env=PATH, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout) == (3, "['a b', '$HOME']\n"), done.stderr


@pytest.mark.parametrize("name", WICKED)
def test_what_make_is_given_reaches_the_program_as_it_is(name):
    made = subprocess.run(
        ["make", "-n", "run", f"INPUT={name}", f"OUT=o/{name}", f"CAMERA={name}", f"MODEL={name}"],
        capture_output=True, text=True, check=True, cwd=ROOT, env=PATH,
    )  # fmt: skip
    line = next(line for line in made.stdout.splitlines() if " -m seg_perception run " in line)
    words = subprocess.run(
        ["sh", "-c", line.replace(".venv/bin/python", "printf '%s\\n'", 1)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    given = ["--out", f"o/{name}", "--input", name, "--assume-camera", name, "--model", name]
    assert words == ["-m", "seg_perception", "run", *given]


def test_every_requirement_is_pinned():
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        for line in file.read_text().splitlines():
            assert line.startswith("#") or re.match(r"^[A-Za-z0-9_.-]+==[0-9][\w.]*(; python_version .*)?$", line), line


HASHES = ROOT / "requirements" / "hashes"


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [("run", ["run"]), ("ros", ["run", "ros"]), ("test", ["run", "ros", "test"]), ("torch", ["torch"])],
)
def test_every_pin_is_among_what_is_held_to_hashes(wanted, listed):
    """Else a pin was changed and tools/renew_hashes.py was not run."""
    pinned = [line for line in (ROOT / "requirements" / f"{wanted}.txt").read_text().splitlines() if line[0] != "#"]
    text = "".join((HASHES / f"{name}.txt").read_text() for name in listed)
    there = {re.sub(r"[-_.]+", "-", entry.split()[0]) for entry in renew_hashes.entries(text)}
    assert {re.sub(r"[-_.]+", "-", line.partition(";")[0].lower()) for line in pinned} <= there


def test_every_listed_requirement_has_one_version_and_hashes():
    for file in HASHES.glob("*.txt"):
        entries = renew_hashes.entries(file.read_text())
        assert len("".join(entries).splitlines()) == len(file.read_text().splitlines()) - 1, (
            "nothing but the first line"
        )
        for entry in entries:
            assert re.fullmatch(r"[a-z0-9.-]+==[\w.+]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry), (
                entry[:200]
            )


class Asked(setup_env.Setup):
    """Records what it would have pip install."""

    def __init__(self, root, torch_index):
        super().__init__(root, WHEELS, interpreter(), torch_index)
        self.asked = []

    def _step(self, title, command, environment=None):
        self.asked.append(command[command.index("install") + 1 :])

    def _ask(self, program):
        return "/include\n/numpy"


@pytest.mark.parametrize(
    ("index", "offers", "held"),
    [
        ("", False, ["test", "torch"]),
        ("", True, ["test", "torch_cpu"]),
        ("https://example.org/whl/cpu/", False, ["test", "torch_cpu"]),
        ("https://example.org/whl/cu126", False, ["test"]),
    ],
)
def test_a_fresh_machine_takes_no_file_of_another_hash(tmp_path, index, offers, held):
    """offers: whether pip is told of a place that has torch's build for a CPU."""
    setup = Asked(tmp_path, index)
    setup.work.mkdir()
    setup.venv_python.parent.mkdir(parents=True)
    setup.venv_python.write_text(f'#!/bin/sh\ncase "$*" in *--dry-run*torch_cpu.txt) exit {int(not offers)};; esac\n')
    setup.venv_python.chmod(0o755)
    setup._make_run()
    setup._make_test()
    pinned = [words for words in setup.asked if "--require-hashes" in words]
    assert [Path(word).stem for words in pinned for word in words if "hashes/" in word] == [
        "build",
        "run",
        "ros",
        *held,
    ]
    assert all("--no-deps" in words for words in pinned)
    free = [words for words in setup.asked if "--require-hashes" not in words]
    assert [words[-1] for words in free] == ([] if len(held) > 1 else [str(tmp_path / "requirements" / "torch.txt")])
    assert [index in words for words in setup.asked] == [False] * (len(setup.asked) - 1) + [bool(index)]


def test_hashes_are_renewed_from_what_uv_and_an_index_say():
    first, second = "a==1 \\\n    --hash=sha256:11\n", "b-c==2 ; python_version < '3.11' \\\n    --hash=sha256:22\n"
    assert renew_hashes.entries(f"# said by uv\n{first}{second}") == [first, second]
    assert renew_hashes.names(second + "D.e==3; x\n") == {"b-c", "d-e"}
    assert renew_hashes.held("a==1", ["11"]) == first
    digests = ["0" * 64, "1" * 64]
    page = "".join(
        f'<a href="/whl/cpu/torch-{name}.whl#sha256={digest}">x</a>'
        for name, digest in (
            ("2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64", digests[1]),
            ("2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_aarch64", digests[0]),
            ("2.13.0%2Bcpu-cp311-cp311-win_amd64", "2" * 64),
            ("2.13.0-cp311-cp311-manylinux_2_28_x86_64", "3" * 64),
            ("2.14.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64", "4" * 64),
        )
    )
    assert renew_hashes.digests_of(page, "2.13.0") == digests


def requirement(line: str) -> tuple[str, tuple[int, ...]]:
    """Name and version of `name>=1.2` or `name==1.2`; without its letters."""
    name, version = re.split("[=>]=", line.partition(";")[0])
    return name.lower(), tuple(int(part) for part in re.findall(r"\d+", version))


def pins(file: str) -> list[tuple[str, tuple[int, ...]]]:
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    return [requirement(line) for line in lines if not line.startswith("#")]


NOT_HELD = ("tensorboard", "fleet", "rerun", "zoo")
"""Extras that no verb needs and that `make install-check` leaves out."""


def test_both_ends_of_every_declared_range_are_pinned():
    declared = dict(map(requirement, LIBRARIES.values()))
    oldest = dict(pins("oldest.txt"))
    not_held = {name for extra in NOT_HELD for name, _ in map(requirement, OPTIONAL[extra].values())}
    assert set(oldest) == set(declared) - not_held
    for name, version in oldest.items():
        assert version[: len(declared[name])] >= declared[name], name
    newest = [*pins("run.txt"), *pins("torch.txt")]
    assert {name for name, _ in newest} == set(oldest)
    assert all(version >= oldest[name] for name, version in newest)


def test_a_robot_gets_every_library_by_rosdep_or_by_the_readmes_line():
    rosdep = {"opencv-python-headless": "opencv", "pyyaml": "yaml"}
    keys = {element.text for element in ElementTree.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    line = re.search(r"pip install (.+?) +#", (ROOT / "README.md").read_text())
    assert line is not None
    by_rosdep = {name for name, _ in map(requirement, NEEDED.values()) if f"python3-{rosdep.get(name, name)}" in keys}
    by_pip = set(line[1].split())
    brought = {"lz4", "backports.zstd"}  # by rosbags
    assert by_rosdep | by_pip | brought == {name for name, _ in map(requirement, NEEDED.values())}
    assert not by_rosdep & by_pip


def console_scripts(*arguments: str) -> list[str]:
    """The programs that setup.py declares when it is called so."""
    program = f"import sys, setuptools; sys.argv[1:] = {arguments!r}; setuptools.setup = lambda **all: print(all['entry_points'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; exec(open('setup.py').read())"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return ast.literal_eval(done.stdout)["console_scripts"]


@pytest.mark.parametrize("command", [["egg_info", "build", "install"], ["develop", "--editable"]])
def test_colcon_installs_the_node_and_every_verb_for_ros2_run(command):
    names = {script.partition(" =")[0] for script in console_scripts(*command)}
    assert names == {"seg_perception", "segmentation", *VERBS}
    assert "install_scripts=$base/lib/seg_perception" in (ROOT / "setup.cfg").read_text()


@pytest.mark.parametrize("command", ["bdist_wheel", "editable_wheel", "egg_info", "dist_info"])
def test_pip_puts_one_program_into_bin_and_none_named_run_or_export(command):
    assert console_scripts(command) == ["seg_perception = seg_perception.cli:main"]


def test_every_message_is_built():
    cmake = (ROOT / "seg_perception_msgs" / "CMakeLists.txt").read_text()
    messages = {path.name for path in (ROOT / "seg_perception_msgs" / "msg").glob("*.msg")}
    assert set(re.findall(r'"msg/(\w+\.msg)"', cmake)) == messages


@pytest.fixture
def made(tmp_path):
    """A folder with our Makefile, a set-up that does nothing, and a stand-in for the environment's Python."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "setup_env.py").touch()
    (tmp_path / ".ros").mkdir()
    (tmp_path / ".ros" / "env.sh").write_text("export FROM_ENV=yes\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$CODE" = wait ] && { echo ready; exec sleep 100; }\nexit "$CODE"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(("code", "made_code"), [(0, 0), (1, 2), (2, 2), (3, 2)])
def test_makes_exit_code_is_that_of_the_table(made, code, made_code):
    done = subprocess.run(
        ["make", "run"], cwd=made, env={**PATH, "CODE": str(code)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == made_code
    assert not code or f"Error {code}" in done.stderr


def test_ctrl_c_ends_make_by_its_signal(made):
    with subprocess.Popen(
        ["make", "run"],
        cwd=made,
        env={**PATH, "CODE": "wait"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == -signal.SIGINT


def test_make_shell_has_the_environment_and_does_not_mind_how_it_is_left(made):
    done = subprocess.run(
        ["make", "shell"], cwd=made, env={**PATH, "SHELL": "/bin/sh"}, input='echo "got $FROM_ENV"; exit 3\n',
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "got yes\n" in done.stdout
