"""What the page asks the server for: a refined matte while sliders move, the state of a model, its download."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from server import PromptServer

from ..gvm_core.errors import GVMError, InputError, cause
from ..gvm_core.models.download import GVM, fetch_release
from ..gvm_core.models.weights import RELEASED, SMALL
from .load import find_model, released_target
from .review import REFINABLE, png_of

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.Response]]
EVENT = "gvm.download"
"""The message that tells every open page how far the download is."""
STEP = 1 << 23
"""Bytes between two such messages."""


class Stopped(Exception):
    """The user stopped the download."""


class Download:
    """The download of the released weights that a page started. There is one at a time, and it can be resumed.

    Attributes:
        done: Bytes that are there.
        total: Bytes of all files; 0 before they are known.
        stopped: Whether the user stopped the last attempt.
        failure: Why it failed; empty if it did not.
    """

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.stopping = threading.Event()
        self.done = self.total = 0
        self.stopped, self.failure = False, ""

    @property
    def runs(self) -> bool:
        """Whether it runs now."""
        return self.thread is not None and self.thread.is_alive()

    def start(self) -> None:
        """Start it, or do nothing if it runs."""
        if self.runs:
            return
        self.stopping.clear()
        self.done = self.total = 0
        self.stopped, self.failure = False, ""
        self.thread = threading.Thread(target=self.work, name="GVM download", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Stop it soon. What is there stays, so that it can be resumed."""
        self.stopping.set()

    def work(self) -> None:
        """Download, and tell the pages about it."""
        try:
            fetch_release(GVM, released_target(), self.progress)
        except Stopped:
            self.stopped = True
        except Exception as error:
            self.failure = cause(error)
            log.error("the download of %s failed: %s", GVM.repo, error, exc_info=not isinstance(error, GVMError))
        self.thread = None
        tell()

    def progress(self, done: int, total: int) -> None:
        """Count, and stop if the user wants that."""
        if self.stopping.is_set():
            raise Stopped
        if total != self.total or done - self.done >= STEP or done == total:
            self.done, self.total = done, total
            tell()


DOWNLOAD = Download()


def tell() -> None:
    """Send the state of the released model to every open page."""
    PromptServer.instance.send_sync(EVENT, state_of(RELEASED))


def state_of(name: str) -> dict[str, Any]:
    """What the page shows about a model: its ``state``, the facts from which the page makes a sentence, and English ``text``.

    The state is "bundled", "found", "downloading", "incomplete", "missing", or "gone" (it was there when the list was made).
    """
    facts: dict[str, Any] = {"name": name, "repo": GVM.repo, "size": GVM.size}
    if name == RELEASED and DOWNLOAD.runs:
        target, count = str(released_target()), {"done": DOWNLOAD.done, "total": DOWNLOAD.total}
        return facts | count | {"state": "downloading", "folder": target, "text": f"downloading to {target}"}
    if found := find_model(name):
        if found == SMALL:
            return facts | {"state": "bundled", "text": "part of this pack"}
        return facts | {"state": "found", "folder": str(found), "text": f"found in {found}"}
    if name != RELEASED:
        return facts | {"state": "gone", "text": f"{name} is not there any more"}
    return facts | missing()


def missing() -> dict[str, Any]:
    """What the page shows about the released model while it is not there, or not complete."""
    target = released_target()
    if target.is_dir() and any(each.is_file() for each in target.rglob("*")):
        state, text = "incomplete", f"incomplete in {target}"
    else:
        state, text = "missing", f"{GVM.size / 1e9:.1f} GB to download"
    why = "stopped; Download resumes it" if DOWNLOAD.stopped else DOWNLOAD.failure
    facts = {"folder": str(target), "stopped": DOWNLOAD.stopped, "failure": DOWNLOAD.failure}
    return facts | {"state": state, "text": f"{text}: {why}" if why else text}


async def refine_frame(request: web.Request) -> web.Response:
    """A refined matte as PNG, from ``{"node": id, "frame": index, "settings": {...}}``."""
    wanted = await request.json()
    try:
        node_id, frame, settings = str(wanted["node"]), int(wanted["frame"]), dict(wanted["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"node, frame and settings are needed: {error}") from error

    def work() -> bytes:
        return png_of(REFINABLE.refined(node_id, frame, settings))

    content = await asyncio.get_running_loop().run_in_executor(None, work)
    return web.Response(body=content, content_type="image/png")


async def model_state(request: web.Request) -> web.Response:
    """The state of a model."""
    return web.json_response(state_of(request.match_info["name"]))


async def start_download(_: web.Request) -> web.Response:
    """Start or resume the download of the released weights."""
    DOWNLOAD.start()
    return web.json_response(state_of(RELEASED))


async def stop_download(_: web.Request) -> web.Response:
    """Stop the download."""
    DOWNLOAD.stop()
    return web.json_response(state_of(RELEASED))


def answered(handler: Handler) -> Handler:
    """``handler``, with a sentence for the user where the input is wrong."""

    async def wrapped(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except (InputError, TypeError, ValueError) as error:
            return web.Response(status=400, text=str(error))

    return wrapped


def register_routes() -> None:
    """Add the routes to ComfyUI's server; without a server, as in tests and scripts, nothing happens."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    for path, handler in (
        ("/gvm/refine", refine_frame),
        ("/gvm/download/start", start_download),
        ("/gvm/download/stop", stop_download),
    ):
        server.routes.post(path)(answered(handler))
    server.routes.get("/gvm/model/{name}")(answered(model_state))
