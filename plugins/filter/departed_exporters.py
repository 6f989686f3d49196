# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: which exporters have left the inventory while a Prometheus still scrapes them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: departed_exporters
short_description: Which exporters have left the inventory while a Prometheus still scrapes them
version_added: 0.1.0
description:
  - Compares what the Prometheus hosts have, from the fact C(prometheus_host_result), with the inventory. An exporter that is only not part of the
    run has not left.
positional: groups
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  groups:
    description: The magic variable C(groups).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Which ones are left over?
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.departed_exporters(groups) }}"
"""

RETURN = r"""
_value:
  description: One text for each exporter, with the clients that still scrape it.
  type: list
  elements: str
  sample: ["exp7 (prom1, prom2)"]
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.filter.run_problems import EXPORTERS, SERVERS, exporter_names
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names


def departed_exporters(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one text for each exporter that left."""
    scraped: dict[str, list[str]] = {}
    for host in groups.get(SERVERS, []):
        for call in (hostvars[host].get("prometheus_host_result") or {}).get("results") or []:
            for name in call.get("unmentioned") or []:
                clients = scraped.setdefault(_names.exporter_of(name), [])
                if call["name"] not in clients:
                    clients.append(call["name"])
    if not scraped:
        return []
    listed = {name for host in groups.get(EXPORTERS, []) for name in exporter_names(hostvars, host)}
    return [f"{name} ({', '.join(clients)})" for name, clients in sorted(scraped.items()) if name not in listed]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"departed_exporters": departed_exporters}
