"""A headless Chromium, driven by its DevTools protocol: takes the pictures and looks at the page.

The process is started and ended by `chromium`; a `Tab` belongs to one event loop, so that several
loops can use one process after another.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from phasegate.contract.errors import SourceUnavailable

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WITHIN_SECONDS = 30.0
_FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--remote-debugging-address=127.0.0.1",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
)


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[str]:
    """The address of its DevTools. Raises SourceUnavailable where there is none that starts."""
    program = find_chromium()
    if program is None:
        names = ", ".join(PROGRAMS)
        raise SourceUnavailable("chromium", f"not installed; looked for {names} in PATH")
    # As root it does not start with its sandbox; what it opens is our own page.
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile, said = Path(folder) / "profile", Path(folder) / "said"
        command = [program, *flags, f"--user-data-dir={profile}", "about:blank"]
        with (
            said.open("wb") as stderr,
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr) as process,  # noqa: S603
        ):
            try:
                yield _await_address(process, profile / "DevToolsActivePort", said)
            finally:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()


def _await_address(process: subprocess.Popen[bytes], active: Path, said: Path) -> str:
    """The file `active` is written once it listens: the port, and the path of the browser."""
    until = time.monotonic() + WITHIN_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError, ValueError):
            port, path = active.read_text(encoding="ascii").split()
            return f"ws://127.0.0.1:{port}{path}"
        time.sleep(0.02)
    last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise SourceUnavailable("chromium", f"did not start: {' '.join(last)[:200]}")


class Tab:
    """One page. `errors` are uncaught exceptions and what the page wrote to its console as error
    or warning; `requested` are the URLs that it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self.requested: list[str] = []
        self._socket = socket
        self._session = ""
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def open(self, url: str) -> None:
        """Goes there; returns before the page is drawn."""
        found = await self._call("Page.navigate", url=url)
        if told := found.get("errorText"):
            raise SourceUnavailable("chromium", f"{url}: {told}")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, awaited where it is a promise; must be JSON."""
        found = await self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if thrown := found.get("exceptionDetails"):
            raise ValueError(_told(thrown))
        return found["result"].get("value")

    async def wait_for(self, condition: str, within_seconds: float = WITHIN_SECONDS) -> Any:
        """The value of an expression once it is true. Raises TimeoutError."""
        async with asyncio.timeout(within_seconds):
            while True:
                # While a page is being left there is nothing to evaluate in.
                with suppress(ValueError):
                    if found := await self.evaluate(condition):
                        return found
                await asyncio.sleep(0.03)

    async def resize(self, width: int, height: int) -> None:
        """The size of the viewport, in CSS pixels of one device pixel each."""
        await self._call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    async def settle(self) -> None:
        """Returns once what changed has been painted, what follows a new size included."""
        frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        await self.evaluate(f"{frame}.then(() => true)")

    async def point(self, x: float, y: float, kind: str = "mouseMoved") -> None:
        """Moves the mouse there, or presses or releases its left button."""
        button = "none" if kind == "mouseMoved" else "left"
        await self._call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1
        )

    async def screenshot(self, file: Path) -> None:
        """Writes what the viewport shows as PNG."""
        found = await self._call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(found["data"]))

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_str(json.dumps(message))
        async with asyncio.timeout(WITHIN_SECONDS):
            found = await answer
        if "error" in found:
            raise ValueError(f"{method}: {found['error'].get('message')}")
        result: dict[str, Any] = found["result"]
        return result

    async def _listen(self) -> None:
        async for message in self._socket:
            found = json.loads(message.data)
            if answer := self._waiting.pop(found.get("id"), None):
                if not answer.done():
                    answer.set_result(found)
            else:
                self._note(found.get("method", ""), found.get("params", {}))

    def _note(self, method: str, said: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(_told(said["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
            texts = (one.get("value", one.get("description", "")) for one in said["args"])
            self.errors.append(" ".join(map(str, texts)))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}".strip())
        elif method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])

    async def _attach(self) -> None:
        target = await self._call("Target.createTarget", url="about:blank")
        found = await self._call("Target.attachToTarget", flatten=True, **target)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable")


@asynccontextmanager
async def open_tab(devtools: str) -> AsyncIterator[Tab]:
    """A new tab of the Chromium at that address, closed at the end."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(devtools, max_msg_size=0) as socket,
    ):
        tab = Tab(socket)
        listening = asyncio.create_task(tab._listen())
        try:
            await tab._attach()
            yield tab
            with suppress(ValueError, TimeoutError):
                await tab._call("Page.close")
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


def _told(thrown: dict[str, Any]) -> str:
    described = thrown.get("exception", {}).get("description")
    return str(described or thrown.get("text") or "an exception without a text")
