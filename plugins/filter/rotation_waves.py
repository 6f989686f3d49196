# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns the waves of a rotation."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rotation_waves
short_description: The waves of a rotation
version_added: 1.0.0
description:
  - Divides the exporter hosts that have something to rotate into waves, by C(rotate_hosts), C(rotate_exporters) and C(rotate_wave).
positional: groups, hosts, due
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
  due:
    description: Names of the exporters that are due. If null, all exporters that the run names.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: In which order?
  ansible.builtin.debug:
    msg: "{{ hostvars | timesten.monitoring.rotation_waves(groups, ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: Lists of inventory names.
  type: list
  elements: list
  sample: [[exp1, exp2], [exp3]]
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet


def rotation_waves(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    due: Sequence[str] | None = None,
) -> list[list[str]]:
    """Return the hosts of each wave."""
    known = fleet.recall(hostvars, groups)
    names = due if due is not None else known.run.rotate_exporters or None
    mine = [
        host
        for host in known.run.rotate_hosts or known.exporter_hosts
        if host in hosts
        and host in known.exporter_hosts
        and (names is None or any(exporter.name in names for exporter in known.exporter_hosts[host].exporters))
    ]
    size = known.run.rotate_wave
    return [mine[start : start + size] for start in range(0, len(mine), size)]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"rotation_waves": rotation_waves}
