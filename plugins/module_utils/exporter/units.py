# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the systemd units of a host's exporters: root's part of :mod:`exporter.boot`.

A service runs its exporter's start script as the owner. A path unit starts the service when the owner asks for it, so
root is needed only to install and remove the units.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import re
from typing import Any, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import systemd

_PATH = re.compile(r"[A-Za-z0-9/._@:+,=~-]+\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.[a-z]+\Z")
_START_RESERVE = 15
"""A start may take so many seconds beyond start_timeout, because the script waits 5 s before it reports a failure."""

_SERVICE = """\
{mark}the service of the exporter {name}. `systemctl edit {service}` keeps changes in a file of their own.
[Unit]
Description=TimesTen exporter {name}
Wants=network-online.target
After={after}
RequiresMountsFor={timesten_home} {directory}
ConditionPathExists={directory}/run
StartLimitIntervalSec=0

[Service]
# The start script ends when the pid file is there, whether ttExporter stays in the foreground or detaches.
Type=forking
PIDFile={unit_pid_file}
# %b is the boot id.
ExecStart={directory}/run %b
User={owner}
UMask=0077
Restart=always
RestartSec=100ms
KillSignal=SIG{stop_signal}
TimeoutStartSec={start_timeout}
TimeoutStopSec={stop_timeout}

# TimesTen's shared memory, its files and the processes in /proc stay visible.
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=full
ReadWritePaths={writable}
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""

_PATH_UNIT = """\
{mark}lets the owner of the exporter {name} start its service.
[Unit]
Description=Start of the TimesTen exporter {name} by its owner

[Path]
PathChanged={directory}/start

