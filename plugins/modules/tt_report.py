#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_report
short_description: The last table of a run
version_added: 1.0.0
description:
  - Prints what the inventory asks for and what was seen in this run, and fails unless everything was seen.
  - If the variable C(timesten_report) names a path on the controller, the report is written there as JSON. If
    C(timesten_report_html) does, it is written there as one page for people. With both, the page also shows what has
    changed since the previous report in the file of C(timesten_report).
  - Without O(operation), it only makes the page of C(timesten_report_html) from the JSON file of C(timesten_report).
  - After C(site), it writes the directories of the outsiders (C(timesten_outsiders)) on the controller, and reports a
    change if one of them changed.
  - It reads the variables that the tasks of this collection's playbooks have registered, and contacts no host.
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
      - It judges the predictions of the tasks, and writes nothing for outsiders.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  operation:
    description:
      - The playbook that the table reports on. If it is left out, a page is made from an earlier report.
    type: str
    choices: [site, verify, rotate, rollback, evict, remove]
"""

EXAMPLES = r"""
- name: Compare what was asked for with what was seen
  timesten.monitoring.tt_report:
    operation: site
  run_once: true

- name: Make a page of an earlier report
  timesten.monitoring.tt_report:
  vars:
    timesten_report: /var/tmp/ledger.json
    timesten_report_html: /var/tmp/report.html
  run_once: true
"""

RETURN = r"""
ledger:
  description: What was asked for and what was seen, in the form that is written to C(timesten_report).
  returned: success
  type: dict
  contains:
    version:
      description: Version of this form.
      type: int
      sample: 1
    time:
      description: When it was made, UTC.
      type: str
      sample: "2026-11-24T10:49:00Z"
    operation:
      description: The playbook.
      type: str
      sample: site
    check_mode:
      description: Whether it was a prediction.
      type: bool
      sample: false
    good:
      description: Whether everything that was asked for was seen or, in check mode, predicted.
      type: bool
      sample: true
    verdict:
      description: The last line of the table.
      type: str
      sample: 6 of 6 pairs proven.
    pairs:
      description: Every exporter with every Prometheus instance that has to scrape it.
      type: list
      elements: dict
      sample: [{"exporter": "exp1", "client": "prom1", "state": "proven", "reason": null, "up": true, "accepted": true, "refused": true}]
    hosts:
      description: What changed on each host, and why it is not finished.
      type: list
      elements: dict
      sample: [{"host": "exp1", "kind": "exporter", "changed": [], "reason": null}]
    exporters:
      description: What is known about each exporter of the run, besides its pairs.
      type: list
      elements: dict
      sample: [{"exporter": "exp1", "host": "exp1", "target": "exp1.example.com:8888", "due": null, "asked": 8.0, "limit": 15}]
    rotations:
      description: A line for each exporter that was to be rotated.
      type: list
      elements: str
      sample: []
    problems:
      description: Other reasons why the run is not finished.
      type: list
      elements: str
      sample: []
    notes:
      description: Notes for people.
      type: list
      elements: str
      sample: []
"""
