# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: from what the exporter hosts answered to the exporters of one client."""

from __future__ import annotations

DOCUMENTATION = r"""
name: prometheus_exporters
short_description: The exporters of one client, from what the exporter hosts answered
version_added: 0.1.0
description:
  - Joins what the inventory says of each exporter (address and port, from the fact C(exporter_host_definitions)) with
    what its host answered (C(exporter_host_result)).
  - An exporter that serves on its spare port has C(.spare) appended to its name.
  - An exporter whose host failed or was not reached is left out, so that what is stored of it stays.
positional: hosts, client
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: Names of the exporter hosts.
    type: list
    elements: str
    required: true
  client:
    description: Name of the client.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: What client prom1 has to know of the exporters
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.prometheus_exporters(groups['timesten_exporters'], 'prom1') }}"
"""

RETURN = r"""
_value:
  description: One element for each exporter, as M(timesten.monitoring.tt_prometheus_host) takes them.
  type: list
  elements: dict
  sample: [{"name": "exp1", "address": "exp1.example.com", "port": 8888, "insecure": false, "delivery": "20261124T104900Z-1a2b3c4d-1"}]
"""

from typing import Any, Callable, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names

_ANSWERED = ("generation", "ca_sha256", "alt_names")
_MATERIAL = ("ca_certificate",)
_PAIR = ("delivery", "sha256", "certificate", "bundle")


def prometheus_exporters(hostvars: Mapping[str, Any], hosts: list[str], client: str) -> list[dict[str, Any]]:
    """Return the exporters that answered; address and port come from the inventory, never from the answer."""
    found = []
    for host in hosts:
        variables = hostvars[host]
        definitions = {item["name"]: item for item in variables.get("exporter_host_definitions") or []}
        result = variables.get("exporter_host_result") or {}
        for answer in result.get("exporters") or []:
            definition = definitions.get(answer["name"])
            if definition is None or answer.get("failed") or definition.get("state") == "stopped":
                continue
            item = {"name": answer["name"], "address": definition["address"], "port": definition["port"]}
            if answer.get("spare") and definition.get("spare_port"):
                item.update(name=_names.on_port(item["name"], True), port=definition["spare_port"])
                item["usual_port"] = definition["port"]
            item["insecure"] = bool(definition.get("insecure", False))
            pair = next((pair for pair in answer.get("pairs") or [] if pair["client"] == client), None)
            if not item["insecure"]:
                if pair is None:
                    continue
                sources = [(answer, _ANSWERED), (pair, _PAIR)]
                if pair.get("bundle"):
                    sources.append((answer, _MATERIAL))
                for source, keys in sources:
                    item.update({key: source[key] for key in keys if source.get(key) is not None})
            found.append(item)
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"prometheus_exporters": prometheus_exporters}
