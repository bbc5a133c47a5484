"""Show in a browser what a running node sees, says and suffers: overlay, ground from above, tracks, rates, diagnostics.

The page is served on this machine alone. From another one: ssh -L 8650:127.0.0.1:8650 ROBOT, and open the same address
there. It subscribes only while a page is open and to be seen, so it costs nothing while nobody looks.

Example:
  seg_perception dashboard
  seg_perception dashboard --port 9000
  ros2 launch seg_perception camera.launch.py image_topic:=/front/image_raw dashboard:=true
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from aiohttp import web

from seg_perception.dashboard.board import Board
from seg_perception.dashboard.server import ADDRESS, Server
from seg_perception.dashboard.watcher import Watcher
from seg_perception.errors import SegPerceptionError
from seg_perception.options import whole

PORT = 8650


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--port",
        type=whole("--port", 0, 65535),
        default=PORT,
        metavar="N",
        help=f"of the page, 0: any that is free ({PORT})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, which is the proper end of it: `ros2 launch` takes another exit code for a fault."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port))
    return 0


async def _serve(port: int) -> None:
    board, loop = Board(), asyncio.get_running_loop()

    def post(source: str, kind: str, packet: bytes) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(board.post, source, kind, packet)

    with Watcher(post) as watcher:
        runner = web.AppRunner(Server(board, watcher.watch).application(), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, ADDRESS, port)
            try:
                await site.start()
            except OSError as error:
                raise SegPerceptionError(
                    f"port {port} cannot be used ({error.strerror}): end what uses it, or give another with --port"
                ) from error
            address, bound = runner.addresses[0][:2]
            print(f"http://{address}:{bound} shows the node; Ctrl-C ends this", flush=True)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
