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
  - On an exporter host, it looks for every C(ttExporter) that runs or has a wallet. On a Prometheus host, it looks for
    every job that scrapes one. It does not matter who has set them up. It changes nothing, and sends no GET to an
    exporter.
  - The playbook C(timesten.monitoring.discover) does this for a whole fleet.
extends_documentation_fragment:
  - timesten.monitoring.attributes
attributes:
  action:
    description: Parses the host's answer. With O(look_for=report) it runs only on the controller.
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
      - V(report) contacts no host. It prints the results that earlier tasks of the same run have registered as
        C(timesten_discovered_exporters) and C(timesten_discovered_jobs), and an inventory that describes them. It fails
        if a host could not be asked.
    type: str
    choices: [exporters, jobs, report]
    required: true
  directories:
    description:
      - For O(look_for=exporters), directories to search for wallets, in addition to the users' homes and the homes of
        the instances whose exporter runs. The search goes three directories deep.
    type: list
    elements: path
    default: []
  ports:
    description:
      - For O(look_for=jobs), the ports of exporters. A job counts if it has a target on one of them.
    type: list
    elements: int
    default: []
  kind:
    description:
      - For O(look_for=jobs), the same as for M(timesten.monitoring.tt_prometheus_host).
    type: str
    choices: [prometheus, scrape_file]
    default: prometheus
    version_added: 1.0.0
  path_map:
    description:
      - For O(look_for=jobs), the same as for M(timesten.monitoring.tt_prometheus_host).
    type: dict
    default: {}
    version_added: 1.0.0
  instances:
    description:
      - For O(look_for=jobs), the clients of the host if it has several. Each may have its own O(kind), O(config_file),
        O(scrape_file), O(store) and O(path_map); otherwise the task's values hold. Other keys are ignored.
    type: list
    elements: dict
    default: []
    version_added: 1.0.0
  config_file:
    description:
      - For O(look_for=jobs), the configuration of Prometheus. If not set, it is V(/etc/prometheus/prometheus.yml). The
        configuration of each process of Prometheus or VictoriaMetrics on the host is read too.
    type: path
  scrape_file:
    description:
      - For O(look_for=jobs), the same as for M(timesten.monitoring.tt_prometheus_host). If not set, it is
        C(timesten.yml) beside O(config_file).
    type: path
  store:
    description:
      - For O(look_for=jobs), the same as for M(timesten.monitoring.tt_prometheus_host).
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
      description: The process id, null if only a wallet was found.
      type: int
      sample: 4711
    port:
      description: The port in its arguments, null if only a wallet was found.
      type: int
      sample: 8888
    listening:
      description: Whether the process listens on that port, as far as the user of this task may see that.
      type: bool
      sample: true
    owner:
      description: The user who runs it, or who owns the wallet.
      type: str
      sample: timesten
    unit:
      description: The systemd unit that runs it, null if none does.
      type: str
      sample: null
    timesten_home:
      description: Home of the TimesTen instance, null if unknown.
      type: str
      sample: /opt/timesten/ttinst
    certificate_directory:
      description: The real path of the wallet's directory. For an exporter of this collection that does not run, it is
        the exporter's own directory. Null without a wallet.
      type: str
      sample: /home/timesten/mycertdir
    insecure:
      description: Whether it serves plain HTTP.
      type: bool
      sample: false
    exporter:
      description: Name of this collection's exporter to which the wallet belongs, null for a wallet of somebody else.
      type: str
      sample: null
    not_after:
      description: End of the served certificate. For a wallet of this collection that no process serves, it is the
        earliest end of its certificates. Null if unknown.
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
      description: Its targets with one of the ports.
      type: list
      elements: str
      sample: ["exp1.example.com:8888"]
    interval:
      description: Seconds between its scrapes.
      type: float
      sample: 15.0
    exporter:
      description: Name of the exporter if this collection made the job, null for a hand-written job.
      type: str
      sample: null
takers:
  description: Processes of Prometheus and VictoriaMetrics, by their configurations. At most 20.
  returned: O(look_for=jobs)
  type: list
  elements: dict
  contains:
    kind:
      description: Its O(kind) for M(timesten.monitoring.tt_prometheus_host).
      type: str
      sample: prometheus
    pid:
      description: The process.
      type: int
      sample: 4711
    user:
      description: The user who runs it, by number if the host does not know the user.
      type: str
      sample: prometheus
    config_file:
      description: The host's path of its configuration, null if the host does not have it.
      type: str
      sample: /srv/prometheus/etc/prometheus.yml
    path_map:
      description: The directory on the host, and its path as the process sees it.
      type: dict
      sample: {"/srv/prometheus/etc": "/etc/prometheus"}
    port:
      description: The port of its own interface, null if it has its own network or the port is unknown.
      type: int
      sample: 9090
    lifecycle:
      description: Whether it can be reloaded by HTTP.
      type: bool
      sample: false
    problem:
      description: V(mounted alone) or V(in the container alone) if it cannot be given jobs in its present setup,
        V(cannot be read) if its configuration was not understood, else null.
      type: str
      sample: null
"""

from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import Options
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run

SPEC = Options(
    {
        "look_for": {"type": "str", "choices": ["exporters", "jobs", "report"], "required": True},
        "directories": {"type": "list", "elements": "path", "default": []},
        "ports": {"type": "list", "elements": "int", "default": []},
        "kind": {"type": "str", "choices": ["prometheus", "scrape_file"], "default": "prometheus"},
        "path_map": {"type": "dict", "default": {}},
        "instances": {"type": "list", "elements": "dict", "default": []},
        "config_file": {"type": "path"},
        "scrape_file": {"type": "path"},
        "store": {"type": "path", "default": "/etc/prometheus/timesten"},
    }
)

OF_CLIENT = ("kind", "config_file", "scrape_file", "store", "path_map")


def _configured(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the variables of each client.

    :raises TimesTenError: naming the value that cannot be used.
    """
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import options

    shared = {key: params[key] for key in OF_CLIENT}
    clients = []
    for number, element in enumerate(params["instances"] or [{}]):
        own = {key: value for key, value in element.items() if key in OF_CLIENT and value is not None}
        for key, value in own.items():
            if not isinstance(value, dict if key == "path_map" else str):
                raise TimesTenError(f"instances[{number}].{key}: {str(value)[:80]!r} is not what {key} takes")
        client = {**shared, **own}
        named = client["config_file"] is not None
        client["config_file"] = client["config_file"] or "/etc/prometheus/prometheus.yml"
        if client["kind"] not in ("prometheus", "scrape_file"):
            raise TimesTenError(f"instances[{number}].kind: {client['kind']!r} is neither prometheus nor scrape_file")
        options.check(client)
        clients.append({**client, "named": named})
    return clients


def work(module: Any) -> dict[str, Any]:
    """Do the module's work and return its result."""
    params = module.params
    # A host needs only one of these imports.
    if params["look_for"] == "exporters":
        from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.discover import discover

        return {"changed": False, "exporters": discover(params["directories"])}
    if params["look_for"] == "jobs":
        from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import discover as jobs

        return {"changed": False, **jobs.discover(_configured(params), params["ports"])}
    raise TimesTenError("look_for: report works in a task of a playbook only")


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
