"""Hold the messages against those of the last release: what a recording or a planner of then reads must not change.

    python3 tools/check_messages.py [TAG]

A field may be added at the end of a message that is no part of another, and a constant anywhere; what goes, moves or changes
its type breaks every recorded bag, so it needs a new major version. Exit code 0: compatible; 3: not, each reason on a line;
2: there is no tag.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = "seg_perception_msgs/msg"


def fields(text: str) -> tuple[list[str], dict[str, str]]:
    """A message's fields in their order, as 'type name', and its constants' values by 'type name'."""
    kept, constants = [], {}
    for line in text.splitlines():
        bare = " ".join(re.sub(r"#.*", "", line).split())
        constant = re.fullmatch(r"(\S+ \w+) ?= ?(.+)", bare)
        if constant:
            constants[constant[1]] = constant[2]
        elif bare:
            kept.append(bare)
    return kept, constants


def broken(name: str, old: str, new: str | None, part_of: Collection[str] = ()) -> list[str]:
    """Why who reads the old message cannot read the new one, a sentence each; new None where the message is gone.

    part_of: messages that hold this one. Whatever it gained would lie amid theirs, before what a reader expects there.
    """
    if new is None:
        return [f"{name} is gone"]
    (old_fields, old_constants), (new_fields, new_constants) = fields(old), fields(new)
    reasons = [
        f"{name}: field {place + 1} was '{was}' and is {_now(new_fields, place)}"
        for place, was in enumerate(old_fields)
        if _now(new_fields, place) != f"'{was}'"
    ][:1]
    if part_of and not reasons and len(new_fields) > len(old_fields):
        reasons.append(f"{name} got '{new_fields[len(old_fields)]}' and is a part of {', '.join(part_of)}")
    reasons += [
        f"{name}: constant '{constant}' was {value} and is {new_constants.get(constant, 'gone')}"
        for constant, value in old_constants.items()
        if new_constants.get(constant) != value
    ]
    return reasons


def holders(messages: Mapping[str, str]) -> dict[str, list[str]]:
    """By message: those that have a field of it. messages: their texts by name."""
    types = {name: {_type(field) for field in fields(text)[0]} for name, text in messages.items()}
    return {name: sorted(other for other, held in types.items() if name in held) for name in messages}


def _type(field: str) -> str:
    return re.split(r"[\[<\s]", field)[0].removeprefix("seg_perception_msgs/")


def _now(new_fields: list[str], place: int) -> str:
    return f"'{new_fields[place]}'" if place < len(new_fields) else "gone"


def reasons(tag: str) -> list[str]:
    """All that breaks who reads the messages of a tag or commit."""
    listed = (_git("ls-tree", "--name-only", tag, f"{FOLDER}/") or "").splitlines()
    old = {Path(path).stem: _git("show", f"{tag}:{path}") or "" for path in listed}
    part_of = holders(old)
    found = []
    for path in listed:
        name, now = Path(path).stem, CHECKOUT / path
        found += broken(name, old[name], now.read_text() if now.is_file() else None, part_of[name])
    return found


def last_release() -> str | None:
    """The last tag that is a version, None before the first."""
    return _git("describe", "--tags", "--abbrev=0", "--match", "[0-9]*.[0-9]*.[0-9]*")


def main() -> int:
    """The exit code."""
    tag = sys.argv[1] if len(sys.argv) > 1 else last_release()
    if not tag or _git("rev-parse", "--verify", "--quiet", f"{tag}^{{commit}}") is None:
        print("there is no release to compare with: tag one, or name a commit", file=sys.stderr)
        return 2
    found = reasons(tag)
    print(*found or [f"the messages of {tag} can still be read"], sep="\n")
    return 3 if found else 0


def _git(*words: str) -> str | None:
    ran = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
