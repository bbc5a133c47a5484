"""Large JSON files read piece by piece: the elements of the lists at their top, and where in the file each lies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from seg_perception.errors import SegPerceptionError

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_BEHIND = tuple(" \t\r\n,]}")
_DECODER = json.JSONDecoder()


class Element(NamedTuple):
    """One element of the list under key; offset, length: where its text lies, in bytes."""

    key: str
    offset: int
    length: int
    value: Any


def elements(path: Path) -> Iterator[Element]:
    """The elements of all lists of an object; its other values come whole. Never more than one element is in memory.

    Raises SegPerceptionError where the file cannot be read, or is no object in JSON.
    """
    try:
        with path.open("rb") as file:
            yield from _Reader(file).elements()
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check `root` and `split`") from error
    except (ValueError, RecursionError) as error:
        raise SegPerceptionError(f"{path} is no whole JSON ({error}): export or copy it again") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises SegPerceptionError naming it where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check `root` and `split`") from error
    except (ValueError, RecursionError) as error:
        raise SegPerceptionError(f"{path} is no whole JSON ({error}): export or copy it again") from error


class _Reader:
    """Text is decoded as Latin-1, one character a byte, so that places are those in the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._text, self._at, self._before = "", 0, 0
        start = file.peek(3)[:3]  # type: ignore[attr-defined]
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it is in UTF-16, not in UTF-8")
        if start == b"\xef\xbb\xbf":
            file.read(3)
            self._before = 3

    def elements(self) -> Iterator[Element]:
        self._take("{")
        while self._peek() != "}":
            key = str(self._value().value)
            self._take(":")
            if self._peek() == "[":
                yield from (item._replace(key=key) for item in self._list())
            else:
                yield self._value()._replace(key=key)
            if self._peek() != "}":
                self._take(",")
        self._take("}")
        if self._peek():
            raise ValueError(f"text after its end at byte {self._before + self._at}")

    def _list(self) -> Iterator[Element]:
        self._take("[")
        while self._peek() != "]":
            yield self._value()
            if self._peek() != "]":
                self._take(",")
        self._take("]")

    def _value(self) -> Element:
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise ValueError(f"{error.msg} at byte {self._before + error.pos}") from error
                continue
            if self._text[end : end + 1] in _BEHIND or not self._more():  # 1 of 1.5, where the buffer ends there
                break
        text, offset = self._text[self._at : end], self._before + self._at
        self._at = end
        return Element("", offset, len(text), value if text.isascii() else json.loads(text.encode("latin-1")))

    def _peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, wanted: str) -> None:
        if (found := self._peek()) != wanted:
            told = f"'{found}'" if found else "its end"
            raise ValueError(f"{told} where '{wanted}' should be, at byte {self._before + self._at}")
        self._at += 1

    def _more(self) -> bool:
        """Read on, as much again as is left, so that long elements are not tried too often."""
        left = self._text[self._at :]
        data = self._file.read(max(_CHUNK, len(left)))
        if data:
            self._before += self._at
            self._text, self._at = left + data.decode("latin-1"), 0
        return bool(data)
