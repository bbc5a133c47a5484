"""Results go where they are told, whole, and nothing is left behind; else it is one sentence."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from patience import WAIT_S
from places import CHECKOUT

from seg_perception.backends.shipped_models import find_model, given_model
from seg_perception.cli import main
from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.writing import check_file, check_folder, folder_aside, write_text, written_aside


def test_of_a_link_the_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "report.json"
    link.symlink_to(tmp_path / "far" / "real.json")
    for text in ("first", "second"):
        write_text(link, text)
        assert link.is_symlink() and (tmp_path / "far" / "real.json").read_text() == text
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["real.json"]


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_pipe_that_has_the_name_of_what_was_left_aside_stops_nobody(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / (".kept.7.cache" if place == "file" else ".kept.7.made"))

    def write() -> None:
        if place == "file":
            write_text(tmp_path / "kept.cache", "words")
        else:
            with folder_aside(tmp_path / "kept"):
                pass

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(WAIT_S)
    assert not writing.is_alive(), "it waits for a writer"


def test_two_threads_that_write_one_file_write_two_and_the_later_one_stays(tmp_path: Path) -> None:
    path, asides = tmp_path / "kept.cache", []

    def write(text: str) -> None:
        with written_aside(path) as aside:
            asides.append(aside)
            aside.write_text(text)
            if len(asides) == 1:
                other = threading.Thread(target=write, args=("theirs",))
                other.start()
                other.join()
                assert path.read_text() == "theirs" and aside.read_text() == text

    write("mine")
    assert path.read_text() == "mine" and [file.name for file in tmp_path.iterdir()] == ["kept.cache"]


@pytest.mark.parametrize("durable", [False, True])
def test_what_must_outlast_a_power_cut_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    steps: list[tuple[str, int, int]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(file: int) -> None:
        fsync(file)
        steps.append(("synced", os.fstat(file).st_ino, os.fstat(file).st_size))

    def named(self: Path, target: Path) -> Path:
        steps.append(("named", self.stat().st_ino, self.stat().st_size))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    with written_aside(tmp_path / "file", durable=durable) as aside:
        aside.write_text("all of it")
    inode = (tmp_path / "file").stat().st_ino
    assert steps == [*([("synced", inode, 9)] * durable), ("named", inode, 9)]


def test_a_device_and_a_pipe_get_the_bytes_and_stay_what_they_are(tmp_path: Path) -> None:
    before = Path("/dev/null").stat()
    write_text(Path("/dev/null"), "nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode) and Path("/dev/null").stat().st_ino == before.st_ino
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "words")
    reader.join()
    assert got == ["words"] and pipe.is_fifo()


def test_standard_output_is_written_to_whatever_it_is(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom seg_perception.writing import write_text\nwrite_text(Path('/dev/stdout'), 'x')"
    )
    piped = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=CHECKOUT)
    assert (piped.returncode, piped.stdout) == (0, "x"), piped.stderr
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, cwd=CHECKOUT, check=True)
    assert (tmp_path / "out").read_text() == "x"


def test_a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    for write in (check_file, lambda path: write_text(path, "x")):
        with pytest.raises(SegPerceptionError, match="folder is a folder"):
            write(tmp_path / "folder")
    for check, path in ((check_folder, "file"), (check_folder, "file/deeper"), (check_file, "file/deeper")):
        with pytest.raises(SegPerceptionError, match="file is no folder"):
            check(tmp_path / path)
    check_folder(tmp_path / "new" / "deep")
    check_file(tmp_path / "new" / "deep.json")
    check_file(Path("/dev/null"))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_what_may_not_be_written_is_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(SegPerceptionError, match="permission"):
        check_folder(tmp_path / "locked" / "out")


KILLED = """
import os, signal, sys
from pathlib import Path
from seg_perception.writing import folder_aside, written_aside
how = {"file": written_aside, "folder": folder_aside}[sys.argv[1]]
with how(Path(sys.argv[2])) as aside:
    (aside / "part" if aside.is_dir() else aside).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("last.pt" if kind == "file" else "bag")
    words = [sys.executable, "-c", KILLED, kind, str(path)]
    assert subprocess.run(words, cwd=CHECKOUT).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".{path.stem}.")
    foreign = tmp_path / f".{path.stem}.best.old{path.suffix}"
    foreign.write_text("somebody's own")
    if kind == "file":
        write_text(path, "whole")
    else:
        with folder_aside(path) as folder:
            (folder / "bag").mkdir()
            (folder / "bag").rename(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([foreign.name, path.name])


def test_what_another_still_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    other = tmp_path / ".last.1.pt"
    import fcntl

    with other.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_text(path, "x")
        assert other.exists()
    write_text(path, "y")
    assert not other.exists()


def test_a_block_that_fails_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("former")
    with pytest.raises(OSError, match="disk"), written_aside(path) as aside:
        aside.write_text("half")
        raise OSError("disk")
    assert path.read_text() == "former" and list(tmp_path.iterdir()) == [path]


FULL = Path("/dev/full")


LONGEST = "ä" * 120 + "b" * 10
"""With an ending of four letters as long as a name may be, 255 bytes; so nothing fits around it."""


def test_a_name_as_long_as_any_is_written_and_what_was_left_aside_removed(tmp_path: Path) -> None:
    write_text(tmp_path / f"{LONGEST}.txt", "new")
    with folder_aside(tmp_path / LONGEST) as aside:
        assert aside.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [f"{LONGEST}.txt"]


def test_a_name_that_is_too_long_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever a word may be a name or a file, it is neither; where it is a file to write, a shorter one is asked for."""
    word = "a" * 300
    for asked, read in (("model", lambda: find_model(word, "onnxruntime")), ("label set", lambda: open_labels(word))):
        with pytest.raises(SegPerceptionError, match=f"{asked}.*aaa"):
            read()
    assert given_model(word) == Path(word)
    assert main(["make-bag", "--synthetic", "1", "--out", str(tmp_path / word)]) == 2
    assert "give a shorter name" in capsys.readouterr().err


@pytest.mark.skipif(not FULL.exists(), reason="no device that is full")
def test_a_full_disk_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"model": "m", "source": "s", "fps": 1.0, "per_frame": []}
    path = tmp_path / "a.json"
    write_text(path, __import__("json").dumps(report))
    assert main(["compare", str(path), str(path), "--json", str(FULL)]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in sentence and FULL.exists() and stat.S_ISCHR(FULL.stat().st_mode)
    assert main(["compare", str(path), str(path), "--json", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["compare", str(path), str(path), "--json", str(path / "below.json")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_file_that_may_be_changed_in_a_folder_that_may_not_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaces it is written beside it, so hours of work found no place in the end."""
    (tmp_path / "kept").mkdir()
    path, link = tmp_path / "kept" / "a.json", tmp_path / "link.json"
    path.touch()
    link.symlink_to(path)
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path / "kept")  # tests may run as root
    for given in (path, link, tmp_path / "kept" / "new.json"):
        with pytest.raises(SegPerceptionError, match="kept cannot be written to"):
            check_file(given)
    check_file(tmp_path / "b.json")
    check_file(Path("/dev/stdout"))


def test_a_bag_goes_where_a_link_leads_and_replaces_no_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["make-bag", "--synthetic", "1", "--overwrite", "--out"]
    (tmp_path / "far" / "bag").mkdir(parents=True)
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "far" / "bag")
    os.mkfifo(pipe)
    assert main([*words, str(link)]) == 0
    assert link.is_symlink() and (tmp_path / "far" / "bag" / "metadata.yaml").is_file()
    assert main([*words, str(pipe)]) == 2
    assert "is no folder and no file" in capsys.readouterr().err and pipe.is_fifo()


def test_many_files_into_one_folder_do_not_look_through_it_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a folder of ten thousand images takes the square of them."""
    listed, entries = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or entries(path))
    for number in range(20):
        write_text(tmp_path / f"{number}.txt", "x")
    assert listed.count(tmp_path) <= 1
    assert len(list(tmp_path.glob("*.txt"))) == 20
