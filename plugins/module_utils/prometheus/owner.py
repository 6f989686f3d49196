# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides to which inventory an exporter belongs, if several inventories share a Prometheus.

A variable may give an inventory its name. Otherwise it gets a name derived from its exporters at the first run, and
keeps it: the store records the owner of each exporter, and an inventory is recognized by its exporters, no matter where
its file lies and who runs it.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from typing import Any, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    Settings,
    StateEntry,
    StoreState,
    some,
)

DERIVED = "auto-"
"""A derived name begins with this."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The inventory for which a call speaks.

    :ivar name: "" if it is unknown.
    :ivar former: the derived name that its exporters had before a name was given; "" if there is none.
    :ivar is_sure: whether at least half of the exporters that it has here are in the inventory. If not, the inventory
        may be part of another one, and only exporters that a person names are removed.
    """

    name: str
    former: str = ""
    is_sure: bool = True

    def owns(self, entry: StateEntry | None) -> bool:
        """Tell whether this fleet may change an exporter: it is the fleet's own, or nobody's."""
        return entry is None or entry.get("fleet", "") in ("", self.name, self.former)

    def refusal(self, known: Mapping[str, StateEntry], exporters: Iterable[str]) -> str:
        """Return why exporters of others are left alone, and what to do."""
        named = sorted(exporters)
        others = known[named[0]].get("fleet", "")
        which = f"fleet {others!r}"
        if others.startswith(DERIVED):
            beside = sorted(name for name, entry in known.items() if entry.get("fleet") == others and name not in named)
            which = f"another inventory{f', which also has {some(beside)}' if beside else ''} (fleet {others!r})"
        return f"{some(named)} belongs to {which}; this run speaks for {self.name!r}. {_way_out(others)}"

    def doubt(self, known: Mapping[str, StateEntry], inventory: Iterable[str]) -> str:
        """Return why nothing is removed that nobody names, and what to do."""
        own, there = [name for name, entry in known.items() if entry.get("fleet") == self.name], set(inventory)
        left = sorted(name for name in own if names.exporter_of(name) not in there)
        return f"{some(left)}, which is most of fleet {self.name!r}, is not in this inventory. {_way_out(self.name)}"


def _way_out(fleet: str) -> str:
    return f"Give yours another name, or set fleet (prometheus_host_fleet: {fleet}) if it is the same inventory"


def fleet_of(settings: Settings, state: StoreState, generous: bool = False) -> Fleet:
    """Return the fleet for which a task speaks.

    :param generous: whether a common name is enough to recognize an exporter. If not, it must have the same target, or
        a wallet that its host remembers, or no wallet and the same address.
    """
    known = state["exporters"]
    if settings.fleet is not None:
        former, is_sure = _recognized(settings, known, generous)
        return Fleet(settings.fleet, former if is_sure and former.startswith(DERIVED) else "")
    if settings.fleet_exporters:
        name, is_sure = _recognized(settings, known, generous)
        return Fleet(name or _derived(settings.fleet_exporters), is_sure=is_sure)
    mentioned = [item["name"] for item in settings.exporters] or settings.remove or known
    fleets = {known[name].get("fleet", "") for name in mentioned if name in known}
    return Fleet(fleets.pop() if len(fleets) == 1 else "")


def _derived(exporters: Mapping[str, Any]) -> str:
    """Return a name that is the same for every client of an inventory, no matter who runs it."""
    text = "\n".join(f"{name} {' '.join(map(str, targets))}" for name, targets in sorted(exporters.items()))
    return DERIVED + hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


def _host(target: str) -> str:
    return target.rpartition(":")[0]


def _recognized(settings: Settings, known: Mapping[str, StateEntry], generous: bool) -> tuple[str, bool]:
    """Return the fleet that shares at least half of the inventory's exporters and half of its own, or "". Also tell
    whether that is sure.

    Less proves nothing, because two inventories may name the same exporter. If all exporters of one are in the other,
    the inventory has grown or shrunk. That does not hold for a fleet whose name was given, because that fleet may still
    be in use under that name.
    """
    mentioned = {names.exporter_of(item["name"]): item for item in settings.exporters}
    sizes: collections.Counter[str] = collections.Counter()
    shared: collections.Counter[str] = collections.Counter()
    for name in {names.exporter_of(job): job for job in known}.values():
        entry, exporter = known[name], names.exporter_of(name)
        fleet = entry.get("fleet", "")
        sizes[fleet] += 1
        targets = settings.fleet_exporters.get(exporter)
        if targets is None:
            continue
        definition = entry["definition"]
        item = mentioned.get(exporter, {})
        generation = entry.get("generation")
        own = names.target(str(definition.get("address")), definition.get("port", 0))
        # Without TLS no wallet identifies an exporter that moves to another port.
        same = own in targets or (generation is None and _host(own) in map(_host, targets))
        remembered = generation is not None and generation in (item.get("generation"), item.get("previous"))
        if same or remembered or generous:
            shared[fleet] += 1
    for fleet, number in sorted(shared.items(), key=lambda pair: (-pair[1], pair[0])):
        within = fleet.startswith(DERIVED) and number in (sizes[fleet], len(settings.fleet_exporters))
        if fleet and (within or number * 2 >= max(sizes[fleet], len(settings.fleet_exporters))):
            return fleet, number * 2 >= sizes[fleet]
    return "", True
