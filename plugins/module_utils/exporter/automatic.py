# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what ``boot: auto`` means on this host: systemd, cron or nothing.

An earlier choice stays: an installed unit or a line in the crontab shows it.
"""

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
    """What this host has for one exporter.

    :ivar unit: whether our unit is installed.
    :ivar stale: whether root has to change that unit.
    :ivar no_unit: why root cannot install a unit; None if it can be tried.
    :ivar entry: whether cron already starts the exporter.
    :ivar no_crontab: why the user cannot have a crontab; None if the user can.
    :ivar spare: whether the exporter may move to a spare port, which a unit does not support.
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

    :ivar needs_unit: whether root first has to install or change the unit.
    :ivar unattended: why nothing starts the exporter after a reboot; None if something does.
    """

    boot: str
    needs_unit: bool = False
    unattended: str | None = None


def choose(seen: Seen) -> Choice:
    """Decide what ``auto`` means, given what the host has."""
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
    """Return the definition with ``auto`` replaced by the choice for this host, and the choice; None if ``auto`` is not
    set.

    :param units: ``owner`` and ``after`` for the unit that root would install; None if root is not asked.
    """
    if wanted.boot != AUTO:
        return wanted, None
    choice = choose(_look(wanted, units))
    return dataclasses.replace(wanted, boot=choice.boot), choice


def kept(wanted: Definition) -> Definition:
    """Return the definition with the earlier choice. Calls use it that neither install nor remove anything for the
    boot.
    """
    if wanted.boot != AUTO:
        return wanted
    found = "none"
    if boot.installed(boot.service_name(wanted.name)):
        found = "systemd"
    elif os.path.lexists(os.path.join(wanted.certificate_directory, "run")):
        # The crontab matters only if the script exists that it would start.
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
    # A host with a unit needs no look at the crontab, unless there is a spare port.
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
    # This import stands here because Ansible compiles everything that a module imports, at every call.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.units import ForeignUnit, converge_units

    with_unit = dataclasses.replace(wanted, boot="systemd")
    try:
        return converge_units([with_unit], units["owner"], units["after"], True)["changed"], None
    except ForeignUnit:
        # This is a defect of an existing unit, not a reason to use cron: both would start the exporter.
        raise
    except TimesTenError as error:
        return False, error.message
