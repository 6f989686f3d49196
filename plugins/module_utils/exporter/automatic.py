# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``boot: auto`` means on this host: systemd, cron, or nobody. What was chosen once stays: the unit or the crontab's line tells it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import crontab, systemd

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Seen:
    """What there is on the host for one exporter.

    :ivar unit: whether a unit of ours is installed.
    :ivar stale: whether root has something to do for that unit to be as it should.
    :ivar no_unit: why root cannot install one; None if it may be tried.
    :ivar entry: whether cron starts it already.
    :ivar no_crontab: why the user can have no crontab; None if he can.
    :ivar spare: whether it may change to a spare port, which no unit can.
    """

    unit: bool = False
    stale: bool = False
    no_unit: str | None = None
    entry: bool = False
    no_crontab: str | None = None
    spare: bool = False


@dataclasses.dataclass(frozen=True)
class Choice:
    """What starts the exporter after a reboot.

    :ivar needs_unit: whether root has to install or to mend its unit first.
    :ivar unattended: why nobody starts it; None where somebody does.
    """

    boot: str
    needs_unit: bool = False
    unattended: str | None = None


def choose(seen: Seen) -> Choice:
    """Decide what ``auto`` means."""
    with_cron = seen.no_crontab is None
    if seen.unit and not (seen.spare and with_cron):
        return Choice("systemd", seen.stale and seen.no_unit is None)
    if seen.entry and with_cron:
        return Choice("cron")
    if seen.no_unit is None and not seen.spare:
        return Choice("systemd", True)
    if with_cron:
        return Choice("cron")
    no_unit = "a unit cannot change to its spare_port" if seen.spare else seen.no_unit
    return Choice("none", unattended=f"{no_unit}; {seen.no_crontab}")


def settle(wanted: Definition, units: Mapping[str, Any] | None) -> tuple[Definition, Choice | None]:
    """Return the definition with what ``auto`` means on this host, and that choice; None where it is not asked for.

    :param units: what root would be told of the unit, ``owner`` and ``after``; None where root is not asked.
    """
    if wanted.boot != AUTO:
        return wanted, None
    choice = choose(_look(wanted, units))
    return dataclasses.replace(wanted, boot=choice.boot), choice


def kept(wanted: Definition) -> Definition:
    """Return the definition with what was chosen before: for what neither installs nor removes anything."""
    if wanted.boot != AUTO:
        return wanted
    found = "none"
    if boot.installed(boot.service_name(wanted.name)):
        found = "systemd"
    elif os.path.lexists(os.path.join(wanted.certificate_directory, "run")):
        # Only where there is a script that the crontab could start.
        with contextlib.suppress(TimesTenError):
            found = "cron" if _has_entry(wanted) else "none"
    return dataclasses.replace(wanted, boot=found)


def _has_entry(wanted: Definition) -> bool:
    return boot.crontab_mark(wanted.name) in crontab.read().split("\n")


def _look(wanted: Definition, units: Mapping[str, Any] | None) -> Seen:
    spare = wanted.spare_port is not None and not wanted.insecure
    unit = boot.installed(boot.service_name(wanted.name))
    stale, no_unit = _look_at_units(wanted, units)
    entry, no_crontab = False, None
    # Most hosts with a unit need no look at the crontab.
    if spare or not unit:
        try:
            entry = _has_entry(wanted)
        except TimesTenError as error:
            no_crontab = error.message
    return Seen(unit, stale, no_unit, entry, no_crontab, spare)


def _look_at_units(wanted: Definition, units: Mapping[str, Any] | None) -> tuple[bool, str | None]:
    if not systemd.runs_this_host():
        return False, "systemd does not run this host"
    if units is None:
        return False, "root may not install a unit"
    # Imported where it is needed: Ansible compiles what a module imports at every call.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.units import ForeignUnit, converge_units

    with_unit = dataclasses.replace(wanted, boot="systemd")
    try:
        return converge_units([with_unit], units["owner"], units["after"], True)["changed"], None
    except ForeignUnit:
        # A defect, and no reason to do without: it would run beside what the crontab starts.
        raise
    except TimesTenError as error:
        return False, error.message
