"""Make a release: write its version wherever it stands, date the change logs, commit, and tag.

    python3 tools/prepare_release.py 1.0.0

`catkin_prepare_release` does so for packages that lie side by side: it looks for none inside a package, so the messages would
keep their version, and knows no CITATION.cff. Nothing is pushed. Exit code 0: done; 2: refused, and nothing was written.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import check_messages

CHECKOUT = Path(__file__).resolve().parents[1]
PLACES = {
    "package.xml": r"<version>()</version>",
    "seg_perception_msgs/package.xml": r"<version>()</version>",
    "setup.py": r'^    version="()",$',
    "seg_perception/__init__.py": r'^__version__ = "()"$',
    "CITATION.cff": r"^version: ()$",
}
"""Where the version stands; () is it."""
CHANGE_LOGS = ("CHANGELOG.rst", "seg_perception_msgs/CHANGELOG.rst")
FORTHCOMING = re.compile(r"^Forthcoming\n-+\n+(?=\S)(?!\d+\.\d+\.\d+ \()", re.MULTILINE)
"""Its heading, where changes follow, and not the heading of the last release."""

Version = tuple[int, ...]


class RefusedError(Exception):
    """Why there can be no release: a sentence."""


def versions() -> dict[str, str]:
    """The version in every place."""
    found = {}
    for name, pattern in PLACES.items():
        match = _pattern(pattern).search((CHECKOUT / name).read_text(encoding="utf-8"))
        if match is None:
            raise RefusedError(f"{name} has no version where {pattern!r} looks for it: write it there")
        found[name] = match[1]
    return found


def prepare(version: str, date: str) -> dict[str, str]:
    """The new text of every file that changes, by its name. Raises RefusedError."""
    texts = {name: (CHECKOUT / name).read_text(encoding="utf-8") for name in (*PLACES, *CHANGE_LOGS)}
    for name, pattern in PLACES.items():
        texts[name] = _pattern(pattern).sub(lambda match: match[0].replace(match[1], version), texts[name])
    citation = re.sub(r"^date-released: .*\n", "", texts["CITATION.cff"], flags=re.MULTILINE)
    texts["CITATION.cff"] = citation.replace(
        f"\nversion: {version}\n", f"\nversion: {version}\ndate-released: {date}\n"
    )
    heading = f"{version} ({date})"
    for name in CHANGE_LOGS:
        texts[name] = FORTHCOMING.sub(f"{heading}\n{'-' * len(heading)}\n", texts[name])
    if f"\n{heading}\n" not in texts[CHANGE_LOGS[0]]:
        raise RefusedError(f"{CHANGE_LOGS[0]} has no changes under 'Forthcoming': write what users will notice")
    return texts


def check(version: str) -> None:
    """Raises RefusedError where this version cannot follow on what is there."""
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", version):
        raise RefusedError(f"'{version}' is no version: give three numbers, such as 1.0.0")
    present = versions()
    if any(_numbers(old) >= _numbers(version) for old in present.values()):
        raise RefusedError(
            f"{version} is not above {max(present.values(), key=_numbers)}, which is there: give a later one"
        )
    if _git("status", "--porcelain"):
        raise RefusedError("some files are changed or not in git: commit them first")
    _git("var", "GIT_COMMITTER_IDENT")  # else the commit would fail when all is written
    last = check_messages.last_release()
    reasons = check_messages.reasons(last) if last else []
    if last and reasons and _numbers(last)[:1] >= _numbers(version)[:1]:
        raise RefusedError(f"messages are not what {last} has ({'; '.join(reasons)}): that needs a new major version")


def main(words: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="three numbers, above those of the last release")
    version = parser.parse_args(words).version
    try:
        check(version)
        texts = prepare(version, datetime.date.today().isoformat())
        if _git("tag", "--list", version):
            raise RefusedError(f"there is a tag {version} already: delete it, or give a later version")
        _commit(version, texts)
        _git("tag", version)
    except RefusedError as error:
        print(f"prepare_release: {error}", file=sys.stderr)
        return 2
    print(f"{version} is committed and tagged. Run the tests, then: git push origin HEAD {version}")
    return 0


def _commit(version: str, texts: Mapping[str, str]) -> None:
    """Raises RefusedError where git will not, such as by a hook, and leaves the files as they were."""
    try:
        for name, text in texts.items():
            (CHECKOUT / name).write_text(text, encoding="utf-8")
        _git("commit", "--quiet", "--message", version, "--", *texts)
    except (RefusedError, OSError):
        _git("checkout", "HEAD", "--", *texts)
        raise


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("()", r"(\d+\.\d+\.\d+)"), re.MULTILINE)


def _numbers(version: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _git(*words: str) -> str:
    """What git says. Raises RefusedError where it will not."""
    ran = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RefusedError(f"git {words[0]} failed ({ran.stderr.strip()})")
    return ran.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
