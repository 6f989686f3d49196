# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the scrape jobs of one client, for a template of the whole configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
name: prometheus_jobs
short_description: The scrape jobs of one client, for a template of the whole configuration
version_added: 0.1.0
description:
  - Makes the same jobs as M(timesten.monitoring.tt_prometheus_host) does, from what is stored and what a run brings.
positional: definitions
options:
  _input:
    description: The exporters of this run, from the filter P(timesten.monitoring.prometheus_exporters#filter).
    type: list
    elements: dict
    required: true
  definitions:
    description: RV(timesten.monitoring.tt_prometheus_host#module:definitions) of the inspected client.
    type: dict
    required: true
  options:
    description: The client's options; C(store) and the options of its jobs are used.
    type: dict
    required: true
  remove:
    description: Names of exporters that go.
    type: list
    elements: str
  purge:
    description: Whether the exporters go that the run does not mention.
    type: bool
    default: false
  both_ports:
    description: Whether the job of a mentioned exporter's other port stays.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What a template can loop over
  ansible.builtin.debug:
    msg: >-
      {{ [{'name': 'exp1', 'address': 'exp1.example.com', 'port': 8888}]
         | timesten.monitoring.prometheus_jobs({}, options={'store': '/etc/prometheus/timesten'}) }}
"""

RETURN = r"""
_value:
  description: One entry of C(scrape_configs) for each exporter.
  type: list
  elements: dict
  sample: [{"job_name": "timesten-exp1", "scheme": "https"}]
"""

import posixpath
from typing import Any, Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import host as _prometheus_host
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import options as _prometheus_options


def prometheus_jobs(
    exporters: Sequence[Mapping[str, Any]],
    definitions: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Any],
    remove: Sequence[str] | None = None,
    purge: bool = False,
    both_ports: bool = False,
) -> list[dict[str, Any]]:
    """Return the jobs of all exporters that the client has after the run, by name of the exporter."""
    defaults = {key: options.get(key) for key in _prometheus_options.JOB_OPTIONS}
    try:
        merged = _prometheus_host.merge(definitions, exporters, defaults, remove or (), purge, both_ports)
        return [
            dict(_prometheus_jobs.build(definition, posixpath.normpath(options["store"])).config)
            for definition in merged.values()
        ]
    except TimesTenError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"prometheus_jobs": prometheus_jobs}
