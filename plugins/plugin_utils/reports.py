# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files on the controller, such as those of ``timesten_report`` and ``timesten_report_html``: beside the old
file, then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
from typing import Any


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


def read_text(path: str) -> str:
    """Return what a file holds.

    :raises OSError: if it cannot be read, or is no file: nobody waits for what a pipe may say.
    :raises ValueError: if that is no text.
    """
    path = absolute(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8", newline="") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file", path)
        return file.read()


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
    with contextlib.suppress(OSError, ValueError):
        if not os.path.islink(path) and read_text(path) == text:
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
