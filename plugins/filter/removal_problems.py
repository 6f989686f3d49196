# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns why a removal must not continue."""

from __future__ import annotations

DOCUMENTATION = r"""
name: removal_problems
short_description: What keeps a removal from going on
version_added: 1.0.0
description:
  - Checks the request, the Prometheus hosts' answers when they were inspected, and their answers when they were
    cleared.
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
  cleared:
    description: Whether the Prometheus hosts must have removed their jobs by now.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Can it be removed?
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.removal_problems(groups, ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: One text for each problem.
  type: list
  elements: str
  sample: []
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet, removal, steps


def removal_problems(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    cleared: bool = False,
) -> list[str]:
    """Return the problems. The removal continues if the list is empty."""
    known = fleet.recall(hostvars, groups)
    looked = steps.clients(hostvars, known.prometheus_hosts, steps.LOOKED)
    plan = removal.plan(known, hosts, looked)
    if plan.problems or not cleared:
        return list(plan.problems)
    answers = steps.clients(hostvars, plan.clients, steps.ANSWERED)
    return [
        f"{client} has not let go"
        for clients in plan.clients.values()
        for client in clients
        if client not in answers or answers[client].failed
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"removal_problems": removal_problems}
