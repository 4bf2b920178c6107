"""A headless Chromium, by chromedriver's HTTP interface."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

PROGRAMS: Final = {"chromium": "chromium", "chromedriver": "chromium-driver"}
"""The programs, and the Debian packages that have them."""
_STARTS_SECONDS: Final = 30.0


def skip_without_chromium() -> None:
    """Skip the module that calls this where there is no Chromium. Fails in CI."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        reason = f"{missing[0]} is not installed: apt-get install {' '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(
        self, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> None:
        """Load a file in a window of so many CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        preferred = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", {"media": "", "features": preferred})
        self.command("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        _post(f"{self._session}/url", {"url": file.as_uri()})
        self.command("Emulation.setScriptExecutionDisabled", {"value": False})

    def run(self, script: str) -> Any:
        """What a script in the page returns."""
        return _post(f"{self._session}/execute/sync", {"script": script, "args": []})

    def wait(self, script: str) -> Any:
        """What a script in the page gives to its last argument, when it does."""
        return _post(f"{self._session}/execute/async", {"script": script, "args": []})

    def press(self, key: str) -> None:
        """A key, for what has the focus."""
        codes = {"Enter": ("\r", 13), "Tab": ("\t", 9)}
        text, code = codes[key]
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code}
            self.command("Input.dispatchKeyEvent", event)

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """A command of the DevTools protocol."""
        return _post(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def errors(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in _post(f"{self._session}/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """The URLs that were asked for since the last call."""
        entries = _post(f"{self._session}/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile lies in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "chromedriver.log").open("wb") as log:
        process = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(process, address)
        options = {
            "goog:chromeOptions": {
                "binary": shutil.which("chromium"),
                "args": ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"],
            },
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = _post(f"{address}/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        try:
            yield Browser(f"{address}/session/{session}")
        finally:
            _answer(urllib.request.Request(f"{address}/session/{session}", method="DELETE"))
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + _STARTS_SECONDS
    while True:
        try:
            if _answer(urllib.request.Request(f"{address}/status"))["ready"]:
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > end:
                raise
        time.sleep(0.05)


def _post(url: str, body: dict[str, Any]) -> Any:
    content = json.dumps(body).encode()
    return _answer(urllib.request.Request(url, content, {"Content-Type": "application/json"}))


def _answer(request: urllib.request.Request) -> Any:
    try:
        with _OPENER.open(request, timeout=60) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(error.read().decode()) from error


_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
