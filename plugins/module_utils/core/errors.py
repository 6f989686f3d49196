# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of exceptions of this collection."""

from __future__ import annotations

from typing import Any


class TimesTenError(Exception):
    """A failure that a person can act on.

    :param message: what was tried, what came back, and what to do.
    :param details: further return values for ``fail_json`` (for example ``cmd``, ``rc``, ``stderr``); never a secret.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


def system_error(error: TimesTenError | OSError) -> TimesTenError:
    """Return a message for people from a system call's error. A failure that already has one is returned unchanged."""
    if isinstance(error, TimesTenError):
        return error
    where = f"{error.filename}: " if error.filename is not None else ""
    return TimesTenError(f"{where}{error.strerror or error}")
