# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans a run of the playbook timesten.monitoring.remove: what it removes, and where."""

from __future__ import annotations

import dataclasses
from typing import Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import ONE_OF, Fleet, how_to_take_access

GONE = (
    "Nothing was changed, because an exporter goes only after every Prometheus has let go of it; if this Prometheus is gone for good, take its "
    "host out of the inventory and run this again"
)


@dataclasses.dataclass(frozen=True)
class Removal:
    """What is removed.

    :ivar exporters: by exporter host, the exporters that are removed or have to forget clients.
    :ivar clients: by Prometheus host, the clients that are cleared.
    :ivar jobs: names of the jobs that the clients remove; if empty, they remove everything of ours.
    :ivar forget: clients that the exporters have to forget.
    :ivar unlisted: whether the named thing is missing in the inventory.
    :ivar problems: why nothing can be removed.
    :ivar advice: what a person has to do afterwards.
    """

    exporters: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    clients: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    jobs: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    unlisted: bool = False
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def plan(fleet: Fleet, hosts: Sequence[str], looked: Mapping[str, PrometheusAnswer] | None = None) -> Removal:
    """Return what is removed where, and what prevents it.

    :param hosts: the hosts of the run.
    :param looked: the clients' answers, after they were asked.
    """
    run = fleet.run
    exporter, prometheus = run.remove_exporter, run.remove_prometheus
    given = [option for option in (exporter, prometheus, run.remove_everything) if option]
    if len(given) != 1:
        which = "nothing was named" if not given else f"{len(given)} things were named"
        return Removal(problems=(f"{which} to be removed; say {ONE_OF}",))
    exporters = {host: [item.name for item in known.exporters] for host, known in fleet.exporter_hosts.items()}
    clients = {host: [item.name for item in known.clients] for host, known in fleet.prometheus_hosts.items()}
    if exporter:
        mine = {host: [exporter] for host, known in exporters.items() if exporter in known}
        jobs = (exporter, names.on_port(exporter, True))
        found = Removal(mine, clients, jobs, (), not mine)
    elif prometheus:
        cleared = {
            host: known if host == prometheus else [prometheus]
            for host, known in clients.items()
            if prometheus in (host, *known)
        }
        forget = tuple(sorted({name for known in cleared.values() for name in known})) or (prometheus,)
        found = Removal(exporters, cleared, (), forget, not cleared)
    else:
        found = Removal(exporters, clients)
    problems = _problems(found, fleet, hosts, looked)
    return dataclasses.replace(
        found, problems=tuple(problems), advice=tuple(_advice(fleet, found, exporter, prometheus))
    )


def _problems(
    found: Removal, fleet: Fleet, hosts: Sequence[str], looked: Mapping[str, PrometheusAnswer] | None
) -> list[str]:
    left_out = [host for host in [*found.clients, *found.exporters] if host not in hosts]
    if left_out:
        return [f"--limit leaves out {', '.join(left_out)}, where something has to be removed: run without --limit"]
    if looked is None:
        return []
    silent = []
    for host, clients in found.clients.items():
        for client in clients:
            answer = looked.get(client)
            if answer is None or answer.failed:
                silent.append(f"{host}: {'it was not looked at' if answer is None else answer.failed}. {GONE}")
    exporter = fleet.run.remove_exporter
    if exporter and found.unlisted and not silent:
        stored = {
            names.exporter_of(name)
            for answer in looked.values()
            for name in (*answer.definitions, *answer.scrape_intervals)
        }
        if exporter not in stored:
            known = ", ".join(sorted(stored | set(fleet.exporters))) or "none"
            return [
                f"there is no exporter {exporter!r}, neither in the inventory nor on a Prometheus host; there are {known}"
            ]
    return silent


def _advice(fleet: Fleet, found: Removal, exporter: str | None, prometheus: str | None) -> list[str]:
    if exporter and found.unlisted:
        return [
            f"{exporter} is not in the inventory, so nothing was done on its host; what is left there has to be removed there."
        ]
    back = "or the next run of timesten.monitoring.site brings it back."
    if exporter:
        return [f"Take {exporter} out of the inventory, {back}"]
    if prometheus:
        advice = [
            f"The exporters still accept the pair that {client} had, for ttExporter knows no revocation; only new wallets take that access away: "
            f"{how_to_take_access(fleet, client)}."
            for client in found.forget
        ]
        return advice + ([] if found.unlisted else [f"Take {prometheus} out of the inventory, {back}"])
    return [f"Take the hosts out of the inventory, {back}"]
