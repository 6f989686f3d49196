#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_client_cert
short_description: Client certificates and keys of a TimesTen exporter
version_added: 1.0.0
description:
  - Issues one certificate and private key for each Prometheus instance from the exporter's current wallet, with the
    utility itself.
  - A pair is kept while it belongs to the present wallet, matches its key, and is not due.
  - A private key is never returned in plaintext.
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
  clients:
    description:
      - The clients, one for each Prometheus instance that scrapes the exporter. The pair of a client that is not
        named here stays as it is.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the client. Letters, digits, V(.), V(_) and V(-).
        type: str
        required: true
      recipient:
        description:
          - Public transport key of the client's host, as M(timesten.monitoring.tt_prometheus_host) returns it, or the
            age recipient (V(age1...), X25519) of an outsider. The private key is encrypted for this key, and its
            plaintext is deleted.
          - Without it, the key stays on the exporter host in a file with mode 0600.
        type: str
  renew_before:
    description:
      - How long before its end a pair is replaced by a new one. A duration (V(30d), V(12h), V(90m), V(45s)) or a share
        of its lifetime (V(20%)).
      - A duration longer than half of the lifetime counts as half of it.
    type: str
    default: 30d
seealso:
  - module: timesten.monitoring.tt_wallet
"""

EXAMPLES = r"""
- name: Issue a pair for each Prometheus instance
  timesten.monitoring.tt_client_cert:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    clients:
      - name: prometheus1
      - name: prometheus2
"""

RETURN = r"""
why:
  description: What was or would be changed, and the reason. Empty if everything is as it should be.
  type: list
  elements: str
  returned: success
  sample: ["there is no wallet"]
pairs:
  description: The pair of each client of the call.
  type: list
  elements: dict
  returned: success
  contains:
    client:
      description: Name of the client.
      type: str
      sample: prom1
    delivery:
      description: Name of the pair. It changes whenever a new pair is issued.
      type: str
      sample: 20261124T104900Z-1a2b3c4d-1
    sha256:
      description: SHA-256 fingerprint of its certificate.
      type: str
      sample: 5f1c0d7f6a3a4a1c1d0f6f4bde1f7a2e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e
    not_before:
      description: Start of its validity, UTC.
      type: str
      sample: "2026-11-24T10:49:00Z"
    not_after:
      description: End of its validity, UTC.
      type: str
      sample: "2036-11-21T10:49:00Z"
    certificate:
      description: The certificate as PEM.
      type: str
      returned: success
      sample: "-----BEGIN CERTIFICATE-----..."
    bundle:
      description:
        - The private key, sealed for the recipient's transport key. Only the recipient can open it.
        - For an age recipient, it is a file in the age format, armored, without the last line end.
      type: str
      returned: when a recipient was given
      sample: '{"ciphertext": "..."}'
    certificate_file:
      description: Path of the certificate.
      type: str
      returned: when no recipient was given
      sample: /opt/timesten/monitoring/exp1/generations/20261124T104900Z-1a2b3c4d/clients/prom1/client.crt
    key_file:
      description: Path of the private key, mode 0600.
      type: str
      returned: when no recipient was given
      sample: /opt/timesten/monitoring/exp1/generations/20261124T104900Z-1a2b3c4d/clients/prom1/client.key
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import modules as _exporter_modules
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define, define_clients

SPEC = (
    _argspec.UTILITY
    | _argspec.WALLET.only("renew_before")
    | _argspec.Options({"clients": {"type": "list", "elements": "dict", "required": True, "options": _argspec.CLIENT}})
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    return _exporter_modules.present_pairs(
        define(module.params), define_clients(module.params["clients"]), module.check_mode
    )


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
