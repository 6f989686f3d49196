#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_exporter
short_description: The process of a TimesTen exporter
version_added: 1.0.0
description:
  - Starts, stops and restarts one C(ttExporter) through its pid file.
  - An exporter counts as started if the process in the pid file runs, is the exporter that was asked for, listens on
    its port, and completes a TLS handshake with the certificate of the current wallet. If its port, an argument or its
    wallet differs, it is restarted, and the reason is returned.
  - A process that is not the exporter is never signalled, even if the pid file names it.
extends_documentation_fragment:
  - timesten.monitoring.exporter.UTILITY
  - timesten.monitoring.exporter.PROCESS
  - timesten.monitoring.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=restarted) restarts the exporter in every run.
options:
  state:
    description:
      - V(started) makes sure that the exporter runs as asked for. V(stopped) makes sure that it does not run.
        V(restarted) restarts it.
    type: str
    choices: [started, stopped, restarted]
    default: started
  port:
    description:
      - TCP port on which the exporter listens, as in Prometheus's C(targets). Required unless O(state=stopped).
    type: int
seealso:
  - module: timesten.monitoring.tt_wallet
"""

EXAMPLES = r"""
- name: Start the exporter
  timesten.monitoring.tt_exporter:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    port: 12345

- name: Stop it
  timesten.monitoring.tt_exporter:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    state: stopped

- name: Restart it, with an environment variable and a longer time to stop
  timesten.monitoring.tt_exporter:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    port: 12345
    environment:
      LC_ALL: C.UTF-8
    stop_timeout: 60
    state: restarted

- name: Serve plain HTTP, without certificates
  timesten.monitoring.tt_exporter:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    port: 12345
    insecure: true
"""

RETURN = r"""
why:
  description: What was or would be changed, and the reason. Empty if everything is as it should be.
  type: list
  elements: str
  returned: success
  sample: ["there is no wallet"]
process:
  description: The process.
  type: dict
  returned: success
  contains:
    state:
      description: Whether it runs, V(started) or V(stopped). In check mode, the state that a real run would reach.
      type: str
      sample: started
    pid:
      description: Its process id, null if it is stopped, or if check mode predicts a start.
      type: int
      sample: 4711
    manager:
      description: The systemd unit that keeps it running, null if there is none.
      type: str
      sample: null
rate_limit:
  description: GETs per minute that the exporter accepts, null if the utility has no option for it.
  type: int
  returned: success
  sample: 15
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import modules as _exporter_modules
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define

SPEC = (
    _argspec.UTILITY
    | _argspec.PROCESS
    | _argspec.Options(
        {
            "state": {"type": "str", "choices": ["started", "stopped", "restarted"], "default": "started"},
            "port": {"type": "int"},
        },
        required_if=(("state", "started", ("port",)), ("state", "restarted", ("port",))),
    )
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    return _exporter_modules.converge_process(define(module.params), module.check_mode)


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
