#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_export_cert
short_description: The server certificate of a TimesTen exporter as PEM
version_added: 1.0.0
description:
  - Writes the server certificate of an exporter's current wallet to a file, exactly as C(ttExporter
    -export-server-certificate) exports it. Prometheus uses it as C(ca_file).
  - The utility decides whether the file holds its CA, the server's own certificate, or both.
extends_documentation_fragment:
  - timesten.monitoring.exporter.UTILITY
  - timesten.monitoring.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - File to write. Its directory has to exist.
    type: path
    required: true
  mode:
    description:
      - Mode of the file, octal. A certificate is not secret.
    type: str
    default: "0644"
seealso:
  - module: timesten.monitoring.tt_wallet
"""

EXAMPLES = r"""
- name: Export the server certificate
  timesten.monitoring.tt_export_cert:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    path: /opt/timesten/mycertdir/server.crt
"""

RETURN = r"""
why:
  description: What was or would be changed, and the reason. Empty if everything is as it should be.
  type: list
  elements: str
  returned: success
  sample: ["there is no wallet"]
path:
  description: The file.
  type: str
  returned: success
  sample: /opt/timesten/mycertdir/server.crt
certificate:
  description: The server certificate as PEM.
  type: str
  returned: success
  sample: "-----BEGIN CERTIFICATE-----..."
ca_sha256:
  description: SHA-256 over all certificates of the file.
  type: str
  returned: success
  sample: 5f1c0d7f6a3a4a1c1d0f6f4bde1f7a2e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e
certificates:
  description: Facts of each certificate in the file, as M(timesten.monitoring.tt_wallet) returns them.
  type: list
  elements: dict
  returned: success
  sample: [{"subject": "CN=exp1.example.com", "not_after": "2036-11-21T10:49:00Z"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import modules as _exporter_modules
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define

SPEC = _argspec.UTILITY | _argspec.Options(
    {"path": {"type": "path", "required": True}, "mode": {"type": "str", "default": "0644"}}
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    return _exporter_modules.export_certificate(
        define(module.params), module.params["path"], module.params["mode"], module.check_mode
    )


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