[Install]
WantedBy=multi-user.target
"""


class ForeignUnit(TimesTenError):
    """A unit of this name exists and was not written by this collection."""


def unit_texts(wanted: Definition, owner: str, after: Sequence[str] = ()) -> dict[str, str]:
    """Return the text of each unit of an exporter, by unit name.

    :param owner: the user who runs ttExporter.
    :param after: further units that have to be up first, if the host has them.
    :raises TimesTenError: if a unit file cannot hold a value.
    """
    for option in ("timesten_home", "certificate_directory", "pid_file", "log_file"):
        if not _PATH.match(getattr(wanted, option)):
            raise TimesTenError(
                f"exporter {wanted.name}: {option}: {getattr(wanted, option)!r} has characters that a systemd unit cannot hold; "
                "choose another path, or set boot to cron"
            )
    check_names(owner, after)
    directory = wanted.certificate_directory
    folders = {directory, os.path.dirname(wanted.pid_file), os.path.dirname(wanted.log_file)}
    values = {
        "mark": boot.MARK,
        "name": wanted.name,
        "service": boot.service_name(wanted.name),
        "owner": owner,
        "after": " ".join(["network-online.target", *after]),
        "timesten_home": wanted.timesten_home,
        "directory": directory,
        "unit_pid_file": boot.unit_pid_file(directory),
        "writable": " ".join(sorted(folders)),
        "stop_signal": wanted.stop_signal,
        "start_timeout": wanted.start_timeout + _START_RESERVE,
        "stop_timeout": wanted.stop_timeout,
    }
    return {
        boot.service_name(wanted.name): _SERVICE.format(**values),
        boot.path_name(wanted.name): _PATH_UNIT.format(**values),
    }


def check_names(owner: str, after: Sequence[str]) -> None:
    """:raises TimesTenError: if a unit file cannot hold one of these names."""
    if not _USER.match(owner):
        raise TimesTenError(f"owner: {owner!r} is no name of a user")
    for unit in after:
        if not _UNIT.match(unit):
            raise TimesTenError(f"after: {unit!r} is no name of a systemd unit such as timesten.service")


@dataclasses.dataclass
class UnitPlan:
    """One unit: the present and the wanted text of its file, and its state in systemd.

    :ivar before: present text of the file; None if there is no file.
    :ivar after: wanted text of the file; None if there should be no file.
    """

    name: str
    before: str | None
    after: str | None
    why: list[str] = dataclasses.field(default_factory=list)

    @property
    def path(self) -> str:
        """Return the path of the unit file."""
        return os.path.join(systemd.UNIT_DIRECTORY, self.name)


def converge_units(
    exporters: Sequence[Definition], owner: str, after: Sequence[str], check_mode: bool
) -> dict[str, Any]:
    """Install the units of the exporters whose boot is systemd, and remove the units of the others.

    :raises TimesTenError: if systemd does not run this host, or a file that somebody else wrote has the unit's name.
    """
    check_names(owner, after)
    units = [plan for wanted in exporters for plan in _plan(wanted, owner, after)]
    present = [unit for unit in units if unit.after is not None]
    if present:
        _check_host(owner, check_mode)
        for unit, state in _states([unit.name for unit in present]).items():
            plan = next(plan for plan in present if plan.name == unit)
            if state["UnitFileState"] != "enabled":
                plan.why.append(f"{unit} is not enabled")
            if unit.endswith(".path") and state["ActiveState"] != "active":
                plan.why.append(f"{unit} is not active")
    changed = [unit for unit in units if unit.why]
    if changed and not check_mode:
        _apply(changed)
    return {
        "changed": bool(changed),
        "why": [reason for unit in changed for reason in unit.why],
        "units": [unit.name for unit in present],
        "diff": [
            {
                "before_header": unit.path,
                "after_header": unit.path,
                "before": unit.before or "",
                "after": unit.after or "",
            }
            for unit in changed
            if unit.before != unit.after
        ],
    }


def _plan(wanted: Definition, owner: str, after: Sequence[str]) -> list[UnitPlan]:
    texts: dict[str, str] = unit_texts(wanted, owner, after) if wanted.boot == "systemd" else {}
    found = []
    for name in (boot.service_name(wanted.name), boot.path_name(wanted.name)):
        plan = UnitPlan(name, None, texts.get(name))
        with contextlib.suppress(FileNotFoundError):
            plan.before = files.read(plan.path).decode("utf-8", "replace")
        if plan.before is not None and not plan.before.startswith(boot.MARK):
            raise ForeignUnit(
                f"exporter {wanted.name}: {plan.path} was not written by this collection; move it away "
                f"(systemctl disable --now {name})"
            )
        if plan.before != plan.after:
            plan.why.append(
                f"{name} {'has to go' if plan.after is None else 'is missing' if plan.before is None else 'differs'}"
            )
        found.append(plan)
    return found


def _check_host(owner: str, check_mode: bool) -> None:
    if not systemd.runs_this_host():
        raise TimesTenError("boot is systemd, but systemd does not run this host; set boot to cron or none")
    try:
        pwd.getpwnam(owner)
    except KeyError:
        if not check_mode:
            raise TimesTenError(f"owner: there is no user {owner!r} on this host") from None


def _states(units: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return systemd's properties of each unit."""
    shown = systemd.systemctl("show", "--property=Id,UnitFileState,ActiveState", *units)
    found = {}
    for block in shown.strip().split("\n\n"):
        state = dict(line.split("=", 1) for line in block.splitlines())
        found[state["Id"]] = state
    return found


def _apply(units: Sequence[UnitPlan]) -> None:
    _disable([unit.name for unit in units if unit.after is None])
    for unit in units:
        if unit.after is None:
            os.unlink(unit.path)
        elif unit.before != unit.after:
            files.write(unit.path, unit.after.encode("utf-8"), 0o644)
    systemd.systemctl("daemon-reload")
    present = [unit.name for unit in units if unit.after is not None]
    if present:
        # systemd reads a changed path unit only when that unit starts again.
        systemd.systemctl("enable", *present)
        paths = [name for name in present if name.endswith(".path")]
        if paths:
            systemd.systemctl("restart", *paths)


def _disable(units: Sequence[str]) -> None:
    """Take units out of use. An exporter that a service runs is left running: nobody could start it again if the run were killed right then."""
    if not units:
        return
    # The path unit first: it could start the service again.
    for unit in sorted(units, key=lambda name: name.endswith(".service")):
        runs = unit.endswith(".service") and systemd.active_state(unit) == "active"
        systemd.systemctl("disable", *([] if runs else ["--now"]), unit)
