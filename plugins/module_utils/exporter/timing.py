# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records start and restart times of an exporter on its own host, and predicts the next restart."""

from __future__ import annotations

import contextlib
import time
from typing import Iterator

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import timing_file

_KEPT = 3
_STOP = 0.2
"""Seconds for the stop, added to a start that was measured without one."""


@contextlib.contextmanager
def measured(directory: str, action: str) -> Iterator[None]:
    """Record how long the block takes, if it succeeds.

    :param directory: the exporter's directory.
    :param action: ``start`` or ``restart``.
    """
    began = time.monotonic()
    yield
    note(directory, action, time.monotonic() - began)


def note(directory: str, action: str, seconds: float) -> None:
    """Record how long a start or restart took."""
    path = timing_file(directory)
    known = _read(path)
    known[action] = [*known.get(action, []), round(seconds, 3)][-_KEPT:]
    with contextlib.suppress(TimesTenError):
        # A full disk must not make a successful start fail.
        _files.write_json(path, known)


def expected(directory: str) -> float | None:
    """Return the seconds that the next restart will probably take: the median of the last ones. None if none was
    measured.

    One slow restart on a busy host must not block all later rotations.
    """
    known = _read(timing_file(directory))
    if known.get("restart"):
        return _median(known["restart"])
    return _median(known["start"]) + _STOP if known.get("start") else None


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _read(path: str) -> dict[str, list[float]]:
    try:
        recorded = _files.read_json(path) or {}
        return {
            action: [float(value) for value in recorded.get(action, []) if 0 <= float(value) < 3600]
            for action in ("start", "restart")
        }
    except (TimesTenError, TypeError, ValueError):
        return {}
