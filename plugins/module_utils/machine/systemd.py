# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks systemd which unit runs a process, and about the state of a unit."""

from __future__ import annotations

import os
import re
import subprocess

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import proc_text

UNIT_DIRECTORY = "/etc/systemd/system"

# Units for logins and scheduled jobs. systemd does not manage the processes that users start from them.
_LOGIN_UNITS = re.compile(r"(ssh|sshd|cron|crond|atd|user|systemd-nspawn)(@.*)?\.service\Z")


def runs_this_host() -> bool:
    """Tell whether systemd is this host's init system, by the test of sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def unit_of(cgroups: str) -> str | None:
    """Return the service in the text of /proc/<pid>/cgroup, unless it is one for logins or scheduled jobs."""
    for line in cgroups.splitlines():
        hierarchy = line.split(":", 2)
        if len(hierarchy) == 3 and hierarchy[1] in ("", "name=systemd"):
            for part in reversed(hierarchy[2].split("/")):
                if part.endswith(".service"):
                    return None if _LOGIN_UNITS.match(part) else part
    return None


def manager(pid: int) -> str | None:
    """Return the systemd unit that runs a process; None if a user or a job started it, or if the unit was removed."""
    try:
        groups = proc_text(pid, "cgroup")
        unit = unit_of(groups)
        # A process in our own unit was started by a user or job that came in the same way.
        if unit is None or unit == unit_of(proc_text(os.getpid(), "cgroup")):
            return None
    except OSError:
        return None
    # Of the units of a user or of a container, this host's systemd knows nothing.
    return None if ":/system.slice/" in groups and _is_removed(unit) else unit


def _is_removed(unit: str) -> bool:
    """Tell whether a unit has no file any more. What ran in it then runs on, but nobody brings it back when it ends."""
    # Units that somebody has installed need no call.
    if not runs_this_host() or os.path.lexists(os.path.join(UNIT_DIRECTORY, unit)):
        return False
    try:
        return systemctl("show", "--property=LoadState", "--value", unit).strip() == "not-found"
    except TimesTenError:
        return False


def active_state(unit: str) -> str:
    """Return the state of a unit: ``active``, ``activating``, ``failed``...

    :raises TimesTenError: if systemd does not answer.
    """
    return systemctl("show", "--property=ActiveState", "--value", unit).strip()


def systemctl(*arguments: str) -> str:
    """Run systemctl and return its output.

    :raises TimesTenError: if it fails.
    """
    command = ["systemctl", *arguments]
    try:
        done = subprocess.run(
            command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False, timeout=120
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TimesTenError(f"cannot run {' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise TimesTenError(
            f"{' '.join(command)} failed with exit status {done.returncode}: {done.stderr.strip()[:500]}", cmd=command
        )
    return done.stdout
