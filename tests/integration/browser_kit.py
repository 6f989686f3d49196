# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Chromium, driven over the WebDriver protocol. Nothing is installed on the machine: see :func:`lab.packages.browser`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import packages


class Browser:
    """One window. Its profile and all that it writes lie in a directory of the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.layer = packages.browser().resolve()

    def __enter__(self) -> Browser:
        libraries = self.layer / "usr" / "lib" / "x86_64-linux-gnu"
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'pulseaudio'}",
            "XDG_DATA_DIRS": f"{self.layer / 'usr/share'}:/usr/share",
        }
        # It takes a free port for IPv6 and then needs the same number for IPv4, where somebody else may have it.
        for _attempt in range(10):
            self.address = self._started(environment)
            if self.address:
                break
        else:
            raise AssertionError("chromedriver found no port that is free for both IPv6 and IPv4, ten times")
        assert self.driver.stdout is not None
        threading.Thread(target=self.driver.stdout.read, daemon=True).start()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options = {
            "binary": str(self.layer / "usr/lib/chromium/chromium"),
            "args": [*arguments, f"--user-data-dir={self.home / 'profile'}"],
        }
        capabilities = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.session = ""
        try:
            self.session = f"/session/{self.ask('POST', '/session', capabilities)['sessionId']}"
        except BaseException:
            self.driver.kill()
            self.driver.wait()
            raise
        return self

    def _started(self, environment: Mapping[str, str]) -> str:
        """Start the driver; returns its address, or none where its port was somebody else's."""
        self.driver = subprocess.Popen(
            [self.layer / "usr/bin/chromedriver", "--port=0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = []
        assert self.driver.stdout is not None
        for line in self.driver.stdout:
            said.append(line)
            if match := re.search(r"successfully on port (\d+)", line):
                return f"http://127.0.0.1:{match[1]}"
        self.driver.wait()
        assert "Address already in use" in "".join(said), f"chromedriver ended: {''.join(said)}"
        return ""

    def __exit__(self, *_exception: object) -> None:
        try:
            self.ask("DELETE", self.session)
        finally:
            self.driver.terminate()
            self.driver.wait(timeout=30)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send one command of the protocol and return its value."""
        data = None if method == "DELETE" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:2000]}") from error

    def cdp(self, command: str, **parameters: Any) -> Any:
        """Send one command of Chromium's own protocol."""
        return self.ask("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def script(self, text: str, *arguments: Any) -> Any:
        """Run a function's body in the page and return its value."""
        return self.ask("POST", f"{self.session}/execute/sync", {"script": text, "args": list(arguments)})

    def later(self, text: str) -> Any:
        """The same for a body that calls its last argument when it is done."""
        return self.ask("POST", f"{self.session}/execute/async", {"script": text, "args": []})

    def show(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open a file in a window of a size, in light or dark."""
        phone = width < 600
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("POST", f"{self.session}/url", {"url": path.as_uri()})

    def press(self, key: str) -> None:
        """Press a key."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        for kind in ("keyDown", "keyUp"):
            self.cdp("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)
