"""A real browser without a window, driven by the Chrome DevTools Protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from patience import WAIT_S, Patience

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def program() -> str | None:
    """A browser of this machine."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One tab, in a `with` block."""

    def __init__(self, profile: Path, size_wh: tuple[int, int] = (1280, 1000)) -> None:
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        words = [
            str(program()),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
        ]
        words += ["--remote-debugging-port=0", f"--user-data-dir={profile}", f"--window-size={size_wh[0]},{size_wh[1]}"]
        self._process = subprocess.Popen(
            [*words, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Browser:
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if "DevTools listening on" in line)
        self._loop.run_until_complete(self._connect(line.split("ws://")[1].split("/")[0]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(WAIT_S)

    async def _connect(self, address: str) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://{address}/json/list") as answer:
            tabs = await answer.json()
        tab = next(tab for tab in tabs if tab["type"] == "page")
        self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call the protocol; returns its result."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=WAIT_S)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, address: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=address)
        self.until(f"location.href.startsWith({address!r}) && document.readyState == 'complete'", address)

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, what: str) -> None:
        """Wait until a JavaScript expression is true."""
        patience = Patience()
        while not self.value(f"Boolean({expression})"):
            assert patience.left_s, f"waited in vain for {what}; the page says: {self.text('body')}"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.value(f"document.querySelector({selector!r})?.innerText ?? ''"))

    def screenshot(self, path: Path) -> None:
        """As a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
