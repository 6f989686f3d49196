# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the pid file. ttExporter writes it, possibly late, with blanks, or with a name after the pid. The start script reads it by the same rules."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import stat

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import user_name

SIZE_LIMIT = 1024

_CONTENT = re.compile(rb"([1-9][0-9]{0,9})([\0 \t\r\n]+[^\0 \t\r\n0-9].*)?\Z", re.DOTALL)
"""What follows the pid is a name, not a number: of two numbers nobody can tell which is meant."""


def parse_pid(data: bytes, path: str) -> int | None:
    """Return the pid in the content of a pid file. None if it is empty, or full of NULs as after a power failure.

    :raises TimesTenError: if it holds something else. It is then not a pid file and must not be removed.
    """
    text = data.strip(b"\0 \t\r\n")
    if not text:
        return None
    match = _CONTENT.match(text)
    if match is None:
        raise TimesTenError(
            f"pid_file: {path} holds {text[:40]!r}, no pid; remove it if it is of no use, or name another file"
        )
    return int(match.group(1))


def read_pid_file(path: str) -> tuple[int | None, str]:
    """Return the pid that a pid file names, or None and the reason why there is none.

    :raises TimesTenError: if it cannot be trusted (link, directory that others can write to, content) or read.
    """
    directory = os.path.dirname(path)
    try:
        check_private(directory, os.stat(directory))
    except FileNotFoundError:
        return None, f"there is no pid file {path}"
    except OSError as error:
        raise TimesTenError(f"pid_file: cannot look into {directory}: {error.strerror}") from error
    try:
        data = files.read(path, SIZE_LIMIT)
    except FileNotFoundError:
        return None, f"there is no pid file {path}"
    except TimesTenError as error:
        if isinstance(error.__cause__, PermissionError):
            owner = user_name(os.lstat(path).st_uid)
            raise TimesTenError(
                f"pid_file: {path} belongs to {owner} and cannot be read by {user_name(os.geteuid())}: {owner} "
                f"may run the exporter; run as {owner}, "
                "or stop that exporter and remove the file"
            ) from error
        raise TimesTenError(f"pid_file: {error.message}") from error
    except OSError as error:
        raise TimesTenError(f"pid_file: cannot read {path}: {error.strerror}") from error
    pid = parse_pid(data, path)
    return pid, f"the pid file {path} is empty" if pid is None else ""


def written_at(path: str) -> float | None:
    """Return the time when a pid file was written, None if there is none."""
    with contextlib.suppress(OSError):
        return os.lstat(path).st_mtime
    return None


def remove_pid_file(path: str, pid: int) -> None:
    """Remove the pid file of a process that we ended, unless another process has written it since.

    What cannot be read as a pid file, or lies where we may not remove it, stays: that is no reason to call the end a failure.
    """
    with contextlib.suppress(OSError, TimesTenError):
        if parse_pid(files.read(path, SIZE_LIMIT), path) == pid:
            os.unlink(path)


def check_private(directory: str, info: os.stat_result) -> None:
    """:raises TimesTenError: if other users can put a pid file into a directory. A sticky bit (/tmp) does not help,
    because they can create the file first.
    """
    me = os.geteuid()
    problem = None
    if info.st_uid not in (0, me):
        problem = f"belongs to {user_name(info.st_uid)}"
    elif info.st_mode & stat.S_IWOTH:
        problem = "can be written to by every user"
    elif info.st_mode & stat.S_IWGRP and not _own_group(info.st_gid):
        problem = "can be written to by its group"
    if problem is not None:
        raise TimesTenError(
            f"pid_file: {directory} {problem} (mode {stat.S_IMODE(info.st_mode):04o}), so anybody there can name "
            "a process to be stopped; "
            "leave pid_file out (it is then in the exporter's own directory) or name a directory that only "
            f"{user_name(me)} can write to"
        )


def _own_group(gid: int) -> bool:
    """Tell whether a group is the caller's private one (same name, no other member), as many systems give to each user."""
    try:
        account, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == account.pw_gid and group.gr_name == account.pw_name and set(group.gr_mem) <= {account.pw_name}
