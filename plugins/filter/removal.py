# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what a run of the playbook timesten.monitoring.remove takes away, and where."""

from __future__ import annotations

DOCUMENTATION = r"""
name: removal
short_description: What is to be removed, on which hosts
version_added: 0.1.0
description:
  - Finds out what the playbook C(timesten.monitoring.remove) was asked for, on which hosts it is, and what is wrong with that.
positional: groups, hosts
options:
  _input:
    description: The magic variable C(hostvars), with the facts C(prometheus_host_inspected) of the Prometheus hosts that could be looked at.
    type: dict
    required: true
  groups:
    description: The magic variable C(groups).
    type: dict
    required: true
  hosts:
    description: Inventory names of the hosts of the run.
    type: list
    elements: str
    required: true
  exporter:
    description: Name of one exporter.
    type: str
  prometheus:
    description: Name of one client, or of a Prometheus host with all its clients.
    type: str
  everything:
    description: Whether all exporters and clients go.
    type: bool
    default: false
  inspected:
    description: Whether the Prometheus hosts have been looked at. Those that could not be are a problem then, and so is an exporter that nobody knows.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Where is exp3-sales?
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.removal(groups, ansible_play_hosts_all, exporter='exp3-sales') }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), one message each; C(exporters), names by exporter host; C(clients), names by Prometheus host; C(forget), names of clients that the
      exporters have to forget; C(unlisted), whether the name is not in the inventory; C(advice), what to do afterwards.
  type: dict
  sample: {"problems": [], "exporters": {"exp3": ["exp3-sales"]}, "clients": {"prom1": ["prom1"]}, "forget": [], "unlisted": false, "advice": []}
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.filter.run_problems import (
    EXPORTERS,
    SERVERS,
    client_names,
    exporter_names,
)
from ansible_collections.timesten.monitoring.plugins.filter.unfinished_hosts import unfinished_hosts
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names

ONE_OF = (
    "one of -e remove_exporter=<exporter>, -e remove_prometheus=<client or Prometheus host>, -e remove_everything=true"
)
GONE = (
    "Nothing was changed, because an exporter goes only after every Prometheus has let go of it; if this Prometheus is gone for good, take its host out of "
    "the inventory and run this again"
)


def removal(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    exporter: str | None = None,
    prometheus: str | None = None,
    everything: bool = False,
    inspected: bool = False,
) -> dict[str, Any]:
    """Return what goes where, and what is wrong with that."""
    given = [option for option in (exporter, prometheus, everything) if option]
    if len(given) != 1:
        which = "nothing was named" if not given else f"{len(given)} things were named"
        return {"problems": [f"{which} to be removed; say {ONE_OF}"]}
    exporters = {host: exporter_names(hostvars, host) for host in groups.get(EXPORTERS, [])}
    clients = {host: client_names(hostvars, host) for host in groups.get(SERVERS, [])}
    plan: dict[str, Any] = {"exporters": {}, "clients": clients, "forget": [], "unlisted": False, "problems": []}
    if exporter:
        plan["exporters"] = {host: [exporter] for host, names in exporters.items() if exporter in names}
        plan["unlisted"] = not plan["exporters"]
    elif prometheus:
        plan["clients"] = {
            host: names if host == prometheus else [prometheus]
            for host, names in clients.items()
            if prometheus in (host, *names)
        }
        plan["forget"] = sorted({name for names in plan["clients"].values() for name in names}) or [prometheus]
        plan["exporters"] = exporters
        plan["unlisted"] = not plan["clients"]
    else:
        plan["exporters"] = exporters
    plan["advice"] = _advice(plan, exporter, prometheus)
    left_out = [host for host in [*plan["clients"], *plan["exporters"]] if host not in hosts]
    if left_out:
        plan["problems"].append(
            f"--limit leaves out {', '.join(left_out)}, where something has to be removed: run without --limit"
        )
    elif inspected:
        silent = unfinished_hosts(hostvars, list(plan["clients"]), "prometheus_host")
        plan["problems"] += [f"{host}: {reason}. {GONE}" for host, reason in silent.items()]
        if exporter and plan["unlisted"] and not silent:
            plan["problems"] += _unknown(exporter, exporters, hostvars, plan["clients"])
    return plan


def _unknown(
    exporter: str, exporters: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any], hosts: Sequence[str]
) -> list[str]:
    stored = {
        _names.exporter_of(name)
        for host in hosts
        for client in hostvars[host].get("prometheus_host_inspected") or []
        for name in (*client["definitions"], *client["scrape_intervals"])
    }
    if exporter in stored:
        return []
    listed = {name for names in exporters.values() for name in names}
    return [
        f"there is no exporter {exporter!r}, neither in the inventory nor on a Prometheus host; there are {', '.join(sorted(stored | listed)) or 'none'}"
    ]


def _advice(plan: Mapping[str, Any], exporter: str | None, prometheus: str | None) -> list[str]:
    if exporter and plan["unlisted"]:
        return [
            f"{exporter} is not in the inventory, so nothing was done on its host; what is left there has to be removed there."
        ]
    back = "or the next run of timesten.monitoring.site brings it back."
    if exporter:
        return [f"Take {exporter} out of the inventory, {back}"]
    if prometheus:
        advice = [
            f"The exporters still accept the pair that {client} had, for ttExporter knows no revocation; only new wallets take that access away: "
            f"ansible-playbook timesten.monitoring.evict -e evict={client}, while it is in the inventory."
            for client in plan["forget"]
        ]
        return advice + ([] if plan["unlisted"] else [f"Take {prometheus} out of the inventory, {back}"])
    return [f"Take the hosts out of the inventory, {back}"]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"removal": removal}
