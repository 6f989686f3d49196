# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: from what the Prometheus hosts hold to the clients of one exporter host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: exporter_clients
short_description: The clients of an exporter host, from what the Prometheus hosts hold
version_added: 0.1.0
description:
  - Collects the results of M(timesten.monitoring.tt_prometheus_host) with
    O(timesten.monitoring.tt_prometheus_host#module:state=inspected), and keeps of each what
    concerns the exporters of one host.
positional: hosts, exporters, readmit
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: Names of the Prometheus hosts.
    type: list
    elements: str
    required: true
  exporters:
    description: Names of the exporters.
    type: list
    elements: str
    required: true
  readmit:
    description: Names of the clients that get pairs again although they were evicted.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: What the exporters of this host have to know of the Prometheus hosts
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.exporter_clients(groups['prometheus_servers'], ['exp1']) }}"
"""

RETURN = r"""
_value:
  description:
    - One element for each client that could be inspected, as M(timesten.monitoring.tt_exporter_host) takes them.
  type: list
  elements: dict
  sample: [{"name": "prom1", "recipient": "BEb...", "scrape_interval": 15.0, "stored": {}, "readmit": false}]
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names


def exporter_clients(
    hostvars: Mapping[str, Any], hosts: list[str], exporters: list[str], readmit: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the clients that could be inspected; a host that failed or was not reached is left out."""
    wanted = {_names.on_port(name, spare) for name in exporters for spare in (False, True)}
    found = []
    for host in hosts:
        for inspected in hostvars[host].get("prometheus_host_inspected") or []:
            if inspected.get("failed") or "transport_key" not in inspected:
                continue
            stored = {name: dict(entry) for name, entry in inspected["stored"].items() if name in wanted}
            for name, interval in inspected.get("scrape_intervals", {}).items():
                if name in wanted:
                    stored.setdefault(name, {})["scrape_interval"] = interval
            found.append(
                {
                    "name": inspected["name"],
                    "recipient": inspected["transport_key"],
                    "scrape_interval": inspected["scrape_interval"],
                    "stored": stored,
                    "readmit": inspected["name"] in readmit,
                }
            )
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"exporter_clients": exporter_clients}
