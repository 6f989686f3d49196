# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd runs on this host, and what it says of a unit."""

from __future__ import annotations

import os
import re
import subprocess

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import proc_text

UNIT_DIRECTORY = "/etc/systemd/system"

# Units that merely let somebody in or run jobs: what they started is not managed by systemd.
_LOGIN_UNITS = re.compile(r"(ssh|sshd|cron|crond|atd|user|systemd-nspawn)(@.*)?\.service\Z")


def runs_this_host() -> bool:
    """Tell whether systemd is this host's init, as sd_booted(3) does."""
    return os.path.isdir("/run/systemd/system")


def unit_of(cgroups: str) -> str | None:
    """Return the service that a /proc/<pid>/cgroup text names, less those that merely let somebody in or run jobs."""
    for line in cgroups.splitlines():
        hierarchy = line.split(":", 2)
        if len(hierarchy) == 3 and hierarchy[1] in ("", "name=systemd"):
            for part in reversed(hierarchy[2].split("/")):
                if part.endswith(".service"):
                    return None if _LOGIN_UNITS.match(part) else part
    return None


def manager(pid: int) -> str | None:
    """Return the systemd unit that runs a process, None for a process that somebody or some job just started, and for one whose unit was removed."""
    try:
        unit = unit_of(proc_text(pid, "cgroup"))
        # What runs in the same unit as we do was started by somebody who came the same way.
        if unit is None or unit == unit_of(proc_text(os.getpid(), "cgroup")):
            return None
    except OSError:
        return None
    return None if _is_removed(unit) else unit


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
    """Return what systemd says of a unit: ``active``, ``activating``, ``failed``...

    :raises TimesTenError: if it does not answer.
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
