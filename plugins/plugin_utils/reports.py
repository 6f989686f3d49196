# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller: each is written beside the one that it replaces, and renamed. The file of ``timesten_report``."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any


def fault(path: str) -> str | None:
    """Return why a report cannot be written; None if nothing is in its way."""
    path = os.path.abspath(os.path.expanduser(path))
    directory = os.path.dirname(path)
    if os.path.isdir(path):
        return f"timesten_report: {path} is a directory; name a file in it"
    if not os.path.isdir(directory):
        return f"timesten_report: there is no directory {directory} on the controller; make it, or choose another path"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"timesten_report: this user may not write in {directory} on the controller; choose another path"
    return None


def write(path: str, data: dict[str, Any]) -> None:
    """Write a report.

    :raises OSError: if that cannot be done.
    """
    replace(os.path.abspath(os.path.expanduser(path)), json.dumps(data, indent=1) + "\n")


def replace(path: str, text: str) -> None:
    """Write a file that holds no secret, beside the one that it replaces, and rename it.

    :raises OSError: if that cannot be done.
    """
    descriptor, beside = tempfile.mkstemp(prefix=".timesten-report-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        # Whoever may read the directory may read it, as with any file of this user.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
