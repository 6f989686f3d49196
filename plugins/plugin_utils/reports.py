# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files on the controller, such as those of ``timesten_report`` and ``timesten_report_html``: beside the old
file, then renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

_LIMIT = 1 << 28
"""Bytes. The report of 10,000 pairs has about 5 MB."""


def absolute(path: str) -> str:
    """Return the absolute form of a path on the controller."""
    return os.path.abspath(os.path.expanduser(path))


def fault(path: str, variable: str = "timesten_report") -> str | None:
    """Return why a report cannot be written, or None.

    :param variable: the variable that holds the path.
    """
    path = absolute(path)
    directory = os.path.dirname(path)
    if os.path.islink(path):
        # The file is written beside the old one and renamed: what would be replaced is the link.
        return f"{variable}: {path} is a link to {os.readlink(path)}; name the file itself"
    if os.path.isdir(path):
        return f"{variable}: {path} is a directory; name a file in it"
    if os.path.exists(path) and not os.path.isfile(path):
        return f"{variable}: {path} is there and no file; choose another path"
    if not os.path.isdir(directory):
        return f"{variable}: there is no directory {directory} on the controller; make it, or choose another path"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{variable}: this user may not write in {directory} on the controller; choose another path"
    return None


def same(report: str | None, page: str | None) -> str | None:
    """Return why one path cannot hold both forms of a report, or None."""
    if not report or not page or absolute(report) != absolute(page):
        return None
    return f"timesten_report and timesten_report_html both name {report}: choose another path for one of them"


def read(path: str) -> bytes:
    """Return what a report holds.

    :raises FileNotFoundError: if there is no file.
    :raises TimesTenError: if it is a link, not a file, too large, or unreadable.
    """
    return files.read(absolute(path), _LIMIT)


def write(path: str, data: dict[str, Any]) -> None:
    """Write the JSON form of a report.

    :raises OSError: if it cannot be written.
    """
    write_text(path, f"{json.dumps(data, indent=1)}\n")


def write_text(path: str, text: str, check_mode: bool = False) -> bool:
    """Write a file beside the old one and rename it. Return whether its content changed or, in check mode, would
    change.

    :raises OSError: if it cannot be written.
    """
    path = absolute(path)
    with contextlib.suppress(FileNotFoundError, TimesTenError):
        if read(path) == text.encode():
            return False
    if check_mode:
        return True
    descriptor, beside = tempfile.mkstemp(prefix=".timesten-report-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        # The ledger holds no secret. Its mode follows the umask, as for any file of this user.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    return True
