#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_rotation
short_description: What the controller decides between the steps of a rotation
version_added: 1.0.0
description:
  - Makes the plan of a wave, refuses exporters that a client does not follow, judges the outcome of the switches, and
    keeps the record.
  - It reads the variables that the tasks of the playbook C(timesten.monitoring.rotate) have registered, and contacts no
    host of the inventory.
  - If C(rotate_silence) is set, it asks that Alertmanager for a silence during the wave. If C(rotate_annotation) is
    set, it asks that Grafana for an annotation.
extends_documentation_fragment:
  - timesten.monitoring.attributes
requirements: []
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    support: full
    details:
      - In check mode it asks neither Alertmanager nor Grafana for anything, but says what it would ask for.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  step:
    description:
      - V(join) makes a host take part in a wave.
      - V(plan) chooses the moments at which each exporter may switch, and silences their alerts if C(rotate_silence) is
        set.
      - V(go) refuses the exporters that one of their clients does not follow.
      - V(judge) decides which switches are kept and which are taken back.
      - V(leave) decides, with the strategy C(spare_port), which of their two ports exporters leave. If outsiders have
        to follow, it first waits for C(rotate_grace) seconds.
      - V(record) ends the silence, adds the outcome of the wave to the record of the run, and adds the annotation if
        C(rotate_annotation) is set.
    type: str
    choices: [join, plan, go, judge, leave, record]
    required: true
  hosts:
    description: Inventory names of the exporter hosts of the wave, for O(step=join).
    type: list
    elements: str
    default: []
seealso:
  - module: timesten.monitoring.tt_exporter_host
  - module: timesten.monitoring.tt_prometheus_host
"""

EXAMPLES = r"""
- name: Choose the moments
  timesten.monitoring.tt_rotation:
    step: plan
  register: timesten_plan
  run_once: true
"""

RETURN = r"""
hosts:
  description: The exporter hosts of the wave.
  returned: O(step=join)
  type: list
  elements: str
  sample: [exp1]
rows:
  description: By name of the exporter, what it may do and when, or why it may not switch.
  returned: O(step=plan) or O(step=go)
  type: dict
  sample: {"exp1": {"exporter": "exp1", "host": "exp1", "generation": "20261124T104900Z-1a2b3c4d", "window": 0.7, "gap": 7.2, "moments": [1795517344.52]}}
began:
  description: When the wave was planned, in seconds since the epoch.
  returned: O(step=plan)
  type: float
  sample: 1795517344.52
silence:
  description: The id of the wave's silence, empty if there is none.
  returned: O(step=plan)
  type: str
  sample: e1286ed2-f9b3-4797-aa4b-96633a6f4fb3
notes:
  description: Notes about silences and annotations; for O(step=record), those of all waves so far.
  returned: O(step=plan) or O(step=record)
  type: list
  elements: str
  sample: []
reading:
  description: Which playbook of this run of Ansible it belongs to; in a later one it is no answer any more.
  type: int
  returned: for all steps but O(step=join)
  sample: 1
verdicts:
  description: By name of the exporter, its outcome and what its host has to do.
  returned: O(step=judge)
  type: dict
  sample: {"exp1": {"exporter": "exp1", "host": "exp1", "action": "confirm", "status": "switched", "window": 0.41}}
leaving:
  description: By name of the exporter, the job that is removed, and what its host does then.
  returned: O(step=leave)
  type: dict
  sample: {"exp1": {"exporter": "exp1", "host": "exp1", "job": "exp1", "action": "retire"}}
entries:
  description: The outcome of each exporter in all waves so far.
  returned: O(step=record)
  type: list
  elements: dict
  sample: [{"exporter": "exp1", "host": "exp1", "outcome": "switched", "good": true}]
problems:
  description: Why the pairs for outsiders could not be written.
  returned: O(step=record)
  type: list
  elements: str
  sample: []
stop:
  description: Whether an exporter of this wave was not rotated, so that no further wave begins.
  returned: O(step=record)
  type: bool
  sample: false
"""
