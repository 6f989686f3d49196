# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the clients of one Prometheus host, complete, from what the inventory says."""

from __future__ import annotations

DOCUMENTATION = r"""
name: prometheus_clients
short_description: Complete the definitions of a host's Prometheus instances
version_added: 0.1.0
description:
  - Fills each element of C(prometheus_host_instances) with the values that all instances of the host share, and
    gives it its name.
positional: defaults, host
options:
  _input:
    description: What the inventory says of each Prometheus instance of the host.
    type: list
    elements: dict
    required: true
  defaults:
    description: Values for the keys that an element leaves out.
    type: dict
    required: true
  host:
    description: Inventory name of the host.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Two clients, named prom1-short and prom1-long
  ansible.builtin.debug:
    msg: >-
      {{ [{'instance': 'short'}, {'instance': 'long', 'url': 'http://127.0.0.1:9091'}]
         | timesten.monitoring.prometheus_clients({'url': 'http://127.0.0.1:9090'}, 'prom1') }}
"""

RETURN = r"""
_value:
  description: By name of the client, its options as M(timesten.monitoring.tt_prometheus_host) takes them; what has
    no value is left out.
  type: dict
  sample: {"prom1-long": {"url": "http://127.0.0.1:9091", "store": "/etc/prometheus-long/timesten"}}
"""

from typing import Any, Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

_OWN = ("config_file", "store", "url")


def prometheus_clients(
    instances: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any], host: str
) -> dict[str, dict[str, Any]]:
    """Return the options of each client of a host by its name; two clients never share a file, a store or a URL."""
    found: dict[str, dict[str, Any]] = {}
    for index, instance in enumerate(instances):
        merged = {key: value for key, value in {**defaults, **instance}.items() if value is not None}
        name = merged.pop("instance", None)
        if name is None and len(instances) > 1:
            raise AnsibleFilterError(
                f"prometheus_host_instances[{index}] of {host} has no 'instance'; where a host has several "
                f"Prometheus instances, each needs one"
            )
        client = host if name is None else f"{host}-{name}"
        if client in found:
            raise AnsibleFilterError(f"prometheus_host_instances of {host} names {name!r} twice")
        for key in _OWN:
            other = next(
                (
                    known
                    for known, options in found.items()
                    if merged.get(key) is not None and options.get(key) == merged[key]
                ),
                None,
            )
            if other is not None:
                raise AnsibleFilterError(
                    f"prometheus_host_instances of {host}: {client} and {other} have the same {key} "
                    f"({merged.get(key)}); each needs its own"
                )
        # The role's variable is prometheus_host_running already.
        if "running" in merged:
            merged["prometheus_running"] = merged.pop("running")
        found[client] = merged
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"prometheus_clients": prometheus_clients}
