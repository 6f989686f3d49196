# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: which hosts a run did not finish, and why."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unfinished_hosts
short_description: Which hosts a run did not finish, and why
version_added: 0.1.0
description:
  - Reads what the roles P(timesten.monitoring.exporter_host#role) and P(timesten.monitoring.prometheus_host#role) leave in their C(_result) facts.
positional: hosts, role
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: Inventory names of the hosts.
    type: list
    elements: str
    required: true
  role:
    description: The role that the hosts have to get.
    type: str
    choices: [exporter_host, prometheus_host]
    required: true
  begun:
    description: Leave out the hosts that the role was not applied to yet.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Say what is missing
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.unfinished_hosts(groups['timesten_exporters'], 'exporter_host') }}"
"""

RETURN = r"""
_value:
  description: The reason, by inventory name.
  type: dict
  sample: {"exp5": "it could not be reached: No route to host"}
"""

from typing import Any, Callable, Mapping, Sequence

NOT_BEGUN = "it was not begun"


def _reason(result: Mapping[str, Any]) -> str | None:
    """Tell why one role did not finish, or None."""
    # The result of a loop has the calls in it, that of a single call is one itself.
    calls = result.get("results") or [result]
    unreachable = [call for call in calls if call.get("unreachable")]
    if unreachable:
        return f"it could not be reached: {_message(unreachable[0])}"
    return _message(result) if result.get("failed") else None


def _message(result: Mapping[str, Any]) -> str:
    return str(result.get("msg")).strip().removeprefix("Task failed: ").rstrip(".")


def unfinished_hosts(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], role: str, begun: bool = False
) -> dict[str, str]:
    """Return the reason for each host that is not finished."""
    found = {}
    for host in hosts:
        result = hostvars[host].get(f"{role}_result")
        nothing = None if begun else NOT_BEGUN
        reason = nothing if result is None else _reason(result)
        if reason is not None:
            found[host] = reason
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"unfinished_hosts": unfinished_hosts}
