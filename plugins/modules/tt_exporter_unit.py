#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_exporter_unit
short_description: The systemd units of a host's exporters
version_added: 1.0.0
description:
  - Installs the systemd units of the exporters whose O(exporters[].boot) is V(systemd), and removes the units of the
    others.
  - The service C(timesten-exporter-<name>.service) runs C(ttExporter) as O(owner), after a reboot and whenever it has
    ended. It does not matter whether C(ttExporter) stays in the foreground or detaches. This module enables the
    service. Only M(timesten.monitoring.tt_exporter) and M(timesten.monitoring.tt_exporter_host) start it, and they need
    no root for that.
  - The exporter of a service that is removed runs on as it is, until somebody ends or restarts it.
  - This is the only module of the collection that needs root on an exporter host.
extends_documentation_fragment:
  - timesten.monitoring.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  exporters:
    description:
      - The exporters of the host, with the same values as for M(timesten.monitoring.tt_exporter_host).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the exporter.
        type: str
        required: true
      timesten_home:
        description:
          - Home of the TimesTen instance.
        type: path
        required: true
      certificate_directory:
        description:
          - The exporter's own directory.
        type: path
        required: true
      boot:
        description:
          - What starts the exporter after a reboot. Only V(systemd) installs units.
        type: str
        choices: [none, cron, systemd]
        default: none
      pid_file:
        description:
          - Pid file. If not set, it is C(exporter.pid) in O(exporters[].certificate_directory).
        type: path
      log_file:
        description:
          - Log file. If not set, it is C(exporter.log) in O(exporters[].certificate_directory).
        type: path
      stop_signal:
        description:
          - Signal that stops the exporter.
        type: str
        choices: [TERM, INT]
        default: TERM
      stop_timeout:
        description:
          - Seconds within which the exporter has to stop, from 1 to 3600.
        type: int
        default: 10
      start_timeout:
        description:
          - Seconds within which the exporter has to start, from 1 to 3600.
        type: int
        default: 30
  owner:
    description:
      - The user who runs C(ttExporter).
    type: str
    required: true
  after:
    description:
      - Units that have to be up before the exporter starts, if the host has them, for example the unit of the TimesTen
        daemon.
    type: list
    elements: str
    default: []
seealso:
  - module: timesten.monitoring.tt_exporter_host
"""

EXAMPLES = r"""
- name: Let systemd run the exporter
  timesten.monitoring.tt_exporter_unit:
    exporters:
      - name: exp1
        timesten_home: /opt/timesten/ttinst
        certificate_directory: /opt/timesten/ttinst/monitoring/exp1
        boot: systemd
    owner: timesten
    after: [tt_ttinst.service]
  become: true
"""

RETURN = r"""
why:
  description: What was or would be changed, and the reason. Empty if everything is as it should be.
  type: list
  elements: str
  returned: success
  sample: ["timesten-exporter-exp1.service is missing"]
units:
  description: The units that exist afterwards.
  type: list
  elements: str
  returned: success
  sample: ["timesten-exporter-exp1.service", "timesten-exporter-exp1.path"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import units as _exporter_units
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define

EXPORTER = (
    _argspec.Options({"name": {"type": "str", "required": True}})
    | _argspec.UTILITY.only("timesten_home", "certificate_directory")
    | _argspec.PROCESS.only("boot", "pid_file", "log_file", "stop_signal", "stop_timeout", "start_timeout")
)

SPEC = _argspec.Options(
    {
        "exporters": {"type": "list", "elements": "dict", "required": True, "options": EXPORTER},
        "owner": {"type": "str", "required": True},
        "after": {"type": "list", "elements": "str", "default": []},
    }
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    params = module.params
    exporters = [define(item, f"exporters[{index}].") for index, item in enumerate(params["exporters"])]
    return _exporter_units.converge_units(exporters, params["owner"], params["after"], module.check_mode)


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
