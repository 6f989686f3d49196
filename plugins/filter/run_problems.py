# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns what is wrong with the inventory, the variables or the limit of a run, as far as the controller
can tell.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_problems
short_description: What is wrong with a run before any host is touched
version_added: 1.0.0
description:
  - Checks the two groups, the variables of the roles P(timesten.monitoring.exporter_host#role) and
    P(timesten.monitoring.prometheus_host#role), and that no name or target occurs twice.
  - A variable with the prefix of a role that does not have this variable is a problem too, because it is most likely
    misspelt.
  - One task finds everything at once for the whole fleet.
positional: groups, hosts, limit, operation
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
    description: Inventory names of the hosts of the run. Only their variables are checked.
    type: list
    elements: str
    required: true
  limit:
    description: The value of C(--limit). An exporter and all its Prometheus hosts have to be in the same run. Null if
      that does not matter.
    type: str
  operation:
    description: The playbook. It decides which C(-e) variables are required.
    type: str
    choices: [site, verify, rotate, rollback, evict, remove]
    default: site
"""

EXAMPLES = r"""
- name: Stop before anything is touched
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ hostvars | timesten.monitoring.run_problems(groups, ansible_play_hosts_all, ansible_limit | default('')) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One message for each problem.
  type: list
  elements: str
  sample: ["exp2: exporter_host_prot is not a variable of the role exporter_host; exporter_host_port is"]
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet


def run_problems(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    limit: str | None = None,
    operation: str = "site",
) -> list[str]:
    """Return the problems, one message each. The list is empty if nothing is wrong."""
    # Only Ansible's own hostvars know which variables were given with -e.
    manager = getattr(hostvars, "_variable_manager", None)
    extra_vars = getattr(manager, "extra_vars", None) or {}
    # Operations that only look or remove may leave hosts out.
    checked = limit if operation in fleet.ROTATING else None
    return fleet.problems(hostvars, groups, hosts, checked, operation or "site", [str(name) for name in extra_vars])


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"run_problems": run_problems}
