# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose jobs are whose, where several inventories share a Prometheus.

An inventory has a name where a variable gives one. Else it gets one from its exporters, at the first run, and keeps it: the store
remembers with each exporter whose it is, and an inventory is recognized by its exporters, wherever its file lies and whoever runs it.
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
"""What the names begin with that nobody gave."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """Whom a call speaks for.

    :ivar name: "" where nobody can tell.
    :ivar former: the derived name that its exporters had before it was given one; "" where there is none.
    :ivar is_sure: whether half of what it has here, or more, is in the inventory. Else that may be a part of another one, and removes only what a
        person names.
    """

    name: str
    former: str = ""
    is_sure: bool = True

    def owns(self, entry: StateEntry | None) -> bool:
        """Whether an exporter is this fleet's to change: its own, or nobody's."""
        return entry is None or entry.get("fleet", "") in ("", self.name, self.former)

    def refusal(self, known: Mapping[str, StateEntry], exporters: Iterable[str]) -> str:
        """Why exporters that are others' are left alone, and the way out."""
        named = sorted(exporters)
        others = known[named[0]].get("fleet", "")
        which = f"fleet {others!r}"
        if others.startswith(DERIVED):
            beside = sorted(name for name, entry in known.items() if entry.get("fleet") == others and name not in named)
            which = f"another inventory{f', which also has {some(beside)}' if beside else ''} (fleet {others!r})"
        return f"{some(named)} belongs to {which}; this run speaks for {self.name!r}. {_way_out(others)}"

    def doubt(self, known: Mapping[str, StateEntry], inventory: Iterable[str]) -> str:
        """Why nothing is removed that nobody names, and the way out."""
        own, there = [name for name, entry in known.items() if entry.get("fleet") == self.name], set(inventory)
        left = sorted(name for name in own if names.exporter_of(name) not in there)
        return f"{some(left)}, which is most of fleet {self.name!r}, is not in this inventory. {_way_out(self.name)}"


def _way_out(fleet: str) -> str:
    return f"Give yours another name, or set fleet (prometheus_host_fleet: {fleet}) if it is the same inventory"


def fleet_of(settings: Settings, state: StoreState, generous: bool = False) -> Fleet:
    """The fleet that a task speaks for.

    :param generous: whether a name that both have is enough to recognize an inventory. Else an exporter has to have the same target,
        or a wallet that its host remembers, or none and the same address.
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
    """The same for every client of an inventory, whoever runs it."""
    text = "\n".join(f"{name} {' '.join(map(str, targets))}" for name, targets in sorted(exporters.items()))
    return DERIVED + hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


def _host(target: str) -> str:
    return target.rpartition(":")[0]


def _recognized(settings: Settings, known: Mapping[str, StateEntry], generous: bool) -> tuple[str, bool]:
    """The fleet of half of the inventory's exporters that has half of its own there, at least; else "". And whether it is sure.

    Less is no proof: two inventories may name the same exporter. Where all of one are in the other, it is one that has grown or shrunk; but not one
    that was given its name, for that one may go on with it.
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
        # Without TLS there is no wallet that tells one that moves to another port.
        same = own in targets or (generation is None and _host(own) in map(_host, targets))
        remembered = generation is not None and generation in (item.get("generation"), item.get("previous"))
        if same or remembered or generous:
            shared[fleet] += 1
    for fleet, number in sorted(shared.items(), key=lambda pair: (-pair[1], pair[0])):
        within = fleet.startswith(DERIVED) and number in (sizes[fleet], len(settings.fleet_exporters))
        if fleet and (within or number * 2 >= max(sizes[fleet], len(settings.fleet_exporters))):
            return fleet, number * 2 >= sizes[fleet]
    return "", True
