"""What waits for each page: the newest packet of every kind, and no more, however slowly the page reads."""

from __future__ import annotations

import asyncio


class Page:
    """One page, and the source that it looks at; empty: none yet. Used in one event loop."""

    def __init__(self) -> None:
        self.source = ""
        self._waiting: dict[str, bytes] = {}
        self._some = asyncio.Event()

    def look(self, source: str, told: bytes) -> None:
        """Look at a source: nothing that waits is sent any more, and told before all that comes of it."""
        self.source = source
        self._waiting.clear()
        self.put("looking", told)

    def put(self, kind: str, packet: bytes) -> None:
        """Have it sent, in place of one of that kind that still waits."""
        # Taken out first: what is new goes to the end, so that a kind that comes often does not starve the others.
        self._waiting.pop(kind, None)
        self._waiting[kind] = packet
        self._some.set()

    async def take(self) -> bytes:
        """The packet that has waited longest, when there is one."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.pop(next(iter(self._waiting)))


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
