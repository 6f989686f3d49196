# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter's log, which holds ttExporter's standard output and standard error.

The file is opened for appending, so ``logrotate`` with ``copytruncate`` works. If the file is renamed, the exporter
goes on writing to it until the next start makes a new one.
"""

from __future__ import annotations

import contextlib
import os
import stat

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import OLD_LOG

LOG_LIMIT = 10 << 20
"""Bytes. The next start renames a larger log to ``<log>.1``."""


def open_log(path: str) -> tuple[int, int]:
    """Open the log for appending and return (descriptor, size). A large log is renamed first."""
    try:
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode) and info.st_size > LOG_LIMIT:
                os.rename(path, path + OLD_LOG)
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
    except (OSError, ValueError) as error:
        raise TimesTenError(
            f"log_file: cannot open {path}: {getattr(error, 'strerror', error)}; it has to be a regular file, no link, in an "
            "existing directory"
        ) from error
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise TimesTenError(f"log_file: {path} is not a regular file")
    return descriptor, info.st_size


def log_lines(path: str, offset: int) -> list[str]:
    """Return the last lines, at most five, that were written since the log had ``offset`` bytes."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            # Somebody may have truncated the log in between.
            stream.seek(max(offset if offset <= size else 0, size - 4096))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = ["".join(character for character in line if character.isprintable()).strip() for line in text.splitlines()]
    return [line[:300] for line in lines if line][-5:]
