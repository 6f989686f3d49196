# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of all kinds wait with, and the ports that they use."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import Any, Callable


def until(condition: Callable[[], Any], seconds: float = 30.0, what: str | Callable[[], str] = "the condition") -> Any:
    """Poll until something is true, and return it.

    :param what: for the message: what was awaited, or a function that tells what was seen instead.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def fetch(url: str) -> bytes | None:
    """Ask over HTTP; None where nobody answers, or with an error."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return None
