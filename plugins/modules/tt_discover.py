#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_discover
short_description: What monitors TimesTen already
version_added: 1.0.0
description:
  - Looks for every C(ttExporter) that runs or has a wallet, on an exporter host, and for every job that scrapes one, on a Prometheus host, whoever
    has set it up. Changes nothing, and sends no GET to an exporter.
  - The playbook C(timesten.monitoring.discover) does so on a whole fleet.
extends_documentation_fragment:
  - timesten.monitoring.attributes
attributes:
  action:
    description: Parses what the host answers, and with O(look_for=report) runs on the controller alone.
    support: full
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  look_for:
    description:
      - V(exporters) looks for exporters and wallets, V(jobs) for jobs.
      - V(report) contacts no host. It prints what earlier tasks of the same run have found and registered as C(timesten_discovered_exporters) and
        C(timesten_discovered_jobs), and an
        inventory that describes it. It fails if a host could not be looked at.
    type: str
    choices: [exporters, jobs, report]
    required: true
  directories:
    description:
      - For O(look_for=exporters), places to look for wallets, beside the users' homes and the homes of the instances whose exporter runs. They are
        looked through three directories deep.
    type: list
    elements: path
    default: []
  ports:
    description:
      - For O(look_for=jobs), the ports of exporters. A job with a target on one of them is one.
    type: list
    elements: int
    default: []
  config_file:
    description:
      - For O(look_for=jobs), the configuration of Prometheus.
    type: path
    default: /etc/prometheus/prometheus.yml
  scrape_file:
    description:
      - For O(look_for=jobs), as for M(timesten.monitoring.tt_prometheus_host). C(timesten.yml) beside O(config_file), if not set.
    type: path
  store:
    description:
      - For O(look_for=jobs), as for M(timesten.monitoring.tt_prometheus_host).
    type: path
    default: /etc/prometheus/timesten
seealso:
  - module: timesten.monitoring.tt_exporter_info
"""

EXAMPLES = r"""
- name: See what runs on an exporter host, as root
  timesten.monitoring.tt_discover:
    look_for: exporters

- name: See who scrapes it, on a Prometheus host
  timesten.monitoring.tt_discover:
    look_for: jobs
    ports: [8888]
"""

RETURN = r"""
exporters:
  description: Exporters that run, by port, and then wallets that none of these serves. At most 100.
  returned: O(look_for=exporters)
  type: list
  elements: dict
  contains:
    pid:
      description: The process, null where only a wallet was found.
      type: int
      sample: 4711
    port:
      description: The port in its arguments, null where only a wallet was found.
      type: int
      sample: 8888
    listening:
      description: Whether the process listens on that port, as far as the user of this task may see that.
      type: bool
      sample: true
    owner:
      description: The user who runs it, or whose wallet it is.
      type: str
      sample: timesten
    unit:
      description: The systemd unit that runs it, null where none does.
      type: str
      sample: null
    timesten_home:
      description: Home of the TimesTen instance, null where that cannot be told.
      type: str
      sample: /opt/timesten/ttinst
    certificate_directory:
      description: The real path of the directory of the wallet; of an exporter of this collection that does not run, its own directory. Null
        without a wallet.
      type: str
      sample: /home/timesten/mycertdir
    insecure:
      description: Whether it serves plain HTTP.
      type: bool
      sample: false
    exporter:
      description: Name of the exporter of this collection whose wallet that is, null for one of somebody else.
      type: str
      sample: null
    not_after:
      description: End of the certificate that is served; of a wallet of this collection that is not, of the first of its certificates. Null where
        that cannot be told.
      type: str
      sample: "2036-11-21T10:49:00Z"
jobs:
  description: Jobs with a target on one of O(ports). At most 1000.
  returned: O(look_for=jobs)
  type: list
  elements: dict
  contains:
    job:
      description: Its name.
      type: str
      sample: tt_8888
    where:
      description: File and line.
      type: str
      sample: "/etc/prometheus/prometheus.yml: line 7"
    targets:
      description: Those of its targets that have one of the ports.
      type: list
      elements: str
      sample: ["exp1.example.com:8888"]
    interval:
      description: Seconds between its scrapes.
      type: float
      sample: 15.0
    exporter:
      description: Name of the exporter whose job of this collection it is, null for a hand-written one.
      type: str
      sample: null
"""

from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run

OPTIONS = {
    "look_for": {"type": "str", "choices": ["exporters", "jobs", "report"], "required": True},
    "directories": {"type": "list", "elements": "path", "default": []},
    "ports": {"type": "list", "elements": "int", "default": []},
    "config_file": {"type": "path", "default": "/etc/prometheus/prometheus.yml"},
    "scrape_file": {"type": "path"},
    "store": {"type": "path", "default": "/etc/prometheus/timesten"},
}


def work(module: Any) -> dict[str, Any]:
    """Do the module's work and return its result."""
    params = module.params
    # Each host needs one of these, and what it stands on.
    if params["look_for"] == "exporters":
        from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.discover import discover

        return {"changed": False, "exporters": discover(params["directories"])}
    if params["look_for"] == "jobs":
        from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import discover as jobs

        found = jobs.discover(params["config_file"], params["store"], params["scrape_file"], params["ports"])
        return {"changed": False, "jobs": found}
    raise TimesTenError("look_for: report works in a task of a playbook only")


def main() -> None:
    """Entry point."""
    run(ExporterModule(argument_spec=OPTIONS, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
