# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the exporters of one host, complete, from what the inventory says."""

from __future__ import annotations

DOCUMENTATION = r"""
name: exporter_definitions
short_description: Complete the definitions of a host's exporters
version_added: 0.1.0
description:
  - Fills each element of C(exporter_host_exporters) with the values that all exporters of the host share, and gives
    it its name, address and directory.
positional: defaults, host
options:
  _input:
    description: What the inventory says of each exporter of the host.
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
- name: Two exporters, named exp3-sales and exp3-stock
  ansible.builtin.debug:
    msg: >-
      {{ [{'instance': 'sales', 'port': 8888}, {'instance': 'stock', 'port': 8889}]
         | timesten.monitoring.exporter_definitions({'directory': '/opt/timesten/monitoring'}, 'exp3') }}
"""

RETURN = r"""
_value:
  description: One complete definition for each exporter, as M(timesten.monitoring.tt_exporter_host) takes them.
  type: list
  elements: dict
  sample: [{"name": "exp3-sales", "address": "exp3", "port": 8888, "certificate_directory": "/opt/timesten/monitoring/exp3-sales"}]
"""

import posixpath
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def exporter_definitions(exporters: list[dict[str, Any]], defaults: dict[str, Any], host: str) -> list[dict[str, Any]]:
    """Return one complete definition for each exporter of a host; what has no value is left out, so that the module's defaults hold."""
    found = []
    for index, exporter in enumerate(exporters):
        merged = {key: value for key, value in {**defaults, **exporter}.items() if value is not None}
        instance = merged.pop("instance", None)
        if instance is None and len(exporters) > 1:
            raise AnsibleFilterError(
                f"exporter_host_exporters[{index}] of {host} has no 'instance'; where a host has several exporters, each needs one"
            )
        merged["name"] = host if instance is None else f"{host}-{instance}"
        merged.setdefault("address", host)
        directory = merged.pop("directory", None) or posixpath.join(merged.get("timesten_home", "/"), "monitoring")
        merged["certificate_directory"] = posixpath.join(directory, merged["name"])
        found.append(merged)
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"exporter_definitions": exporter_definitions}
