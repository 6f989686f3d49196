# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: whether too many exporter hosts of a run have failed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: too_many_failed
short_description: Whether too many exporter hosts of a run have failed
version_added: 1.0.0
description:
  - Counts the exporter hosts that have answered that they failed, so that no further batch is begun.
positional: hosts, percentage
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: Inventory names of the hosts of the run.
    type: list
    elements: str
    required: true
  percentage:
    description: Of all exporter hosts of the run, so many may fail.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Begin no further batch
  ansible.builtin.meta: end_batch
  when: hostvars | timesten.monitoring.too_many_failed(ansible_play_hosts_all, 10)
"""

RETURN = r"""
_value:
  description: Whether more of them failed than may.
  type: bool
  sample: false
"""

from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import steps


def too_many_failed(hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], percentage: Any) -> bool:
    """Return whether more than a share of the hosts have failed so far."""
    answers = steps.exporters(hostvars, hosts, steps.CONVERGED)
    failed = sum(
        answer.failed is not None or any(exporter.failed for exporter in answer.exporters.values())
        for answer in answers.values()
    )
    return failed * 100 > float(percentage) * len(hosts)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"too_many_failed": too_many_failed}
