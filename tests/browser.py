"""Headless Chromium for tests: pages from disk, a real mouse and keyboard, and what the page complained about.

Speaks the DevTools protocol over two pipes: JSON messages that end in a NUL byte. A browser ends with its pipes, so
that none outlives the tests, however those end.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
"""Marks the tests that need the browser."""

PATIENCE = 60.0
"""Seconds after which a browser that says nothing is given up."""
FLAGS = (
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-extensions", "--disable-sync", "--disable-breakpad", "--no-zygote", "--mute-audio",
    "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--hide-scrollbars",
)  # fmt: skip
KEYS = {"Backspace": 8, "Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38,
        "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip
"""Windows' codes of keys that type nothing."""
ALT, CONTROL, META, SHIFT = 1, 2, 4, 8
"""Keys held down, as the protocol adds them up."""


class Browser:
    """A running Chromium; use as a context manager."""

    def __init__(self) -> None:
        self.home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Above the descriptors 3 and 4, which the browser reads and writes.
        (its_in, mine_out), (mine_in, its_out) = (tuple(map(_raised, os.pipe())) for _ in range(2))
        actions = [(os.POSIX_SPAWN_DUP2, its_in, 3), (os.POSIX_SPAWN_DUP2, its_out, 4)]
        quiet = [(os.POSIX_SPAWN_OPEN, at, os.devnull, os.O_RDWR, 0) for at in (0, 1, 2)]
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={self.home.name}", "about:blank"]
        environment = {**os.environ, "HOME": self.home.name, "TMPDIR": self.home.name}
        self.pid = os.posix_spawn(command[0], command, environment, file_actions=[*quiet, *actions], setpgroup=0)
        os.close(its_in)
        os.close(its_out)
        self.reads, self.writes = mine_in, mine_out
        self.said = bytearray()
        self.asked = 0
        self.pages: dict[str, Page] = {}

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ask the browser to end, and end it."""
        with contextlib.suppress(OSError, RuntimeError):
            self.call("Browser.close")
        os.close(self.writes)
        os.close(self.reads)
        self._wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._wait(5)
        self.home.cleanup()

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0 and time.monotonic() < until:
                time.sleep(0.02)

    def ask(self, method: str, session: str = "", **params: Any) -> int:
        """Call ``method`` without waiting for its answer; return the number that the answer will bear."""
        self.asked += 1
        asked = {"id": self.asked, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.writes, json.dumps(asked).encode() + b"\0")
        return self.asked

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Return the answer to ``method``; what the pages say meanwhile is kept by them."""
        asked = self.ask(method, session, **params)
        while True:
            heard = self._heard(method)
            if heard.get("id") == asked:
                if "error" in heard:
                    raise RuntimeError(f"{method}: {heard['error']['message']}")
                answer: dict[str, Any] = heard["result"]
                return answer
            if "method" in heard and heard.get("sessionId") in self.pages:
                self.pages[heard["sessionId"]].hear(heard["method"], heard["params"])

    def _heard(self, method: str) -> dict[str, Any]:
        while (end := self.said.find(b"\0")) < 0:
            if not select.select([self.reads], [], [], PATIENCE)[0]:
                raise RuntimeError(f"{method}: no answer in {PATIENCE:g} s")
            more = os.read(self.reads, 1 << 20)
            if not more:
                raise RuntimeError(f"{method}: the browser has ended")
            self.said += more
        message: dict[str, Any] = json.loads(self.said[:end])
        del self.said[: end + 1]
        return message

    @contextlib.contextmanager
    def page(self, path: Path, width: int = 1400, height: int = 900, scheme: str = "light") -> "Iterator[Page]":
        """Open the file ``path`` in a window of ``width`` x ``height`` pixels, in the colours ``scheme``, without a
        network and with a store of its own; the page is closed at the end."""
        context = self.call("Target.createBrowserContext", disposeOnDetach=True)["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        try:
            page.open(path, width, height, scheme)
            yield page
        finally:
            del self.pages[session]
            self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """A page that is open: pixels are those of its window."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self._problems: list[str] = []
        self._requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **params)

    def hear(self, method: str, about: dict[str, Any]) -> None:
        """Keep what an event says of a problem or a request."""
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self._problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled":
            said = (str(each.get("value", each.get("description"))) for each in about["args"])
            self._problems.append(f"console.{about['type']}: {' '.join(said)}")
        elif method == "Log.entryAdded":
            self._problems.append(f"{about['entry']['level']}: {about['entry']['text']}")
        elif method == "Page.javascriptDialogOpening":
            self._problems.append(f"{about['type']}: {about['message']}")
            self.browser.ask("Page.handleJavaScriptDialog", self.session, accept=True)
        elif method == "Network.requestWillBeSent":
            self._requests.append(about["request"]["url"])

    @property
    def problems(self) -> list[str]:
        """Everything on the console so far: messages, exceptions, refusals, dialogs."""
        self.call("Runtime.evaluate", expression="0")
        return self._problems

    @property
    def requests(self) -> list[str]:
        """Addresses that the page has asked for so far, its own and those of embedded data excepted."""
        self.call("Runtime.evaluate", expression="0")
        return [url for url in self._requests if url != self.address and not url.startswith("data:")]

    def open(self, path: Path, width: int = 1400, height: int = 900, scheme: str = "light") -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self.resize(width, height)
        self.colour(scheme)
        self.address = path.resolve().as_uri()
        wrong = self.call("Page.navigate", url=self.address).get("errorText")
        if wrong:
            raise RuntimeError(f"{path}: {wrong}")
        self.wait(f"location.href === {json.dumps(self.address)} && document.readyState === 'complete'")
        self.settle()

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def colour(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited where it is a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", script))
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = PATIENCE) -> None:
        """Wait until a JavaScript expression holds."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > until:
                raise RuntimeError(f"not in {seconds:g} s: {condition}")
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until what the page asked to draw is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")

    def box(self, selector: str, index: int = 0) -> tuple[float, float, float, float]:
        """Return (left, top, width, height) of an element, scrolled into the window first."""
        x, y, width, height = self.run(
            f"""(() => {{ const it = document.querySelectorAll({json.dumps(selector)})[{index}];
            const inside = () => {{ const b = it.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }};
            const [, top, , tall] = inside();
            if (top < 60 || top + tall > innerHeight) it.scrollIntoView({{ block: "center", behavior: "instant" }});
            return inside(); }})()"""
        )
        self.settle()
        return x, y, width, height

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, pointerType="mouse", **more)

    def move(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        self.settle()

    def click(self, x: float, y: float, count: int = 1, modifiers: int = 0) -> None:
        self.mouse("mouseMoved", x, y)
        for i in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", clickCount=i, modifiers=modifiers)
        self.settle()

    def drag(self, begin: tuple[float, float], end: tuple[float, float], modifiers: int = 0) -> None:
        self.mouse("mouseMoved", *begin)
        self.mouse("mousePressed", *begin, button="left", buttons=1, clickCount=1, modifiers=modifiers)
        for step in (0.3, 0.7, 1.0):
            x, y = (a + (b - a) * step for a, b in zip(begin, end, strict=True))
            self.mouse("mouseMoved", x, y, button="left", buttons=1, modifiers=modifiers)
        self.mouse("mouseReleased", *end, button="left", clickCount=1, modifiers=modifiers)
        self.settle()

    def wheel(self, x: float, y: float, down: float, across: float = 0, modifiers: int = 0) -> None:
        self.mouse("mouseWheel", x, y, deltaX=across, deltaY=down, modifiers=modifiers)
        self.settle()

    def key(self, *names: str, modifiers: int = 0) -> None:
        """Press and release keys: characters, or names as of ``KEYS``."""
        for name in names:
            text = {"Enter": "\r"}.get(name, "" if name in KEYS else name)
            code = KEYS.get(name) or (ord(name.upper()) if name.isalnum() else 0)
            about = {"key": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        self.settle()

    def picture(self, path: Path) -> None:
        """Write the whole page, as tall as it is, as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        whole = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


def _raised(descriptor: int) -> int:
    """Return a copy of ``descriptor`` of 10 or more, closed in programs that are started; the given one is closed."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy
