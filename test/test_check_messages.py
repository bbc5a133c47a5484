"""Which changes of a message break who reads it."""

import subprocess
from pathlib import Path

import check_messages
import pytest

OLD = "# A doc\nstd_msgs/Header header  # when\nfloat32 width_m\nuint8 UNKNOWN=0\n"


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        OLD + "float32 length_m\n",
        "std_msgs/Header header\n\n# new words\nuint8 UNKNOWN = 0\nuint8 OTHER = 1\nfloat32   width_m\n",
    ],
)
def test_what_may_change(new: str) -> None:
    assert check_messages.broken("Lane", OLD, new) == []


@pytest.mark.parametrize(
    ("new", "word"),
    [
        (None, "Lane is gone"),
        (OLD.replace("float32 width_m\n", ""), "field 2 was 'float32 width_m' and is gone"),
        (OLD.replace("float32", "float64"), "and is 'float64 width_m'"),
        (OLD.replace("width_m", "breadth_m"), "and is 'float32 breadth_m'"),
        ("float32 width_m\nstd_msgs/Header header\nuint8 UNKNOWN=0\n", "field 1"),
        (OLD.replace("=0", "=255"), "constant 'uint8 UNKNOWN' was 0 and is 255"),
        (OLD.replace("uint8 UNKNOWN=0\n", ""), "constant 'uint8 UNKNOWN' was 0 and is gone"),
    ],
)
def test_what_must_not(new: str | None, word: str) -> None:
    (reason,) = check_messages.broken("Lane", OLD, new)
    assert word in reason


def test_a_part_of_another_message_gains_nothing() -> None:
    """An array of it is read one after the other: the new field would be taken for the next one's first."""
    longer = OLD + "float32 length_m\n"
    road = "std_msgs/Header header\nLane[] lanes\n"
    assert check_messages.holders({"Lane": OLD, "Road": road}) == {"Lane": ["Road"], "Road": []}
    (reason,) = check_messages.broken("Lane", OLD, longer, ["Road"])
    assert reason == "Lane got 'float32 length_m' and is a part of Road"
    assert check_messages.broken("Lane", OLD, OLD + "uint8 OTHER=1\n", ["Road"]) == []
    assert check_messages.holders({"Lane": OLD, "Road": "seg_perception_msgs/Lane lane\n"})["Lane"] == ["Road"]


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one message, as its only release has it; returns the message's file."""
    lane = tmp_path / check_messages.FOLDER / "Lane.msg"
    lane.parent.mkdir(parents=True)
    lane.write_text(OLD)
    me = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    for words in (("init", "-q"), ("add", "."), (*me, "commit", "-qm", "first"), ("tag", "1.0.0")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(check_messages, "CHECKOUT", tmp_path)
    monkeypatch.setattr("sys.argv", ["check_messages.py"])
    return lane


def test_the_last_release_is_what_counts(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released.write_text(OLD + "float32 length_m\n")
    assert check_messages.main() == 0 and "the messages of 1.0.0 can still be read" in capsys.readouterr().out
    released.write_text(OLD.replace("float32", "float64"))
    assert check_messages.main() == 3 and "Lane: field 2" in capsys.readouterr().out
    released.write_text(OLD)
    road = released.with_name("Road.msg")
    road.write_text("Lane[<=4] lanes\n")
    me = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    for words in (("add", "."), (*me, "commit", "-qm", "second"), ("tag", "1.1.0")):
        subprocess.run(["git", *words], cwd=check_messages.CHECKOUT, check=True)
    released.write_text(OLD + "float32 length_m\n")
    assert check_messages.main() == 3 and "a part of Road" in capsys.readouterr().out
    released.unlink()
    subprocess.run(["git", *me, "commit", "-qam", "third"], cwd=check_messages.CHECKOUT, check=True)
    subprocess.run(["git", *me, "tag", "lane-is-gone"], cwd=check_messages.CHECKOUT, check=True)
    assert check_messages.main() == 3 and capsys.readouterr().out == "Lane is gone\n"


def test_without_a_release_there_is_nothing_to_compare_with(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["check_messages.py", "no-such-tag"])
    assert check_messages.main() == 2 and "no release" in capsys.readouterr().err
