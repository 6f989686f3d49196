# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation's order for one exporter, and the record of the process that leads the rotation on this host."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Mapping, Sequence, cast

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec, names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import (
    SPARE_PORT,
    Strategy,
    SwitchRecord,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import parse_timestamp

PROMPT = 30.0
"""A leader answers a request within so many seconds plus the time of a restart."""

_LONGEST_WAIT = 600.0
"""If a run finds a leader of another controller, it waits at most so many seconds: every deadline is nearer than that.
"""


@dataclasses.dataclass(frozen=True)
class Order:
    """What a rotation asks of one exporter.

    :ivar to: ``new`` or ``previous``.
    :ivar evict: clients that lose their access.
    :ivar optional: clients that may lose their access if this run does not reach them.
    :ivar only_due: whether to leave an exporter alone if it needs no rotation.
    :ivar since: leave an exporter alone if its generation was made after this time (2026-11-24T10:49:00Z).
    :ivar run: the playbook run that asks, in the form of :mod:`machine.lease`.
    :ivar strategy: ``gap``; or ``spare_port``, which exporters without a spare port ignore.
    """

    to: str = "new"
    evict: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    only_due: bool = False
    since: str | None = None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strategy: Strategy = "gap"


def check_order(order: Order) -> None:
    """:raises TimesTenError: naming the option with the wrong value."""
    for option in ("evict", "optional"):
        for index, name in enumerate(getattr(order, option)):
            names.check_name(name, f"{option}[{index}]")
    if order.since is not None:
        try:
            parse_timestamp(order.since)
        except ValueError as error:
            raise TimesTenError(f"since: {order.since!r} is not a time such as 2026-11-24T10:49:00Z") from error


def check_switches(exporters: Sequence[Definition], orders: Mapping[str, Any]) -> None:
    """:raises TimesTenError: if ``switch`` does not say for each exporter when to switch and to which generation."""
    for exporter in exporters:
        place = f"switch.{exporter.name}"
        order = argspec.check_order(orders.get(exporter.name), place)
        names.check_name(str(order.get("generation")), f"{place}.generation")
        for key in ("confirm", "period"):
            value: Any = order.get(key)
            # The period is None if the scrapes have no common one.
            if not (argspec.is_number(value) and value >= 0) and (key, value) != ("period", None):
                raise TimesTenError(f"{place}.{key}: {argspec.show(value)} is no number of seconds")
        if order.get("strategy", "gap") not in ("gap", SPARE_PORT):
            raise TimesTenError(f"{place}.strategy: {argspec.show(order['strategy'])} is neither gap nor {SPARE_PORT}")


def until_stopped(definition: Definition) -> float:
    """Return the seconds within which a leader stops a process and records that."""
    return processes.longest_stop(*definition.how_to_stop) + PROMPT


def until_switched(definition: Definition) -> float:
    """Return the seconds from the moment within which a switch is made, or is taken back because the new process does
    not start.
    """
    return until_stopped(definition) + 2 * definition.start_timeout


def record_of(directory: ExporterDirectory) -> Record:
    """Return the record of an exporter's last switch."""
    return Record(directory.switch_file)


def read_record(definition: Definition, record: Record) -> SwitchRecord:
    """Return the content of the leader's record.

    :raises TimesTenError: if there is no record.
    """
    values = record.read()
    if values is None:
        raise TimesTenError(f"exporter {definition.name}: there is no record of a switch; run the rotation again")
    return cast(SwitchRecord, values)


def write_record(record: Record, **values: Any) -> SwitchRecord:
    """Change some values of the record, and return all values."""
    return cast(SwitchRecord, record.write(**values))


def ask(definition: Definition, record: Record, request: str) -> SwitchRecord:
    """Send a request to the leader, wait until it has decided, and return the record."""
    read_record(definition, record)
    if record.is_alive():
        record.ask(request)
    limit = until_switched(definition) + PROMPT
    return cast(SwitchRecord, record.wait(lambda now: now.get("status") not in ("waiting", "switched"), limit))


def answer(record: Record, values: SwitchRecord) -> dict[str, Any]:
    """Return a phase's answer about a switch."""
    status = values.get("status")
    if status in ("waiting", "switched") and not record.is_alive():
        status = "lost"
    keys = ("generation", "previous", "moment", "window", "error")
    return {"status": status, **{key: values.get(key) for key in keys}}


def is_spare_port(values: SwitchRecord) -> bool:
    """Tell whether a switch moves the exporter to the other port."""
    return values.get("strategy") == SPARE_PORT


def who(record: Record) -> str:
    """Describe the leader for a message."""
    values = record.read() or {}
    return f"process {values.get('pid')}, {values.get('status')}, deadline {clock(values.get('deadline') or 0)}"


def clock(moment: float) -> str:
    """Write a moment for a message."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def end_leader(definition: Definition, directory: ExporterDirectory, run: Mapping[str, Any]) -> None:
    """End the leader of a rotation whose run is gone. A run on another controller may still confirm the switch, so its
    leader gets the time for that.

    :raises TimesTenError: if the run still works, as far as this controller can tell, or the leader does not end.
    """
    record = record_of(directory)
    if not record.is_alive():
        return
    holder = lease.holder(directory.path, run)
    if holder is not None and holder.is_here:
        raise TimesTenError(
            f"exporter {definition.name} is being rotated by {holder.text}; wait for it, or end it, then run again"
        )
    if holder is not None:
        # The leader ends by itself at its deadline if nobody confirms the switch.
        record.wait(lambda _now: False, min(holder.seconds, _LONGEST_WAIT))
    if record.is_alive():
        ask(definition, record, "revert")
        # A leader that was already confirmed stops its old process now.
        record.wait(lambda _now: False, until_stopped(definition))
    if record.is_alive():
        raise TimesTenError(
            f"exporter {definition.name} is being switched by {who(record)}, and that process does not end when it is asked to; end it, then run again"
        )
