"""What waits for each page: the newest packet of every kind, and no more, however slowly the page reads or shows it."""

from __future__ import annotations

import asyncio
from collections import Counter

MOST_UNDER_WAY = 2
"""Packets of one kind that were sent and that the page has not shown yet: one on its way while another is shown. More would
wait in the buffers of the system, of ssh and of the browser, seconds of pictures, and nothing there replaces an old one by a
new one."""
LOOKING = "looking"
"""The kind of packet that a page is owed for each source that it has named, whatever is under way."""


class Page:
    """One page, and the source that it looks at; empty: none yet. tells_seen: whether it says what it has shown, as those of
    1.0 do not, which may be open still; they are sent all. Used in one event loop."""

    def __init__(self) -> None:
        self.source = ""
        self.tells_seen = False
        self._waiting: dict[str, bytes] = {}
        self._under_way: Counter[str] = Counter()
        self._some = asyncio.Event()

    def look(self, source: str, told: bytes) -> None:
        """Look at a source: nothing that waits is sent any more, and told before all that comes of it."""
        self.source = source
        self._waiting.clear()
        self.put(LOOKING, told)

    def put(self, kind: str, packet: bytes) -> None:
        """Have it sent, in place of one of that kind that still waits."""
        # Taken out first: what is new goes to the end, so that a kind that comes often does not starve the others.
        self._waiting.pop(kind, None)
        self._waiting[kind] = packet
        self._some.set()

    def seen(self, kind: str) -> None:
        """The page has shown one of that kind, or can not."""
        if self._under_way[kind] > 0:
            self._under_way[kind] -= 1
            self._some.set()

    async def take(self) -> bytes:
        """The packet that has waited longest of those that may be sent, when there is one."""
        while (kind := self._next()) is None:
            self._some.clear()
            await self._some.wait()
        self._under_way[kind] += self.tells_seen and kind != LOOKING
        return self._waiting.pop(kind)

    def _next(self) -> str | None:
        return next((kind for kind in self._waiting if self._under_way[kind] < MOST_UNDER_WAY), None)


class Board:
    """The pages that are open. Used in one event loop."""

    def __init__(self) -> None:
        self.pages: set[Page] = set()

    def sources(self) -> set[str]:
        """What is looked at."""
        return {page.source for page in self.pages if page.source}

    def post(self, source: str, kind: str, packet: bytes) -> None:
        """For every page that looks at source; an empty source: for all."""
        for page in self.pages:
            if not source or page.source == source:
                page.put(kind, packet)
