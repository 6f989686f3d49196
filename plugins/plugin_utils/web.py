# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends HTTP requests from the controller to servers that are not trusted: every request ends in time, and answers have
a largest size.
"""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import os
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import plain

T = TypeVar("T")

SECONDS = 15.0
"""The longest time of one request in seconds, from the connection to the last byte."""
LIMIT = 1 << 24
"""The largest answer in bytes. 10,000 silences have about 6 MB."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that a run uses, with the credentials for it.

    :ivar variable: the variable with its address; the names of the other variables begin with this name.
    :ivar headers: pairs of name and value.
    """

    variable: str
    url: str
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    ca_file: str | None = None

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer. No proxy is used and no redirection is followed.

        :param path: path below the server's address, beginning with a slash.
        :raises TimesTenError: if no complete answer comes; the message begins with the variable.
        """
        context = self._context()
        try:
            return within(SECONDS, lambda: self._exchange(context, method, path, body))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TimesTenError(f"{self.variable}: {self.url} {self._why(error)}") from error

    def told(self, text: str, limit: int = 300) -> str:
        """Return a server's text for people: on one line, and without the secrets that were sent to it."""
        secrets = [*(value for _name, value in self._all_headers()), self.password or ""]
        parts = {part for secret in secrets for part in (secret, json.dumps(secret)[1:-1], *secret.split())}
        # The first cut is far behind the part that is shown, so that no visible secret is cut in two and missed.
        text = plain(text, 1 << 16)
        # Hiding shorter ones would garble the text, and they can be guessed anyway.
        for part in sorted((part for part in parts - {"Bearer", "Basic"} if len(part) > 3), key=len, reverse=True):
            text = text.replace(part, "***")
        return plain(text, limit)

    def _all_headers(self) -> list[tuple[str, str]]:
        found = list(self.headers)
        if self.username is not None:
            pair = f"{self.username}:{self.password or ''}".encode()
            found.append(("Authorization", "Basic " + base64.b64encode(pair).decode("ascii")))
        return found

    def _context(self) -> ssl.SSLContext | None:
        """Return the SSL context that verifies the server's certificate."""
        if not self.url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=None if self.ca_file is None else os.path.expanduser(self.ca_file))
        except OSError as error:
            raise TimesTenError(f"{self.variable}_ca_file: {self.ca_file} cannot be used ({error})") from error

    def _exchange(
        self, context: ssl.SSLContext | None, method: str, path: str, body: bytes | None
    ) -> tuple[int, bytes]:
        parts = urllib.parse.urlsplit(self.url)
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if context is not None:
            connection = http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
        try:
            headers = {**dict(self._all_headers()), "Connection": "close"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            found = answer.read(LIMIT + 1)
        finally:
            connection.close()
        if len(found) > LIMIT:
            raise ValueError(f"its answer to {method} {path} has more than {LIMIT} bytes")
        if answer.length:
            # With a limit, read() does not report that the connection ended too early.
            raise ValueError(f"{answer.length} bytes are missing at the end of its answer")
        return answer.status, found

    def _why(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"has a certificate that is not trusted ({error.verify_message}): set {self.variable}_ca_file"
        if isinstance(error, TimeoutError):
            return f"did not answer within {SECONDS:g} s; is the address right, and does a firewall let this controller through?"
        if isinstance(error, socket.gaierror):
            return f"does not answer ({error.strerror}): the name of its host cannot be resolved here"
        if isinstance(error, OSError) and error.strerror:
            return f"does not answer ({error.strerror}): does it run, and is the address right?"
        return f"did not answer as an HTTP server does ({self.told(str(error)) or type(error).__name__})"


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return a call's result, or raise its exception.

    A socket's time-out starts again with each byte, so without this limit a server could block a run for ever.

    :raises TimeoutError: if the call takes longer. It is then left running.
    """
    found: dict[str, Any] = {}

    def run() -> None:
        try:
            found["value"] = call()
        except BaseException as error:
            found["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in found:
        raise found["error"]
    if "value" not in found:
        raise TimeoutError
    value: T = found["value"]
    return value


def headers_of(given: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return headers in a form that can be compared."""
    return tuple(sorted((str(name), str(value)) for name, value in (given or {}).items()))
