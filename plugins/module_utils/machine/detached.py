# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs work that goes on after the module has answered: a detached process, its record in a file, and requests to it in
another file.

Hosts that have to act at the same time act by themselves at an agreed moment, so they need neither the connection nor
the controller.
"""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import signal
import time
from typing import Any, Callable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import processes

_POLL = 0.05


class Record:
    """The state that a detached process writes to a file for later calls, and the requests of those calls.

    :param path: the record; the requests are in ``<path>.request``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._request_path = f"{path}.request"

    def read(self) -> dict[str, Any] | None:
        """Return the record; None if there is none or it cannot be used."""
        try:
            return _files.read_json(self.path)
        except TimesTenError:
            return None

    def write(self, **values: Any) -> dict[str, Any]:
        """Change some values of the record, and return all values."""
        record = {**(self.read() or {}), **values}
        _files.write_json(self.path, record)
        return record

    def is_alive(self) -> bool:
        """Tell whether the record's process still runs."""
        record = self.read() or {}
        pid = record.get("pid")
        # A damaged record may contain anything.
        process = processes.read_process(pid if isinstance(pid, int) else 0)
        return process is not None and processes.is_recorded(process, record, processes.boot_id())

    def ask(self, request: str) -> None:
        """Send a request to the record's process."""
        token = (self.read() or {}).get("token")
        _files.write_json(self._request_path, {"token": token, "request": request})

    def asked(self, token: str) -> str | None:
        """Return the last request to the process with this token."""
        try:
            request = _files.read_json(self._request_path) or {}
        except TimesTenError:
            return None
        return request.get("request") if request.get("token") == token else None

    def wait(self, condition: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """Wait until the record meets a condition or its process has ended, at most ``timeout`` seconds. Return the
        record.
        """
        deadline = time.monotonic() + timeout
        while True:
            alive = self.is_alive()
            record = self.read() or {}
            if condition(record) or not alive or time.monotonic() > deadline:
                return record
            time.sleep(_POLL)

    def launch(self, work: Callable[[str], None], keep: Sequence[int] = (), **values: Any) -> dict[str, Any]:
        """Start a detached process that does some work, and return its first record.

        Everything that ``work`` needs has to be imported already, because the module's archive is removed when the
        module ends.

        :param work: called with the token of the requests to it.
        :param keep: descriptors that stay open in the process, for example that of a lock.
        :param values: further values of the record.
        """
        token = secrets.token_hex(8)
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(go)
                # Wait until our pid is in the record; before that no other call can find this process.
                started = os.read(ready, 1)
                _detach(keep)
                if started:
                    gc.enable()
                    work(token)
                    status = 0
            finally:
                os._exit(status)
        os.close(ready)
        try:
            process = processes.read_process(child)
            if process is None:
                raise TimesTenError("the process that should go on by itself ended at once")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._request_path)
            record = {
                **values,
                "token": token,
                "pid": child,
                "start_ticks": process.start_ticks,
                "boot_id": processes.boot_id(),
            }
            _files.write_json(self.path, record)
            os.write(go, b"1")
        finally:
            os.close(go)
        return record


def _detach(keep: Sequence[int]) -> None:
    """Leave the caller's session, directory and streams."""
    os.setsid()
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    # Replace the descriptors instead of closing them: the caller's objects may close the same numbers again when they
    # are freed.
    for name in os.listdir("/proc/self/fd"):
        if int(name) != null and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.fstat(int(name))
                os.dup2(null, int(name), inheritable=int(name) < 3)
