# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the hosts of a play that every run needs, or why this run would leave it out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: whole_run
short_description: The hosts of a play that every run needs
version_added: 1.0.0
description:
  - Returns its input where the check before a run and the report after it will take place.
  - Fails where the options of C(ansible-playbook) leave them out, since such a run would end with status 0 whatever it has seen.
    Ansible has the hosts of a play before it leaves out any task.
positional: groups
options:
  _input:
    description: The hosts of the play.
    type: str
    required: true
  groups:
    description: The magic variable C(groups).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report
  hosts: "{{ 'all:localhost' | timesten.monitoring.whole_run(groups) }}"
  gather_facts: false
  tags: [always]
  tasks:
    - name: Say what was seen
      timesten.monitoring.tt_report:
        operation: site
      run_once: true
"""

RETURN = r"""
_value:
  description: The input.
  type: str
  sample: all:localhost
"""

from typing import Any, Callable, Mapping, Sequence

from ansible import context
from ansible.errors import AnsibleError

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet


def whole_run(hosts: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Return the hosts of a play.

    :raises AnsibleError: if the run would leave it out.
    """
    problem = fleet.left_out(groups, context.CLIARGS)
    if problem:
        raise AnsibleError(problem)
    return hosts


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"whole_run": whole_run}
