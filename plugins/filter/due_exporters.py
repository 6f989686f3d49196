# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns the exporters with a wallet that has to be replaced."""

from __future__ import annotations

DOCUMENTATION = r"""
name: due_exporters
short_description: Which exporters have a wallet that has to be replaced
version_added: 1.0.0
description:
  - Names the exporters whose hosts have answered that the wallet of the running process is due or no longer fits.
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
- name: Which ones are due?
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.due_exporters(groups, ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: Names of exporters.
  type: list
  elements: str
  sample: [exp3-sales]
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet, steps


def due_exporters(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], hosts: Sequence[str]
) -> list[str]:
    """Return the names of the exporters to which a rotation has to give a new wallet."""
    listed = fleet.recall(hostvars, groups).exporters
    answers = steps.exporters(
        hostvars, [host for host in groups.get(fleet.EXPORTERS, ()) if host in hosts], steps.CONVERGED
    )
    return [
        name
        for answer in answers.values()
        for name, exporter in answer.exporters.items()
        if name in listed and exporter.rotation_due and not exporter.failed
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"due_exporters": due_exporters}
