# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns how much of the fleet a run concerns."""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_counts
short_description: How much of the fleet a run is about
version_added: 1.0.0
description:
  - Counts the exporter hosts, exporters, Prometheus hosts, clients and pairs of a run.
positional: groups, hosts
options:
  _input:
    description: The magic variable C(hostvars).
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
"""

EXAMPLES = r"""
- name: Say how many there are
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.run_counts(groups, ansible_play_hosts_all) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The numbers, for a person.
  type: str
  sample: 2 exporter hosts, 3 exporters, 1 Prometheus host, 1 client, 3 pairs
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet


def run_counts(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], hosts: Sequence[str]
) -> str:
    """Return the numbers in one line."""
    try:
        return fleet.counts(fleet.recall(hostvars, groups), hosts)
    except fleet.Problems:
        # Ansible asks for it even if something is wrong; the problem is then reported elsewhere.
        return "nothing was counted"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"run_counts": run_counts}
