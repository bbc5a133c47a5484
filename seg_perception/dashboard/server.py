"""The page and its one stream, on the loopback interface alone.

Whoever opens a foreign page in the same browser must not read a robot's camera by it: a request is answered only when it
names this machine as host (against names that are made to lead here, "DNS rebinding") and, from a page, when that page is
ours (`Origin`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from seg_perception.dashboard.board import LOOKING, Board, Page
from seg_perception.dashboard.packets import packet

ADDRESS = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "::1")
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/ground.js": ("ground.js", "text/javascript"),
    "/stream.js": ("stream.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

GOODBYE_S = 1.0
"""How long a page has to answer the end of its stream."""

Watch = Callable[[Collection[str]], None]


class Server:
    """Answers for the page's files, and streams to every page that is open."""

    def __init__(self, board: Board, watch: Watch) -> None:
        """watch is told of every change of what is looked at."""
        self._board, self._watch = board, watch
        self._open: dict[web.WebSocketResponse, asyncio.Transport | None] = {}

    def application(self) -> web.Application:
        """To be run by aiohttp."""
        app = web.Application(middlewares=[_only_this_machine])
        for path in FILES:
            app.router.add_get(path, _file)
        app.router.add_get("/live", self._live)
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        """End the streams: aiohttp waits a minute for what is open, and for ever to send to a page that reads no more."""
        closing = [asyncio.create_task(socket.close(code=WSCloseCode.GOING_AWAY)) for socket in self._open]
        if closing:
            await asyncio.wait(closing, timeout=2 * GOODBYE_S)
        for transport in self._open.values():
            if transport is not None:
                transport.abort()

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        """A page says which source it looks at, `{"source": "/segmentation", "tells_seen": true}`, as often as it likes, and is
        sent packets; one of the kind `looking` says that all after it are of that source. Of every other packet it says when it
        was shown, `{"seen": "overlay"}`, and is sent no more of that kind before."""
        socket = web.WebSocketResponse(timeout=GOODBYE_S, heartbeat=10.0, compress=False, max_msg_size=4096)
        await socket.prepare(request)
        self._open[socket] = request.transport
        page = Page()
        self._board.pages.add(page)
        sending = asyncio.create_task(_send(socket, page))
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    continue
                said = _said(message.data)
                if "seen" in said:
                    page.seen(str(said["seen"]))
                    continue
                source = said.get("source")
                source = source if isinstance(source, str) else ""
                page.tells_seen = said.get("tells_seen") is True
                page.look(source, packet(LOOKING, {"source": source}))
                self._watch(self._board.sources())
        finally:
            sending.cancel()
            self._open.pop(socket, None)
            self._board.pages.discard(page)
            self._watch(self._board.sources())
        return socket


@web.middleware
async def _only_this_machine(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if not _is_from_here(request.host, request.headers.get("Origin")):
        raise web.HTTPForbidden(
            text="this page is for its own machine: open it by 127.0.0.1, from elsewhere through ssh -L\n"
        )
    return await handler(request)


def _is_from_here(host: str, origin: str | None) -> bool:
    """Whether a request names this machine, and comes from no other page than ours."""
    try:
        named, page = urlsplit(f"//{host}").hostname, origin if origin is None else urlsplit(origin).netloc
    except ValueError:  # no name at all
        return False
    return named in NAMES and page in (None, host)


async def _file(request: web.Request) -> web.Response:
    name, kind = FILES[request.path]
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=kind, headers=HEADERS)


async def _send(socket: web.WebSocketResponse, page: Page) -> None:
    while not socket.closed:
        waited = await page.take()
        try:
            await socket.send_bytes(waited)
        except ConnectionError:  # the page was closed meanwhile
            return


def _said(text: str) -> dict[str, Any]:
    """What a page said; empty where that is nonsense."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
