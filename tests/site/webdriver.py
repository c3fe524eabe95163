"""As much of the W3C WebDriver protocol as a test needs: a headless Chromium, driven over HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"left": "\ue012", "right": "\ue014", "home": "\ue011", "end": "\ue010", "tab": "\ue004", "space": " "}


def available() -> bool:
    """Whether there are a browser and its driver."""
    return _browser() is not None and shutil.which("chromedriver") is not None


def _browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """A session; use it in a ``with`` block."""

    def __init__(self, width: int, height: int, downloads: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._root = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={downloads}"]
        options = {"binary": _browser(), "args": [*arguments, f"--window-size={width},{height}"]}
        wanted = {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }  # fmt: skip
        try:
            self._wait_until_ready()
            answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{answer['sessionId']}"
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *details: object) -> None:
        self._call("DELETE", self._session)
        self._process.terminate()
        self._process.wait(timeout=20)

    def _wait_until_ready(self) -> None:
        for _ in range(400):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver did not start")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self._root + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path) -> None:
        """Load a file."""
        self._call("POST", f"{self._session}/url", {"url": path.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """Value of a script that returns one."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def press(self, selector: str, *keys: str) -> None:
        """Give the focus to an element and press keys."""
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        text = "".join(KEYS[key] for key in keys)
        self._call("POST", f"{self._session}/element/{found[ELEMENT]}/value", {"text": text})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Messages of the console ("browser"), or events of the network ("performance")."""
        return self._call("POST", f"{self._session}/se/log", {"type": kind})

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def picture(self) -> bytes:
        """PNG of what is in the window."""
        return base64.b64decode(self._call("GET", f"{self._session}/screenshot"))
