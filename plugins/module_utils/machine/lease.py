# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lease: while one playbook run rotates an exporter in several calls, no other run may touch it.

A second run is told who holds the lease. The holder gives it back at the end. A killed run cannot do that: on the same
controller the next run sees that the process is gone and takes over at once; on another controller it cannot know, and
has to wait until the lease expires.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from typing import Any, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

STAGING = 900.0
"""Seconds from taking the lease to the switch. The slowest fleet has made its wallets and delivered its pairs by then.
"""

Run = Mapping[str, Any]
"""The value of the lookup ``this_run``: ``name``, ``controller``, ``process`` and, if it is known, ``running``."""


def hindrance(lease: Mapping[str, Any] | None, run: Run, now: float) -> str | None:
    """Return why a run must not touch what another run has leased; None if it may take the lease.

    :param lease: the other run's lease: its ``run`` and ``until`` (seconds since the epoch).
    :param now: seconds since the epoch.
    """
    if lease is None or now >= float(lease.get("until") or 0):
        return None
    named = lease.get("run") or {}
    if named.get("controller") and named.get("controller") == run.get("controller"):
        running = run.get("running")
        if named.get("process") == run.get("process") or (running is not None and named.get("process") not in running):
            return None
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lease["until"]))
    return f"{named.get('name') or 'a run that gave no name'}, until {until} at the latest"


@dataclasses.dataclass(frozen=True)
class Holder:
    """Another run that holds the lease.

    :ivar text: its description for messages.
    :ivar is_here: whether it is known to be still running, on the same controller.
    :ivar seconds: seconds until the lease expires.
    """

    text: str
    is_here: bool
    seconds: float


def holder(directory: str, run: Run) -> Holder | None:
    """Return the run that keeps this run from taking a directory's lease; None if there is none."""
    lease, now = _read(directory), time.time()
    text = hindrance(lease, run, now)
    if lease is None or text is None:
        return None
    named = lease.get("run") or {}
    known = run.get("running") is not None and bool(named.get("controller"))
    is_here = known and named["controller"] == run.get("controller")
    return Holder(text, is_here, float(lease["until"]) - now)


def take(directory: str, run: Run, seconds: float) -> None:
    """Take or extend the lease of a directory.

    A caller without a name could not be told from the next one, so it gets no lease. It has to respect the leases of
    others all the same.

    :param seconds: how long it lasts from now on.
    :raises TimesTenError: naming the holder.
    """
    now = time.time()
    hindered = hindrance(_read(directory), run, now)
    if hindered is not None:
        raise TimesTenError(
            f"{directory} is being rotated by {hindered}; wait for it, or end it where it runs and run again there"
        )
    if not run.get("process"):
        return
    own = {key: run[key] for key in ("name", "controller", "process") if key in run}
    _files.write_json(_path(directory), {"run": own, "until": now + seconds})


def check(directory: str, run: Run) -> None:
    """:raises TimesTenError: naming the holder, if another run holds the lease of a directory."""
    hindered = hindrance(_read(directory), run, time.time())
    if hindered is not None:
        raise TimesTenError(f"{directory} is being rotated by {hindered}; this run leaves it alone")


def give_back(directory: str) -> None:
    """Give up the lease of a directory."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(directory))


def _path(directory: str) -> str:
    return os.path.join(directory, "lease.json")


def _read(directory: str) -> dict[str, Any] | None:
    try:
        return _files.read_json(_path(directory))
    except TimesTenError:
        # A damaged lease names no holder: treat it as no lease.
        return None
