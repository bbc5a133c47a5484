"""Which changes of a message break who reads it."""

import subprocess
import sys

import check_messages
import pytest
from places import CHECKOUT

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


def test_the_tool_itself() -> None:
    tool = [sys.executable, str(CHECKOUT / "tools" / "check_messages.py")]
    if subprocess.run(["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("this tree has no history to compare with")
    ran = subprocess.run([*tool, "HEAD"], capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 3) and ran.stdout, "3: while a change that breaks is not yet committed"
    ran = subprocess.run([*tool, "no-such-tag"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "no release" in ran.stderr
